"""Which shards this replica holds: taken, kept and given away by leases.

A shard is held as long as its lease names our session (only we write that, by compare-and-set), and the session is
valid on our own clock. Nobody takes a shard from a session that lives, and nobody ends a session before its lease
was seen unchanged for its whole duration; so where clocks run at the same rate, at most one replica believes that it
holds a shard, whatever their clocks say.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from kubernaut.cluster.leases import Ages, Lease, Leases, boottime
from kubernaut.cluster.session import PREFIX as MEMBER
from kubernaut.cluster.session import Session
from kubernaut.core.errors import AlreadyExists, ClusterError, Conflict, NotFound
from kubernaut.engine.ownership import Listener, Shards
from kubernaut.engine.sharding import GLOBAL, Moves, Shard, View, decide, lease_name, shard_of
from kubernaut.metrics import LEASE_RENEW_FAILURES, SHARDS, SHARDS_HELD, TAKEOVERS

log = logging.getLogger(__name__)
_SHORTEST: Final = 0.05


class ShardKeeper:
    """Keeps this replica's share of the shards.

    Args:
        count: how many shards there are, beside the global one.
        renew: seconds between renewals; leases are read twice as often.
    """

    def __init__(
        self,
        leases: Leases,
        session: Session,
        count: int,
        renew: float,
        monotonic: Callable[[], float] = boottime,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._leases = leases
        self._session = session
        self._count = count
        self._renew = renew
        self._monotonic = monotonic
        self._sleep = sleep
        self._ages = Ages(monotonic)
        self._held: dict[Shard, Lease] = {}
        self._leaving: dict[Shard, Lease] = {}
        self._giving: set[asyncio.Task[None]] = set()
        self._renewed_at = float("-inf")
        self._members: Mapping[str, Lease] = {}
        self._elsewhere = False
        self._trouble: str | None = "the leases of the shards were not read yet"
        self._told: str | None = None
        self._listener: Listener | None = None
        SHARDS.set(count + 1)
        SHARDS_HELD.set_function(lambda: len(self._held) if self._session.valid else 0)

    # What the engine asks

    def shard_of(self, key: str) -> Shard:
        return shard_of(key, self._count)

    def holds(self, shard: Shard) -> bool:
        return shard in self._held and self._session.valid

    def may_send(self, shard: Shard) -> bool:
        return (shard in self._held or shard in self._leaving) and self._session.valid

    def holds_global(self) -> bool:
        return self.holds(GLOBAL)

    @property
    def held(self) -> Shards:
        """The shards that are ours unless our time is over; ``holds`` knows that."""
        return frozenset(self._held)

    @property
    def trouble(self) -> str | None:
        """Why no shard can be held, or None."""
        return self._trouble

    @property
    def standby(self) -> bool:
        """Whether there is nothing to hold, because others hold everything: ready to take over."""
        return not self._held and self._elsewhere and self._trouble is None

    # Life

    def listen(self, listener: Listener) -> None:
        """Have somebody told about shards that are gained and lost."""
        self._listener = listener

    async def begin(self) -> None:
        """Look once, and take what is free.

        Raises:
            ClusterError: the leases can't be read or written.
        """
        await self.tick()

    async def run(self) -> None:
        """Keep looking; ends by being cancelled."""
        pause = self._pause()
        while True:
            await self._sleep(pause)
            pause = self._renew / 4
            try:
                await self.tick()
                pause = self._pause()
            except ClusterError as error:
                log.warning("the leases could not be kept; trying again", extra={"error": str(error)})
            except Exception:
                # Nobody else would begin it again, and without it every shard is lost.
                log.exception("keeping the leases failed unexpectedly")

    async def stop(self) -> None:
        """Let everything go: others take it over at once. What was begun must have ended before."""
        for task in self._giving:
            task.cancel()
        await asyncio.gather(*self._giving, return_exceptions=True)
        self._held.clear()
        self._leaving.clear()
        try:
            await self._session.close()
        except ClusterError as error:
            log.warning("the own lease was not deleted; others wait for it", extra={"error": str(error)})

    async def tick(self) -> None:
        """Renew where it is time for it, look at all leases, and move what is to be moved.

        Raises:
            ClusterError: something could not be read or written; what is held counts on until its time is over.
        """
        await self._keep_session()
        leases = await self._read()
        if not self._session.joined:
            if not await self._session.join(leases.get(self._session.name)):
                self._look_twice()
                await self._bury(leases)
                return
            self._renewed_at = self._monotonic()
            leases = await self._read()
        leases = await self._bury(leases)
        moves = self._moves(leases)
        if await self._move(moves, leases) and moves.take == (GLOBAL,):
            # How many shards there are is recorded now; the others are next.
            leases = await self._read()
            await self._move(self._moves(leases), leases)
        self._elsewhere = not self._held

    async def _move(self, moves: Moves, leases: Mapping[str, Lease]) -> bool:
        """Do what was decided; return whether any shard was gained."""
        self._tell(moves)
        self._lose(moves.lost)
        await self._give_back(moves.back)
        taken = await self._take(moves.take, leases)
        gained = await self._confirm(taken) if taken else False
        for shard in moves.give:
            self._leave(shard)
        return gained

    # Steps of a look

    async def _keep_session(self) -> None:
        if not self._session.joined:
            return
        now = self._monotonic()
        if now - self._renewed_at < self._renew - _SHORTEST:
            return
        try:
            alive = await self._session.renew()
        except ClusterError:
            LEASE_RENEW_FAILURES.inc()
            raise
        if alive:
            self._renewed_at = now
        else:
            LEASE_RENEW_FAILURES.inc()
            self._leaving.clear()
            self._lose(frozenset(self._held))

    async def _read(self) -> dict[str, Lease]:
        leases = await self._leases.read()
        self._ages.note(leases.values())
        return leases

    async def _bury(self, leases: dict[str, Lease]) -> dict[str, Lease]:
        """End the sessions that were not renewed in time; return the leases without theirs."""
        left = dict(leases)
        for lease in leases.values():
            if not lease.name.startswith(MEMBER) or lease.session == self._session.id:
                continue
            if self._ages.left(lease) > 0:
                continue
            try:
                await self._leases.remove(lease)
            except Conflict:
                continue  # it lives after all
            except NotFound:
                pass
            del left[lease.name]
            log.warning("a replica is gone: its lease was not renewed", extra={"replica": lease.holder})
        self._members = {m.session: m for m in left.values() if m.name.startswith(MEMBER) and m.session}
        return left

    def _moves(self, leases: Mapping[str, Lease]) -> Moves:
        session, identity = self._session.id, self._session.identity
        if session not in self._members:
            # Somebody ended it between two requests of ours: the next renewal says so.
            return Moves()
        return decide(
            View(leases, self._members, session, identity, set(self._held), set(self._leaving), self._count)
        )

    async def _take(self, shards: tuple[Shard, ...], leases: Mapping[str, Lease]) -> dict[Shard, Lease]:
        found = await asyncio.gather(*(self._take_one(shard, leases) for shard in shards))
        return {lease[0]: lease[1] for lease in found if lease is not None}

    async def _take_one(self, shard: Shard, leases: Mapping[str, Lease]) -> tuple[Shard, Lease] | None:
        seen = leases.get(lease_name(shard))
        try:
            lease = await self._leases.take(lease_name(shard), seen, self._session.holder)
        except (AlreadyExists, Conflict, NotFound):
            return None  # another replica was faster
        except ClusterError as error:
            log.warning("a shard could not be taken", extra={"shard": lease_name(shard), "error": str(error)})
            return None
        if seen is not None and seen.session != self._session.id:
            TAKEOVERS.labels(_how(seen, self._session.identity)).inc()
        return shard, lease

    async def _confirm(self, taken: Mapping[Shard, Lease]) -> bool:
        """Use shards only once it is seen that everybody counts alike; return whether any was gained.

        Who records another number and who takes a shard both look after they wrote, so one of them sees the other.
        """
        leases = await self._read()
        moves = self._moves(leases)
        recorded = leases.get(lease_name(GLOBAL))
        self._tell(moves)
        if moves.trouble is not None or recorded is None or recorded.shards != self._count:
            self._lose(moves.lost)
            await self._give_back(moves.back)
            return False
        gained = {
            shard: leases[lease.name]
            for shard, lease in taken.items()
            if lease.name in leases and leases[lease.name].session == self._session.id
        }
        self._held.update(gained)
        if gained and self._session.valid:
            log.info("took shards", extra={"shards": sorted(gained), "held": len(self._held)})
        if gained and self._listener is not None:
            self._listener.gained(frozenset(gained))
        return bool(gained)

    def _lose(self, shards: Shards) -> None:
        for shard in shards:
            self._held.pop(shard, None)
        if shards:
            log.warning("lost shards", extra={"shards": sorted(shards), "held": len(self._held)})
            if self._listener is not None:
                self._listener.lost(shards)

    async def _give_back(self, shards: tuple[Shard, ...]) -> None:
        leases = await self._leases.read() if shards else {}
        for shard in shards:
            lease = leases.get(lease_name(shard))
            if lease is not None and lease.session == self._session.id:
                with contextlib.suppress(Conflict, NotFound):
                    await self._leases.give_up(lease)

    def _leave(self, shard: Shard) -> None:
        """Give a shard away once what was begun for it has ended; nothing new is begun from now on."""
        self._leaving[shard] = self._held.pop(shard)
        task = asyncio.create_task(self._give_away(shard))
        self._giving.add(task)
        task.add_done_callback(self._giving.discard)

    async def _give_away(self, shard: Shard) -> None:
        try:
            if self._listener is not None:
                await self._listener.leave(frozenset({shard}))
        finally:
            lease = self._leaving.pop(shard, None)
        if lease is None:
            return
        try:
            await self._leases.give_up(lease)
            log.info("gave a shard away", extra={"shard": shard, "held": len(self._held)})
        except ClusterError as error:
            # The next look finds a lease that names us and is not used.
            log.warning("a shard was not given away yet", extra={"shard": shard, "error": str(error)})

    # Telling

    def _look_twice(self) -> None:
        self._trouble = None
        if self._session.twin:
            self._trouble = (
                f"another process uses the identity {self._session.identity!r}: give each replica its own "
                "(KUBERNAUT_IDENTITY, or a HOSTNAME of its own)"
            )
        self._say()

    def _tell(self, moves: Moves) -> None:
        self._trouble = moves.trouble
        self._say()

    def _say(self) -> None:
        if self._trouble is not None and self._trouble != self._told:
            log.error("this replica may not act: %s", self._trouble)
        self._told = self._trouble

    def _pause(self) -> float:
        """Return seconds until the next look: half a renewal, or sooner where a lease gets stale before."""
        now = self._monotonic()
        due = [self._renewed_at + self._renew - now] if self._session.joined else []
        due += [self._ages.left(m) for s, m in self._members.items() if s != self._session.id]
        return max(min([self._renew / 2, *due]), _SHORTEST)


def _how(seen: Lease, identity: str) -> str:
    if not seen.holder:
        return "given"
    return "own" if seen.holder == identity else "expired"
