"""What property tests of whole runs share: a Workflow with what it meets, and what may happen while it runs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import product

from hypothesis import strategies as st

from kubernaut.api.execution import ApprovalRecord, Decision, Remedy
from kubernaut.api.reasons import Reason
from kubernaut.core.plan import ANY, Plan
from kubernaut.core.run import Hold
from simulated_world import World
from simulation import Engine, check_effects, check_end

LOST = (Reason.UNAVAILABLE, Reason.UNKNOWN_OUTCOME, Reason.STOPPED)
_ITEMS = 3


@dataclass(frozen=True)
class Case:
    """A Workflow, what its attempts meet in the cluster, and what a person says about those that failed.

    ``fields``, ``troubles`` and ``remedies`` are by step; the latter two by the last part of a step's path.
    """

    plan: Plan
    fields: dict[str, str]
    troubles: dict[str, list[Reason]]
    text: str
    remedies: dict[str, list[Remedy]] = field(default_factory=dict)

    def engine(self) -> Engine:
        said = {
            path: self.remedies[path.split("/")[-1]]
            for step in self.plan.steps
            if step.name.split("/")[-1] in self.remedies
            for path in _paths(step.name)
        }
        engine = Engine(self.plan, World(dict(self.fields), self.troubles), remedies=said)
        answers = [
            ApprovalRecord(step=path, decision=Decision.APPROVE, by="ada")
            for step in self.plan.steps
            if step.spec.approval
            for path in _paths(step.name)
        ]
        engine.run.control.approvals.extend(answers)
        return engine

    def __repr__(self) -> str:
        return f"{self.text} troubles={self.troubles} remedies={self.remedies}"


def _paths(pattern: str) -> list[str]:
    """Return a step's path for each item that there may be."""
    parts = pattern.split(ANY)
    return [
        "".join(part + at for part, at in zip(parts, (*chosen, ""), strict=True))
        for chosen in product(map(str, range(_ITEMS)), repeat=len(parts) - 1)
    ]


happenings = st.lists(st.tuples(st.integers(0, 15), st.integers(0, 5)), max_size=40)


def happen(engine: Engine, what: int, which: int) -> None:
    """Let one thing happen that may happen at any time."""
    flying = sorted(engine.flying)
    name = flying[which % len(flying)] if flying else None
    match what:
        case 0:
            engine.crash()
            engine.decide()
        case 1 if name:
            engine.land(name)
        case 2 | 3 | 12 if name:
            engine.answer(name)
        case 4 if name:
            engine.answer(name, LOST[which % 3])
        case 5 if name:
            engine.land(name)
            engine.answer(name, Reason.UNKNOWN_OUTCOME)
        case 6:
            engine.store()
        case 7:
            engine.look()
        case 8 if engine.told:
            engine.decide(dict([engine.told[which % len(engine.told)]]))
        case 9:
            engine.decide(dict(engine.told[-1:]))
        case 10 if engine.last.wake_at and (engine.last.wake_at - engine.now).total_seconds() < 20:
            engine.now = max(engine.now, engine.last.wake_at)
            engine.decide()
        case 11 | 13 if engine.last.objects:
            engine.look_around()
        case 14 if engine.last.wants:
            engine.grant()
        case 15:
            engine.say()
        case _:
            engine.decide()


def live(engine: Engine, events: list[tuple[int, int]]) -> None:
    """Let all this happen to a run, then let it end well."""
    engine.decide()
    for what, which in events:
        if engine.over:
            break
        happen(engine, what, which)
        check_effects(engine)
    engine.drain()
    check_effects(engine)
    check_end(engine)


def control(engine: Engine, **changes: bool) -> None:
    engine.run = replace(engine.run, control=engine.run.control.replace(**changes))


def intervene(engine: Engine, what: str) -> None:
    """Let something happen that ends the run early, or holds it up."""
    match what:
        case "cancel":
            control(engine, cancel=True)
        case "pause":
            control(engine, paused=True)
        case "hold":
            engine.hold = Hold(Reason.STOPPED, "stopped")
        case "late":
            engine.now += timedelta(minutes=59, seconds=50)
        case "another owner":
            engine.crash(ghosts=True)
            control(engine, cancel=True)
        case _:
            engine.seen = type(engine.world.target())(None)
    engine.decide()
