"""From the name of a step's record back to the step that the Workflow declares.

A record is named by its path: ``restart``; ``finally/notify``; ``each/0/restart`` for item 0 of a forEach;
``decide/high/scale`` for the case ``high`` of a switch (``decide/default/scale`` where none held);
``move/alternate/drain`` for the alternate of a step, ``alternate/drain`` for the Workflow's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from kubernaut.api.steps import Step
from kubernaut.api.workflow import WorkflowSpec

Order = tuple[int, ...]
_ALTERNATE: Final = "alternate"
_FINALLY: Final = "finally"
_DEFAULT: Final = "default"
# Behind all items and branches of its step.
_LAST: Final = 10_000


@dataclass(frozen=True, slots=True)
class Declared:
    """A step and where it stands; ``order`` sorts the steps of a run as the Workflow tells them."""

    step: Step
    order: Order


class DeclaredSteps:
    """Finds the steps of one Workflow by their paths."""

    def __init__(self, spec: WorkflowSpec) -> None:
        self._alternate = spec.alternate
        self._steps = _indexed(spec.steps)
        self._finally = _indexed(spec.finally_)
        self._templates = {template.name: _indexed(template.steps) for template in spec.templates}

    def find(self, path: str) -> Declared | None:
        """Return the step of this path; None where the Workflow has none, or the path is that of a group."""
        first, *rest = path.split("/")
        if first in self._steps:
            return self._within(self._steps, [first, *rest], (0,))
        if first == _ALTERNATE and self._alternate is not None:
            return self._within(self._templates.get(self._alternate, {}), rest, (1,))
        if first == _FINALLY:
            return self._within(self._finally, rest, (2,))
        return None

    def _within(
        self, steps: dict[str, tuple[int, Step]], path: Sequence[str], order: Order
    ) -> Declared | None:
        if not path or path[0] not in steps:
            return None
        at, step = steps[path[0]]
        here = (*order, at)
        if len(path) == 1:
            return Declared(step, here)
        body = next(_bodies(step, path[1]), None)
        if body is None:
            return None
        rank, template = body
        return self._within(self._templates.get(template, {}), path[2:], (*here, rank))


def items_below(paths: Sequence[str]) -> dict[str, int]:
    """Return how many items each forEach was begun for, by its path: the steps of each/0 to each/n are named so."""
    items: dict[str, set[str]] = {}
    for path in paths:
        parts = path.split("/")
        for at in range(1, len(parts) - 1):
            if parts[at].isdigit():
                items.setdefault("/".join(parts[:at]), set()).add(parts[at])
    return {path: len(found) for path, found in items.items()}


def _indexed(steps: Sequence[Step]) -> dict[str, tuple[int, Step]]:
    return {step.name: (at, step) for at, step in enumerate(steps)}


def _bodies(step: Step, part: str) -> Iterator[tuple[int, str]]:
    """Yield rank and template of what a part of a path means below a step."""
    if step.for_each is not None and part.isdigit():
        yield int(part), step.for_each.template
    if step.switch is not None:
        for at, case in enumerate(step.switch.cases):
            if case.name == part:
                yield at, case.template
        if part == _DEFAULT and step.switch.default is not None:
            yield len(step.switch.cases), step.switch.default
    if part == _ALTERNATE and step.alternate is not None:
        yield _LAST, step.alternate
