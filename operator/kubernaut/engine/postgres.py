"""The way into Postgres as the running operator has it: finished runs, bundles, what was seen, what is remembered."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from datetime import datetime
from typing import Any, Protocol

from kubernaut.config import Settings
from kubernaut.core.errors import KubernautError
from kubernaut.core.keeping import NO_HISTORY, Keeper, NotKept
from kubernaut.engine.afterlife import RecordLoader
from kubernaut.engine.remembering import HistoryMemory
from kubernaut.engine.unending import unending
from kubernaut.history.breaker import Breaker
from kubernaut.history.bundlemirror import BundleMirror
from kubernaut.history.bundlespool import BundleSpool
from kubernaut.history.database import Database
from kubernaut.history.dsn import describe
from kubernaut.history.encryption import KeyRing
from kubernaut.history.knowngood import KnownGoodStore
from kubernaut.history.mirror import Mirror
from kubernaut.history.retention import Retention
from kubernaut.history.seen import SeenAvailable
from kubernaut.history.spool import Spool
from kubernaut.metrics import BUNDLE_BACKLOG, MIRROR_BACKLOG, MIRROR_LAG, show_breaker

log = logging.getLogger(__name__)


class Told(Protocol):
    """Who is told of runs that are stored."""

    def on_mirrored(self, uids: list[str]) -> None: ...


class History:
    """The way into Postgres; it may be away at any time, and nothing else waits for it."""

    def __init__(
        self,
        settings: Settings,
        load: RecordLoader,
        enabled: Callable[[], bool],
        clock: Callable[[], datetime],
    ) -> None:
        assert settings.dsn is not None
        dsn = settings.dsn.get_secret_value()
        breaker = Breaker(
            f"Postgres at {describe(dsn)}",
            failures=settings.history_breaker_failures,
            pause=settings.history_breaker_probe.total_seconds(),
        )
        self.database = Database(dsn, breaker=breaker)
        spool = Spool(settings.state_dir / "spool", most_bytes=settings.spool_bytes)
        self.mirror = Mirror(
            self.database, load, self._stored, spool=spool, most_waiting=settings.outbox, enabled=enabled
        )
        self.seen = SeenAvailable(self.database)
        keys = KeyRing(settings.encryption_keys) if settings.encryption_keys else None
        self.known_good = KnownGoodStore(self.database, keys, settings.remember_keep, clock)
        self.memory = HistoryMemory(self.known_good)
        self._bundles = (
            BundleMirror(
                self.database,
                keys,
                BundleSpool(settings.state_dir / "bundles", most_bytes=settings.bundle_bytes),
                enabled=enabled,
                also=(self.known_good.rotate,),
            )
            if keys is not None
            else None
        )
        self._retention = settings.retention and Retention(self.database, settings.retention, clock)
        self.engine: Told | None = None
        MIRROR_BACKLOG.set_function(lambda: self.mirror.backlog)
        MIRROR_LAG.set_function(lambda: self.mirror.lag)
        BUNDLE_BACKLOG.set_function(lambda: self._bundles.waiting if self._bundles else 0)
        show_breaker("postgres", lambda: self.mirror.state)

    @property
    def keeper(self) -> Keeper:
        """What keeps diagnostics bundles; without a key none is kept."""
        return self._bundles or NotKept(
            "the operator has no key to encrypt it with (KUBERNAUT_ENCRYPTION_KEYS)"
        )

    async def _stored(self, uids: Sequence[str]) -> None:
        if self.engine is not None:
            self.engine.on_mirrored(list(uids))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Connect (and migrate) in the background, and mirror meanwhile."""
        tasks = [asyncio.create_task(work) for work in self._work()]
        try:
            yield
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(5):
                    await self.mirror.idle()
                    if self._bundles:
                        await self._bundles.idle()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.database.close()

    def _work(self) -> tuple[Coroutine[Any, Any, None], ...]:
        loops = [
            unending("storing what was seen available", self.seen.run),
            unending("storing what objects are like", self.known_good.run),
        ]
        if self._retention:
            loops.append(unending("dropping old months of the history", self._retention.run))
        if self._bundles:
            loops.append(unending("storing diagnostics bundles", self._bundles.run))
        return (self._connect(), self.mirror.run(), *loops)

    async def _connect(self) -> None:
        try:
            await self.database.open()
            log.info("the history is connected", extra={"where": self.database.where})
        except KubernautError as error:
            log.error("the history is away; healing goes on without it", extra={"error": str(error)})


def keeper_of(history: History | None) -> Keeper:
    """Return what keeps diagnostics bundles, or says why none is kept."""
    return NO_HISTORY if history is None else history.keeper
