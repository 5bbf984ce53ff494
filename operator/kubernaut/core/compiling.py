"""From a Workflow's spec to a plan: names resolved, order known, expressions compiled, or every problem named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from typing import Any, Final

from kubernaut.api.execution import MAX_ANSWERS
from kubernaut.api.reasons import Reason
from kubernaut.api.steps import MAX_PATH, StepTemplate
from kubernaut.api.workflow import MAX_STEPS, Parameter, WorkflowSpec, parse_parameter
from kubernaut.core import limits
from kubernaut.core.compiling_steps import Resolve, Scope, StepCompiler, no_step
from kubernaut.core.expressions import (
    VALUE,
    Compiled,
    ExpressionInvalid,
    Language,
    Template,
    template,
)
from kubernaut.core.guards import health
from kubernaut.core.guards.levels import guard_problems
from kubernaut.core.plan import (
    ALTERNATE,
    ANY,
    FINALLY,
    MAIN,
    Catalogue,
    Kind,
    Plan,
    PlanInvalid,
    PlannedMetric,
    PlannedStep,
    Problem,
)
from kubernaut.core.triggers import PlannedTrigger, compile_triggers

_NONE: Final = Template({}, (), ())


def compile_plan(spec: WorkflowSpec, catalogue: Catalogue) -> Plan:
    """Compile a Workflow.

    Raises:
        PlanInvalid: with all problems: cycles with their path, unknown steps, templates and actions, parameters that
            do not fit, expressions that do not compile or type-check.
    """
    compiler = Compiler(spec, catalogue)
    main = Scope(spec.steps, "spec.steps")
    steps = compiler.scope(main)
    if spec.alternate is not None:
        steps += compiler.alternate_of_workflow(spec.alternate)
    last = Scope(spec.finally_, "spec.finally", parent=FINALLY, outer=main.full, last=True)
    steps += compiler.scope(last)
    target_name = compiler.target_name()
    expect, metrics = compiler.expectations(main), compiler.metrics(main)
    outputs = compiler.outputs(main)
    compiler.check_defaults()
    compiler.check_guards()
    triggers = compiler.triggers()
    compiler.check_names(steps)
    if compiler.problems:
        raise PlanInvalid(compiler.problems)
    used = frozenset().union(*(step.outputs_used for step in steps), *(e.steps for e in expect))
    used |= frozenset().union(*(e.steps for _, value in outputs for e in value.expressions))
    used |= frozenset().union(*(e.steps for one in metrics for e in (one.expect, *one.query.expressions)))
    ordered = tuple(
        replace(step, position=at, outputs_matter=step.name in used) for at, step in enumerate(steps)
    )
    groups = frozenset(step.parent for step in ordered if step.parent not in (MAIN, FINALLY))
    high = frozenset(step.action.name for step in ordered if step.high and step.action is not None)
    return Plan(spec, ordered, target_name, expect, outputs, groups, high, triggers, metrics)


class Compiler:
    """Compiles the parts of one Workflow and gathers the problems."""

    def __init__(self, spec: WorkflowSpec, catalogue: Catalogue) -> None:
        self.spec = spec
        self.catalogue = catalogue
        self.problems: list[Problem] = []
        self._templates = {one.name: one for one in spec.templates}
        self._languages: dict[tuple[str, ...], Language] = {}

    def fail(self, reason: Reason, path: str, message: str) -> None:
        self.problems.append(Problem(reason, path, message))

    def language(self, *more: str) -> Language:
        if more not in self._languages:
            self._languages[more] = Language(self.spec.parameters, *more)
        return self._languages[more]

    # Scopes

    def scope(self, scope: Scope) -> list[PlannedStep]:
        """Compile steps in topological order, those of a template behind the step that uses it."""
        by_name = {step.name: (at, step) for at, step in enumerate(scope.steps)}
        found: list[PlannedStep] = []
        for name in self._order(scope):
            at, step = by_name[name]
            found += StepCompiler(self, scope, at, step).compiled()
        return found

    def _order(self, scope: Scope) -> list[str]:
        names = {step.name for step in scope.steps}
        graph: dict[str, list[str]] = {}
        for index, step in enumerate(scope.steps):
            for at, need in enumerate(step.depends_on):
                if need not in names:
                    path = f"{scope.path}[{index}].dependsOn[{at}]"
                    self.fail(Reason.UNKNOWN_STEP, path, f"there is no step {need!r}.")
            graph[step.name] = [need for need in step.depends_on if need in names]
        try:
            return list(TopologicalSorter(graph).static_order())
        except CycleError as error:
            cycle = " -> ".join(reversed(error.args[1]))
            self.fail(Reason.CYCLE, scope.path, f"the steps depend on each other: {cycle}.")
            return list(graph)

    def body(
        self, path: str, name: str, prefix: str, parent: str, *, outer: Resolve, uses: tuple[str, ...],
        branch: str = "", each: str = "", last: bool = False,
    ) -> list[PlannedStep]:  # fmt: skip
        """Compile one use of a template."""
        found = self._template(path, name, uses)
        if found is None:
            return []
        at, body = found
        where = f"spec.templates[{at}].steps"
        return self.scope(Scope(body.steps, where, prefix, parent, branch, outer, each, (*uses, name), last))

    def _template(self, path: str, name: str, uses: tuple[str, ...]) -> tuple[int, StepTemplate] | None:
        if name not in self._templates:
            told = ", ".join(sorted(self._templates)) or "none"
            self.fail(
                Reason.UNKNOWN_TEMPLATE, path, f"there is no template {name!r}; the Workflow has: {told}."
            )
            return None
        if name in uses:
            cycle = " -> ".join((*uses[uses.index(name) :], name))
            self.fail(Reason.CYCLE, path, f"the templates use each other: {cycle}.")
            return None
        return self.spec.templates.index(self._templates[name]), self._templates[name]

    def alternate_of_workflow(self, name: str) -> list[PlannedStep]:
        group = PlannedStep(ALTERNATE, 0, self.spec.steps[0], Kind.ALTERNATE, parent=f"{ALTERNATE}/")
        main = {step.name for step in self.spec.steps}
        return [
            group,
            *self.body(
                "spec.alternate", name, f"{ALTERNATE}/", ALTERNATE, uses=(),
                outer=lambda step: step if step in main else None,
            ),
        ]  # fmt: skip

    # The Workflow's own expressions

    def target_name(self) -> Template:
        name = self.template("spec.target.name", self.spec.target.name)
        if any(e.uses_target or e.steps for e in name.expressions):
            message = "the target's name can hang on params and run only."
            self.fail(Reason.INVALID_EXPRESSION, "spec.target.name", message)
        return name

    def expectations(self, main: Scope) -> tuple[Compiled, ...]:
        texts = self.spec.verify.expect if self.spec.verify else []
        found = [self.condition(f"spec.verify.expect[{i}]", text) for i, text in enumerate(texts)]
        for at, expression in enumerate(found):
            if expression is not None:
                self.resolve(f"spec.verify.expect[{at}]", expression, main.full)
        return tuple(expression for expression in found if expression is not None)

    def metrics(self, main: Scope) -> tuple[PlannedMetric, ...]:
        found: list[PlannedMetric] = []
        for at, metric in enumerate(self.spec.verify.metrics if self.spec.verify else ()):
            path = f"spec.verify.metrics[{at}]"
            query = self.template(f"{path}.query", metric.query)
            if any(e.type_name not in ("STRING", "DYN") for e in query.expressions):
                (one,) = query.expressions
                message = f"{one.text!r}: it gives {one.type_name}, but PromQL is a string."
                self.fail(Reason.INVALID_EXPRESSION, f"{path}.query", message)
            expect = self.condition(f"{path}.expect", metric.expect, VALUE)
            for where, expressions in (("query", query.expressions), ("expect", (expect,) if expect else ())):
                for one in expressions:
                    self.resolve(f"{path}.{where}", one, main.full)
            if expect is not None:
                found.append(PlannedMetric(metric.name, query, expect))
        return tuple(found)

    def outputs(self, main: Scope) -> tuple[tuple[str, Template], ...]:
        found: list[tuple[str, Template]] = []
        for at, output in enumerate(self.spec.outputs):
            path = f"spec.outputs[{at}].value"
            value = self.template(path, output.value)
            for expression in value.expressions:
                self.resolve(path, expression, main.full)
                if expression.uses_target:
                    message = f"{expression.text!r}: an output can hang on params, run and steps only."
                    self.fail(Reason.INVALID_EXPRESSION, path, message)
            found.append((output.name, value))
        return tuple(found)

    def check_defaults(self) -> None:
        for index, parameter in enumerate(self.spec.parameters):
            self._check_default(f"spec.parameters[{index}].default", parameter)

    def _check_default(self, path: str, parameter: Parameter) -> None:
        if parameter.default is not None:
            try:
                parse_parameter(parameter, parameter.default)
            except ValueError as error:
                self.fail(Reason.INVALID_PARAMETERS, path, f"{error}.")

    def triggers(self) -> tuple[PlannedTrigger, ...]:
        planned, problems = compile_triggers(self.spec)
        for path, message, expression in problems:
            self.fail(Reason.INVALID_EXPRESSION if expression else Reason.INVALID_SPEC, path, message)
        return planned

    def check_guards(self) -> None:
        guards, kind = self.spec.guards, self.spec.target.kind
        if guards is None:
            return
        for path, message in guard_problems(guards, "spec.guards"):
            self.fail(Reason.INVALID_SPEC, path, message)
        if guards.max_unavailable_percent is not None and kind not in health.KINDS:
            told = (
                f"a {kind} has no replicas; it goes with targets of kind {', '.join(sorted(health.KINDS))}."
            )
            self.fail(Reason.INVALID_SPEC, "spec.guards.maxUnavailablePercent", told)

    def check_names(self, steps: Sequence[PlannedStep]) -> None:
        """Refuse what the single lists can't see: names given twice, and more steps than a run can record."""
        seen: set[str] = set()
        for step in steps:
            if step.name in seen:
                message = f"there would be two steps {step.name!r}; name one of them otherwise."
                self.fail(Reason.INVALID_SPEC, "spec", message)
            seen.add(step.name)
        # An index takes up to two digits in the place of ANY.
        length, longest = max((len(name) + name.count(ANY), name) for name in seen)
        if length > MAX_PATH:
            message = f"the path {longest!r} has {length} characters; at most {MAX_PATH} are allowed."
            self.fail(Reason.INVALID_SPEC, "spec", message)
        elif len(steps) <= MAX_STEPS and not limits.records_fit(seen):
            message = "the records of its steps would not fit into a status; give the steps shorter names."
            self.fail(Reason.INVALID_SPEC, "spec", message)
        if len(steps) > MAX_STEPS:
            message = (
                f"with its templates the Workflow has {len(steps)} steps; at most {MAX_STEPS} are allowed."
            )
            self.fail(Reason.INVALID_SPEC, "spec", message)

        approvals = sum(step.kind is Kind.APPROVAL for step in steps)
        if approvals > MAX_ANSWERS:
            message = f"it asks for {approvals} approvals; at most {MAX_ANSWERS} are allowed in a run."
            self.fail(Reason.INVALID_SPEC, "spec", message)

    # Expressions

    def condition(self, path: str, text: str | None, *more: str) -> Compiled | None:
        if text is None:
            return None
        try:
            return self.language(*more).condition(text)
        except ExpressionInvalid as error:
            self.fail(Reason.INVALID_EXPRESSION, path, f"{text!r}: {error}.")
            return None

    def value(self, path: str, text: str, *more: str) -> Compiled | None:
        try:
            return self.language(*more).value(text)
        except ExpressionInvalid as error:
            self.fail(Reason.INVALID_EXPRESSION, path, f"{text!r}: {error}.")
            return None

    def template(self, path: str, value: Any, *more: str) -> Template:
        try:
            return template(self.language(*more), value)
        except ExpressionInvalid as error:
            self.fail(Reason.INVALID_EXPRESSION, path, f"{error}.")
            return _NONE

    def resolve(self, path: str, expression: Compiled, find: Resolve) -> None:
        """Refuse an expression that names a step that does not exist."""
        for name in sorted(expression.steps):
            if find(name) is None:
                self.fail(Reason.INVALID_EXPRESSION, path, no_step(expression.text, name))
