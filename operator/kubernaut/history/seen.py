"""Which ReplicaSets were ever seen with an available replica: the API server keeps no such memory."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from kubernaut.core.ports import Manifest
from kubernaut.history.asking import Asking
from kubernaut.history.database import Database
from kubernaut.history.errors import HistoryError

log = logging.getLogger(__name__)
REVISION: Final = "deployment.kubernetes.io/revision"
_COLUMNS = ("uid", "namespace", "name", "owner", "revision", "seen_at")
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


@dataclass(frozen=True, slots=True)
class SeenReplicaSet:
    """A ReplicaSet that had an available replica at ``seen_at``; ``revision`` is the Deployment's, 0 if unknown."""

    uid: str
    namespace: str
    name: str
    owner: str
    revision: int
    seen_at: datetime

    @classmethod
    def of(cls, manifest: Manifest, seen_at: datetime) -> SeenReplicaSet:
        """Read a ReplicaSet as the API server gave it."""
        meta = manifest["metadata"]
        owners = [owner["name"] for owner in meta.get("ownerReferences") or () if owner.get("controller")]
        revision = str((meta.get("annotations") or {}).get(REVISION, ""))
        known = revision.isascii() and revision.isdigit() and len(revision) < 19
        return cls(
            uid=meta["uid"],
            namespace=meta.get("namespace", ""),
            name=meta["name"],
            owner=owners[0] if owners else "",
            revision=int(revision) if known else 0,
            seen_at=seen_at,
        )


class SeenAvailable:
    """Takes note at once, writes in batches, answers within a bounded time.

    Args:
        database: where to.
        patience: seconds that ``known`` waits for Postgres.
        most: how many may wait to be written; more are dropped, and remembered when they are seen again.
    """

    def __init__(
        self,
        database: Database,
        *,
        patience: float = 0.5,
        most: int = 20_000,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._most = most
        self._clock = clock
        self._waiting: dict[str, SeenReplicaSet] = {}
        self._writing: dict[str, SeenReplicaSet] = {}
        self._work = asyncio.Event()
        self._asking: Asking[frozenset[str]] = Asking(database, patience)

    @property
    def backlog(self) -> int:
        """How many wait to be written."""
        return len(self._waiting) + len(self._writing)

    def remember(self, manifest: Manifest) -> None:
        """Store, some time soon, that this ReplicaSet was seen available now."""
        seen = SeenReplicaSet.of(manifest, self._clock())
        if seen.uid in self._waiting or self.backlog < self._most:
            self._waiting[seen.uid] = seen
            self._work.set()

    async def run(self) -> None:
        """Write what is remembered until cancelled; failures are tried again."""
        while True:
            await self._work.wait()
            try:
                await self.flush()
            except HistoryError as error:
                log.debug("what was seen available is written later: %s", error)
                await asyncio.sleep(max(1.0, self._database.breaker.opens_in))

    async def flush(self) -> None:
        """Write all that waits.

        Raises:
            HistoryError: it could not be written, and waits on.
        """
        self._work.clear()
        if not self._waiting:
            return
        self._writing, self._waiting = self._waiting, {}
        # One order for all writers, so that none waits for the other in a circle.
        rows = sorted(self._writing.values(), key=lambda one: one.uid)
        try:
            async with self._database.connection() as connection:
                await connection.execute(_UPSERT, *([getattr(row, c) for row in rows] for c in _COLUMNS))
        except BaseException:
            self._waiting = {**self._writing, **self._waiting}
            self._work.set()
            raise
        finally:
            self._writing = {}

    async def known(self, uids: Sequence[str]) -> frozenset[str]:
        """Return those that were ever seen available.

        Raises:
            HistoryUnavailable: Postgres did not answer in time.
            HistoryError: it can't, as its message says.
        """
        found = {uid for uid in uids if uid in self._waiting or uid in self._writing}
        rest = [uid for uid in uids if uid not in found]
        return frozenset(found) | (await self._asking.answer(self._fetch(rest)) if rest else frozenset())

    async def _fetch(self, uids: Sequence[str]) -> frozenset[str]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                "SELECT uid FROM kubernaut.seen_available WHERE uid = ANY($1::text[])", list(uids)
            )
        return frozenset(row["uid"] for row in rows)
