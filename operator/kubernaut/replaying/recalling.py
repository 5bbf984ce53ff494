"""Expressions of a plan that look at more than what is recorded: they are answered from how they came out then.

The target and other objects are not recorded, but what followed from what was seen of them is. So an expression that
looks at them can be answered where it stands in the same place with the same text, and sees the same beside; else
nothing is said of it. All others are evaluated.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from enum import Enum
from typing import Any, Final, Protocol

from pydantic import ConfigDict

from kubernaut.core.action import Action, ActionParameters
from kubernaut.core.expressions import FAILURE, INDEX, ITEM, Compiled, Scope, Template, Variables
from kubernaut.core.plan import ANY, Plan, PlannedMetric, PlannedStep
from kubernaut.replaying.recorded import Unrecorded

#: in the place of a failure of which only is known that another attempt followed
NOT_RECORDED: Final = "(not recorded)"


class Place(Enum):
    """Where an expression stands."""

    WHEN = "when"
    CASE = "a case"
    UNTIL = "until"
    RETRY = "retry.when"
    WITH = "with"
    ITEMS = "items"
    EXPECT = "verify.expect"
    METRIC = "verify.metrics"
    OUTPUT = "outputs"


class Answers(Protocol):
    """Who knows how expressions came out."""

    def answer(self, place: Place, name: str, what: str, expression: Compiled, scope: Scope) -> Any:
        """Return the value of an expression that looks at what is not recorded.

        Args:
            name: of the step, or of the output.
            what: the case's name, for a case.
        """
        ...

    @property
    def hidden(self) -> frozenset[str]:
        """The parameters that are not known."""
        ...


class Stage:
    """What a plan's expressions are asked on: set for one run after the other."""

    def __init__(self) -> None:
        self.answers: Answers | None = None


class _Remembered(Compiled):
    """An expression that may be answered from the record."""

    __slots__ = ("_inner", "_outside", "_pattern", "_place", "_stage", "_what")

    def __init__(
        self,
        inner: Compiled,
        stage: Stage,
        place: Place,
        pattern: str,
        *,
        what: str = "",
        outside: bool = False,
    ) -> None:
        self.text, self.steps, self.params = inner.text, inner.steps, inner.params
        self.uses_target, self.uses_owner = inner.uses_target, inner.uses_owner
        self.type_name = inner.type_name
        self._inner, self._stage, self._place = inner, stage, place
        self._pattern, self._what, self._outside = pattern, what, outside or inner.uses_target

    def evaluate(self, scope: Variables) -> Any:
        assert isinstance(scope, Scope)
        answers = self._stage.answers
        assert answers is not None
        if unknown := sorted(self.params & answers.hidden):
            raise Unrecorded(f"the value of parameter {unknown[0]}, which is not kept")
        failure = scope.more.get(FAILURE)
        untold = isinstance(failure, Mapping) and failure.get("message") == NOT_RECORDED
        if not self._outside and not untold:
            return self._inner.evaluate(scope)
        name = _actual(self._pattern, scope)
        return answers.answer(self._place, name, self._what, self._inner, scope)


def seen(expression: Compiled, scope: Scope) -> Any:
    """Return what an expression sees beside the target: parameters, steps, item."""
    params = {name: scope.params.get(name) for name in expression.params}
    steps = {name: scope.steps.get(name) for name in expression.steps}
    return params, steps, scope.more.get(ITEM), scope.more.get(INDEX)


def _actual(pattern: str, scope: Scope) -> str:
    parts = pattern.split("/")
    if parts.count(ANY) == 0:
        return pattern
    if parts.count(ANY) > 1 or INDEX not in scope.more:
        raise Unrecorded(f"to which item of nested forEach steps an expression of {pattern} belongs")
    return pattern.replace(ANY, str(scope.more[INDEX]))


class _Anything(ActionParameters):
    model_config = ConfigDict(extra="allow")


def remembering(plan: Plan, stage: Stage) -> Plan:
    """Return a plan that decides alike, whose expressions are answered from the record where they have to be."""
    expect = tuple(_Remembered(one, stage, Place.EXPECT, "") for one in plan.expect)
    outputs = tuple((name, _template(value, stage, Place.OUTPUT, name)) for name, value in plan.outputs)
    metrics = tuple(_metric(one, stage) for one in plan.metrics)
    steps = tuple(_step(one, stage) for one in plan.steps)
    return replace(plan, steps=steps, expect=expect, outputs=outputs, metrics=metrics)


def _metric(metric: PlannedMetric, stage: Stage) -> PlannedMetric:
    # What was asked is not recorded, only what came of it; so its name stands for the query.
    expect = _Remembered(metric.expect, stage, Place.METRIC, metric.name, outside=True)
    return replace(metric, query=Template(metric.name, (), ()), expect=expect)


def _step(step: PlannedStep, stage: Stage) -> PlannedStep:
    def one(expression: Compiled | None, place: Place, **more: Any) -> Compiled | None:
        return None if expression is None else _Remembered(expression, stage, place, step.name, **more)

    watched = step.spec.wait is not None and step.spec.wait.object is not None
    cases = tuple(
        (name, _Remembered(when, stage, Place.CASE, step.name, what=name)) for name, when in step.cases
    )
    changed = replace(
        step,
        when=one(step.when, Place.WHEN),
        until=one(step.until, Place.UNTIL, outside=watched),
        retry_when=one(step.retry_when, Place.RETRY),
        cases=cases,
    )
    if step.with_ is not None:
        changed = replace(changed, with_=_template(step.with_, stage, Place.WITH, step.name))
        if step.action is not None and any(e.uses_target for e in step.with_.expressions):
            # What it was given is not recorded, only that it was fit.
            changed = replace(changed, action=_lenient(step.action))
    if step.object_name is not None:
        changed = replace(changed, object_name=_template(step.object_name, stage, Place.WITH, step.name))
    if step.items is not None:
        changed = replace(changed, items=_items(step, step.items, stage))
    return changed


def _items(step: PlannedStep, items: Template, stage: Stage) -> Template:
    if not any(one.uses_target for one in items.expressions):
        return _template(items, stage, Place.ITEMS, step.name)
    # The list as a whole is recorded.
    first = next(one for one in items.expressions if one.uses_target)
    whole = _Remembered(first, stage, Place.ITEMS, step.name, what=_text(items), outside=True)
    return Template(whole, (whole,), ((),))


def _text(items: Template) -> str:
    return str([one.text for one in items.expressions])


def _template(template: Template, stage: Stage, place: Place, name: str) -> Template:
    known = {id(one): _Remembered(one, stage, place, name) for one in template.expressions}

    def walk(node: Any) -> Any:
        if isinstance(node, Compiled):
            return known[id(node)]
        if isinstance(node, dict):
            return {key: walk(value) for key, value in node.items()}
        return [walk(value) for value in node] if isinstance(node, list) else node

    return Template(walk(template.tree), tuple(known.values()), template.paths)


def _lenient(action: Action[Any]) -> Action[Any]:
    lenient = copy.copy(action)
    object.__setattr__(lenient, "parameters", _Anything)
    return lenient
