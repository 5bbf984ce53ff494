"""Which Workflow to use for a pattern: the one that is surest to help, not the luckiest."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median

from kubernaut.api.pattern import Recommendation
from kubernaut.patterns.statistics import success_rate

LEAST_RUNS = 3


@dataclass
class _Tried:
    verdicts: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def recommend(
    runs: Iterable[tuple[str, str, float]], *, least_runs: int = LEAST_RUNS
) -> Recommendation | None:
    """Return the Workflow with the best lower Wilson bound among those with enough concluded runs.

    Of equals the faster one (median duration of its runs), then the first by name. None where no Workflow
    has enough runs, or none has ever helped.

    Args:
        runs: (workflow, verdict, duration in seconds or a negative number where unknown).
        least_runs: how many concluded runs a Workflow needs.
    """
    tried: dict[str, _Tried] = {}
    for workflow, verdict, seconds in runs:
        entry = tried.setdefault(workflow, _Tried())
        entry.verdicts.append(verdict)
        if seconds >= 0:
            entry.seconds.append(seconds)
    candidates = []
    for workflow, entry in tried.items():
        success = success_rate(entry.verdicts)
        if success is not None and success.concluded >= least_runs and success.remediated:
            typical = round(median(entry.seconds), 3) if entry.seconds else math.inf
            candidates.append((-success.interval.lower, typical, workflow, success, len(entry.verdicts)))
    if not candidates:
        return None
    _, typical, workflow, success, count = min(candidates, key=lambda c: c[:3])
    told = typical if math.isfinite(typical) else 0.0
    return Recommendation(workflow=workflow, success=success, runs=count, median_seconds=told)
