"""Leases against a real API server: every write is a compare-and-set, and only our own are read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from kubernaut.cluster.client import ApiConnection
from kubernaut.cluster.leases import Holder, Leases
from kubernaut.cluster.session import Session
from kubernaut.core.errors import AlreadyExists, Conflict, NotFound
from kubernaut.engine.shards import ShardKeeper
from localcluster import Cluster

ANN, BOB = Holder("ann", "session-a", 8, 6.0), Holder("bob", "session-b", 8, 6.0)


@pytest.fixture
async def leases(cluster: Cluster, namespace: str) -> AsyncIterator[Leases]:
    async with await ApiConnection.load(cluster.kubeconfig) as connection:
        yield Leases(connection.own(), namespace, lambda: datetime.now(UTC), timeout=10)


async def test_of_many_who_take_a_lease_at_once_one_has_it(leases: Leases) -> None:
    many = [Holder(f"replica-{at}", f"session-{at}", 8, 6.0) for at in range(8)]
    new = await asyncio.gather(
        *(leases.take("kubernaut-shard-0", None, one) for one in many), return_exceptions=True
    )
    assert sum(isinstance(one, AlreadyExists) for one in new) == 7
    free = await leases.give_up((await leases.read())["kubernaut-shard-0"])
    assert (free.holder, free.session) == ("", "")
    again = await asyncio.gather(
        *(leases.take("kubernaut-shard-0", free, one) for one in many), return_exceptions=True
    )
    assert sum(isinstance(one, Conflict) for one in again) == 7
    (taken,) = (await leases.read()).values()
    assert taken.holder == f"replica-{[isinstance(one, Conflict) for one in again].index(False)}"
    assert taken.transitions == 1


async def test_a_lease_that_was_renewed_can_not_be_removed_as_it_was_before(leases: Leases) -> None:
    seen = await leases.take("kubernaut-member-ann", None, ANN)
    renewed = await leases.renew(seen)
    with pytest.raises(Conflict):
        await leases.remove(seen)
    with pytest.raises(Conflict):
        await leases.renew(seen)
    await leases.remove(renewed)
    with pytest.raises(NotFound):
        await leases.renew(renewed)


async def test_the_lease_of_a_member_that_is_made_anew_is_not_taken_for_the_old_one(leases: Leases) -> None:
    old = await leases.take("kubernaut-member-ann", None, ANN)
    await leases.remove(old)
    await leases.take("kubernaut-member-ann", None, BOB)
    with pytest.raises(Conflict):
        await leases.remove(old)
    with pytest.raises(Conflict):
        await leases.renew(old)


async def test_replicas_share_the_shards_of_a_real_cluster(leases: Leases) -> None:
    keepers = []
    for name in ("ann", "bob", "carl"):
        keepers.append(ShardKeeper(leases, Session(leases, name, 8, 6.0), 8, 2.0))
    for _ in range(4):
        for keeper in keepers:
            await keeper.tick()
            await asyncio.gather(*keeper._giving)
    assert [len(keeper.held) for keeper in keepers] == [3, 3, 3]
    assert frozenset[int]().union(*(keeper.held for keeper in keepers)) == frozenset(range(-1, 8))
    await keepers[0].stop()
    for keeper in keepers[1:]:
        await keeper.tick()
    assert sorted(len(keeper.held) for keeper in keepers[1:]) == [4, 5]
