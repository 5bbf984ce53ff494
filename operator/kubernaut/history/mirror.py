"""The mirror: finished runs reach Postgres exactly once, whenever it is there; nothing else waits for it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from kubernaut.core.errors import ClusterError
from kubernaut.history.database import Database
from kubernaut.history.errors import BadDsn, BreakerOpen, HistoryError, HistoryUnavailable, Rejected
from kubernaut.history.outbox import Outbox
from kubernaut.history.records import RunKey, RunRecord
from kubernaut.history.spool import Spool
from kubernaut.history.writer import RunWriter
from kubernaut.metrics import MIRRORED

Load = Callable[[Sequence[RunKey]], Awaitable[Sequence[RunRecord | None]]]
OnMirrored = Callable[[Sequence[str]], Awaitable[None]]

_FIRST_PAUSE = 0.2
# Where Postgres is away the breaker says when it is asked; to wait longer than that misses it when it comes and goes.
_LONGEST_PAUSE = 5.0
_SWITCHED_OFF_PAUSE = 1.0
_DISK_PAUSE = 5.0
log = logging.getLogger(__name__)


class Mirror:
    """Takes references to finished runs, loads and stores them in batches.

    Args:
        database: where to.
        load: returns the record of each key, in order; None for a run that is gone or not finished.
        on_mirrored: told the uids that are stored, after their commit; maybe more than once.
        spool: for runs whose deletion can't wait, or None.
        most_waiting: bound of the outbox (references, about 300 bytes each).
        batch: most runs in one transaction.
        enabled: whether the history is switched on; while it is not, everything waits as if Postgres were away.
    """

    def __init__(
        self,
        database: Database,
        load: Load,
        on_mirrored: OnMirrored,
        *,
        spool: Spool | None = None,
        most_waiting: int = 100_000,
        batch: int = 500,
        enabled: Callable[[], bool] = lambda: True,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._enabled = enabled
        self._database = database
        self._writer = RunWriter(database)
        self._load = load
        self._on_mirrored = on_mirrored
        self._spool = spool
        self._disk = asyncio.Lock()
        self._disk_fails = False
        self._monotonic = monotonic
        self._outbox = Outbox(most_waiting, monotonic)
        self._spooled_since: float | None = None
        self._batch = batch
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._failures = 0
        self._said = ""
        self.stored = 0
        self.rejected = 0
        self._note_work()

    @property
    def backlog(self) -> int:
        """How many finished runs wait, those on disk included."""
        return len(self._outbox) + self.spooled

    @property
    def lag(self) -> float:
        """For how many seconds the finished run that has waited for longest has waited; 0 where none does."""
        waiting = [at for at in (self._outbox.oldest, self._spooled_since) if at is not None]
        return self._monotonic() - min(waiting) if waiting else 0.0

    @property
    def spooled(self) -> int:
        """How many runs wait on disk."""
        return len(self._spool) if self._spool is not None else 0

    @property
    def state(self) -> str:
        """The state of the breaker around Postgres: closed, open or half-open."""
        return self._database.breaker.state

    def offer(self, key: RunKey) -> bool:
        """Ask for a finished run to be stored; returns at once.

        False says that the outbox is full: the periodic reconciliation has to offer the run again.
        """
        taken = self._outbox.offer(key)
        self._note_work()
        return taken

    async def keep(self, record: RunRecord) -> bool:
        """Keep a run on disk whose deletion can't wait; False where that is impossible (which is logged)."""
        if self._spool is None:
            log.error("there is no spool; run %s/%s can't be kept on disk", record.namespace, record.name)
            return False
        async with self._disk:
            kept = await asyncio.to_thread(self._spool.put, record)
        self._note_work()
        return kept

    async def mirrored(self, uids: Sequence[str]) -> frozenset[str]:
        """Return which of these runs are stored.

        Raises:
            HistoryUnavailable: Postgres can't answer.
            HistoryError: it never will, as its message says (wrong address, no rights, newer schema).
        """
        return await self._writer.stored(uids)

    async def idle(self) -> None:
        """Wait until nothing waits."""
        await self._idle.wait()

    async def run(self) -> None:
        """Work until cancelled. Failures are logged and tried again; they never end this."""
        while True:
            await self._work.wait()
            if not self._enabled():
                await asyncio.sleep(_SWITCHED_OFF_PAUSE)
                continue
            pause = self._database.breaker.opens_in or await self._round()
            self._note_work()
            if pause:
                await asyncio.sleep(pause)

    def _note_work(self) -> None:
        if not self.spooled:
            self._spooled_since = None
        elif self._spooled_since is None:
            self._spooled_since = self._monotonic()
        waiting = bool(self._outbox.waiting or self.spooled)
        (self._work.set if waiting else self._work.clear)()
        (self._idle.set if not self.backlog else self._idle.clear)()

    async def _round(self) -> float:
        """Store one batch from disk and one from the outbox; return how long to pause, in seconds."""
        keys: list[RunKey] = []
        try:
            readable = await self._replayed()
            keys = self._outbox.take(self._batch)
            await self._store_keys(keys)
        except HistoryError as error:
            self._outbox.put_back(keys)
            return self._failed(error)
        except asyncio.CancelledError:
            self._outbox.put_back(keys)
            raise
        except ClusterError as error:
            # Runs are read from the API server, which is away: that is told enough by those who wait for it.
            self._outbox.put_back(keys)
            log.info("finished runs are mirrored later", extra={"error": str(error)})
            return self._pause()
        except Exception:
            self._outbox.put_back(keys)
            log.exception("finished runs could not be mirrored; they are tried again")
            return self._pause()
        self._outbox.done(keys)
        self._recovered()
        return 0.0 if readable or self._outbox.waiting else _DISK_PAUSE

    async def _store(self, records: Sequence[RunRecord]) -> dict[str, Rejected]:
        """Write records; return why those were left out that Postgres refuses. They don't keep the others out."""
        try:
            await self._writer.write(records)
        except Rejected as error:
            if len(records) > 1:
                half = len(records) // 2
                return {**await self._store(records[:half]), **await self._store(records[half:])}
            self.rejected += 1
            return {records[0].uid: error}
        self.stored += len(records)
        MIRRORED.inc(len(records))
        return {}

    async def _store_keys(self, keys: Sequence[RunKey]) -> None:
        keys = await self._not_stored(keys)
        if not keys:
            return
        records = [record for record in await self._load(keys) if record is not None]
        refused = await self._store(records)
        for uid, error in refused.items():
            log.error("run %s is not stored: %s", uid, error)
        if stored := [record.uid for record in records if record.uid not in refused]:
            await self._on_mirrored(stored)

    async def _not_stored(self, keys: Sequence[RunKey]) -> list[RunKey]:
        """Leave out what is stored: after a restart that is nearly everything, and to load it again costs most."""
        old = [key.uid for key in keys if not key.fresh]
        stored = await self._writer.stored(old) if old else frozenset[str]()
        if stored:
            await self._on_mirrored(sorted(stored))
        return [key for key in keys if key.uid not in stored]

    async def _replayed(self) -> bool:
        """Store a batch from disk; return whether the disk took part: where it fails, others don't wait for it."""
        try:
            await self._replay()
        except OSError as error:
            if not self._disk_fails:
                log.error("the spool can't be read or written, runs in it wait: %s", error)
            self._disk_fails = True
            return False
        self._disk_fails = False
        return True

    async def _replay(self) -> None:
        if self._spool is None or not len(self._spool):
            return
        async with self._disk:
            runs = await asyncio.to_thread(self._spool.read, self._batch)
            refused = await self._store([run.record for run in runs])
            for run in runs:
                if error := refused.get(run.record.uid):
                    await asyncio.to_thread(self._spool.set_aside, run.path, error)
            await asyncio.to_thread(
                self._spool.remove, [run for run in runs if run.record.uid not in refused]
            )

    def _failed(self, error: HistoryError) -> float:
        # Said once for each kind of trouble; that the breaker is open is no news.
        said = type(error).__name__
        if said != self._said and not (self._said and type(error) in (HistoryUnavailable, BreakerOpen)):
            self._said = said
            level = logging.ERROR if isinstance(error, BadDsn) else logging.WARNING
            log.log(level, "the history can't be written: %s (%d runs wait)", error, self.backlog)
        if isinstance(error, BreakerOpen):
            # It was not tried, and the probe of another may end at once.
            return max(_FIRST_PAUSE, self._database.breaker.opens_in)
        return self._pause()

    def _pause(self) -> float:
        pause = min(_FIRST_PAUSE * 2.0**self._failures, _LONGEST_PAUSE)
        self._failures = min(self._failures + 1, 16)
        return max(pause, self._database.breaker.opens_in)

    def _recovered(self) -> None:
        self._failures = 0
        if self._said:
            self._said = ""
            log.info("the history is written again (%d runs wait)", self.backlog)
