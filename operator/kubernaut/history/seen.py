"""Which ReplicaSets were ever seen with an available replica: the API server keeps no such memory."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Sequence
from datetime import timedelta

from kubernaut.history.database import Database
from kubernaut.history.errors import HistoryError, HistoryUnavailable
from kubernaut.history.pages import SeenReplicaSet

_REFRESH = timedelta(hours=1)
LOG = logging.getLogger(__name__)
_UPSERT = """
INSERT INTO kubernaut.seen_available AS known (uid, namespace, name, owner, revision, first_seen, last_seen)
SELECT *, seen_at FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::timestamptz[]
) AS given (uid, namespace, name, owner, revision, seen_at)
ON CONFLICT (uid) DO UPDATE SET
    revision = excluded.revision,
    first_seen = least(known.first_seen, excluded.first_seen),
    last_seen = greatest(known.last_seen, excluded.last_seen)
"""


class SeenAvailable:
    """Remembers in memory at once and in Postgres soon; is a ``core.ports.RevisionEvidence``.

    Args:
        database: where to, or None for memory only.
        patience: seconds that ``known`` waits for Postgres.
        most: bound of what is remembered in memory, and of what waits for Postgres.
    """

    def __init__(self, database: Database | None, *, patience: float = 0.5, most: int = 20_000) -> None:
        self._database = database
        self._patience = patience
        self._most = most
        self._seen: OrderedDict[str, SeenReplicaSet] = OrderedDict()
        self._waiting: dict[str, SeenReplicaSet] = {}
        self._work = asyncio.Event()
        self._asking: set[asyncio.Task[set[str]]] = set()

    @property
    def waiting(self) -> int:
        """How many wait for Postgres."""
        return len(self._waiting)

    def remember(self, *seen: SeenReplicaSet) -> None:
        """Remember ReplicaSets that have an available replica now; cheap where they are known."""
        for one in seen:
            known = self._seen.get(one.uid)
            if (
                known is not None
                and known.revision == one.revision
                and one.seen_at - known.seen_at < _REFRESH
            ):
                continue
            self._seen[one.uid] = one
            self._seen.move_to_end(one.uid)
            if len(self._seen) > self._most:
                self._seen.popitem(last=False)
            if self._database is not None and (one.uid in self._waiting or len(self._waiting) < self._most):
                self._waiting[one.uid] = one
                self._work.set()

    async def run(self) -> None:
        """Write what is remembered until cancelled; failures are tried again."""
        while True:
            await self._work.wait()
            try:
                await self.flush()
            except HistoryError as error:
                LOG.debug("what was seen available is written later: %s", error)
                await asyncio.sleep(max(1.0, self._database.breaker.opens_in if self._database else 0.0))

    async def flush(self) -> None:
        """Write all that waits.

        Raises:
            HistoryError: it could not be written, and waits on.
        """
        self._work.clear()
        if self._database is None or not self._waiting:
            return
        batch, self._waiting = self._waiting, {}
        rows = sorted(batch.values(), key=lambda one: one.uid)  # one order for all writers: no deadlocks
        columns = ("uid", "namespace", "name", "owner", "revision", "seen_at")
        try:
            async with self._database.connection() as connection:
                await connection.execute(_UPSERT, *([getattr(row, c) for row in rows] for c in columns))
        except BaseException:
            self._waiting = {**batch, **self._waiting}
            self._work.set()
            raise

    async def known(self, uids: Sequence[str]) -> set[str]:
        """Return those that were ever seen available, by memory and Postgres.

        Raises:
            HistoryUnavailable: Postgres did not answer in time.
            HistoryError: it can't, as its message says.
        """
        found = {uid for uid in uids if uid in self._seen}
        rest = [uid for uid in uids if uid not in found]
        if rest and self._database is not None:
            found |= await self._ask(self._database, rest)
        return found

    async def seen_available(self, uids: Sequence[str]) -> frozenset[str]:
        """Return what is known now: waits half a second at most, and never raises."""
        try:
            return frozenset(await self.known(uids))
        except HistoryError as error:
            LOG.warning("what was seen available before this start is not known: %s", error)
            return frozenset(uid for uid in uids if uid in self._seen)

    async def _ask(self, database: Database, uids: Sequence[str]) -> set[str]:
        # A task, not a timeout: giving a connection back whose query hangs takes longer than patience.
        task = asyncio.create_task(_fetch(database, uids))
        self._asking.add(task)
        task.add_done_callback(self._forget)
        done, _ = await asyncio.wait({task}, timeout=self._patience)
        if not done:
            task.cancel()
            raise HistoryUnavailable(f"Postgres at {database.where} did not answer within {self._patience} s")
        return task.result()

    def _forget(self, task: asyncio.Task[set[str]]) -> None:
        self._asking.discard(task)
        if not task.cancelled():
            task.exception()  # an answer that came too late is nobody's


async def _fetch(database: Database, uids: Sequence[str]) -> set[str]:
    async with database.connection() as connection:
        rows = await connection.fetch(
            "SELECT uid FROM kubernaut.seen_available WHERE uid = ANY($1::text[])", list(uids)
        )
    return {row["uid"] for row in rows}
