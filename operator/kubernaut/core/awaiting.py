"""A step whose effect goes on by itself: it created an object, waits for that one's end, and reads how it ended.

Meanwhile nothing is performed: the object is watched, and the action is performed once more when it has ended. An
object that is to end early (the step's time is over, or the run ends) is taken back by the action's undo.
"""

from __future__ import annotations

from kubernaut.api.duration import format_duration
from kubernaut.api.execution import StepPhase, StepStatus
from kubernaut.api.reasons import Reason
from kubernaut.core import limits, retry
from kubernaut.core.action import Awaits, Idempotency
from kubernaut.core.draft import Draft
from kubernaut.core.plan import Kind, PlannedStep
from kubernaut.core.run import Outcome, OutcomeKind, Seen, Watched

# Why an object may have been created though no answer said so.
_IN_DOUBT = frozenset({Reason.UNKNOWN_OUTCOME, Reason.INTERNAL})


def waits(step: PlannedStep, record: StepStatus) -> bool:
    """Whether the step has created its object and its outcome is still to be read."""
    goes_on = record.intent is not None and not record.phase.final
    return goes_on and step.kind is Kind.ACTION and isinstance(step.action, Awaits)


def tried(step: PlannedStep, record: StepStatus) -> bool:
    """Whether an earlier attempt created its object and failed, and the next one was not begun."""
    return isinstance(step.action, Awaits) and record.changed is not None and not waits(step, record)


def begin(draft: Draft, step: PlannedStep, outcome: Outcome) -> None:
    """Take note of the object that the step created; its UID tells it from one that is made under its name later."""
    draft.set(
        step,
        phase=StepPhase.WAITING,
        intent=dict(outcome.awaits or {}),
        reason=None,
        message=draft.short(outcome.message) or None,
        retry_at=None,
    )


def not_begun(draft: Draft, step: PlannedStep, reason: Reason, message: str) -> bool:
    """Fail a step for good whose object may exist though no answer said so; False where it surely does not.

    The attempt is part of the object's name: with another one there could be two.
    """
    record = draft.record(step)
    named = step.kind is Kind.ACTION and isinstance(step.action, Awaits)
    if not named or waits(step, record) or reason in retry.SAME_ATTEMPT or reason is Reason.STEP_TIMEOUT:
        return False
    in_doubt = record.reason in _IN_DOUBT or step.name in draft.facts.unfenced
    if reason is not Reason.INTERNAL and (not in_doubt or reason is Reason.PRECONDITION_FAILED):
        return False
    told = f"its object may have been created all the same; look for it. {reason.value}: {message}"
    draft.fail(step, Reason.UNKNOWN_OUTCOME, told)
    return True


def follow(draft: Draft, step: PlannedStep) -> None:
    """Wait for the object's end, and have it read then."""
    record = draft.record(step)
    if draft.now >= draft.deadline(step):
        halt(draft, step)
        return
    draft.wakes.append(draft.deadline(step))
    if record.phase is StepPhase.RUNNING:
        draft.set(step, phase=StepPhase.WAITING)
    if not _put_off(draft, step) and _over(draft, step):
        _read(draft, step)


def halt(draft: Draft, step: PlannedStep) -> None:
    """Take the object back, and end the step."""
    late = draft.now >= draft.deadline(step)
    if draft.held and late:
        took, name = format_duration(step.timeout), _name(draft, step)
        told = f"not done within {took}; {name} goes on, for nothing may be sent now"
        draft.fail(step, Reason.STEP_TIMEOUT, told)
        return
    if not late:
        draft.wakes.append(draft.deadline(step))
    if _put_off(draft, step):
        return
    if not late and _over(draft, step):
        _read(draft, step)
        return
    draft.begin(step, undo=True)


def halted(draft: Draft, step: PlannedStep, outcome: Outcome) -> None:
    """Take note of whether the object was taken back."""
    if outcome.kind is not OutcomeKind.DONE and (outcome.transient or outcome.reason in retry.SAME_ATTEMPT):
        draft.set(step, retry_at=draft.now + retry.INFRASTRUCTURE_PAUSE, message=draft.short(outcome.message))
        return
    told = outcome.message
    if outcome.kind is not OutcomeKind.DONE:
        told = f"{_name(draft, step)} could not be stopped: {told}"
    if draft.now >= draft.deadline(step):
        draft.fail(step, Reason.STEP_TIMEOUT, f"not done within {format_duration(step.timeout)}; {told}")
    else:
        draft.fail(step, Reason.CANCELLED, told)


def tell_outputs(draft: Draft, step: PlannedStep, outcome: Outcome) -> None:
    """Keep what a failed effect gave all the same, where there is room for it."""
    given, record = outcome.outputs, draft.record(step)
    fits = limits.outputs_problem(given) is None and limits.size(given) <= limits.outputs_left(
        draft.steps.values()
    )
    if given and record.phase is StepPhase.FAILED and fits:
        draft.set(step, outputs=limits.as_stored(given))


def may_be_named(step: PlannedStep) -> bool:
    """Whether the step creates an object of a name that follows from its attempt."""
    return step.action is not None and step.action.idempotency is Idempotency.NAMED


def _read(draft: Draft, step: PlannedStep) -> None:
    draft.set(step, phase=StepPhase.RUNNING, retry_at=None)
    draft.begin(step)


def _put_off(draft: Draft, step: PlannedStep) -> bool:
    """Whether nothing can be begun for the step now."""
    record = draft.record(step)
    if draft.held or step.name in draft.facts.in_flight:
        return True
    if record.retry_at is not None and record.retry_at > draft.now:
        draft.wakes.append(record.retry_at)
        return True
    return False


def _over(draft: Draft, step: PlannedStep) -> bool:
    """Whether the object has ended as seen, is gone or is another; has it looked at where it was not."""
    intent = draft.record(step).intent or {}
    key = Watched(*(str(intent.get(part, "")) for part in ("apiVersion", "kind", "name")))
    draft.objects.add(key)
    seen: Seen | None = draft.facts.objects.get(key)
    if seen is None:
        return False
    if seen.manifest is None or seen.uid != intent.get("uid"):
        return True
    assert isinstance(step.action, Awaits)
    return step.action.ended(seen.manifest)


def _name(draft: Draft, step: PlannedStep) -> str:
    intent = draft.record(step).intent or {}
    return f"{intent.get('kind')} {intent.get('name')}"
