"""The mirror while another one probes Postgres: it has not asked itself, and waits no longer for that."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

import pytest

from kubernaut.history.breaker import Breaker
from kubernaut.history.database import Database
from kubernaut.history.errors import BreakerOpen, HistoryUnavailable
from kubernaut.history.mirror import Mirror
from kubernaut.history.records import RunKey, RunRecord

pytestmark = pytest.mark.looptime


async def test_it_goes_on_as_soon_as_anothers_probe_has_shown_that_postgres_is_back() -> None:
    loop, tried, refused = asyncio.get_running_loop(), asyncio.Event(), 0
    breaker = Breaker("Postgres", failures=1, pause=5.0, monotonic=loop.time)

    async def load(keys: Sequence[RunKey]) -> list[RunRecord | None]:
        nonlocal refused
        try:
            async with breaker.guard():
                tried.set()
                raise HistoryUnavailable("far enough")
        except BreakerOpen:
            refused += 1
            raise

    async def told(uids: Sequence[str]) -> None:
        raise AssertionError("nothing was stored")

    with contextlib.suppress(HistoryUnavailable):
        async with breaker.guard():
            raise HistoryUnavailable("gone")
    await asyncio.sleep(5)
    database = Database("postgresql://nobody@localhost/nowhere", breaker=breaker)
    mirror = Mirror(database, load, told, monotonic=loop.time)
    async with breaker.guard():
        task = asyncio.create_task(mirror.run())
        assert mirror.offer(RunKey("uid", "shop", "run"))
        await asyncio.sleep(60)
        assert refused > 100
        assert not tried.is_set()
    await asyncio.wait_for(tried.wait(), 0.5)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
