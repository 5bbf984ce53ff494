"""When a run is expected to end, with how sure that is."""

from __future__ import annotations

from datetime import datetime

from kubernaut.api.execution import WorkflowExecution

_UNITS = ((120, 1, "s"), (7200, 60, "min"))


def expected(run: WorkflowExecution, at: datetime) -> str:
    """Return ``about 40 s left (20-75 s), from 57 runs``; nothing where the operator says nothing, or the run ended.

    The interval holds eight of ten earlier runs: their 10th to their 90th percentile.
    """
    eta = run.status.eta if run.status else None
    if eta is None or run.status is None or run.status.phase.final:
        return ""
    basis = f"from {eta.runs} run{'' if eta.runs == 1 else 's'}"
    left, low, high = ((time - at).total_seconds() for time in (eta.expected, eta.earliest, eta.latest))
    if high <= 0:
        return f"takes longer than nine of ten earlier runs, {basis}"
    size, unit = next(((size, unit) for top, size, unit in _UNITS if high <= top), (3600, "h"))
    low, high = max(0, round(max(0.0, low) / size)), max(1, round(high / size))
    if left <= 0:
        return f"any moment now (at most {high} {unit}), {basis}"
    return f"about {max(1, round(left / size))} {unit} left ({low}-{high} {unit}), {basis}"
