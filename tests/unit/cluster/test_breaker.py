from __future__ import annotations

import asyncio

import pytest

from kubernaut.cluster.breaker import Breaker
from kubernaut.core.errors import Unavailable


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def make(clock: Clock, seen: list[str]) -> Breaker:
    return Breaker("the API server", fail_max=3, probe_every=1.0, monotonic=clock, on_change=seen.append)


def admitted(breaker: Breaker) -> bool:
    try:
        breaker.admit()
    except Unavailable:
        return False
    return True


def test_opens_after_failures_in_a_row_and_lets_one_trial_a_second_through() -> None:
    clock, seen = Clock(), list[str]()
    breaker = make(clock, seen)
    for _ in range(3):
        assert admitted(breaker)
        breaker.failed()
    assert breaker.is_open
    assert not admitted(breaker)
    trials = 0
    for _ in range(1000):
        clock.now += 0.01
        if admitted(breaker):
            trials += 1
            breaker.failed()
    assert 9 <= trials <= 10
    assert seen[0] == "open"


def test_a_trial_under_way_admits_no_other() -> None:
    clock = Clock()
    breaker = make(clock, [])
    for _ in range(3):
        breaker.failed()
    clock.now += 1.1
    assert admitted(breaker)
    assert not admitted(breaker)
    clock.now += 1.1
    assert admitted(breaker), "a trial that never ends must not keep the breaker shut"


def test_any_answer_closes_it() -> None:
    clock, seen = Clock(), list[str]()
    breaker = make(clock, seen)
    for _ in range(3):
        breaker.failed()
    clock.now += 1.1
    breaker.admit()
    breaker.succeeded()
    assert breaker.state == "closed"
    assert admitted(breaker)
    assert seen == ["open", "half-open", "closed"]


def test_a_success_between_failures_keeps_it_closed() -> None:
    breaker = make(Clock(), [])
    for _ in range(10):
        breaker.failed()
        breaker.failed()
        breaker.succeeded()
    assert not breaker.is_open


def test_late_failures_of_requests_that_were_under_way_do_not_postpone_the_trial() -> None:
    clock = Clock()
    breaker = make(clock, [])
    for _ in range(3):
        breaker.failed()
    clock.now += 0.9
    for _ in range(50):
        breaker.failed()
    clock.now += 0.2
    assert admitted(breaker)


def test_says_when_to_try_again() -> None:
    clock = Clock()
    breaker = make(clock, [])
    for _ in range(3):
        breaker.failed()
    clock.now += 0.25
    with pytest.raises(Unavailable, match="the API server does not answer") as caught:
        breaker.admit()
    assert caught.value.retry_after == pytest.approx(0.75)


def test_waits_as_long_as_the_service_asks() -> None:
    clock = Clock()
    breaker = make(clock, [])
    for _ in range(3):
        breaker.failed(7.0)
    clock.now += 6.9
    assert not admitted(breaker)
    clock.now += 0.2
    assert admitted(breaker)


async def test_who_waits_goes_on_when_another_request_finds_the_service_back() -> None:
    breaker = make(Clock(), [])
    for _ in range(3):
        breaker.failed(1000.0)
    waiting = [asyncio.create_task(breaker.admitted()) for _ in range(3)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    breaker.succeeded()
    async with asyncio.timeout(5):
        await asyncio.gather(*waiting)
