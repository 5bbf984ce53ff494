"""A failed reconciliation is tried again later each time, and soon where only the API server was away."""

from __future__ import annotations

import pytest

from kubernaut.core.errors import Forbidden, TooManyRequests, Unavailable, UnknownOutcome
from kubernaut.engine.backoff import LONGEST, LONGEST_AWAY, Backoff


def backoff() -> Backoff[str]:
    return Backoff(spread=lambda least, most: most)


def test_it_grows_to_a_minute_and_begins_anew_after_success() -> None:
    waits = backoff()
    assert [waits.failed("a", ValueError()) for _ in range(8)] == [1, 2, 4, 8, 16, 32, LONGEST, LONGEST]
    assert waits.failed("b", Forbidden("no", status=403)) == 1
    waits.succeeded("a")
    assert waits.failed("a", ValueError()) == 1


@pytest.mark.parametrize("kind", [Unavailable, TooManyRequests, UnknownOutcome])
def test_after_an_outage_of_minutes_nothing_waits_for_more_than_seconds(kind: type[Unavailable]) -> None:
    waits = backoff()
    delays = [waits.failed("a", kind("away")) for _ in range(50)]
    assert max(delays) == LONGEST_AWAY


def test_it_waits_at_least_as_long_as_the_server_asks() -> None:
    assert backoff().failed("a", TooManyRequests("later", status=429, retry_after=30)) == 30


def test_keys_that_failed_together_do_not_come_back_together() -> None:
    waits: Backoff[int] = Backoff()
    assert len({waits.failed(key, Unavailable("away")) for key in range(20)}) > 10
