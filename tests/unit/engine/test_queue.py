"""The queue of keys: each at most once in it, at most one worker on it, delays that events overtake."""

from __future__ import annotations

import asyncio

import pytest

from kubernaut.engine.queue import KeyedQueue, Rank

pytestmark = pytest.mark.looptime


async def test_a_key_added_many_times_is_looked_at_once() -> None:
    queue = KeyedQueue[str]()
    for _ in range(5):
        queue.add("a")
    queue.add("b")
    assert [await queue.get(), await queue.get()] == ["a", "b"]
    assert len(queue) == 0


async def test_a_key_that_changes_while_a_worker_has_it_is_looked_at_again_afterwards() -> None:
    queue = KeyedQueue[str]()
    queue.add("a")
    assert await queue.get() == "a"
    queue.add("a")
    assert len(queue) == 0
    queue.done("a")
    assert await queue.get() == "a"


async def test_two_workers_never_have_the_same_key() -> None:
    queue = KeyedQueue[int]()
    busy: set[int] = set()
    overlaps = 0

    async def work() -> None:
        nonlocal overlaps
        while (key := await queue.get()) is not None:
            overlaps += key in busy
            busy.add(key)
            await asyncio.sleep(0.01)
            busy.discard(key)
            queue.done(key)

    workers = [asyncio.create_task(work()) for _ in range(4)]
    for round_ in range(50):
        queue.add(round_ % 3)
        await asyncio.sleep(0.003)
    await asyncio.sleep(1)
    queue.close()
    await asyncio.gather(*workers)
    assert overlaps == 0


async def test_a_delayed_key_comes_at_its_time() -> None:
    queue = KeyedQueue[str]()
    loop = asyncio.get_running_loop()
    began = loop.time()
    queue.add_after("late", 5)
    queue.add_after("soon", 2)
    assert await queue.get() == "soon"
    assert loop.time() - began == pytest.approx(2, abs=0.01)
    assert await queue.get() == "late"
    assert loop.time() - began == pytest.approx(5, abs=0.01)


async def test_the_earliest_of_several_times_counts() -> None:
    queue = KeyedQueue[str]()
    loop = asyncio.get_running_loop()
    began = loop.time()
    queue.add_after("a", 9)
    queue.add_after("a", 3)
    queue.add_after("a", 6)
    assert await queue.get() == "a"
    assert loop.time() - began == pytest.approx(3, abs=0.01)
    queue.done("a")
    assert queue.delayed == 0


async def test_an_event_overtakes_a_delay_and_the_delay_is_forgotten() -> None:
    queue = KeyedQueue[str]()
    queue.add_after("a", 5)
    queue.add("a")
    assert await queue.get() == "a"
    queue.done("a")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.get(), 10)


async def test_no_delay_means_now() -> None:
    queue = KeyedQueue[str]()
    queue.add_after("a", 0)
    assert await asyncio.wait_for(queue.get(), 0.01) == "a"


async def test_closing_lets_every_worker_go_at_once_and_no_key_is_taken_any_more() -> None:
    queue = KeyedQueue[str]()
    waiting = [asyncio.create_task(queue.get()) for _ in range(3)]
    await asyncio.sleep(0)
    queue.add("a")
    queue.add_after("never", 100)
    queue.close()
    assert await asyncio.gather(*waiting) == [None, None, None]
    queue.add("b")
    assert await queue.get() is None


async def test_a_worker_that_gives_up_waiting_does_not_swallow_a_key() -> None:
    queue = KeyedQueue[str]()
    first = asyncio.create_task(queue.get())
    second = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    first.cancel()
    assert await asyncio.wait_for(second, 1) == "a"


async def test_a_busy_namespace_does_not_hold_up_the_single_key_of_another() -> None:
    queue = KeyedQueue[str](lambda key: Rank(0, key.split("/")[0]))
    for number in range(1000):
        queue.add(f"many/{number}")
    queue.add("one/0")
    assert [await queue.get() for _ in range(2)] == ["many/0", "one/0"]


async def test_higher_priorities_go_first_and_say_how_long_they_waited() -> None:
    waited: list[tuple[int, float]] = []
    queue = KeyedQueue[str](
        lambda key: Rank(int(key), ""), lambda priority, seconds: waited.append((priority, seconds))
    )
    queue.add("1")
    await asyncio.sleep(2)
    queue.add("7")
    assert [await queue.get(), await queue.get()] == ["7", "1"]
    assert [(priority, round(seconds)) for priority, seconds in waited] == [(7, 0), (1, 2)]


async def test_of_many_workers_that_gave_up_waiting_none_swallows_a_key() -> None:
    queue = KeyedQueue[str]()
    waiting = [asyncio.create_task(queue.get()) for _ in range(10)]
    await asyncio.sleep(0)
    for task in waiting[:9]:
        task.cancel()
    await asyncio.sleep(0)
    queue.add("a")
    assert await asyncio.wait_for(waiting[9], 1) == "a"


async def test_delays_that_events_overtake_do_not_pile_up() -> None:
    queue = KeyedQueue[str]()
    for _ in range(1000):
        queue.add_after("a", 3600)
        queue.add("a")
        assert await queue.get() == "a"
        queue.done("a")
    assert len(queue._delayed) < 200
