"""What must go on for ever goes on after an error that nobody thought of."""

from __future__ import annotations

import asyncio
import logging

import pytest

from kubernaut.engine.unending import AGAIN, unending

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
