"""What must go on for ever goes on after an error that nobody thought of."""

from __future__ import annotations

import asyncio
import logging

import pytest

from kubernaut.engine.live import LiveRun
from kubernaut.engine.unending import AGAIN, unending
from unit.engine.test_engine import Bench
from unit.engine.world import World, scale

pytestmark = pytest.mark.looptime


async def test_a_loop_that_failed_begins_anew_and_the_log_says_which(
    caplog: pytest.LogCaptureFixture,
) -> None:
    begun: list[float] = []

    async def work() -> None:
        begun.append(asyncio.get_running_loop().time())
        if len(begun) < 3:
            raise KeyError("metadata")
        await asyncio.Event().wait()

    with caplog.at_level(logging.ERROR):
        task = asyncio.create_task(unending("counting sheep", work))
        await asyncio.sleep(10 * AGAIN)
    assert begun == pytest.approx([0, AGAIN, 2 * AGAIN])
    assert [record.getMessage() for record in caplog.records] == [
        "counting sheep failed unexpectedly; it begins anew"
    ] * 2
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_task_that_others_share_and_that_is_cancelled_ends_no_loop(
    caplog: pytest.LogCaptureFixture,
) -> None:
    begun: list[float] = []

    async def work() -> None:
        begun.append(asyncio.get_running_loop().time())
        await cancelled()

    with caplog.at_level(logging.ERROR):
        task = asyncio.create_task(unending("counting sheep", work))
        await asyncio.sleep(1.5 * AGAIN)
    assert begun == pytest.approx([0, AGAIN])
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_task_that_others_share_and_that_is_cancelled_ends_no_worker(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(World())
    bench.world.workflow(scale("one", 2))
    bench.world.run()
    runs = bench.engine._parts.runs
    reconcile, times = runs.reconcile, [0]

    async def interrupted(live: LiveRun) -> float | None:
        times[0] += 1
        if times[0] <= 2 * len(bench.engine._workers):
            await cancelled()
        return await reconcile(live)

    monkeypatch.setattr(runs, "reconcile", interrupted)
    async with bench.running():
        bench.tell()
        await asyncio.sleep(600)
        assert not any(worker.done() for worker in bench.engine._workers)
        assert bench.world.stored()["phase"] == "Succeeded"
    assert "was cancelled" in caplog.text


async def cancelled() -> None:
    """Wait for a task that somebody else cancels."""
    shared = asyncio.create_task(asyncio.sleep(3600))
    asyncio.get_running_loop().call_soon(shared.cancel)
    await asyncio.shield(shared)
