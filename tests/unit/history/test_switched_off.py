"""The history while it is switched off: everything waits, and nothing is asked of Postgres or the API server."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from kubernaut.core.errors import Unavailable
from kubernaut.history.database import Database
from kubernaut.history.mirror import Mirror
from kubernaut.history.records import RunKey, RunRecord

pytestmark = pytest.mark.looptime


async def test_runs_wait_until_it_is_switched_on_again() -> None:
    on, loaded, loop = False, asyncio.Event(), asyncio.get_running_loop()

    async def load(keys: Sequence[RunKey]) -> list[RunRecord | None]:
        loaded.set()
        raise Unavailable("far enough")

    async def told(uids: Sequence[str]) -> None:
        raise AssertionError("nothing was stored")

    mirror = Mirror(
        Database("postgresql://nobody@localhost/nowhere"), load, told, enabled=lambda: on, monotonic=loop.time
    )
    task = asyncio.create_task(mirror.run())
    assert mirror.offer(RunKey("uid", "shop", "run"))
    await asyncio.sleep(3600)
    assert not loaded.is_set()
    assert mirror.backlog == 1
    assert mirror.lag == 3600
    on = True
    await asyncio.wait_for(loaded.wait(), 5)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
