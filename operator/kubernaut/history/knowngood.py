"""What objects were like while they were well, each declaration stored once, compressed and encrypted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from kubernaut.history.asking import Asking
from kubernaut.history.database import Connection, Database
from kubernaut.history.declarations import KNOWN_GOOD_LOCK, NO_KEYS, Declarations, Plain, stored
from kubernaut.history.encryption import KeyRing, Keys
from kubernaut.history.errors import HistoryError, KeysUnusable

#: declarations that are kept of one object, the newest ones
KEPT_OF_EACH: Final = 5
_PRUNE_EVERY: Final = timedelta(hours=1)
_KEYS_AGAIN: Final = 10.0
_COLUMNS: Final = ("uid", "digest", "namespace", "kind", "name", "first_seen", "last_seen")
log = logging.getLogger(__name__)

# What was seen last is what is given back. What a replica saw whose clock is ahead would be that until its time has
# come, whatever was seen since.
_KNOWN_GOOD = """
INSERT INTO kubernaut.known_good AS known (uid, digest, namespace, kind, name, first_seen, last_seen)
SELECT uid, digest, namespace, kind, name, least(first_seen, now()), least(last_seen, now()) FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::timestamptz[]
) AS given (uid, digest, namespace, kind, name, first_seen, last_seen)
ON CONFLICT (uid, digest) DO UPDATE SET
    first_seen = least(known.first_seen, excluded.first_seen),
    last_seen = greatest(known.last_seen, excluded.last_seen)
"""
_NEWEST = """
SELECT digest, known.first_seen, known.last_seen, declaration.size, declaration.key_id, declaration.content
FROM kubernaut.known_good known JOIN kubernaut.declarations declaration USING (digest)
WHERE known.uid = $1 AND known.last_seen - known.first_seen >= $2
ORDER BY known.last_seen DESC, known.first_seen DESC LIMIT 1
"""
_PRUNE = """
DELETE FROM kubernaut.known_good WHERE last_seen < $1 OR (uid, digest) IN (
    SELECT uid, digest FROM (
        SELECT uid, digest, row_number() OVER (PARTITION BY uid ORDER BY last_seen DESC) AS age
        FROM kubernaut.known_good
    ) AS ranked WHERE age > $2
)
"""
_PRUNE_DECLARATIONS = """
DELETE FROM kubernaut.declarations declaration WHERE NOT EXISTS (
    SELECT FROM kubernaut.known_good known WHERE known.digest = declaration.digest
)
"""


@dataclass(frozen=True, slots=True)
class GoodSighting:
    """An object that was seen well with a declaration.

    Attributes:
        digest: stands for the content, of whatever object.
        size: bytes of the content before it was compressed.
        content: compressed.
        first_seen, last_seen: since when, and when last.
    """

    uid: str
    namespace: str
    kind: str
    name: str
    digest: str
    size: int
    content: bytes
    first_seen: datetime
    last_seen: datetime


class KnownGoodStore:
    """Takes note at once, writes in batches, answers within a bounded time.

    Args:
        keys: what declarations are encrypted with; without them none is remembered, and those alone are answered
            that an earlier version stored in the clear.
        keep: what was not seen for longer is forgotten.
        patience: seconds that ``newest`` waits for Postgres.
        most: how many may wait to be written; more are dropped, and remembered when they are seen again.
    """

    def __init__(
        self,
        database: Database,
        keys: KeyRing | None,
        keep: timedelta,
        clock: Callable[[], datetime],
        *,
        patience: float = 2.0,
        most: int = 20_000,
    ) -> None:
        self._database = database
        self._keys = keys
        self._declarations = Declarations(keys)
        self._keep = keep
        self._clock = clock
        self._most = most
        self._waiting: dict[tuple[str, str], GoodSighting] = {}
        self._writing: dict[tuple[str, str], GoodSighting] = {}
        self._work = asyncio.Event()
        self._asking: Asking[GoodSighting | None] = Asking(database, patience)

    @property
    def backlog(self) -> int:
        """How many wait to be written."""
        return len(self._waiting) + len(self._writing)

    def remember(self, seen: GoodSighting) -> None:
        """Store, some time soon, that an object was seen well with a declaration."""
        if self._keys is None:
            return
        key = (seen.uid, seen.digest)
        earlier = self._waiting.get(key)
        if earlier is not None:
            times = (min(seen.first_seen, earlier.first_seen), max(seen.last_seen, earlier.last_seen))
            seen = replace(seen, first_seen=times[0], last_seen=times[1])
        elif self.backlog >= self._most:
            return
        self._waiting[key] = seen
        self._work.set()

    async def run(self) -> None:
        """Write what is remembered, and forget what is old, until cancelled; failures are tried again."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._write())
            tasks.create_task(self._forget_old())

    async def _write(self) -> None:
        while True:
            await self._work.wait()
            try:
                await self.flush()
            except KeysUnusable as error:
                log.error("what objects are like is not written", extra={"error": str(error)})
                await asyncio.sleep(_KEYS_AGAIN)
            except HistoryError as error:
                log.debug("what objects are like is written later: %s", error)
                await asyncio.sleep(max(1.0, self._database.breaker.opens_in))

    async def _forget_old(self) -> None:
        while True:
            await asyncio.sleep(_PRUNE_EVERY.total_seconds())
            try:
                await self.prune()
            except HistoryError as error:
                log.info("what objects were like is forgotten later", extra={"error": str(error)})

    async def flush(self) -> None:
        """Write all that waits.

        Raises:
            HistoryError: it could not be written, and waits on.
        """
        self._work.clear()
        if not self._waiting:
            return
        self._writing, self._waiting = self._waiting, {}
        try:
            keys = await self._declarations.keys()
            async with self._database.transaction() as connection:
                # Not while a declaration is taken away because nothing refers to it yet.
                await connection.execute("SELECT pg_advisory_xact_lock($1)", KNOWN_GOOD_LOCK)
                await self._store(connection, keys, list(self._writing.values()))
        except BaseException:
            self._waiting = {**self._writing, **self._waiting}
            self._work.set()
            raise
        finally:
            self._writing = {}

    async def rotate(self) -> int:
        """Encrypt with the current key what is in the clear or under another one; return how many declarations were.

        Raises:
            HistoryError: Postgres can't be asked, or the keys can't be read.
        """
        return await self._declarations.rotate(self._database)

    async def prune(self) -> None:
        """Forget what was not seen for long, and all but the newest declarations of each object.

        Raises:
            HistoryError: Postgres can't be asked.
        """
        async with self._database.transaction() as connection:
            await connection.execute("SELECT pg_advisory_xact_lock($1)", KNOWN_GOOD_LOCK)
            await connection.execute(_PRUNE, self._clock() - self._keep, KEPT_OF_EACH)
            await connection.execute(_PRUNE_DECLARATIONS)

    async def newest(self, uid: str, good_for: timedelta = timedelta(0)) -> GoodSighting | None:
        """Return with what an object was last seen well; of its name and kind nothing is told.

        Args:
            good_for: only what it was well with for at least so long, from the first time to the last.

        Raises:
            HistoryUnavailable: Postgres did not answer in time.
            KeysUnusable: there are no keys.
            KeyUnknown, Tampered: what is stored can't be read, as they say.
            HistoryError: it can't, as its message says.
        """
        waiting = [
            one
            for one in (*self._waiting.values(), *self._writing.values())
            if one.uid == uid and one.last_seen - one.first_seen >= good_for
        ]
        if waiting:
            return max(waiting, key=lambda one: one.last_seen)
        return await self._asking.answer(self._fetch(uid, good_for))

    async def _fetch(self, uid: str, good_for: timedelta) -> GoodSighting | None:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_NEWEST, uid, good_for)
        if row is None and self._keys is None:
            raise KeysUnusable(NO_KEYS)
        if row is None:
            return None
        plain = await self._declarations.read(stored(row))
        times = (row["first_seen"], row["last_seen"])
        return GoodSighting(uid, "", "", "", plain.digest, plain.size, plain.content, *times)

    async def _store(self, connection: Connection, keys: Keys, seen: Sequence[GoodSighting]) -> None:
        plain = (Plain(one.digest, one.size, one.content) for one in seen)
        names = await self._declarations.store(connection, keys, plain)
        # One order for all writers, so that none waits for the other in a circle.
        rows = sorted(
            (replace(one, digest=names[one.digest]) for one in seen), key=lambda one: (one.uid, one.digest)
        )
        await connection.execute(
            _KNOWN_GOOD, *([getattr(row, column) for row in rows] for column in _COLUMNS)
        )
