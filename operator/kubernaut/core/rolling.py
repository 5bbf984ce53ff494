"""How a run puts back what it changed: the last step first, one at a time."""

from __future__ import annotations

from kubernaut.api.duration import format_duration
from kubernaut.api.execution import RunPhase, StepPhase, Verdict
from kubernaut.api.reasons import Reason
from kubernaut.core import limits, retry
from kubernaut.core.action import Idempotency
from kubernaut.core.draft import Draft
from kubernaut.core.plan import FINALLY, Kind, PlannedStep
from kubernaut.core.run import Outcome, OutcomeKind

# Looked at, and there was nothing to put back.
_NOTHING = 0


def begin(draft: Draft, reason: Reason, message: str) -> None:
    """Begin to put back what the run changed."""
    draft.acts.clear()
    draft.status = draft.status.replace(
        phase=RunPhase.ROLLING_BACK,
        rollback_since=draft.now,
        reason=reason.value,
        message=limits.message(message),
    )
    roll_back(draft)


def roll_back(draft: Draft) -> None:
    """Undo the steps in reverse order, one at a time; go on past one that can't be put back."""
    if draft.facts.in_flight:
        return
    deadline = (draft.status.rollback_since or draft.now) + draft.plan.spec.rollback.timeout
    for step in to_undo(draft):
        if draft.held:
            return
        if draft.now >= deadline:
            _give_up(draft, step, f"not within {format_duration(draft.plan.spec.rollback.timeout)}")
            continue
        draft.wakes.append(deadline)
        again = draft.record(step).retry_at
        if again is not None and again > draft.now:
            draft.wakes.append(again)
            return
        if step.kind is Kind.WORKFLOW:
            _give_up(draft, step, "what a run of another Workflow changed is put back by that Workflow only")
            continue
        before = draft.record(step)
        draft.begin(step, undo=True)
        if draft.acts or draft.observe:
            return
        told = draft.record(step).message
        draft.steps[step.name] = before
        _give_up(draft, step, told or "its parameters can't be found again")
    _rolled_back(draft)


def undone(draft: Draft, step: PlannedStep, outcome: Outcome) -> None:
    """Take the outcome of putting a step back."""
    record = draft.record(step)
    if record.phase not in (StepPhase.SUCCEEDED, StepPhase.FAILED) or record.undo_attempt == _NOTHING:
        return
    if outcome.kind is OutcomeKind.DONE:
        told = draft.short(outcome.message) or None
        if record.phase is StepPhase.FAILED and not outcome.acted:
            draft.set(step, undo_attempt=_NOTHING, retry_at=None)
            return
        if outcome.acted and record.changed is None:
            sentences = outcome.changed or ("an object was put back",)
            draft.set(step, changed=limits.sentences(sentences, len(draft.steps)))
        tried = record.undo_attempt if outcome.acted else _NOTHING
        draft.set(step, phase=StepPhase.ROLLED_BACK, retry_at=None, message=told, undo_attempt=tried)
        return
    reason = outcome.reason or Reason.INTERNAL
    if reason in retry.SAME_ATTEMPT:
        # It says nothing of the undo itself, so it does not count as an attempt.
        draft.set(step, retry_at=draft.now + retry.INFRASTRUCTURE_PAUSE)
        return
    attempt = (record.undo_attempt or 0) + 1
    key = f"{draft.run.uid}\n{step.name}\nundo"
    later = retry.retry_at(draft.plan.spec.rollback.retry, attempt, reason, draft.now, key)
    if later is None or reason is Reason.CHANGED_SINCE:
        _give_up(draft, step, outcome.message)
    else:
        draft.set(step, undo_attempt=attempt, retry_at=later)


def _give_up(draft: Draft, step: PlannedStep, why: str) -> None:
    told = draft.short(f"could not be put back: {why}")
    draft.set(step, reason=Reason.ROLLBACK_FAILED.value, message=told, retry_at=None)


def to_undo(draft: Draft) -> list[PlannedStep]:
    """Return the steps that changed, or may have changed, an object; the one that ended last first.

    Steps beside one another may have changed the same field, and none of them can be put back under a later change.
    """
    last = {step.name for step in draft.shape.below(FINALLY)}
    found = [step for step in draft.shape.steps if step.name not in last and _to_undo(draft, step)]
    found.sort(key=lambda step: draft.record(step).finished_at or draft.now)
    return found[::-1]


def _to_undo(draft: Draft, step: PlannedStep) -> bool:
    record = draft.record(step)
    if step.action is None or step.action.idempotency is Idempotency.READ_ONLY:
        return False
    if record.reason in (Reason.ROLLBACK_FAILED, Reason.CARRIED_OVER) or record.undo_attempt == _NOTHING:
        return False
    may_have = record.phase is StepPhase.FAILED and record.attempt > 0
    if step.kind is Kind.WORKFLOW:
        return record.phase in (StepPhase.SUCCEEDED, StepPhase.FAILED) and record.changed is not None
    return may_have or (record.phase is StepPhase.SUCCEEDED and record.changed is not None)


def _rolled_back(draft: Draft) -> None:
    why = draft.status.message or ""
    broken = [name for name, record in draft.steps.items() if record.reason == Reason.ROLLBACK_FAILED]
    if broken:
        message = f"{why} Not all could be put back: {', '.join(broken)}.".strip()
        draft.end(RunPhase.FAILED, Verdict.NOT_FIXED, Reason.ROLLBACK_FAILED, message)
        return
    reason = Reason(draft.status.reason or Reason.STEP_FAILED)
    if not draft.acted:
        draft.end(RunPhase.FAILED, Verdict.NOT_FIXED, reason, f"{why} The run had changed nothing.".strip())
        return
    back = {name: one for name, one in draft.steps.items() if one.phase is StepPhase.ROLLED_BACK}
    # A restart, say, or an object that is gone: its undo says why there was nothing to put back.
    left = [name for name, record in back.items() if record.undo_attempt == _NOTHING]
    told = "What the run had changed was put back" if len(left) < len(back) else "Nothing was put back"
    told += f"; nothing can be of what these did: {', '.join(left)}." if left else "."
    message = f"{why} {told}".strip()
    draft.end(RunPhase.FAILED, Verdict.ROLLED_BACK, reason, message)
