"""After a 429 with Retry-After nothing is sent before its time, and only that account is held up."""

from __future__ import annotations

import pytest

from kubernaut.cluster.breaker import Breaker
from kubernaut.core.errors import TooManyRequests, Unavailable, UnknownOutcome
from kubernaut.core.ports import ObjectRef
from kubernaut.metrics import REGISTRY
from unit.cluster.wire import Reply, Request, Reset, connected, status

REF = ObjectRef("v1", "ConfigMap", "shop", "c")
POD = ObjectRef("v1", "Pod", "shop", "p")
BUSY = status(429, "TooManyRequests")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def busy_for_shop(request: Request) -> Reply:
    if "impersonate-user" in request.headers:
        return Reply(BUSY.code, BUSY.body, {"Retry-After": "3"})
    return Reply(200, {"metadata": {}})


async def test_nothing_is_sent_before_the_time_the_server_asked_for() -> None:
    clock = Clock()
    async with connected(busy_for_shop, monotonic=clock) as (wire, connection):
        account = connection.as_account("shop", "repair")
        with pytest.raises(TooManyRequests) as first:
            await account.get(REF)
        assert first.value.retry_after == 3.0
        with pytest.raises(TooManyRequests, match="was not sent") as second:
            await account.get(REF)
        assert second.value.retry_after == pytest.approx(3.0)
        assert len(wire.requests) == 1
        await connection.own().get(REF)
        clock.now += 3.1
        with pytest.raises(TooManyRequests):
            await account.get(REF)
        assert len(wire.requests) == 3


async def test_a_disruption_budget_holds_up_no_other_request() -> None:
    def script(request: Request) -> Reply:
        refused = request.path.endswith("/eviction")
        return Reply(BUSY.code, BUSY.body, {"Retry-After": "10"}) if refused else Reply(200, {"metadata": {}})

    async with connected(script) as (_, connection):
        account = connection.as_account("shop", "repair")
        for _ in range(12):
            with pytest.raises(TooManyRequests):
                await account.evict(POD, uid="u")
        await account.get(REF)
        assert not connection.breaker.is_open


async def test_a_server_that_is_too_busy_for_anything_opens_the_breaker() -> None:
    async with connected(lambda _: BUSY) as (wire, connection):
        for _ in range(20):
            with pytest.raises((TooManyRequests, Unavailable)):
                await connection.own().get(REF)
        assert connection.breaker.is_open
        assert len(wire.requests) == 10


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"kubernaut_rest_client_{name}", labels) or 0


async def test_answers_and_what_was_not_sent_are_counted() -> None:
    def counts() -> tuple[float, ...]:
        return (
            counted("requests_total", method="GET", code="429"),
            counted("requests_total", method="GET", code="200"),
            counted("withheld_requests_total", reason="throttled"),
            counted("request_duration_seconds_count", method="GET"),
        )

    before = counts()
    async with connected(busy_for_shop, monotonic=Clock()) as (_, connection):
        for _ in range(3):
            with pytest.raises(TooManyRequests):
                await connection.as_account("shop", "repair").get(REF)
        await connection.own().get(REF)
    assert [now - was for now, was in zip(counts(), before, strict=True)] == [1, 1, 2, 2]


async def test_requests_without_an_answer_and_behind_an_open_breaker_are_counted() -> None:
    def counts() -> tuple[float, float]:
        lost = counted("requests_total", method="DELETE", code="error")
        return lost, counted("withheld_requests_total", reason="breaker")

    before = counts()
    async with connected(lambda _: Reset(), breaker=Breaker("x", fail_max=2)) as (_, connection):
        for _ in range(5):
            with pytest.raises((UnknownOutcome, Unavailable)):
                await connection.own().delete(POD, uid="u")
    assert [now - was for now, was in zip(counts(), before, strict=True)] == [2, 3]
