"""From a Workflow's spec to a plan: names resolved, order known, expressions compiled, or every problem named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from graphlib import CycleError, TopologicalSorter
from typing import Any, Final, Protocol

from pydantic import ValidationError

from kubernaut.api.reasons import REASONS, Reason
from kubernaut.api.workflow import Parameter, Step, WorkflowSpec, parse_parameter
from kubernaut.core.action import Action
from kubernaut.core.errors import KubernautError, StepError
from kubernaut.core.expressions import Compiled, ExpressionInvalid, Language, Template, template

DEFAULT_TIMEOUT: Final = timedelta(minutes=5)


class Catalogue(Protocol):
    """The actions that exist."""

    def find(self, name: str) -> Action[Any] | None:
        """Return the action of this name, or None."""
        ...

    def suggest(self, name: str) -> str | None:
        """Return the known name nearest to an unknown one."""
        ...


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with a Workflow: machine-readable reason, field path, what is wrong, how to mend it."""

    reason: Reason
    path: str
    message: str

    @property
    def fix(self) -> str:
        info = REASONS.get(self.reason)
        return info.fix if info else ""

    def __str__(self) -> str:
        return f"{self.path}: {self.message} {self.fix}".strip()


class PlanInvalid(KubernautError):
    """A Workflow that can't run; carries every problem found."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step with everything compiled.

    Attributes:
        needs: the steps it depends on, directly.
        outputs_used: steps whose outputs its decision (when, with, until) hangs on.
        uses_target: whether its decision hangs on the target as seen.
        outputs_matter: whether any expression of the Workflow refers to this step.
    """

    name: str
    position: int
    spec: Step
    needs: tuple[str, ...]
    action: Action[Any] | None = None
    with_: Template | None = None
    when: Compiled | None = None
    until: Compiled | None = None
    outputs_used: frozenset[str] = frozenset()
    uses_target: bool = False
    outputs_matter: bool = False

    @property
    def timeout(self) -> timedelta:
        """How long the step may take, all attempts together."""
        return self.spec.timeout if self.spec.timeout is not None else DEFAULT_TIMEOUT


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run follows; steps in topological order."""

    spec: WorkflowSpec
    steps: tuple[PlannedStep, ...]
    target_name: Template
    expect: tuple[Compiled, ...]

    @property
    def timeout(self) -> timedelta:
        return self.spec.timeout


def compile_plan(spec: WorkflowSpec, catalogue: Catalogue) -> Plan:
    """Compile a Workflow.

    Raises:
        PlanInvalid: with all problems: cycles with their path, unknown steps and actions, parameters that do not
            fit, expressions that do not compile or type-check.
    """
    problems: list[Problem] = []
    order = _order(spec, problems)
    language = Language(spec.parameters, [step.name for step in spec.steps])
    compiler = _Compiler(spec, catalogue, language, problems)
    steps = [compiler.step(index, step) for index, step in enumerate(spec.steps)]
    target_name = compiler.target_name()
    expect = compiler.expectations()
    _check_defaults(spec.parameters, problems)
    if problems:
        raise PlanInvalid(problems)
    used = frozenset().union(*(step.outputs_used for step in steps), *(e.steps for e in expect))
    by_name = {step.name: step for step in steps}
    ordered = tuple(_with_use(by_name[name], name in used, at) for at, name in enumerate(order))
    return Plan(spec, ordered, target_name, expect)


def _with_use(step: PlannedStep, used: bool, position: int) -> PlannedStep:
    return PlannedStep(
        step.name,
        position,
        step.spec,
        step.needs,
        step.action,
        step.with_,
        step.when,
        step.until,
        step.outputs_used,
        step.uses_target,
        used,
    )


def _order(spec: WorkflowSpec, problems: list[Problem]) -> list[str]:
    names = {step.name for step in spec.steps}
    graph: dict[str, list[str]] = {}
    for index, step in enumerate(spec.steps):
        for at, need in enumerate(step.depends_on):
            if need not in names:
                path = f"spec.steps[{index}].dependsOn[{at}]"
                problems.append(Problem(Reason.UNKNOWN_STEP, path, f"there is no step {need!r}."))
        graph[step.name] = [need for need in step.depends_on if need in names]
    try:
        return list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        cycle = " -> ".join(reversed(error.args[1]))
        problems.append(Problem(Reason.CYCLE, "spec.steps", f"the steps depend on each other: {cycle}."))
        return []


def _ancestors(spec: WorkflowSpec, name: str) -> set[str]:
    needs = {step.name: step.depends_on for step in spec.steps}
    found: set[str] = set()
    todo = list(needs.get(name, ()))
    while todo:
        at = todo.pop()
        if at not in found:
            found.add(at)
            todo.extend(needs.get(at, ()))
    return found


def _check_defaults(parameters: Sequence[Parameter], problems: list[Problem]) -> None:
    for index, parameter in enumerate(parameters):
        if parameter.default is not None:
            try:
                parse_parameter(parameter, parameter.default)
            except ValueError as error:
                path = f"spec.parameters[{index}].default"
                problems.append(Problem(Reason.INVALID_PARAMETERS, path, f"{error}."))


class _Compiler:
    """Compiles the parts of one Workflow and gathers the problems."""

    def __init__(
        self, spec: WorkflowSpec, catalogue: Catalogue, language: Language, problems: list[Problem]
    ) -> None:
        self.spec = spec
        self.catalogue = catalogue
        self.language = language
        self.problems = problems

    def _fail(self, reason: Reason, path: str, message: str) -> None:
        self.problems.append(Problem(reason, path, message))

    def condition(self, path: str, text: str | None) -> Compiled | None:
        if text is None:
            return None
        try:
            return self.language.condition(text)
        except ExpressionInvalid as error:
            self._fail(Reason.INVALID_EXPRESSION, path, f"{text!r}: {error}.")
            return None

    def template(self, path: str, value: Any) -> Template:
        try:
            return template(self.language, value)
        except ExpressionInvalid as error:
            self._fail(Reason.INVALID_EXPRESSION, path, f"{error}.")
            return Template({}, (), ())

    def target_name(self) -> Template:
        name = self.template("spec.target.name", self.spec.target.name)
        if any(e.uses_target or e.steps for e in name.expressions):
            message = "the target's name can hang on params and run only."
            self._fail(Reason.INVALID_EXPRESSION, "spec.target.name", message)
        return name

    def expectations(self) -> tuple[Compiled, ...]:
        texts = self.spec.verify.expect if self.spec.verify else []
        found = (self.condition(f"spec.verify.expect[{i}]", text) for i, text in enumerate(texts))
        return tuple(expression for expression in found if expression is not None)

    def step(self, index: int, step: Step) -> PlannedStep:
        path = f"spec.steps[{index}]"
        when = self.condition(f"{path}.when", step.when)
        until = self.condition(f"{path}.wait.until", step.wait.until if step.wait else None)
        action = self._action(path, step)
        with_ = self.template(f"{path}.with", step.with_ or {}) if step.action else None
        if action is not None and with_ is not None:
            self._check_with(f"{path}.with", action, step.with_ or {}, with_)
        expressions = [e for e in (when, until) if e is not None] + list(with_.expressions if with_ else ())
        used = frozenset().union(*(e.steps for e in expressions))
        self._check_uses(path, step.name, used)
        return PlannedStep(
            step.name,
            index,
            step,
            tuple(step.depends_on),
            action,
            with_,
            when,
            until,
            used,
            any(e.uses_target for e in expressions),
        )

    def _action(self, path: str, step: Step) -> Action[Any] | None:
        if step.action is None:
            return None
        action = self.catalogue.find(step.action)
        if action is None:
            near = self.catalogue.suggest(step.action)
            hint = f" Did you mean {near!r}?" if near else ""
            message = f"there is no action {step.action!r}.{hint}"
            self._fail(Reason.UNKNOWN_ACTION, f"{path}.action", message)
        return action

    def _check_uses(self, path: str, name: str, used: frozenset[str]) -> None:
        for other in sorted(used - _ancestors(self.spec, name)):
            message = f"it refers to step {other!r} without depending on it; add it to dependsOn."
            self._fail(Reason.INVALID_EXPRESSION, path, message)

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
                self._fail(Reason.INVALID_PARAMETERS, where, f"{action.name}: {detail['msg']}.")


def _unescape(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {key: _unescape(child) for key, child in node.items()}
    if isinstance(node, list):
        return [_unescape(child) for child in node]
    return node[1:] if isinstance(node, str) and node.startswith("==") else node


def parse_parameters(spec: WorkflowSpec, given: Mapping[str, str]) -> dict[str, Any]:
    """Return the typed parameters of a run; optional ones without a value are None.

    Raises:
        StepError: InvalidParameters, naming the parameter and what is wrong.
    """
    declared = {parameter.name: parameter for parameter in spec.parameters}
    unknown = sorted(set(given) - set(declared))
    if unknown:
        known = ", ".join(sorted(declared)) or "none"
        raise StepError(
            f"the Workflow declares no parameter {unknown[0]!r}; it declares: {known}",
            reason=Reason.INVALID_PARAMETERS,
        )
    values: dict[str, Any] = {}
    for name, parameter in declared.items():
        text = given.get(name, parameter.default)
        if text is None and parameter.required:
            raise StepError(
                f"parameter {name!r} ({parameter.type.value}) is required and was not given",
                reason=Reason.INVALID_PARAMETERS,
            )
        try:
            values[name] = None if text is None else parse_parameter(parameter, text)
        except ValueError as error:
            raise StepError(str(error), reason=Reason.INVALID_PARAMETERS) from None
    return values
