"""A model of the engine in a model of a cluster: effects land once or never, answers get lost, the operator dies."""

from __future__ import annotations

from copy import copy, deepcopy
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from builders import NOW, a_run
from kubernaut.api.execution import (
    Intervention,
    Remedy,
    RunPhase,
    StepPhase,
    StepStatus,
    WorkflowExecutionStatus,
    unbegun,
)
from kubernaut.api.reasons import Reason
from kubernaut.core.action import Awaits, Idempotency
from kubernaut.core.machine import advance
from kubernaut.core.plan import ALTERNATE, FINALLY, Kind, Plan, PlannedStep
from kubernaut.core.recalling import recalled, to_recall
from kubernaut.core.run import Act, Decision, Facts, Hold, Outcome, OutcomeKind, Run, Seen, Watched
from kubernaut.core.unfolding import Unfolded, unfold
from simulated_world import World, job_of

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
_ENDS = {RunPhase.FINALIZING, RunPhase.SUCCEEDED, RunPhase.FAILED, RunPhase.CANCELLED}
LEGAL_RUN = {
    RunPhase.RUNNING: {RunPhase.SUSPENDED, RunPhase.VERIFYING, RunPhase.ROLLING_BACK, *_ENDS},
    RunPhase.SUSPENDED: {RunPhase.RUNNING, RunPhase.VERIFYING, RunPhase.ROLLING_BACK, *_ENDS},
    RunPhase.VERIFYING: {RunPhase.ROLLING_BACK, *_ENDS},
    RunPhase.ROLLING_BACK: {RunPhase.FINALIZING, RunPhase.FAILED},
    RunPhase.FINALIZING: _ENDS - {RunPhase.FINALIZING},
    RunPhase.SUCCEEDED: set(),
    RunPhase.FAILED: set(),
    RunPhase.CANCELLED: set(),
}


# What says that the request had no effect can't be the answer to one that had.
_NO_EFFECT = (Reason.UNAVAILABLE, Reason.STOPPED)


@dataclass
class Flight:
    """An effect under way; ``outcome`` is there once it has landed and the answer has not come."""

    act: Act
    outcome: Outcome | None = None


@dataclass
class Ghost:
    """A request of an operator that died; it may still land where the field, or the name, was not written since."""

    act: Act
    version: int


@dataclass
class Engine:
    """Runs one run in a world. ``world``, ``ghosts``, ``granted``, ``run.stored`` and ``now`` outlive a crash."""

    plan: Plan
    world: World
    run: Run = field(default_factory=a_run)
    remedies: dict[str, list[Remedy]] = field(default_factory=dict)
    now: datetime = NOW
    flying: dict[str, Flight] = field(default_factory=dict)
    ghosts: list[Ghost] = field(default_factory=list)
    seen: Seen | None = None
    objects: dict[Watched, Seen] = field(default_factory=dict)
    granted: frozenset[str] = frozenset()
    unfenced: frozenset[str] = frozenset()
    hold: Hold | None = None
    told: list[tuple[str, Outcome]] = field(default_factory=list)
    effects: int = 0
    crashed: bool = False
    last: Decision = field(init=False)

    def __post_init__(self) -> None:
        self.last = Decision(self.run.status)

    @property
    def over(self) -> bool:
        return self.run.status.phase.final

    def twin(self) -> Engine:
        """Return an engine that stands where this one does, in a world of its own."""
        twin = copy(self)
        twin.world, twin.flying, twin.told = deepcopy(self.world), dict(self.flying), list(self.told)
        twin.objects, twin.ghosts = dict(self.objects), []
        return twin

    def _facts(self, outcomes: dict[str, Outcome]) -> Facts:
        return Facts(
            outcomes,
            frozenset(self.flying),
            self.seen,
            self.hold,
            dict(self.objects),
            self.granted,
            frozenset(),
            self.unfenced,
        )

    def decide(self, outcomes: dict[str, Outcome] | None = None) -> None:
        """Decide, store where demanded, begin what was decided."""
        told = outcomes or {}
        before = self.run.status
        self.last = advance(self.run, self.plan, self._facts(told), self.now)
        self.unfenced -= {name for name, outcome in told.items() if not outcome.transient}
        check_transition(self.plan, self.run, before, self.last.status)
        self.run = replace(self.run, status=self.last.status)
        if self.last.store_first or self.over:
            self.store()
        for act in self.last.acts:
            assert act.step.name not in self.flying
            if (
                act.step.spec.resources
                and _phase(before, act.step.name) is StepPhase.PENDING
                and not (act.fence or act.undo)
            ):
                assert act.step.name in self.granted, f"{act.step.name} begins without what it needs"
            self.flying[act.step.name] = Flight(act)
        self.granted &= {want.step for want in self.last.wants}
        self._check_settled()
        if not self.crashed:
            # After a crash, records of items whose effects have long been there may say that they are under way.
            check_places(self.plan, self.run)

    def _check_settled(self) -> None:
        """Fail where the decision would come out otherwise if it were made again at once, and nobody would."""
        wake = self.last.wake_at
        if self.over or (wake is not None and wake <= self.now):
            return
        again = advance(self.run, self.plan, self._facts({}), self.now)
        names = [act.step.name for act in again.acts]
        assert not names, f"{names} would begin if it were decided once more"
        assert again.status.steps == self.last.status.steps, "decided once more, steps would stand elsewhere"
        assert again.status.phase is self.last.status.phase

    def store(self) -> None:
        self.run = replace(self.run, stored=self.run.status)

    def grant(self) -> None:
        self.granted = frozenset(want.step for want in self.last.wants)
        self.decide()

    def say(self) -> None:
        """Let a person say what becomes of the attempts that have failed."""
        said = list(self.run.control.interventions)
        known = {(one.step, one.attempt) for one in said}
        for name, remedies in self.remedies.items():
            record = self.run.step(name)
            if record.phase is StepPhase.FAILED and (name, record.attempt) not in known:
                remedy = remedies[sum(one.step == name for one in said) :] or remedies[-1:]
                said.append(Intervention(step=name, attempt=record.attempt, remedy=remedy[0], by="ada"))
        self.run = replace(self.run, control=self.run.control.replace(interventions=said))
        self.decide()

    def crash(self, *, ghosts: bool = False) -> None:
        """Lose all that is not stored. Effects that have not landed by now never will, or may as ghosts."""
        if ghosts:
            versions = self.world.versions
            self.ghosts += [
                Ghost(flight.act, versions[self.world.field_of(name)])
                for name, flight in self.flying.items()
                if flight.outcome is None
                and not flight.act.undo
                and not flight.act.prepare
                and (_marks(flight.act) or _starts(flight.act) or _creates_job(flight.act))
            ]
        self.crashed = True
        self.flying.clear()
        self.told.clear()
        self.objects.clear()
        self.seen = None
        self.run = replace(self.run, status=self.run.stored)
        if self.run.status.workflow is None:
            self.run = replace(self.run, status=a_run(now=self.now).status)
            return
        acts = {act.step.name: act for act in to_recall(self.run, self.plan, self.now)}
        found = {name: self.world.perform(act) for name, act in acts.items() if self._there(act)}
        self.unfenced = frozenset(acts) - frozenset(found)
        self.run = recalled(self.run, self.plan, found, self.now)
        if found:
            self.decide(found)

    def _there(self, act: Act) -> bool:
        name, world = act.step.name, self.world
        if _marks(act):
            return name in world.marks and name not in world.undone
        if _runs_job(act):
            job = world.jobs.get(job_of(act))
            return job is not None and not job.stub
        return str(act.parameters.get("name")) in world.children

    def haunt(self) -> None:
        """Let the requests of dead operators land, as far as nothing was written since."""
        for ghost in self.ghosts:
            where = self.world.field_of(ghost.act.step.name)
            if _starts(ghost.act) or _runs_job(ghost.act) or self.world.versions[where] == ghost.version:
                self.world.perform(ghost.act)
        self.ghosts.clear()

    def land(self, name: str) -> Outcome:
        """Let an effect happen, though its answer is not there yet."""
        flight = self.flying[name]
        if flight.outcome is None:
            self._check_fence(flight.act)
            self.effects += 1
            done = self.world.perform(flight.act)
            act = flight.act
            flight.outcome = replace(done, attempt=act.attempt, undo=act.undo, fence=act.fence)
        return flight.outcome

    def answer(self, name: str, lost: Reason | None = None) -> None:
        """Let the answer come, or be lost on the way."""
        act = self.flying[name].act
        landed = self.flying[name].outcome
        if lost is not None and not (lost in _NO_EFFECT and landed is not None):
            outcome = Outcome(
                OutcomeKind.FAILED, "lost", lost, attempt=act.attempt, undo=act.undo, fence=act.fence
            )
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

    def look_around(self) -> None:
        """Look at all objects that steps wait for."""
        self.objects = {watched: self.world.look(watched) for watched in self.last.objects}
        self.decide()

    def go_on(self) -> None:
        """Let one thing happen that has to happen for the run to move. Fail where nothing can."""
        wanted = frozenset(want.step for want in self.last.wants)
        if self.flying:
            self.answer(min(self.flying))
        elif self.last.observe and self.seen is None:
            self.look()
        elif wanted - self.granted:
            self.grant()
        elif self.last.objects:
            self.look_around()
        elif self.run.status.phase is RunPhase.SUSPENDED:
            said = len(self.run.control.interventions)
            self.say()
            assert len(self.run.control.interventions) > said, f"waits for nobody: {self.run.status}"
        else:
            assert self.last.wake_at is not None, f"stuck: {self.run.status}"
            assert self.last.wake_at >= self.now, "a time that has passed can't wake anybody"
            self.now = self.last.wake_at
            self.decide()

    def drain(self) -> None:
        """Let all end well from here: answers come, the target is seen, time goes on."""
        self.decide()
        for _ in range(600):
            if self.over:
                return
            self.go_on()
        raise AssertionError(f"not over after 600 rounds: {self.run.status}")

    def _check_fence(self, act: Act) -> None:
        stored = self.run.stored
        assert stored.workflow is not None, "an effect before the claim was stored"
        assert act.step.action is not None
        pinned = act.step.action.idempotency is Idempotency.PINNED
        if pinned and not act.prepare and not act.undo:
            intent = self.run.stored_step(act.step.name).intent
            assert intent == act.intent, "an effect before its intent was stored"
        if act.undo and act.step.kind is not Kind.WORKFLOW and not _runs_job(act):
            told = "an undo before it was stored that the run rolls back"
            assert stored.phase is RunPhase.ROLLING_BACK, told


def _marks(act: Act) -> bool:
    return act.step.action is not None and act.step.action.idempotency is Idempotency.MARKED


def _starts(act: Act) -> bool:
    return act.step.kind is Kind.WORKFLOW


def _runs_job(act: Act) -> bool:
    return isinstance(act.step.action, Awaits)


def _creates_job(act: Act) -> bool:
    return _runs_job(act) and act.intent is None


def _phase(status: WorkflowExecutionStatus, name: str) -> StepPhase:
    return next((record.phase for record in status.steps if record.name == name), StepPhase.PENDING)


def shape_of(plan: Plan, status: WorkflowExecutionStatus) -> tuple[Unfolded, dict[str, StepStatus]]:
    """Return the steps that a run has by now, and the record of each."""
    records = {record.name: record for record in status.steps}
    shape = unfold(plan, records)
    return shape, {step.name: records.get(step.name) or unbegun(step.name) for step in shape.steps}


def check_transition(
    plan: Plan, run: Run, before: WorkflowExecutionStatus, after: WorkflowExecutionStatus
) -> None:
    """Fail where a phase moved as none may."""
    if before.phase is not after.phase:
        assert after.phase in LEGAL_RUN[before.phase], f"{before.phase} -> {after.phase}"
    shape, now = shape_of(plan, after)
    _, old = shape_of(plan, before)
    assert set(old) <= set(now), "steps that there were are no more"
    told = {record.name for record in after.steps}
    assert all(record.name in told or now[record.name] == unbegun(record.name) for record in before.steps)
    for name, record in now.items():
        was = old.get(name, unbegun(name))
        if was.phase is not record.phase and record.phase not in LEGAL_STEP[was.phase]:
            assert _reset_by_person(run, shape, old, name), f"{name}: {was.phase} -> {record.phase}"
        assert record.attempt >= was.attempt
        assert not was.branch or was.branch == record.branch
    assert (after.verdict is None) is not (after.phase.final or after.phase is RunPhase.FINALIZING)
    assert (after.outcome is None) is not (after.phase is RunPhase.FINALIZING) or after.phase.final


def _reset_by_person(run: Run, shape: Unfolded, old: dict[str, StepStatus], name: str) -> bool:
    """Whether a person said of this failed step, or of a group around it, that it be begun anew or left out."""
    around: str = name
    while around in shape.by_name:
        record = old.get(around, unbegun(around))
        said = {(one.step, one.attempt): one.remedy for one in run.control.interventions}
        remedy = said.get((around, record.attempt))
        if record.phase is _STEP.FAILED and remedy in (Remedy.RETRY, Remedy.SKIP):
            return True
        around = shape.by_name[around].parent
    return False


def check_places(plan: Plan, run: Run) -> None:
    """Fail where more items of a forEach are under way than its parallelism allows."""
    shape, records = shape_of(plan, run.status)

    def open_(step: PlannedStep) -> bool:
        record = records[step.name]
        if step.kind is Kind.ALTERNATE and record.phase is _STEP.PENDING:
            return records[step.name.removesuffix(f"/{ALTERNATE}")].phase is _STEP.FAILED
        return not record.phase.final

    for group in shape.steps:
        if group.spec.for_each is None or group.kind is not Kind.FOR_EACH:
            continue
        steps = shape.of.get(group.name, ())
        idle = (_STEP.PENDING, _STEP.SKIPPED)
        begun = {step.index for step in steps if records[step.name].phase not in idle}
        under_way = begun & {step.index for step in steps if open_(step)}
        assert len(under_way) <= group.spec.for_each.parallelism, f"{group.name}: items {under_way} at once"


def check_effects(engine: Engine) -> None:
    """Fail where an effect came twice, or a record tells of one that never came."""
    world = engine.world
    assert max(world.landed.values(), default=0) <= 1, world.landed
    assert max(world.restored.values(), default=0) <= 1, world.restored
    shape, records = shape_of(engine.plan, engine.run.status)
    for step in shape.steps:
        record = records[step.name]
        acts = step.action is not None and step.kind is Kind.ACTION
        if isinstance(step.action, Awaits):
            created = sum(world.landed[f"{step.name} {attempt}"] for attempt in range(1, record.attempt + 1))
            if record.phase is StepPhase.SUCCEEDED:
                assert created >= 1, f"{step.name} succeeded without a Job"
            if record.phase is StepPhase.SKIPPED and record.reason != Reason.SKIPPED_BY_PERSON:
                assert created == 0, f"{step.name} acted and is told as skipped"
            continue
        if acts and record.phase is StepPhase.SUCCEEDED and record.changed:
            assert world.landed[step.name] == 1
        if acts and record.phase is StepPhase.SKIPPED and record.reason != Reason.SKIPPED_BY_PERSON:
            assert world.landed[step.name] == 0, f"{step.name} acted and is told as skipped"


def check_end(engine: Engine) -> None:
    """Fail where a run that is over left something undone: a step under finally, a run that it started."""
    shape, records = shape_of(engine.plan, engine.run.status)
    for step in shape.of.get(FINALLY, ()):
        assert records[step.name].phase.final or step.kind is Kind.ALTERNATE, f"{step.name} was not run"
    for name, child in engine.world.children.items():
        assert child.cancelled or child.looks, f"run {name} was left to itself"
    # A person who says what becomes of a failed attempt, also of one in a group, was told of its object.
    said = {f"{one.step} {one.attempt}" for one in engine.run.control.interventions}
    groups = tuple(f"{one.step}/" for one in engine.run.control.interventions)
    for name, job in engine.world.jobs.items():
        record = records.get(name.rpartition(" ")[0])
        late = record is not None and record.reason in (Reason.STEP_TIMEOUT, Reason.UNKNOWN_OUTCOME)
        told = job.doubted and name.startswith(groups)
        left = f"Job {name} was left to itself: {record}"
        assert job.stub or job.stopped or job.over or late or name in said or told, left
    assert engine.run.stored == engine.run.status


def end_of(engine: Engine) -> dict[str, Any]:
    """Return what must not depend on faults: the end, the steps, the world."""
    run, world = engine.run, engine.world
    _, records = shape_of(engine.plan, run.status)
    levels = {name: level for name, level in world.levels.items() if level}
    status = run.status
    return {
        "end": (status.phase.value, status.verdict and status.verdict.value, status.reason),
        "steps": {name: record.phase.value for name, record in records.items()},
        "levels": levels,
        "landed": +world.landed,
        "restored": +world.restored,
        "removed": len(world.removed),
    }
