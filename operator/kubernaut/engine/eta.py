"""When a run will be over, from how long earlier runs of its Workflow took; nothing ever waits for the answer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple, Protocol

from kubernaut.api.execution import Eta
from kubernaut.engine.live import LiveRun
from kubernaut.history.errors import HistoryError
from kubernaut.history.pages import Durations

log = logging.getLogger(__name__)
# The history can't be asked by everybody at once: it has few connections, and the mirror needs them.
_AT_ONCE = 2


class Source(Protocol):
    """Where the durations of earlier runs are from."""

    async def durations(self, namespace: str, workflow: str, content_hash: str) -> Durations | None:
        """Return how long earlier runs that ended well took; None where there are too few."""
        ...


class Content(NamedTuple):
    """A Workflow with one content."""

    namespace: str
    workflow: str
    content_hash: str


class Estimator:
    """Remembers durations for a while and asks for what is missing, in the background.

    Args:
        source: the history.
        enabled: whether estimates are switched on.
        fresh_for: how long an answer, also the one that there is none, is good for.
        most: how many answers are kept; the one that was asked for longest ago goes first.
        monotonic: seconds.
    """

    def __init__(
        self,
        source: Source,
        *,
        enabled: Callable[[], bool] = lambda: True,
        fresh_for: timedelta = timedelta(minutes=1),
        most: int = 1_000,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._enabled = enabled
        self._fresh = fresh_for.total_seconds()
        self._most = most
        self._monotonic = monotonic
        self._known: OrderedDict[Content, tuple[float, Durations | None]] = OrderedDict()
        self._asking: dict[Content, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(_AT_ONCE)

    def of(self, live: LiveRun) -> Eta | None:
        """Return the estimate for a claimed run as far as it is known now; an old one is renewed meanwhile.

        Dry runs and runs that repeat a part of another are not comparable with others: none is given.
        """
        status, spec = live.status, live.execution.spec
        if status.workflow is None or status.started_at is None or not self._enabled():
            return None
        if spec.dry_run or spec.retry_from is not None:
            return None
        content = Content(live.key.namespace, status.workflow.name, status.workflow.content_hash)
        asked, durations = self._known.get(content, (float("-inf"), None))
        if self._monotonic() - asked >= self._fresh:
            self._ask(content)
        if durations is None:
            return None
        began = status.started_at
        return Eta(
            expected=began + timedelta(seconds=durations.median_seconds),
            earliest=began + timedelta(seconds=durations.p10_seconds),
            latest=began + timedelta(seconds=durations.p90_seconds),
            runs=durations.runs,
        )

    async def close(self) -> None:
        """Ask for nothing more."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ask(self, content: Content) -> None:
        if content in self._asking or len(self._asking) >= self._most:
            return
        task = self._asking[content] = asyncio.create_task(self._fetch(content))
        task.add_done_callback(lambda _: self._asking.pop(content, None))

    async def _fetch(self, content: Content) -> None:
        durations: Durations | None
        try:
            async with self._slots:
                durations = await self._source.durations(*content)
        except HistoryError as error:
            log.debug("there is no estimate for %s/%s: %s", content.namespace, content.workflow, error)
            _, durations = self._known.get(content, (0.0, None))
        self._known[content] = (self._monotonic(), durations)
        self._known.move_to_end(content)
        if len(self._known) > self._most:
            self._known.popitem(last=False)
