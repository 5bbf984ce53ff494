"""Taking up shards and letting them go: runs, locks and effects under way come and go with them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from kubernaut.core.errors import ClusterError
from kubernaut.engine.keys import RunKey
from kubernaut.engine.known import Known
from kubernaut.engine.live import LiveRun
from kubernaut.engine.locks import TargetLocks
from kubernaut.engine.ownership import Ownership, Shards
from kubernaut.engine.sharding import GLOBAL, Shard
from kubernaut.engine.turns import turn

log = logging.getLogger(__name__)
_AGAIN = 1.0


class Tenure:
    """Listens to which shards are this replica's.

    Args:
        load: lists live runs and Workflows into what is known.
        let_go: releases what a run holds, and cancels what was begun for it.
        wake: has a key looked at.
        busy: returns the runs that workers are with.
        grace: seconds that effects under way may take before a shard is given away.
    """

    def __init__(
        self,
        known: Known,
        shards: Ownership,
        locks: TargetLocks,
        load: Callable[[], Awaitable[None]],
        let_go: Callable[[LiveRun], None],
        wake: Callable[[Shards], None],
        busy: Callable[[LiveRun], asyncio.Future[None] | None],
        grace: float,
    ) -> None:
        self._known = known
        self._shards = shards
        self._locks = locks
        self._load = load
        self._let_go = let_go
        self._wake = wake
        self._busy = busy
        self._grace = grace
        self._tasks: set[asyncio.Task[None]] = set()
        self._begun = False
        # What is being taken up; another token, or none, where it was lost meanwhile.
        self._coming: dict[Shard, object] = {}

    async def begin(self) -> None:
        """Take up everything that is held. Raises ClusterError where the runs can't be listed."""
        # A shard that comes while these are listed is listed anew: until then its last holder went on with its runs.
        self._begun = True
        token = object()
        self._coming.update(dict.fromkeys(self._shards.held, token))
        await self._load()
        await self._take_up(token)

    def stop(self) -> None:
        """Take up nothing more."""
        for task in self._tasks:
            task.cancel()

    def gained(self, shards: Shards) -> None:
        """Load what belongs to shards, as the API server has it now, and begin with it then."""
        if self._begun:
            token = object()
            self._coming.update(dict.fromkeys(shards, token))
            task = asyncio.create_task(self._open(token))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _open(self, token: object) -> None:
        while self._wanted(token):
            try:
                await self._load()
                await self._take_up(token)
            except ClusterError as error:
                log.warning("runs of new shards could not be listed", extra={"error": str(error)})
                await asyncio.sleep(_AGAIN)
                continue
            except Exception:
                # Their leases are ours, so nobody else would drive these runs.
                log.exception("runs of new shards could not be taken up; it is tried again")
                await asyncio.sleep(_AGAIN)
                continue
            return

    def _wanted(self, token: object) -> Shards:
        return frozenset(shard for shard, other in self._coming.items() if other is token)

    async def _take_up(self, token: object) -> None:
        """Take the locks of shards before anything is begun for them; of those only that were not lost meanwhile."""
        runs = 0
        while keys := self._known.waiting(shards := self._wanted(token)):
            for key in keys:
                if self._wanted(token) != shards:
                    # Others store from now on what becomes of these runs, so they must not be kept as they are here.
                    break
                live = self._known.adopt(key, shards)
                if live is None:
                    continue
                if live.status.target is not None and not live.execution.spec.dry_run:
                    self._locks.hold(live.status.target.uid, live.key)
                runs += 1
                await turn()
        for shard in shards:
            del self._coming[shard]
        shards &= self._shards.held
        self._known.active |= shards
        log.info("took up live runs", extra={"runs": runs, "shards": sorted(shards)})
        self._wake(shards)

    def lost(self, shards: Shards) -> None:
        """Drop the runs of shards at once, with their locks and what was begun for them."""
        for live in self._drop(shards):
            self._let_go(live)

    async def leave(self, shards: Shards) -> None:
        """Drop the runs of shards, but let what was begun for them end; the next holder finds what it did."""
        waits: list[asyncio.Future[Any]] = []
        for live in self._drop(shards):
            waits += live.tasks.values()
            busy = self._busy(live)
            if busy is not None:
                waits.append(busy)
            live.tasks.clear()
            self._let_go(live)
        if waits:
            _, late = await asyncio.wait(waits, timeout=self._grace)
            for task in late:
                if isinstance(task, asyncio.Task):
                    task.cancel()

    def _drop(self, shards: Shards) -> list[LiveRun]:
        self._known.active -= shards
        for shard in shards:
            self._coming.pop(shard, None)
        found = [(key, live) for key, live in self._known.live.items() if live.shard in shards]
        for key, live in found:
            self.set_aside(key, live)
        return [live for _, live in found]

    def set_aside(self, key: RunKey, live: LiveRun) -> None:
        """Leave one run to another replica."""
        self._known.set_aside(key, live, live.shard)
        live.gone = True
        live.waiting.set()

    @property
    def is_global(self) -> bool:
        """Whether what concerns the whole cluster is to be done here."""
        return GLOBAL in self._known.active and self._shards.holds_global()
