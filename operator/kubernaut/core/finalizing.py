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
    limit = _limit(draft)
    if draft.now >= limit:
        _cut_short(draft)
    else:
        draft.wakes.append(limit)
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


def _limit(draft: Draft) -> datetime:
    """Return until when steps may wait for what has no time of its own: the run's time is over, and can't end them."""
    status, last = draft.status, {step.name for step in draft.shape.below(FINALLY)}
    ends = [record.finished_at for name, record in draft.steps.items() if name not in last]
    times = [status.started_at, status.verify_since, status.rollback_since, *ends]
    since = max((time for time in times if time is not None), default=draft.now)
    return since + max(draft.plan.timeout, DEFAULT_TIMEOUT)


def _cut_short(draft: Draft) -> None:
    """Give up what else could go on for ever, and hold up the run's deletion: its object, its target, its namespace."""
    for step in draft.shape.below(FINALLY):
        record = draft.record(step)
        if step.kind is Kind.WORKFLOW and record.intent is not None and not record.phase.final:
            subflows.halt(draft, step)
        elif record.phase is StepPhase.PENDING and record.reason in _WAITS and not draft.held:
            draft.fail(step, Reason(record.reason), f"in vain: {record.message or ''}")
