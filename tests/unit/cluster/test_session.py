"""A replica's session: valid only as long as nobody can have ended it."""

from __future__ import annotations

import asyncio

import pytest

from kubernaut.cluster.session import member_name
from kubernaut.core.errors import UnknownOutcome
from leasing import DURATION, LeaseStore, Replica

MEMBER = "kubernaut-member-ann"


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def joined(store: LeaseStore, time: Time, *, hold: bool = False) -> Replica:
    assert MEMBER not in store.objects
    replica = Replica(store, "ann", time, hold=hold)
    asking = asyncio.create_task(replica.session.join(None))
    await asyncio.sleep(0)
    for request in replica.cluster.pending:
        request.arrive()
    replica.cluster.pending.clear()
    assert await asking
    return replica


async def test_a_renewal_counts_from_when_it_was_sent() -> None:
    time = Time()
    replica = await joined(LeaseStore(), time, hold=True)
    time.now = 3.0
    renewing = asyncio.create_task(replica.session.renew())
    await asyncio.sleep(0)
    time.now = 5.0
    replica.cluster.pending.pop().arrive()
    assert await renewing
    time.now = 3.0 + DURATION - 0.01
    assert replica.session.valid
    time.now = 3.0 + DURATION
    assert not replica.session.valid


async def test_a_process_that_was_stopped_past_its_lease_knows_it_before_anything_else() -> None:
    time = Time()
    replica = await joined(LeaseStore(), time)
    assert replica.session.valid
    time.now = DURATION
    assert not replica.session.valid


async def test_a_renewal_whose_answer_was_lost_counts_only_once_it_was_found() -> None:
    time = Time()
    replica = await joined(LeaseStore(), time, hold=True)
    time.now = 2.0
    renewing = asyncio.create_task(replica.session.renew())
    await asyncio.sleep(0)
    replica.cluster.pending.pop().lose(landed=True)
    with pytest.raises(UnknownOutcome):
        await renewing
    time.now = DURATION
    assert not replica.session.valid
    replica.cluster.hold = False
    assert await replica.session.renew()
    assert replica.session.valid


async def test_a_session_that_somebody_ended_is_over_for_good() -> None:
    time, store = Time(), LeaseStore()
    replica = await joined(store, time)
    before = replica.session.id
    del store.objects[MEMBER]
    assert not await replica.session.renew()
    assert not replica.session.valid
    assert replica.session.id != before


async def test_a_session_ends_also_amid_a_renewal_that_landed_unseen() -> None:
    time, store = Time(), LeaseStore()
    replica = await joined(store, time, hold=True)
    renewing = asyncio.create_task(replica.session.renew())
    await asyncio.sleep(0)
    replica.cluster.pending.pop().arrive()
    renewing.cancel()
    await asyncio.gather(renewing, return_exceptions=True)
    replica.cluster.hold = False
    await replica.session.close()
    assert MEMBER not in store.objects


async def test_a_session_that_ends_leaves_the_lease_of_the_one_after_it_alone() -> None:
    time, store = Time(), LeaseStore()
    replica = await joined(store, time)
    del store.objects[MEMBER]
    newer = Replica(store, "ann", time)
    assert await newer.session.join(None)
    await replica.session.close()
    assert MEMBER in store.objects
    await newer.session.close()
    assert MEMBER not in store.objects


async def test_a_restarted_replica_takes_its_own_lease_back_at_once() -> None:
    time, store = Time(), LeaseStore()
    await joined(store, time)
    again = Replica(store, "ann", time)
    assert await again.session.join((await again.keeper._leases.read())[MEMBER])
    assert again.session.valid


async def test_of_two_processes_with_one_name_the_older_one_gives_in_and_says_so() -> None:
    time, store = Time(), LeaseStore()
    older = await joined(store, time)
    newer = Replica(store, "ann", time)
    await newer.keeper.tick()
    await older.keeper.tick()
    time.now = 3.0
    await older.keeper.tick()
    assert newer.keeper.held
    assert not older.keeper.held
    assert "another process uses the identity 'ann'" in (older.keeper.trouble or "")
    assert "KUBERNAUT_IDENTITY" in (older.keeper.trouble or "")


def test_names_of_machines_become_names_of_leases() -> None:
    assert member_name("kubernaut-0") == "kubernaut-member-kubernaut-0"
    names = {member_name(name) for name in ("Ann's Laptop", "ann-s-laptop", "ANN'S LAPTOP", "x" * 300)}
    assert len(names) == 4
    assert all(len(name) < 253 and name == name.lower() for name in names)
