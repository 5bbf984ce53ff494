"""Which steps a run has: those of the Workflow, and those of the templates as far as it is known what they are.

Which branch a switch took and how many items a forEach has is stored in their records, so the steps of a run are a
pure function of plan and records.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

from kubernaut.api.execution import StepPhase, StepStatus
from kubernaut.api.guards import GUARD_APPROVAL
from kubernaut.api.steps import Approval, Step
from kubernaut.core.plan import ANY, FINALLY, MAIN, Kind, Plan, PlannedStep

ITEMS: Final = "items"
#: the question that guards ask; it is in no scope, for no step waits for it by name
_GUARD: Final = PlannedStep(
    GUARD_APPROVAL, 0, Step(name="approval", approval=Approval()), Kind.APPROVAL, parent="guards/"
)


@dataclass(frozen=True, slots=True)
class Unfolded:
    """The steps of a run.

    Attributes:
        steps: in topological order.
        by_name: the same by name.
        of: the direct members of each group, and of MAIN and FINALLY.
    """

    steps: tuple[PlannedStep, ...]
    by_name: Mapping[str, PlannedStep]
    of: Mapping[str, tuple[PlannedStep, ...]]

    def below(self, scope: str) -> list[PlannedStep]:
        """Return all steps of a group, those of groups within it included."""
        found: list[PlannedStep] = []
        for step in self.of.get(scope, ()):
            found.append(step)
            if step.kind.group:
                found += self.below(step.name)
        return found


def items_of(record: StepStatus) -> list[Any] | None:
    """Return the items of a forEach as stored, or None where they are not known yet."""
    items = (record.outputs or {}).get(ITEMS)
    return items if isinstance(items, list) else None


def unfold(plan: Plan, records: Mapping[str, StepStatus]) -> Unfolded:
    """Return the steps that a run with these records has."""
    shape = _shape(plan, records)
    if GUARD_APPROVAL not in records:
        return shape
    by_name = MappingProxyType({**shape.by_name, GUARD_APPROVAL: _GUARD})
    return Unfolded((*shape.steps, _GUARD), by_name, shape.of)


def _shape(plan: Plan, records: Mapping[str, StepStatus]) -> Unfolded:
    if not plan.groups:
        return _unfold(plan, ())
    known: list[tuple[str, str | int]] = []
    for name, record in records.items():
        if record.branch is not None:
            known.append((name, record.branch))
        elif (items := items_of(record)) is not None:
            known.append((name, len(items)))
        elif record.phase is not StepPhase.PENDING:
            known.append((name, ""))
    return _unfold(plan, tuple(known) if len(known) < 2 else tuple(sorted(known, key=lambda one: one[0])))


class _ById:
    """A plan as a key of the cache; plans are large and compared by identity."""

    __slots__ = ("plan",)

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def __hash__(self) -> int:
        return id(self.plan)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ById) and other.plan is self.plan


def _unfold(plan: Plan, known: tuple[tuple[str, str | int], ...]) -> Unfolded:
    groups = frozenset(plan.groups)
    relevant = tuple(one for one in known if one[1] != "" or _is_group(one[0], groups))
    return _cached(_ById(plan), relevant)


def _is_group(name: str, groups: frozenset[str]) -> bool:
    return name in groups or any(ANY in group and _matches(name, group) for group in groups)


def _matches(name: str, pattern: str) -> bool:
    parts, wanted = name.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(
        part == want or want == ANY for part, want in zip(parts, wanted, strict=True)
    )


@lru_cache(maxsize=4096)
def _cached(key: _ById, known: tuple[tuple[str, str | int], ...]) -> Unfolded:
    plan, state = key.plan, dict(known)
    bodies: dict[str, list[PlannedStep]] = {}
    for step in plan.steps:
        bodies.setdefault(step.parent, []).append(step)
    found: list[PlannedStep] = []

    def add(members: Iterable[PlannedStep], pattern: str, actual: str, index: int | None) -> None:
        for member in members:
            step = _at(member, pattern, actual, index)
            found.append(step)
            if not step.kind.group or step.name not in state:
                continue
            inside = bodies.get(member.name, ())
            if step.kind is Kind.SWITCH:
                taken = [one for one in inside if one.branch == state[step.name]]
                add(taken, member.name, step.name, step.index)
            elif step.kind is Kind.ALTERNATE:
                add(inside, member.name, step.name, step.index)
            else:
                for at in range(int(state[step.name] or 0)):
                    add(inside, f"{member.name}/{ANY}", f"{step.name}/{at}", at)

    for scope in (MAIN, "alternate/", FINALLY):
        add(bodies.get(scope, ()), "", "", None)
    of: dict[str, list[PlannedStep]] = {}
    for step in found:
        of.setdefault(step.parent, []).append(step)
    return Unfolded(
        tuple(found),
        MappingProxyType({step.name: step for step in found}),
        MappingProxyType({scope: tuple(members) for scope, members in of.items()}),
    )


def _at(step: PlannedStep, pattern: str, actual: str, index: int | None) -> PlannedStep:
    """Return a step of a template as one of these items has it."""
    if pattern == actual:
        return step
    wanted, given = pattern.split("/"), actual.split("/")

    def name(text: str) -> str:
        """Put the indices into a path as far as it runs beside the pattern."""
        parts = text.split("/")
        for at, (part, want) in enumerate(zip(parts, wanted, strict=False)):
            if part != want:
                break
            parts[at] = given[at]
        return "/".join(parts)

    return replace(
        step,
        name=name(step.name),
        parent=name(step.parent),
        index=index,
        needs=tuple(map(name, step.needs)),
        uses={short: name(full) for short, full in step.uses.items()},
        outputs_used=frozenset(map(name, step.outputs_used)),
        each=name(step.each),
    )
