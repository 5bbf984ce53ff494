from __future__ import annotations

import asyncio
import time

from kubernaut.engine import turns
from kubernaut.engine.turns import turn

PIECE = turns.SHORT / 4


def work() -> None:
    """Keep the processor busy for a piece's time."""
    until = time.monotonic() + PIECE
    while time.monotonic() < until:
        pass


async def test_many_tasks_that_can_go_on_at_once_leave_time_for_others_between_them() -> None:
    done = 0

    async def worker() -> None:
        nonlocal done
        await turn()
        work()
        done += 1

    workers = [asyncio.create_task(worker()) for _ in range(40)]
    seen: list[int] = []
    while not all(task.done() for task in workers):
        await asyncio.sleep(0)
        seen.append(done)
    steps = [late - soon for soon, late in zip([0, *seen], seen, strict=False)]
    assert done == 40
    assert max(steps) <= turns.SHORT / PIECE + 1, "no turn was much longer than it should be"


async def test_where_a_turn_is_short_nobody_waits() -> None:
    order: list[str] = []

    async def first() -> None:
        await turn()
        order.append("first")

    task = asyncio.create_task(first())
    await asyncio.sleep(0)
    order.append("second")
    await task
    assert order == ["first", "second"]


def test_a_loop_that_ended_in_the_middle_of_a_turn_keeps_no_other_waiting() -> None:
    async def long_turn() -> None:
        await turn()
        for _ in range(5):
            work()

    for _ in range(2):
        asyncio.run(asyncio.wait_for(long_turn(), 5))
