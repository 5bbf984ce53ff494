"""Which shard a target belongs to, and which shards a replica takes or gives away. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from kubernaut.cluster.leases import Lease

Shard = int
#: the shard of what the whole cluster shares
GLOBAL: Final[Shard] = -1
PREFIX: Final = "kubernaut-shard-"


def lease_name(shard: Shard) -> str:
    """Return the name of a shard's lease."""
    return f"{PREFIX}{'global' if shard == GLOBAL else shard}"


def shard_of(key: str, count: int) -> Shard:
    """Return the shard of a key, the same in every process and version."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) % count


@dataclass(frozen=True, slots=True)
class Moves:
    """What to do about shards.

    Attributes:
        lost: shards that are not ours any more.
        take: free shards to take, in order.
        give: shards of ours to give away, for others lack them.
        back: leases that name our session although we do not use them, and that others may have.
        trouble: why no shard may be held; then nothing is taken, and everything is given back.
    """

    lost: frozenset[Shard] = frozenset()
    take: tuple[Shard, ...] = ()
    give: tuple[Shard, ...] = ()
    back: tuple[Shard, ...] = ()
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class View:
    """What a replica sees.

    Attributes:
        leases: the leases of shards by name.
        members: the living sessions and their leases, our own among them.
        session: our own.
        held: the shards we use.
        leaving: the shards we are about to give away.
        count: how many shards there are, but for the global one.
    """

    leases: Mapping[str, Lease]
    members: Mapping[str, Lease]
    session: str
    identity: str
    held: Collection[Shard]
    leaving: Collection[Shard]
    count: int

    def lease(self, shard: Shard) -> Lease | None:
        return self.leases.get(lease_name(shard))

    def named(self, shard: Shard) -> str:
        """Return the living session that a shard belongs to; empty where it is free."""
        lease = self.lease(shard)
        return lease.session if lease and lease.holder and lease.session in self.members else ""


def decide(view: View) -> Moves:
    """Return what to do, so that every shard is held, by each living replica about as many as by every other.

    Quotas add up to the number of shards and follow from what all replicas see alike, so nobody has to ask anybody.
    """
    shards = (GLOBAL, *range(view.count))
    lost = frozenset(shard for shard in view.held if view.named(shard) != view.session)
    mine = [shard for shard in shards if shard in view.held and shard not in lost]
    trouble = _disagreement(view)
    if trouble is not None:
        back = (s for s in shards if view.named(s) == view.session)
        return Moves(lost | frozenset(mine), back=tuple(back), trouble=trouble)
    recorded = view.lease(GLOBAL)
    if recorded is None or recorded.shards != view.count:
        # Nobody takes any other shard before it is recorded how many there are.
        return Moves(lost, take=(GLOBAL,))
    quota, rank = _quota(view)
    idle = [
        s for s in shards if view.named(s) == view.session and s not in view.held and s not in view.leaving
    ]
    free = [shard for shard in shards if not view.named(shard)]
    # Replicas begin at different places, so that they do not all reach for the same shard.
    free.sort(key=lambda shard: (not _was_mine(view, shard), (shard + 1 - rank * quota) % len(shards)))
    wanted = max(quota - len(mine), 0)
    take = (idle + free)[:wanted]
    give = tuple(reversed(mine))[: max(len(mine) - quota, 0)]
    return Moves(lost, tuple(take), give, tuple(shard for shard in idle if shard not in take))


def _was_mine(view: View, shard: Shard) -> bool:
    lease = view.lease(shard)
    return lease is not None and lease.holder == view.identity


def _quota(view: View) -> tuple[int, int]:
    """Return how many shards are ours to hold, and our place among the replicas."""
    alike = [(m.holder, session) for session, m in view.members.items() if m.shards == view.count]
    order = sorted(alike)
    rank = order.index((view.identity, view.session))
    each, over = divmod(view.count + 1, len(order))
    return each + (rank < over), rank


def _disagreement(view: View) -> str | None:
    """Say who acts on another number of shards, or None. Two who count differently would both drive one run."""
    for lease in view.leases.values():
        if lease.session == view.session or not lease.holder or lease.session not in view.members:
            continue
        if lease.name.startswith(PREFIX) and lease.shards != view.count:
            return (
                f"replica {lease.holder} works with {lease.shards} shards and this one with {view.count}: set "
                "KUBERNAUT_SHARDS to the same number everywhere; to change it, stop all replicas first"
            )
    return None
