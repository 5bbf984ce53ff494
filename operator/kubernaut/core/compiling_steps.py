"""Compiling one step of a Workflow, and the steps of the templates that it uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from kubernaut.api.reasons import Reason
from kubernaut.api.steps import OnFailure, Step
from kubernaut.core.action import Action, Idempotency
from kubernaut.core.expressions import FAILURE, INDEX, ITEM, OBJECT, Compiled, Template
from kubernaut.core.guards.risk import high
from kubernaut.core.plan import ALTERNATE, ANY, FINALLY, MAIN, Kind, PlannedStep

if TYPE_CHECKING:
    from kubernaut.core.compiling import Compiler

Resolve = Callable[[str], str | None]


def no_step(text: str, name: str) -> str:
    """Return what to say of an expression that names a step that it can't see."""
    return f"{text!r}: there is no step {name!r}; write steps['NAME'] where the name has a dash."


def nothing(name: str) -> str | None:
    return None


@dataclass(frozen=True)
class Scope:
    """Steps that may depend on each other: those of the Workflow, or those of one use of a template.

    Attributes:
        path: where they stand in the spec.
        prefix: what their names begin with.
        outer: finds steps outside that their expressions may see too.
        each: the innermost forEach around them.
        uses: the templates on the way here.
        last: whether they are run under finally.
    """

    steps: Sequence[Step]
    path: str
    prefix: str = ""
    parent: str = MAIN
    branch: str = ""
    outer: Resolve = nothing
    each: str = ""
    uses: tuple[str, ...] = ()
    last: bool = False

    def full(self, name: str) -> str | None:
        return self.prefix + name if any(step.name == name for step in self.steps) else None

    def ancestors(self, name: str) -> set[str]:
        needs = {step.name: step.depends_on for step in self.steps}
        found: set[str] = set()
        todo = list(needs.get(name, ()))
        while todo:
            at = todo.pop()
            if at not in found:
                found.add(at)
                todo.extend(needs.get(at, ()))
        return found


class StepCompiler:
    """Compiles one step, and the steps of the templates that it uses."""

    def __init__(self, whole: Compiler, scope: Scope, index: int, step: Step) -> None:
        self._whole = whole
        self._scope = scope
        self._step = step
        self._path = f"{scope.path}[{index}]"
        self._name = scope.prefix + step.name
        self._more = (ITEM, INDEX) if scope.each else ()
        self._expressions: list[tuple[str, Compiled]] = []
        self._ancestors: set[str] | None = None

    def compiled(self) -> list[PlannedStep]:
        step, kind = self._step, _kind(self._step)
        when = self._condition(f"{self._path}.when", step.when)
        until, object_name = self._wait(step)
        action, with_ = self._action(step, kind)
        cases = self._cases(step)
        items = self._items(step)
        uses = self._resolved()
        retry_when = self._retry_when(step)
        self._check_policies(step, kind)
        self._check_unknown(step, action)
        planned = PlannedStep(
            self._name,
            0,
            step,
            kind,
            self._scope.parent,
            self._scope.branch,
            needs=tuple(self._scope.prefix + need for need in step.depends_on),
            action=action,
            with_=with_,
            when=when,
            until=until,
            object_name=object_name,
            retry_when=retry_when,
            cases=cases,
            items=items,
            uses=uses,
            outputs_used=frozenset(uses.values()),
            params_used=frozenset().union(*(e.params for _, e in self._expressions)),
            uses_target=any(e.uses_target for _, e in self._expressions),
            each=self._scope.each,
            high=self._high(action, with_),
        )
        return [planned, *self._bodies(step), *self._alternate(step)]

    # Names

    def _sees(self, name: str) -> str | None:
        """Return the path of a step that this step's expressions may see: an ancestor, or one outside."""
        if any(step.name == name for step in self._scope.steps):
            if self._ancestors is None:
                self._ancestors = self._scope.ancestors(self._step.name)
            return self._scope.prefix + name if name in self._ancestors else None
        return self._scope.outer(name)

    def _resolved(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for path, expression in self._expressions:
            for name in sorted(expression.steps):
                full = self._sees(name)
                if full is not None:
                    found[name] = full
                elif any(step.name == name for step in self._scope.steps):
                    message = f"it refers to step {name!r} without depending on it; add it to dependsOn."
                    self._whole.fail(Reason.INVALID_EXPRESSION, self._path, message)
                else:
                    self._whole.fail(Reason.INVALID_EXPRESSION, path, no_step(expression.text, name))
        return found

    # Expressions

    def _condition(self, path: str, text: str | None, *more: str) -> Compiled | None:
        found = self._whole.condition(path, text, *self._more, *more)
        if found is not None:
            self._expressions.append((path, found))
        return found

    def _retry_when(self, step: Step) -> Compiled | None:
        path = f"{self._path}.retry.when"
        found = self._whole.condition(path, step.retry.when, FAILURE)
        if found is not None and (found.steps or found.uses_target):
            message = (
                f"{found.text!r}: whether a step is tried again can hang on failure, params and run only."
            )
            self._whole.fail(Reason.INVALID_EXPRESSION, path, message)
        return found

    def _template(self, path: str, value: Any) -> Template:
        found = self._whole.template(path, value, *self._more)
        self._expressions += [(path, expression) for expression in found.expressions]
        return found

    def _wait(self, step: Step) -> tuple[Compiled | None, Template | None]:
        if step.wait is None:
            return None, None
        watched = step.wait.object
        until = self._condition(
            f"{self._path}.wait.until", step.wait.until, *((OBJECT,) if watched is not None else ())
        )
        if watched is None:
            return until, None
        return until, self._template(f"{self._path}.wait.object.name", watched.name)

    def _cases(self, step: Step) -> tuple[tuple[str, Compiled], ...]:
        if step.switch is None:
            return ()
        found: list[tuple[str, Compiled]] = []
        for at, case in enumerate(step.switch.cases):
            path = f"{self._path}.switch.cases[{at}]"
            if case.name in ("default", ALTERNATE):
                self._whole.fail(
                    Reason.INVALID_SPEC, f"{path}.name", f"{case.name!r} is taken; name it otherwise."
                )
            when = self._condition(f"{path}.when", case.when)
            if when is not None:
                found.append((case.name, when))
        return tuple(found)

    def _items(self, step: Step) -> Template | None:
        each = step.for_each
        if each is None:
            return None
        path = f"{self._path}.forEach"
        if each.items is not None:
            return self._template(f"{path}.items", each.items)
        if each.items_from is None:
            return None
        found = self._whole.value(f"{path}.itemsFrom", each.items_from, *self._more)
        if found is None:
            return None
        if not found.type_name.startswith(("LIST", "DYN")):
            message = f"{each.items_from!r}: it gives {found.type_name}, but a list is needed here."
            self._whole.fail(Reason.INVALID_EXPRESSION, f"{path}.itemsFrom", message)
        self._expressions.append((f"{path}.itemsFrom", found))
        return Template(found, (found,), ((),))

    # Actions

    def _action(self, step: Step, kind: Kind) -> tuple[Action[Any] | None, Template | None]:
        if kind is Kind.WORKFLOW and step.workflow is not None:
            given = [{"name": one.name, "value": one.value} for one in step.workflow.parameters]
            values = self._template(f"{self._path}.workflow.parameters", given)
            tree = {"workflow": step.workflow.name, "parameters": values.tree}
            return self._whole.catalogue.internal("run_workflow"), replace(values, tree=tree)
        if step.for_each is not None and step.for_each.select is not None:
            chosen = step.for_each.select.wire() | {"limit": step.for_each.max_items}
            with_ = self._template(f"{self._path}.forEach.select", chosen)
            return self._whole.catalogue.internal("select_objects"), with_
        if step.action is None:
            return None, None
        with_ = self._template(f"{self._path}.with", step.with_ or {})
        action = self._whole.catalogue.find(step.action)
        if action is None:
            near = self._whole.catalogue.suggest(step.action)
            hint = f" Did you mean {near!r}?" if near else ""
            message = f"there is no action {step.action!r}.{hint}"
            self._whole.fail(Reason.UNKNOWN_ACTION, f"{self._path}.action", message)
        else:
            self._check_with(f"{self._path}.with", action, step.with_ or {}, with_)
        return action, with_

    def _check_with(self, path: str, action: Action[Any], raw: Mapping[str, Any], with_: Template) -> None:
        """Validate the literal part now; what an expression will give is validated when it is known."""
        computed = {str(p[0]) for p in with_.paths if p}
        try:
            action.parameters.model_validate(_unescape(raw), by_alias=True, by_name=False)
        except ValidationError as error:
            for detail in error.errors():
                top = str(detail["loc"][0]) if detail["loc"] else ""
                if top in computed or (not detail["loc"] and computed):
                    continue
                where = ".".join([path, *map(str, detail["loc"])])
                self._whole.fail(Reason.INVALID_PARAMETERS, where, f"{action.name}: {detail['msg']}.")

    def _high(self, action: Action[Any] | None, with_: Template | None) -> bool:
        target = self._whole.spec.target
        return action is not None and high(
            action, (target.api_version, target.kind), with_.tree if with_ is not None else {}
        )

    # Templates

    def _bodies(self, step: Step) -> list[PlannedStep]:
        whole, scope, name = self._whole, self._scope, self._name
        shared: dict[str, Any] = {"outer": self._sees, "uses": scope.uses, "last": scope.last}
        if step.switch is not None:
            found: list[PlannedStep] = []
            for at, case in enumerate(step.switch.cases):
                path = f"{self._path}.switch.cases[{at}].template"
                prefix = f"{name}/{case.name}/"
                found += whole.body(
                    path, case.template, prefix, name, branch=case.name, each=scope.each, **shared
                )
            if step.switch.default is not None:
                path = f"{self._path}.switch.default"
                prefix = f"{name}/default/"
                found += whole.body(
                    path, step.switch.default, prefix, name, branch="default", each=scope.each, **shared
                )
            return found
        if step.for_each is not None:
            path = f"{self._path}.forEach.template"
            return whole.body(path, step.for_each.template, f"{name}/{ANY}/", name, each=name, **shared)
        return []

    def _alternate(self, step: Step) -> list[PlannedStep]:
        if step.alternate is None:
            return []
        name = f"{self._name}/{ALTERNATE}"
        group = PlannedStep(
            name, 0, step, Kind.ALTERNATE, self._scope.parent, self._scope.branch, each=self._scope.each
        )
        body = self._whole.body(
            f"{self._path}.alternate", step.alternate, f"{name}/", name,
            outer=lambda other: self._name if other == self._step.name else self._sees(other),
            uses=self._scope.uses, each=self._scope.each, last=self._scope.last,
        )  # fmt: skip
        return [group, *body]

    def _check_unknown(self, step: Step, action: Action[Any] | None) -> None:
        if step.on_unknown is None or action is None or action.idempotency is Idempotency.INTENT:
            return
        message = f"{action.name} happens once whatever becomes of an answer; onUnknown is for what can't be fenced."
        self._whole.fail(Reason.INVALID_SPEC, f"{self._path}.onUnknown", message)

    def _check_policies(self, step: Step, kind: Kind) -> None:
        inside = self._scope.parent not in (MAIN, FINALLY)
        if inside and step.on_failure is OnFailure.ROLLBACK:
            message = "a rollback concerns the whole run; set it on the step that uses the template."
            self._whole.fail(Reason.INVALID_SPEC, f"{self._path}.onFailure", message)
        if self._scope.last and (kind is Kind.APPROVAL or step.on_failure is OnFailure.MANUAL):
            message = "a step under finally can't wait for a person."
            self._whole.fail(Reason.INVALID_SPEC, self._path, message)
        if self._scope.last and step.on_failure is OnFailure.ROLLBACK:
            message = "when steps under finally run, a rollback is over."
            self._whole.fail(Reason.INVALID_SPEC, f"{self._path}.onFailure", message)


def _kind(step: Step) -> Kind:
    if step.wait is not None:
        return Kind.WAIT
    if step.approval is not None:
        return Kind.APPROVAL
    if step.workflow is not None:
        return Kind.WORKFLOW
    if step.switch is not None:
        return Kind.SWITCH
    return Kind.FOR_EACH if step.for_each is not None else Kind.ACTION


def _unescape(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {key: _unescape(child) for key, child in node.items()}
    if isinstance(node, list):
        return [_unescape(child) for child in node]
    return node[1:] if isinstance(node, str) and node.startswith("==") else node
