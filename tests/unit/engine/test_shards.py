"""Keeping shards: fair shares, takeovers, and what makes a replica refuse to act."""

from __future__ import annotations

import asyncio

from kubernaut.engine.sharding import GLOBAL, shard_of
from kubernaut.metrics import REGISTRY
from leasing import DURATION, RENEW, LeaseStore, Replica

GLOBAL_LEASE = "kubernaut-shard-global"


class Room:
    """Some replicas and one time."""

    def __init__(self) -> None:
        self.now, self.store = 0.0, LeaseStore()

    def replica(self, identity: str, count: int = 4) -> Replica:
        return Replica(self.store, identity, lambda: self.now, count=count)

    async def pass_by(self, seconds: float, *replicas: Replica) -> None:
        """Let time pass, in which replicas look as often as they do."""
        for _ in range(round(seconds * 2)):
            self.now += 0.5
            for replica in replicas:
                await replica.keeper.tick()
            for _ in range(5):
                await asyncio.sleep(0)


async def test_a_replica_alone_holds_everything_after_one_look() -> None:
    room = Room()
    ann = room.replica("ann")
    await ann.keeper.begin()
    assert ann.holding == {GLOBAL, 0, 1, 2, 3}
    assert ann.keeper.holds_global()
    assert ann.keeper.trouble is None
    assert set(room.store.holders().values()) == {"ann"}


async def test_at_rest_one_lease_is_renewed_however_many_shards_there_are() -> None:
    room = Room()
    ann = room.replica("ann", count=64)
    await ann.keeper.begin()
    room.store.requests.clear()
    await room.pass_by(60, ann)
    writes = [request for request in room.store.requests if not request.startswith("list")]
    assert set(writes) == {"patch kubernaut-member-ann"}
    assert len(writes) == 60 / RENEW


async def test_a_new_replica_is_given_its_share_once_what_was_begun_has_ended() -> None:
    room = Room()
    ann, bob = room.replica("ann"), room.replica("bob")
    await ann.keeper.begin()
    await bob.keeper.begin()
    assert bob.keeper.standby
    await room.pass_by(3, ann, bob)
    assert (len(ann.holding), len(bob.holding)) == (3, 2)
    assert ann.holding | bob.holding == {GLOBAL, 0, 1, 2, 3}
    left = [shards for what, shards in ann.told.log if what == "left"]
    assert left == [frozenset({3}), frozenset({2})]
    assert ann.keeper.holds_global()
    assert not bob.keeper.standby


async def test_with_more_replicas_than_shards_one_stands_by_and_is_ready() -> None:
    room = Room()
    replicas = [room.replica(name, count=1) for name in ("ann", "bob", "carl")]
    for replica in replicas:
        await replica.keeper.begin()
    await room.pass_by(5, *replicas)
    assert [len(replica.holding) for replica in replicas] == [1, 1, 0]
    assert replicas[2].keeper.standby
    assert replicas[2].keeper.trouble is None


async def test_the_shards_of_a_replica_that_is_gone_are_taken_once_its_lease_is_over() -> None:
    room = Room()
    ann, bob = room.replica("ann"), room.replica("bob")
    await ann.keeper.begin()
    await room.pass_by(3, ann, bob)
    before = REGISTRY.get_sample_value("kubernaut_shard_takeovers_total", {"how": "expired"}) or 0
    await room.pass_by(DURATION - RENEW - 0.5, bob)
    assert len(bob.holding) == 2
    await room.pass_by(RENEW + 0.5, bob)
    assert len(bob.holding) == 5
    assert REGISTRY.get_sample_value("kubernaut_shard_takeovers_total", {"how": "expired"}) == before + 3
    assert "kubernaut-member-ann" not in room.store.objects


async def test_who_comes_back_after_its_lease_was_over_holds_nothing_and_drops_everything() -> None:
    room = Room()
    ann, bob = room.replica("ann"), room.replica("bob")
    await ann.keeper.begin()
    await room.pass_by(3, ann, bob)
    mine = ann.keeper.held
    await room.pass_by(DURATION + 1, bob)
    assert not ann.holding
    await ann.keeper.tick()
    assert ("lost", mine) in ann.told.log
    await room.pass_by(3, ann, bob)
    assert (len(ann.holding), len(bob.holding)) == (3, 2)


async def test_a_lease_that_ran_out_while_nobody_took_it_goes_on_as_if_nothing_had_happened() -> None:
    room = Room()
    ann = room.replica("ann")
    await ann.keeper.begin()
    told = list(ann.told.log)
    room.now += 10 * DURATION
    assert not ann.holding
    await ann.keeper.tick()
    assert len(ann.holding) == 5
    assert ann.told.log == told


async def test_after_a_graceful_end_another_needs_one_look_to_take_over() -> None:
    room = Room()
    ann, bob = room.replica("ann"), room.replica("bob")
    await ann.keeper.begin()
    await room.pass_by(3, ann, bob)
    await ann.keeper.stop()
    assert not ann.holding
    await bob.keeper.tick()
    assert len(bob.holding) == 5


async def test_a_restart_under_the_same_name_takes_its_shards_back_in_one_look() -> None:
    room = Room()
    ann, bob = room.replica("ann"), room.replica("bob")
    await ann.keeper.begin()
    await room.pass_by(3, ann, bob)
    mine = ann.holding
    again = room.replica("ann")
    await again.keeper.begin()
    assert again.holding == mine
    assert len(bob.holding) == 2


async def test_a_replica_that_counts_otherwise_refuses_to_act_until_the_others_are_gone() -> None:
    room = Room()
    ann, bob = room.replica("ann"), room.replica("bob", count=16)
    await ann.keeper.begin()
    await bob.keeper.begin()
    assert not bob.holding
    assert bob.keeper.trouble == (
        "replica ann works with 4 shards and this one with 16: set KUBERNAUT_SHARDS to the same number everywhere; "
        "to change it, stop all replicas first"
    )
    await room.pass_by(3, ann, bob)
    assert len(ann.holding) == 5, "who acts already goes on"
    await ann.keeper.stop()
    await bob.keeper.tick()
    assert len(bob.holding) == 17
    assert bob.keeper.trouble is None
    assert room.store.objects[GLOBAL_LEASE]["metadata"]["annotations"]["kubernaut.io/shards"] == "16"


async def test_a_shard_that_somebody_took_by_hand_is_given_up() -> None:
    room = Room()
    ann = room.replica("ann")
    await ann.keeper.begin()
    patch = {"metadata": {"annotations": {"kubernaut.io/session": "another"}}}
    room.store.edit("kubernaut-shard-2", patch)
    room.store.edit("kubernaut-member-ann", {"metadata": {"labels": {"touched": "yes"}}})
    await room.pass_by(0.5, ann)
    assert ("lost", frozenset({2})) in ann.told.log
    await room.pass_by(3, ann)
    assert len(ann.holding) == 5, "what names nobody alive is free"


async def test_while_a_shard_is_given_away_nothing_begins_and_what_was_begun_may_go_on() -> None:
    room = Room()
    ann, bob = room.replica("ann"), room.replica("bob")
    ended = asyncio.Event()

    async def leave(shards: frozenset[int]) -> None:
        await ended.wait()

    ann.told.leave = leave  # type: ignore[method-assign]
    await ann.keeper.begin()
    await bob.keeper.begin()
    await room.pass_by(1, ann, bob)
    assert not ann.keeper.holds(3)
    assert ann.keeper.may_send(3)
    assert not bob.keeper.may_send(3)
    ended.set()
    await room.pass_by(1, ann, bob)
    assert not ann.keeper.may_send(3)
    assert bob.keeper.holds(3)


def test_a_key_belongs_to_the_same_shard_in_every_version() -> None:
    assert [shard_of(f"shop/apps/v1/Deployment/web-{at}", 8) for at in range(6)] == [7, 7, 0, 2, 6, 2]
