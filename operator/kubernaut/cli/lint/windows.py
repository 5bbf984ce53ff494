"""Says of metrics of verify where their last answer may speak of the time before the act."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from kubernaut.api.duration import format_duration
from kubernaut.api.workflow import Verify
from kubernaut.cli.lint.documents import Document

# A range, as in [5m], or the first part of a subquery's, as in [1d:1m].
_RANGE: Final = re.compile(r"\[\s*((?:[0-9]+(?:ms|[smhdwy]))+)\s*(?::[^\]]*)?\]")
_PART: Final = re.compile(r"([0-9]+)(ms|[smhdwy])")
#: seconds of each unit of PromQL, whose days and years are of one length ("Time durations")
_SECONDS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "y": 31_536_000}
_LONGEST: Final = timedelta(days=100 * 365)


def short_windows(document: Document, known: str, verify: Verify | None) -> Iterator[str]:
    """Yield a sentence for each metric whose query looks back further than the window is long."""
    if verify is None:
        return
    window = format_duration(verify.stabilization)
    for at, metric in enumerate(verify.metrics):
        back = _longest(metric.query)
        if back <= verify.stabilization:
            continue
        where = f"{document.source}:{document.line(f'spec.verify.metrics[{at}].query')}"
        told = format_duration(back)
        yield (
            f"{where}: {known}: metric {metric.name} looks back {told}, and stabilization is {window}: what it says "
            f"last may be of the time before the act; give stabilization {told} and two scrape intervals"
        )


def _longest(query: str) -> timedelta:
    return max(map(_duration, _RANGE.findall(query)), default=timedelta())


def _duration(text: str) -> timedelta:
    seconds = sum(int(count) * _SECONDS[unit] for count, unit in _PART.findall(text))
    return timedelta(seconds=min(seconds, _LONGEST.total_seconds()))
