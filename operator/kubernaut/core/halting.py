"""How a step is cut short that must not be left half done: what it began is put back, and only then it fails."""

from __future__ import annotations

from kubernaut.api.duration import format_duration
from kubernaut.api.reasons import Reason
from kubernaut.core import limits, retry
from kubernaut.core.action import Halts
from kubernaut.core.draft import Draft
from kubernaut.core.plan import PlannedStep
from kubernaut.core.run import Outcome, OutcomeKind


def halts(step: PlannedStep) -> bool:
    """Whether a step's action must not be left half done."""
    return isinstance(step.action, Halts) and step.action.halts


def halt(draft: Draft, step: PlannedStep) -> None:
    """Have what a step began put back; that it is, is told by :func:`halted`."""
    record = draft.record(step)
    if record.phase.final or step.name in draft.facts.in_flight:
        return
    if draft.run.dry_run:
        _fail(draft, step, "nothing was changed")
    elif draft.held:
        return
    elif record.retry_at is not None and record.retry_at > draft.now and record.undo_attempt is not None:
        draft.wakes.append(record.retry_at)
    else:
        draft.begin(step, undo=True)


def halted(draft: Draft, step: PlannedStep, outcome: Outcome) -> None:
    """Let a step fail that was put back, or that can't be; try again where the API server did not answer."""
    if draft.record(step).phase.final:
        return
    if outcome.kind is OutcomeKind.DONE:
        if outcome.acted and outcome.changed:
            draft.set(step, changed=limits.sentences(outcome.changed, len(draft.steps)))
        _fail(draft, step, outcome.message)
    elif outcome.reason in retry.SAME_ATTEMPT or outcome.reason is Reason.CONFLICT:
        draft.set(
            step,
            undo_attempt=(draft.record(step).undo_attempt or 0) + 1,
            retry_at=draft.now + retry.INFRASTRUCTURE_PAUSE,
        )
    else:
        _fail(draft, step, f"could not be put back: {outcome.message}")


def _fail(draft: Draft, step: PlannedStep, told: str) -> None:
    last = draft.record(step).message
    so_far = f"; last: {last}" if last else ""
    draft.set(step, undo_attempt=None)
    if draft.now >= draft.deadline(step):
        draft.fail(
            step, Reason.STEP_TIMEOUT, f"not done within {format_duration(step.timeout)}; {told}{so_far}"
        )
    else:
        draft.fail(step, Reason.CANCELLED, f"cut short; {told}{so_far}")
