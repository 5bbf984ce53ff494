"""The steps under finally: run once everything else is over, however it went."""

from __future__ import annotations

from kubernaut.api.execution import RunPhase, StepPhase, Verdict
from kubernaut.api.reasons import Reason
from kubernaut.core import scopes
from kubernaut.core.draft import Draft
from kubernaut.core.plan import FINALLY


def finalize(draft: Draft, drive: scopes.Drive) -> None:
    """Move the steps under finally; end the run once they are done."""
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
