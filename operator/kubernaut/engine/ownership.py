"""Whose is what: what the engine asks about shards, and how it is told that they come and go."""

from __future__ import annotations

from typing import Protocol

from kubernaut.engine.sharding import GLOBAL, Shard

Shards = frozenset[Shard]


class Ownership(Protocol):
    """What the engine asks: which shards are this replica's, right now."""

    @property
    def held(self) -> Shards:
        """The shards that are this replica's as far as it knows; ``holds`` is exact."""
        ...

    def shard_of(self, key: str) -> Shard:
        """Return the shard of a key (``engine.homes``)."""
        ...

    def holds(self, shard: Shard) -> bool:
        """Whether new work may be begun for a shard."""
        ...

    def may_send(self, shard: Shard) -> bool:
        """Whether what was begun for a shard may go on; also while the shard is being given away."""
        ...

    def holds_global(self) -> bool:
        """Whether this replica decides on what the whole cluster shares."""
        ...


class Listener(Protocol):
    """Who is told about shards."""

    def gained(self, shards: Shards) -> None:
        """Begin with shards that nobody else works on any more."""
        ...

    def lost(self, shards: Shards) -> None:
        """Drop what belongs to shards; others may work on them already."""
        ...

    async def leave(self, shards: Shards) -> None:
        """Begin nothing more for shards, and return once what was begun has ended; they are given away then."""
        ...


class Keeper(Ownership, Protocol):
    """Takes and keeps shards."""

    def listen(self, listener: Listener) -> None:
        """Have somebody told about shards that are gained and lost."""
        ...

    async def begin(self) -> None:
        """Take what is free now. Raises ClusterError where that can't be known."""
        ...

    async def run(self) -> None:
        """Keep, take and give away; ends by being cancelled."""
        ...

    async def stop(self) -> None:
        """Let everything go."""
        ...


class Alone:
    """Everything is this replica's, as where there is no other."""

    held: Shards = frozenset({0, GLOBAL})

    def shard_of(self, key: str) -> Shard:
        return 0

    def holds(self, shard: Shard) -> bool:
        return True

    def may_send(self, shard: Shard) -> bool:
        return True

    def holds_global(self) -> bool:
        return True

    def listen(self, listener: Listener) -> None:
        """Nothing comes or goes."""

    async def begin(self) -> None:
        """Everything is held already."""

    async def run(self) -> None:
        """There is nothing to keep."""

    async def stop(self) -> None:
        """There is nobody to let it go to."""
