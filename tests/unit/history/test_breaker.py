"""The breaker: opens after failures in a row, lets one probe through, closes when it succeeds."""

from __future__ import annotations

import asyncio

import pytest

from kubernaut.history.breaker import Breaker
from kubernaut.history.errors import HistoryError, HistoryUnavailable, Rejected


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker("Postgres", failures=3, pause=5.0, monotonic=clock)


async def fail(breaker: Breaker, error: BaseException | None = None) -> None:
    error = error or HistoryUnavailable("down")
    with pytest.raises(type(error)):
        async with breaker.guard():
            raise error


async def work(breaker: Breaker) -> None:
    async with breaker.guard():
        pass


async def test_it_opens_after_failures_in_a_row_and_refuses_without_trying(breaker: Breaker) -> None:
    for _ in range(2):
        await fail(breaker)
    await work(breaker)
    for _ in range(3):
        assert breaker.state == "closed"
        await fail(breaker)
    assert breaker.state == "open"
    with pytest.raises(HistoryUnavailable, match=r"Postgres failed several times.*5\.0 s"):
        await work(breaker)


async def test_a_probe_that_succeeds_closes_it(breaker: Breaker, clock: Clock) -> None:
    for _ in range(3):
        await fail(breaker)
    clock.now += 4.0
    assert breaker.opens_in == 1.0
    clock.now += 1.0
    assert breaker.opens_in == 0.0
    await work(breaker)
    assert breaker.state == "closed"


async def test_a_probe_that_fails_opens_it_for_another_pause(breaker: Breaker, clock: Clock) -> None:
    for _ in range(3):
        await fail(breaker)
    clock.now += 5.0
    await fail(breaker)
    assert (breaker.state, breaker.opens_in) == ("open", 5.0)


async def test_only_one_probe_is_let_through(breaker: Breaker, clock: Clock) -> None:
    for _ in range(3):
        await fail(breaker)
    clock.now += 5.0
    async with breaker.guard():
        assert breaker.state == "half-open"
        with pytest.raises(HistoryUnavailable):
            await work(breaker)
    assert breaker.state == "closed"


async def test_a_probe_that_is_cancelled_lets_another_one_through(breaker: Breaker, clock: Clock) -> None:
    for _ in range(3):
        await fail(breaker)
    clock.now += 5.0
    await fail(breaker, asyncio.CancelledError())
    assert breaker.state == "half-open"
    await work(breaker)
    assert breaker.state == "closed"


async def test_refused_data_shows_that_the_service_is_there(breaker: Breaker) -> None:
    for _ in range(10):
        await fail(breaker)
        await fail(breaker)
        await fail(breaker, Rejected("bad row"))
    assert breaker.state == "closed"


async def test_every_kind_of_trouble_counts(breaker: Breaker) -> None:
    for _ in range(3):
        await fail(breaker, HistoryError("no rights"))
    assert breaker.state == "open"


async def test_a_call_that_began_before_it_opened_does_not_close_it(breaker: Breaker) -> None:
    async with breaker.guard():
        for _ in range(3):
            await fail(breaker)
    assert breaker.state == "open"
