"""Says of metrics of verify where their last answer may speak of the time before the act."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from kubernaut.api.duration import format_duration, parse_duration
from kubernaut.api.workflow import Verify
from kubernaut.cli.lint.documents import Document

# A range, as in [5m], or the first part of a subquery's, as in [1h:1m].
_RANGE: Final = re.compile(r"\[\s*((?:[0-9]+(?:ms|s|m|h))+)\s*(?::[^\]]*)?\]")


def short_windows(document: Document, known: str, verify: Verify | None) -> Iterator[str]:
    """Yield a sentence for each metric whose query looks back further than the window is long."""
    for at, metric in enumerate(verify.metrics if verify is not None else ()):
        back = _longest(metric.query)
        assert verify is not None
        if back <= verify.stabilization:
            continue
        where = f"{document.source}:{document.line(f'spec.verify.metrics[{at}].query')}"
        told = format_duration(back)
        yield (
            f"{where}: {known}: metric {metric.name} looks back {told}, and stabilization is "
            f"{format_duration(verify.stabilization)}: what it says last may be of the time before the act; give "
            f"stabilization {told} and two scrape intervals"
        )


def _longest(query: str) -> timedelta:
    found = [_duration(text) for text in _RANGE.findall(query)]
    return max(found, default=timedelta())


def _duration(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError:
        return timedelta()
