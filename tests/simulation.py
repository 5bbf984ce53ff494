"""A model of the engine and of a cluster: effects land once or never, answers get lost, the operator dies.

The cluster has one level per field and a set of pods. A marked step sets a field and leaves its mark in the same
act; where the field is as wanted already, it leaves none. A pinned step removes the pod it pinned. A read-only step
gives the level of a field. Nothing here looks at a clock or draws a number: the test says what happens next.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from builders import NOW, TARGET_UID, a_run
from kubernaut.api.execution import RunPhase, StepPhase, WorkflowExecutionStatus
from kubernaut.api.reasons import Reason
from kubernaut.core.action import Idempotency
from kubernaut.core.machine import advance
from kubernaut.core.plan import Plan
from kubernaut.core.recalling import recalled, to_recall
from kubernaut.core.run import Act, Decision, Facts, Hold, Outcome, OutcomeKind, Run, Seen

_STEP = StepPhase
LEGAL_STEP = {
    _STEP.PENDING: set(_STEP) - {_STEP.ROLLED_BACK},
    _STEP.RUNNING: {_STEP.WAITING, _STEP.SUCCEEDED, _STEP.FAILED, _STEP.SKIPPED},
    _STEP.WAITING: {_STEP.RUNNING, _STEP.SUCCEEDED, _STEP.FAILED, _STEP.SKIPPED},
    _STEP.SUCCEEDED: {_STEP.ROLLED_BACK},
    _STEP.FAILED: {_STEP.ROLLED_BACK},
    _STEP.SKIPPED: set(),
    _STEP.ROLLED_BACK: set(),
}
_ENDS = {RunPhase.SUCCEEDED, RunPhase.FAILED, RunPhase.CANCELLED}
LEGAL_RUN = {
    RunPhase.RUNNING: {RunPhase.VERIFYING, RunPhase.ROLLING_BACK, *_ENDS},
    RunPhase.VERIFYING: {RunPhase.ROLLING_BACK, *_ENDS},
    RunPhase.ROLLING_BACK: {RunPhase.FAILED},
    RunPhase.SUCCEEDED: set(),
    RunPhase.FAILED: set(),
    RunPhase.CANCELLED: set(),
}

# How an attempt may end though it had its effect.
_MAY_HAVE_ACTED = (Reason.INTERNAL, Reason.STEP_TIMEOUT)


@dataclass
class World:
    """What exists outside of the operator, and outlives it.

    Attributes:
        fields: by step, the field it sets.
        troubles: by step, how its attempts end before the one that works: without their effect, or (an
            unexpected error, a timeout) with it.
    """

    fields: dict[str, str]
    troubles: dict[str, list[Reason]]
    levels: Counter[str] = field(default_factory=Counter)
    marks: dict[str, tuple[str, int]] = field(default_factory=dict)
    undone: set[str] = field(default_factory=set)
    pods: list[str] = field(default_factory=list)
    landed: Counter[str] = field(default_factory=Counter)
    restored: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.pods = [f"{name}-{n}" for name in self.fields for n in range(4)]

    def perform(self, act: Act) -> Outcome:
        """Perform an act as a fenced action does, and return its outcome."""
        name, action = act.step.name, act.step.action
        assert action is not None
        if act.undo:
            return self._undo(name)
        if act.prepare:
            return Outcome(
                OutcomeKind.PREPARED, intent={"pod": next(pod for pod in self.pods if pod.startswith(name))}
            )
        if action.idempotency is Idempotency.MARKED and name in self.marks:
            return Outcome(
                OutcomeKind.DONE, "marked", acted=True, changed=("level",), outputs=self._outputs(name)
            )
        if action.idempotency is Idempotency.PINNED and act.intent and act.intent["pod"] not in self.pods:
            return Outcome(OutcomeKind.DONE, "gone", acted=True, changed=("pod",))
        troubles = self.troubles.get(name, [])
        trouble = troubles[act.attempt - 1] if act.attempt <= len(troubles) else None
        if trouble is not None and trouble not in _MAY_HAVE_ACTED:
            return Outcome(OutcomeKind.FAILED, "no", trouble)
        outcome = self._act(name, action.idempotency, act)
        return Outcome(OutcomeKind.FAILED, "oh", trouble) if trouble is not None else outcome

    def _act(self, name: str, kind: Idempotency, act: Act) -> Outcome:
        if kind is Idempotency.READ_ONLY:
            return Outcome(OutcomeKind.DONE, "read", outputs=self._outputs(name))
        if kind is Idempotency.PINNED:
            assert act.intent is not None
            self.pods.remove(str(act.intent["pod"]))
            self.landed[name] += 1
            return Outcome(OutcomeKind.DONE, "removed", acted=True, changed=("pod",))
        where, wanted = self.fields[name], int(act.parameters.get("replicas", 1))
        if self.levels[where] == wanted:
            return Outcome(OutcomeKind.DONE, "as it should be", outputs=self._outputs(name))
        self.marks[name] = (where, self.levels[where])
        self.levels[where] = wanted
        self.landed[name] += 1
        return Outcome(OutcomeKind.DONE, "set", acted=True, changed=("level",), outputs=self._outputs(name))

    def _undo(self, name: str) -> Outcome:
        if name not in self.marks:
            return Outcome(OutcomeKind.DONE, "nothing to put back")
        if name not in self.undone:
            where, before = self.marks[name]
            self.levels[where] = before
            self.undone.add(name)
            self.restored[name] += 1
        return Outcome(OutcomeKind.DONE, "put back", acted=True, changed=("level",))

    def _outputs(self, name: str) -> dict[str, Any]:
        return {"level": self.levels[self.fields[name]]}

    def target(self) -> Seen:
        meta = {"name": "web", "uid": TARGET_UID, "generation": 1}
        return Seen({"metadata": meta, "status": {"observedGeneration": 1, "level": self.levels["level"]}})


@dataclass
class Flight:
    """An effect under way; ``outcome`` is there once it has landed and the answer has not come."""

    act: Act
    outcome: Outcome | None = None


class Engine:
    """Runs one run in a world. All but ``world``, ``run.stored`` and ``now`` dies in a crash."""

    def __init__(self, plan: Plan, world: World, run: Run | None = None) -> None:
        self.plan = plan
        self.world = world
        self.run = run or a_run()
        self.now: datetime = NOW
        self.flying: dict[str, Flight] = {}
        self.seen: Seen | None = None
        self.hold: Hold | None = None
        self.told: list[tuple[str, Outcome]] = []
        self.effects = 0
        self.last = Decision(self.run.status)

    @property
    def over(self) -> bool:
        return self.run.status.phase.final

    def decide(self, outcomes: dict[str, Outcome] | None = None) -> None:
        """Decide, store where demanded, begin what was decided."""
        facts = Facts(outcomes or {}, frozenset(self.flying), self.seen, self.hold)
        before = self.run.status
        self.last = advance(self.run, self.plan, facts, self.now)
        check_transition(self.plan, before, self.last.status)
        self.run = replace(self.run, status=self.last.status)
        if self.last.store_first or self.over:
            self.store()
        for act in self.last.acts:
            assert act.step.name not in self.flying
            self.flying[act.step.name] = Flight(act)

    def store(self) -> None:
        self.run = replace(self.run, stored=self.run.status)

    def crash(self) -> None:
        """Lose all that is not stored. Effects that have not landed by now never will."""
        self.flying.clear()
        self.told.clear()
        self.seen = None
        self.run = replace(self.run, status=self.run.stored)
        if self.run.status.workflow is None:
            self.run = replace(self.run, status=a_run(now=self.now).status)
            return
        found = {
            act.step.name: self.world.perform(act)
            for act in to_recall(self.run, self.plan, self.now)
            if act.step.name in self.world.marks and act.step.name not in self.world.undone
        }
        self.run = recalled(self.run, self.plan, found, self.now)
        if found:
            self.decide(found)

    def land(self, name: str) -> Outcome:
        """Let an effect happen, though its answer is not there yet."""
        flight = self.flying[name]
        if flight.outcome is None:
            self._check_fence(flight.act)
            self.effects += 1
            done = self.world.perform(flight.act)
            flight.outcome = replace(done, attempt=flight.act.attempt, undo=flight.act.undo)
        return flight.outcome

    def answer(self, name: str, lost: Reason | None = None) -> None:
        """Let the answer come, or be lost on the way."""
        act = self.flying[name].act
        landed = self.flying[name].outcome
        if lost is not None and not (lost is Reason.UNAVAILABLE and landed is not None):
            outcome = Outcome(OutcomeKind.FAILED, "lost", lost, attempt=act.attempt, undo=act.undo)
        else:
            outcome = self.land(name)
        del self.flying[name]
        if outcome.kind is not OutcomeKind.PREPARED:
            self.seen = None
        self.told.append((name, outcome))
        self.decide({name: outcome})

    def look(self) -> None:
        self.seen = self.world.target()
        self.decide()

    def drain(self) -> None:
        """Let all end well from here: answers come, the target is seen, time goes on. Fail where nothing can."""
        for _ in range(400):
            if self.over:
                return
            if self.flying:
                self.answer(min(self.flying))
                continue
            self.decide()
            if self.flying or self.over:
                continue
            if self.last.observe and self.seen is None:
                self.look()
                continue
            assert self.last.wake_at is not None, f"stuck: {self.run.status}"
            assert self.last.wake_at >= self.now, "a time that has passed can't wake anybody"
            self.now = self.last.wake_at
        raise AssertionError(f"not over after 400 rounds: {self.run.status}")

    def _check_fence(self, act: Act) -> None:
        stored = self.run.stored
        assert stored.workflow is not None, "an effect before the claim was stored"
        assert act.step.action is not None
        if act.step.action.idempotency is Idempotency.PINNED and not act.prepare and not act.undo:
            assert self.run.stored_step(act.step.name).intent == act.intent, (
                "an effect before its intent was stored"
            )
        if act.undo:
            assert stored.phase is RunPhase.ROLLING_BACK, (
                "an undo before it was stored that the run rolls back"
            )


def check_transition(plan: Plan, before: WorkflowExecutionStatus, after: WorkflowExecutionStatus) -> None:
    """Fail where a phase moved as none may."""
    if before.phase is not after.phase:
        assert after.phase in LEGAL_RUN[before.phase], f"{before.phase} -> {after.phase}"
    old = {record.name: record for record in before.steps}
    for record in after.steps:
        was = old[record.name].phase if record.name in old else _STEP.PENDING
        if was is not record.phase:
            assert record.phase in LEGAL_STEP[was], f"{record.name}: {was} -> {record.phase}"
        assert record.attempt >= (old[record.name].attempt if record.name in old else 0)
    assert len(old) <= len(after.steps) <= len(plan.steps)
    assert (after.verdict is None) is not after.phase.final


def check_effects(engine: Engine) -> None:
    """Fail where an effect came twice, or a record tells of one that never came."""
    world, run = engine.world, engine.run
    assert max(world.landed.values(), default=0) <= 1, world.landed
    assert max(world.restored.values(), default=0) <= 1, world.restored
    for step in engine.plan.steps:
        record = run.step(step.name)
        if record.phase is StepPhase.SUCCEEDED and record.changed:
            assert world.landed[step.name] == 1
        if record.phase is StepPhase.SKIPPED:
            assert world.landed[step.name] == 0, f"{step.name} acted and is told as skipped"


def end_of(engine: Engine) -> dict[str, Any]:
    """Return what must not depend on faults: the end, the steps, the world."""
    run, world = engine.run, engine.world
    phases = {step.name: run.step(step.name).phase.value for step in engine.plan.steps}
    levels = {name: level for name, level in world.levels.items() if level}
    status = run.status
    return {
        "end": (status.phase.value, status.verdict and status.verdict.value, status.reason),
        "steps": phases,
        "levels": levels,
        "landed": +world.landed,
        "restored": +world.restored,
        "pods": len(world.pods),
    }


def a_second_later(engine: Engine, seconds: float) -> None:
    engine.now += timedelta(seconds=seconds)
    engine.decide()
