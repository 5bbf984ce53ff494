"""An operator that is told to stop while it still waits for the API server does, and does not wait to be killed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from kubernaut.app import Application
from kubernaut.config import Settings
from kubernaut.core.marker import Signer
from kubernaut.loop import done_before
from kubernaut.server.health import HealthServer
from unit.cluster.wire import Reply, Request, connected, status


async def test_a_start_that_waits_for_the_api_server_is_broken_off(tmp_path: Path) -> None:
    asked, stop = asyncio.Event(), asyncio.Event()

    def script(request: Request) -> Reply:
        if "/leases" in request.path:
            asked.set()
        return status(503, "ServiceUnavailable")

    async with connected(script) as (_, connection):
        health = HealthServer("127.0.0.1", 0, lambda: 0.0, lambda: None, lambda: None, lambda: "ok")
        settings = Settings(state_dir=tmp_path)
        running = asyncio.create_task(Application(settings, connection, Signer(b"k" * 32), health).run(stop))
        async with asyncio.timeout(10):
            await asked.wait()
            assert not running.done()
            stop.set()
            await running


async def test_work_that_ends_first_is_done_and_what_it_raises_is_raised() -> None:
    async def work(error: Exception | None) -> None:
        if error is not None:
            raise error

    assert await done_before(work(None), asyncio.Event())
    with pytest.raises(KeyError):
        await done_before(work(KeyError("x")), asyncio.Event())
