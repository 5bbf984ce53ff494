"""How the steps of one scope move together: those of the Workflow, of a branch, of the items, of an alternate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from enum import Enum

from kubernaut.api.execution import Remedy, StepPhase, StepStatus, unbegun
from kubernaut.api.reasons import Reason
from kubernaut.api.steps import OnFailure
from kubernaut.core.action import Idempotency
from kubernaut.core.closing import close
from kubernaut.core.draft import MAY_HAVE_ACTED, Draft, in_doubt
from kubernaut.core.plan import Kind, PlannedStep
from kubernaut.core.policies import covered, dormant, intervention, policy

Drive = Callable[[Draft, PlannedStep], None]


class State(Enum):
    """Where a scope is."""

    MOVING = "moving"
    SUSPENDED = "suspended"
    FAILED = "failed"
    DONE = "done"


def move(draft: Draft, scope: str, drive: Drive) -> State:
    """Move the steps of a scope as far as they can go now.

    FAILED comes only once what was begun has come to its end.
    """
    before = dict(draft.steps)
    state = _state(draft, scope)
    if state in (State.MOVING, State.SUSPENDED):
        around, draft.quiet = draft.quiet, draft.quiet or state is State.SUSPENDED
        _drive_all(draft, scope, drive)
        draft.quiet = around
        after = _state(draft, scope)
        if after in (State.FAILED, State.SUSPENDED) and after is not state:
            _begin_nothing(draft, scope, before)
            if after is State.SUSPENDED:
                # What was begun earlier goes on, and is asked for again.
                draft.wakes.append(draft.now)
        state = after
    if state is State.FAILED and not close(draft, draft.shape.below(scope), Reason.DEPENDENCY_FAILED):
        return State.MOVING
    return state


def done(draft: Draft, scope: str) -> bool:
    """Whether all steps of a scope have come to an end that lets the run go on."""
    return all(
        covered(draft, step)
        if record.phase is StepPhase.FAILED
        else record.phase.final or dormant(draft, step)
        for step in draft.shape.of.get(scope, ())
        for record in (draft.record(step),)
    )


def failure(draft: Draft, scope: str) -> PlannedStep | None:
    """Return the step for which a scope has failed, rather than one that was cut short for that."""
    found = [
        step
        for step in draft.shape.of.get(scope, ())
        if draft.record(step).phase is StepPhase.FAILED and not covered(draft, step)
    ]
    causes = (step for step in found if draft.record(step).reason != Reason.CANCELLED)
    return next(causes, found[0] if found else None)


def _state(draft: Draft, scope: str) -> State:
    """Apply what people said about failed steps, and return where the scope is."""
    done, suspended = True, False
    for step in draft.shape.of.get(scope, ()):
        if draft.steps[step.name].phase is StepPhase.FAILED:
            found = policy(draft, step)
            if found is OnFailure.MANUAL:
                found = _remedied(draft, step)
            match found:
                case OnFailure.MANUAL:
                    suspended = True
                case OnFailure.FAIL | OnFailure.ROLLBACK:
                    return State.FAILED
                case OnFailure.ALTERNATE if step.spec.on_failure is not OnFailure.ALTERNATE:
                    return State.FAILED
        phase = draft.steps[step.name].phase
        if done and (not phase.final or phase is StepPhase.FAILED):
            done = (phase is StepPhase.FAILED and covered(draft, step)) or dormant(draft, step)
    if suspended:
        return State.SUSPENDED
    return State.DONE if done else State.MOVING


def _keep_failure(draft: Draft, step: PlannedStep) -> None:
    """Have the message say what failed: a step that timed out may have acted all the same, whoever skips it."""
    record = draft.record(step)
    if record.reason and not (record.message or "").startswith(f"{record.reason}: "):
        draft.set(step, message=draft.short(f"{record.reason}: {record.message or ''}"))


def _remedied(draft: Draft, step: PlannedStep) -> OnFailure:
    """Do what a person said about a failed step; Manual where nobody has said anything yet."""
    said = intervention(draft, step)
    if said is None:
        return OnFailure.MANUAL
    if said.remedy is Remedy.SKIP:
        _keep_failure(draft, step)
        draft.skip(step, Reason.SKIPPED_BY_PERSON)
    elif said.remedy is Remedy.RETRY:
        _reset(draft, step)
        for inner in draft.shape.below(step.name) if step.kind.group else ():
            if draft.record(inner).phase is not StepPhase.SUCCEEDED:
                _reset(draft, inner)
    return OnFailure.CONTINUE


def _reset(draft: Draft, step: PlannedStep) -> None:
    """Have a step begun anew; its attempts count on, for they are part of the key of its effect."""
    record = draft.record(step)
    pinned = step.action is not None and step.action.idempotency is Idempotency.PINNED
    # That the effect may have happened is not forgotten, and the same object stays pinned.
    acted = step.action is not None and record.reason in MAY_HAVE_ACTED
    draft.steps[step.name] = StepStatus(
        name=step.name,
        attempt=record.attempt,
        branch=record.branch,
        outputs=record.outputs,
        reason=record.reason if acted else None,
        message=record.message if acted else None,
        intent=record.intent if pinned and acted else None,
    )


def _drive_all(draft: Draft, scope: str, drive: Drive) -> None:
    places = _Places(draft, scope)
    for step in draft.shape.of.get(scope, ()):
        phase = draft.record(step).phase
        if phase.final:
            continue
        if phase is StepPhase.PENDING and (
            draft.quiet or not places.room_for(step) or _not_needed(draft, step)
        ):
            continue
        drive(draft, step)
        places.note(step)
        if draft.crowded and draft.record(step).phase.final:
            # Steps before this one may begin in its place.
            draft.wakes.append(draft.now)
        if draft.record(step).phase is StepPhase.FAILED and policy(draft, step) in (
            OnFailure.FAIL,
            OnFailure.ROLLBACK,
        ):
            return


def _not_needed(draft: Draft, step: PlannedStep) -> bool:
    return step.kind is Kind.ALTERNATE and dormant(draft, step)


class _Places:
    """How many items of a forEach may still begin; everything has room in other scopes."""

    def __init__(self, draft: Draft, scope: str) -> None:
        self._draft = draft
        group = draft.shape.by_name.get(scope)
        each = group.spec.for_each if group is not None and group.kind is Kind.FOR_EACH else None
        self._most = each.parallelism if each is not None else None
        self._open: Counter[int | None] = Counter()
        self._active: set[int | None] = set()
        if self._most is None:
            return
        begun: set[int | None] = set()
        for step in draft.shape.of.get(scope, ()):
            if draft.record(step).phase is not StepPhase.PENDING:
                begun.add(step.index)
            if self._is_open(step):
                self._open[step.index] += 1
        self._active = begun & set(self._open)

    def _is_open(self, step: PlannedStep) -> bool:
        return not self._draft.record(step).phase.final and not dormant(self._draft, step)

    def room_for(self, step: PlannedStep) -> bool:
        if self._most is None or step.index in self._active or len(self._active) < self._most:
            return True
        self._draft.crowded = True
        return False

    def note(self, step: PlannedStep) -> None:
        """Take note of what became of a step that was open; an item whose steps have all ended makes room."""
        if self._most is None:
            return
        if self._draft.record(step).phase is not StepPhase.PENDING:
            self._active.add(step.index)
        if not self._is_open(step):
            self._open[step.index] -= 1
            if not self._open[step.index]:
                self._active.discard(step.index)


def _begin_nothing(draft: Draft, scope: str, before: Mapping[str, StepStatus]) -> None:
    """Take back what this decision alone would have begun; close() asks again for what was begun earlier."""
    inside = {step.name: step for step in draft.shape.below(scope)}
    draft.acts = [act for act in draft.acts if act.step.name not in inside]
    for name, step in inside.items():
        record = before.get(name) or unbegun(name)
        if in_doubt(step, draft.steps[name]) and not in_doubt(step, record):
            draft.steps[name] = record
