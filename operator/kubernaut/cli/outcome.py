"""What a run's end means for the exit code."""

from __future__ import annotations

from kubernaut.api.execution import RunPhase, Verdict, WorkflowExecution
from kubernaut.cli.errors import Exit

_BAD = (Verdict.NOT_FIXED, Verdict.ROLLED_BACK, Verdict.DECLINED)


def finished(run: WorkflowExecution) -> bool:
    """Return whether the run is at its end."""
    return run.status is not None and run.status.phase.final


def exit_code(run: WorkflowExecution) -> Exit:
    """Return OK where the run succeeded and its verdict does not say that it did not help."""
    if run.status is None or run.status.phase is not RunPhase.SUCCEEDED or run.status.verdict in _BAD:
        return Exit.RUN_FAILED
    return Exit.OK
