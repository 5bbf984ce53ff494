"""Asking Prometheus for metrics on which verdicts rest, beside all else: no run, and no worker, waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime

from kubernaut.api.reasons import Reason
from kubernaut.core.run import MetricSeen
from kubernaut.engine.keys import RunKey
from kubernaut.engine.live import LiveRun
from kubernaut.engine.ports import MetricSource


class NoMetrics:
    """There is nobody to ask for metrics."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock

    async def ask(self, query: str, namespace: str) -> MetricSeen:
        """Say so."""
        told = "the operator was told of no Prometheus"
        return MetricSeen(self._clock(), reason=Reason.METRIC_NOT_ASKED, told=told, again=False)


class Metrics:
    """Has the queries of runs answered."""

    def __init__(self, source: MetricSource, wake: Callable[[RunKey], None]) -> None:
        self._source = source
        self._wake = wake

    def ask(self, live: LiveRun, queries: Iterable[str]) -> None:
        """Have queries answered, each by one request at a time; the run is woken by each answer."""
        for query in queries:
            if query not in live.asking:
                live.asking[query] = asyncio.create_task(self._answer(live, query))

    async def _answer(self, live: LiveRun, query: str) -> None:
        try:
            live.answers[query] = await self._source.ask(query, live.key.namespace)
        finally:
            live.asking.pop(query, None)
        live.waiting.set()
        self._wake(live.key)


def forget(live: LiveRun) -> None:
    """Stop asking for a run that is over, or another's."""
    for task in live.asking.values():
        task.cancel()
    live.asking.clear()
    live.answers.clear()
