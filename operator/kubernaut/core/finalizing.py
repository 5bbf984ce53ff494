"""The steps under finally: run once everything else is over, however it went."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from kubernaut.api.execution import RunPhase, StepPhase, Verdict
from kubernaut.api.reasons import Reason
from kubernaut.core import scopes, subflows
from kubernaut.core.draft import Draft
from kubernaut.core.plan import DEFAULT_TIMEOUT, FINALLY, Kind

_WAITS: Final = frozenset({Reason.WAITING_FOR_CAPACITY, Reason.FEATURE_OFF})


def finalize(draft: Draft, drive: scopes.Drive) -> None:
    """Move the steps under finally; end the run once they are done."""
    _cut_short(draft)
    if scopes.move(draft, FINALLY, drive) in (scopes.State.MOVING, scopes.State.SUSPENDED):
        return
    status = draft.status
    phase = status.outcome or RunPhase.FAILED
    reason = Reason(status.reason or Reason.COMPLETED)
    message = status.message or ""
    failed = [step.name for step in draft.shape.of[FINALLY] if draft.record(step).phase is StepPhase.FAILED]
    if failed:
        message = f"{message} Of the steps under finally, failed: {', '.join(failed)}.".strip()
        if phase is RunPhase.SUCCEEDED:
            phase, reason = RunPhase.FAILED, Reason.FINALLY_FAILED
    draft.end(phase, status.verdict or Verdict.INCONCLUSIVE, reason, message)


def _cut_short(draft: Draft) -> None:
    """Give up what could go on for ever: the run's time can't end it, and a cancel only leads here.

    It would hold up the run's object, its target, and the deletion of its namespace.
    """
    began, whole = _began(draft), max(draft.plan.timeout, DEFAULT_TIMEOUT)
    # Whoever cancels or deletes a run is there, and waits for it.
    waits_until = began + (DEFAULT_TIMEOUT if draft.run.control.cancel else whole)
    for step in draft.shape.below(FINALLY):
        record = draft.record(step)
        started = step.kind is Kind.WORKFLOW and record.intent is not None and not record.phase.final
        waits = record.phase is StepPhase.PENDING and record.reason in _WAITS and not draft.held
        if started and _over(draft, began + whole):
            subflows.halt(draft, step)
        elif waits and _over(draft, waits_until):
            draft.fail(
                step, Reason(record.reason or Reason.WAITING_FOR_CAPACITY), f"in vain: {record.message or ''}"
            )


def _began(draft: Draft) -> datetime:
    """Return when all but the steps under finally was over, as far as is stored."""
    status, last = draft.status, {step.name for step in draft.shape.below(FINALLY)}
    ends = [record.finished_at for name, record in draft.steps.items() if name not in last]
    times = [status.started_at, status.verify_since, status.rollback_since, *ends]
    return max((time for time in times if time is not None), default=draft.now)


def _over(draft: Draft, until: datetime) -> bool:
    """Whether a time has come; else it is waited for."""
    if draft.now < until:
        draft.wakes.append(until)
    return draft.now >= until
