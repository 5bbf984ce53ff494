"""What the outcome of an effect means for its step."""

from __future__ import annotations

from kubernaut.api.execution import RunPhase, StepPhase, StepStatus
from kubernaut.api.reasons import Reason
from kubernaut.core import awaiting, groups, halting, limits, retry, rolling, subflows, unfenced
from kubernaut.core.draft import Draft
from kubernaut.core.plan import Kind, PlannedStep
from kubernaut.core.retrying import try_again
from kubernaut.core.run import Outcome, OutcomeKind


def take(draft: Draft, step: PlannedStep, outcome: Outcome) -> None:
    """Fold one outcome into the draft; an outcome that comes twice, or too late, changes nothing."""
    record = draft.record(step)
    if outcome.undo and step.kind is Kind.WORKFLOW:
        if not record.phase.final:
            subflows.halted(draft, step, outcome.kind is OutcomeKind.DONE, outcome.message)
        return
    if outcome.undo and awaiting.waits(step, record):
        awaiting.halted(draft, step, outcome)
        return
    if outcome.undo and halting.halts(step) and not record.phase.final:
        halting.halted(draft, step, outcome)
        return
    if outcome.undo is not (draft.status.phase is RunPhase.ROLLING_BACK):
        return
    if outcome.undo:
        rolling.undone(draft, step, outcome)
    elif outcome.fence and not _happened(step, outcome):
        _not_found(draft, step, outcome)
    elif step.name in draft.facts.unfenced and record.phase is StepPhase.PENDING:
        if not _happened(step, outcome):
            return
        # An earlier owner of the run had begun it: that was found when its requests were fenced off.
        draft.set(step, phase=StepPhase.RUNNING, attempt=max(record.attempt, 1), started_at=draft.now)
        _done(draft, step, outcome)
    elif not draft.in_doubt(step) or _of_earlier_attempt(record, outcome):
        return
    elif outcome.kind is OutcomeKind.PREPARED:
        if record.intent is None:
            draft.set(step, intent=dict(outcome.intent or {}))
    elif outcome.kind is OutcomeKind.DONE:
        _done(draft, step, outcome)
    else:
        _failed(draft, step, outcome)
        awaiting.tell_outputs(draft, step, outcome)


def _happened(step: PlannedStep, outcome: Outcome) -> bool:
    """Whether a step was found to have had its effect; a run that it started is told by its name."""
    found = outcome.acted or (step.kind is Kind.WORKFLOW and subflows.RUN in outcome.outputs)
    return outcome.kind is OutcomeKind.DONE and found


def _not_found(draft: Draft, step: PlannedStep, outcome: Outcome) -> None:
    """A step was fenced off that had not happened, or could not be fenced off."""
    record, in_doubt = draft.record(step), draft.in_doubt(step)
    if record.phase.final or outcome.transient:
        return
    if outcome.kind is OutcomeKind.DONE:
        if in_doubt:
            # It can't happen any more, so it counts as not begun.
            draft.set(
                step, phase=StepPhase.PENDING, started_at=None, retry_at=None, reason=None, message=None
            )
    elif in_doubt or step.name in draft.facts.unfenced:
        # Also where nothing of it is recorded: an earlier owner may have begun it all the same.
        draft.set(step, attempt=max(record.attempt, 1), started_at=record.started_at or draft.now)
        why = f"{(outcome.reason or Reason.INTERNAL).value}: {outcome.message}"
        told = f"it may have happened, and could not be fenced off: {why}"
        draft.fail(step, Reason.UNKNOWN_OUTCOME, told)


def _of_earlier_attempt(record: StepStatus, outcome: Outcome) -> bool:
    """Whether it says nothing of the attempt that goes on; what was done is done, whichever attempt did it."""
    return outcome.attempt not in (0, record.attempt) and outcome.kind is not OutcomeKind.DONE


def _done(draft: Draft, step: PlannedStep, outcome: Outcome) -> None:
    if outcome.acted or (draft.run.dry_run and outcome.changed):
        draft.set(step, changed=_sentences(draft, outcome, "an object was changed"))
    problem = limits.outputs_problem(outcome.outputs)
    if problem is not None:
        draft.fail(step, Reason.INTERNAL, problem)
        return
    if step.kind is Kind.WORKFLOW and not draft.run.dry_run:
        draft.set(
            step,
            phase=StepPhase.WAITING,
            intent=limits.as_stored(outcome.outputs),
            reason=None,
            retry_at=None,
        )
        return
    if outcome.awaits is not None and not draft.run.dry_run:
        awaiting.begin(draft, step, outcome)
        return
    taken, room = limits.size(outcome.outputs), limits.outputs_left(draft.steps.values())
    if taken > room:
        message = f"the step's outputs take {taken} bytes; the run has {room} of {limits.OUTPUTS} left"
        draft.fail(step, Reason.OUTPUT_TOO_LARGE, message)
        return
    draft.set(
        step,
        phase=StepPhase.SUCCEEDED,
        finished_at=draft.now,
        retry_at=None,
        reason=Reason.DRY_RUN.value if draft.run.dry_run else None,
        message=draft.short(_told(draft, step, outcome)) or None,
        outputs=limits.as_stored(outcome.outputs) or None,
    )
    if step.kind is Kind.FOR_EACH:
        groups.gathered(draft, step)


def _told(draft: Draft, step: PlannedStep, outcome: Outcome) -> str:
    # A run that is started is no change of this step, so the action's own words do not tell that it was not.
    if step.kind is Kind.WORKFLOW and draft.run.dry_run:
        return f"dry run, nothing was started: {outcome.message}"
    return outcome.message


def _failed(draft: Draft, step: PlannedStep, outcome: Outcome) -> None:
    reason, message = outcome.reason or Reason.INTERNAL, outcome.message
    attempt, former = draft.record(step).attempt, draft.record(step).reason
    if reason is Reason.STEP_TIMEOUT and halting.halts(step):
        # It is over, and what was begun is put back first.
        reason = Reason.IN_PROGRESS
    if step.kind is Kind.WORKFLOW and subflows.not_started(draft, step, reason, message):
        return
    if awaiting.not_begun(draft, step, reason, message):
        return
    if unfenced.fails(step, draft.record(step), reason):
        draft.fail(step, reason, message)
        return
    if reason in retry.SAME_ATTEMPT:
        again = draft.now + retry.INFRASTRUCTURE_PAUSE
        if reason is Reason.IN_PROGRESS:
            again = draft.now + retry.PROGRESS_PAUSE
            draft.set(step, progress=outcome.progress or None)
        elif former in (Reason.UNKNOWN_OUTCOME, Reason.IN_PROGRESS):
            # That this call had no effect says nothing of the one before it.
            reason = Reason(former)
    else:
        later = try_again(draft, step, reason, message)
        if later is None:
            draft.fail(step, reason, message)
            return
        again, attempt = later, attempt + 1
        if reason is not Reason.INTERNAL:
            # The effect did not happen. After an unexpected error it may have: the same object stays pinned.
            draft.set(step, intent=None)
    draft.set(
        step,
        phase=StepPhase.WAITING,
        attempt=attempt,
        retry_at=again,
        reason=reason.value,
        message=draft.short(message),
    )


def _sentences(draft: Draft, outcome: Outcome, default: str) -> list[str]:
    return limits.sentences(outcome.changed or (default,), len(draft.steps))
