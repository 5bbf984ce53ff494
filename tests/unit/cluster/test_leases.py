"""Leases: what people wrote into them by hand, how old they are, and requests that are not answered in time."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from kubernaut.cluster.leases import Ages, Holder, Lease, Leases
from kubernaut.core.errors import Conflict, Unavailable, UnknownOutcome
from leasing import LeaseCluster, LeaseStore

ANN = Holder("ann", "s1", 8, 5.5)


def leases(store: LeaseStore, **more: Any) -> Leases:
    now = datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))
    return Leases(LeaseCluster(store, **more), "kubernaut-system", lambda: now, timeout=0.01)


async def test_a_lease_is_left_to_its_holder_for_as_long_as_was_written_and_rounded_up() -> None:
    store = LeaseStore()
    made = await leases(store).take("one", None, ANN)
    assert (made.holder, made.session, made.shards, made.seconds) == ("ann", "s1", 8, 6.0)
    assert store.objects["one"]["spec"]["renewTime"] == "2026-01-01T00:00:00.000000Z"


async def test_of_two_who_take_what_they_saw_one_has_it() -> None:
    store = LeaseStore()
    seen = await leases(store).give_up(await leases(store).take("one", None, ANN))
    await leases(store).take("one", seen, Holder("bob", "s2", 8, 5.5))
    with pytest.raises(Conflict):
        await leases(store).take("one", seen, ANN)
    assert store.holders() == {"one": "bob"}
    assert store.objects["one"]["spec"]["leaseTransitions"] == 1


async def test_a_lease_that_changed_since_is_not_removed() -> None:
    store = LeaseStore()
    seen = await leases(store).take("one", None, ANN)
    await leases(store).renew(seen)
    with pytest.raises(Conflict):
        await leases(store).remove(seen)


async def test_a_write_without_an_answer_in_time_may_have_landed_and_a_read_has_not() -> None:
    slow = leases(LeaseStore(), hold=True)
    with pytest.raises(UnknownOutcome, match="it may have landed"):
        await slow.take("one", None, ANN)
    with pytest.raises(Unavailable, match=r"not read within 0\.01 s"):
        await slow.read()


@pytest.mark.parametrize("shards", ["", "many", "²", "-3"])
def test_what_was_written_by_hand_is_not_believed(shards: str) -> None:
    meta = {"name": "a", "uid": "u", "resourceVersion": "1", "annotations": {"kubernaut.io/shards": shards}}
    lease = Lease.of({"metadata": meta})
    assert (lease.shards, lease.holder, lease.seconds) == (None, "", 0.0)


def test_an_age_runs_from_the_last_change_that_was_seen_whatever_was_written() -> None:
    now = 0.0
    ages = Ages(lambda: now)

    def lease(version: str) -> Lease:
        return Lease("a", "u", version, "ann", "s", 8, 6.0, 0)

    ages.note([lease("1")])
    now = 5.0
    ages.note([lease("1")])
    assert ages.left(lease("1")) == 1.0
    ages.note([lease("2")])
    assert ages.left(lease("2")) == 6.0
    assert ages.left(lease("3")) == 6.0, "never seen yet"
    ages.note([])
    now = 50.0
    assert ages.left(lease("2")) == 6.0, "a lease that was gone in between begins anew"


def test_written_times_are_in_utc() -> None:
    assert leases(LeaseStore())._now() == datetime(2026, 1, 1, tzinfo=UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


async def test_a_request_that_is_cancelled_is_not_taken_for_a_lost_one() -> None:
    asking = asyncio.create_task(leases(LeaseStore(), hold=True).read())
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
