"""Dropping months of runs that are older than anybody wants to keep."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

from kubernaut.history.database import Connection, Database
from kubernaut.history.errors import HistoryError
from kubernaut.history.schema import month_of
from kubernaut.history.writer import POSITION_LOCK

RETENTION_LOCK = 7239104583
_MONTH = re.compile(r"runs_([0-9]{4})_([0-9]{2})")
_FIRST = timedelta(minutes=5)
_EVERY = timedelta(days=1)
_AGAIN = timedelta(hours=1)
log = logging.getLogger(__name__)


class Retention:
    """Drops whole months whose last run was created longer ago than ``keep``.

    Nothing is archived first; who wants to keep the rows copies them before. One operator at a time does it.
    """

    def __init__(self, database: Database, keep: timedelta, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._keep = keep
        self._clock = clock

    async def run(self) -> None:
        """Look once a day until cancelled; a Postgres that is away is asked again an hour later."""
        log.warning(
            "old months of the history are dropped, and no archive is configured: they are gone for good",
            extra={"days": self._keep.days},
        )
        pause = _FIRST
        while True:
            await asyncio.sleep(pause.total_seconds())
            try:
                await self.once()
                pause = _EVERY
            except HistoryError as error:
                log.info("old months are dropped later", extra={"error": str(error)})
                pause = _AGAIN

    async def once(self) -> list[date]:
        """Drop what is too old now; return the months, oldest first. Empty also where another operator is at it.

        Raises:
            HistoryError: Postgres can't be asked, or the user may not drop tables.
        """
        async with self._database.connection() as connection:
            there = await connection.fetchval("SELECT now()")
        # What is dropped is gone for good, so one clock that is ahead must not be enough.
        oldest = month_of(min(self._clock(), there) - self._keep)
        dropped: list[date] = []
        while month := await self._drop_one(oldest):
            dropped.append(month)
            log.info("dropped a month of the history", extra={"month": f"{month:%Y-%m}"})
        return dropped

    async def _drop_one(self, oldest: date) -> date | None:
        """Drop the oldest month before ``oldest`` in a transaction of its own, and what hangs on its runs."""
        async with self._database.transaction() as connection:
            if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", RETENTION_LOCK):
                return None
            months = [month for month in await _months(connection) if month < oldest]
            if not months:
                return None
            month = min(months)
            suffix = f"{month:%Y_%m}"
            # Nobody else gets at the table while the lock is waited for, so not for long.
            await connection.execute("SET LOCAL lock_timeout = '5s'")
            for table in ("run_features", "pattern_members", "bundles"):
                await connection.execute(
                    f"DELETE FROM kubernaut.{table} WHERE run_uid IN (SELECT uid FROM kubernaut.runs_{suffix})"
                )
            # A writer may have found a content stored, and its run not be visible yet.
            await connection.execute("SELECT pg_advisory_xact_lock($1)", POSITION_LOCK)
            contents = await connection.fetch(
                f"SELECT DISTINCT content_hash FROM kubernaut.runs_{suffix} WHERE content_hash IS NOT NULL"
            )
            await connection.execute(f"DROP TABLE kubernaut.runs_{suffix}, kubernaut.steps_{suffix}")
            await connection.execute(
                "DELETE FROM kubernaut.contents WHERE digest = ANY($1::text[]) "
                "AND NOT EXISTS (SELECT FROM kubernaut.runs WHERE content_hash = digest)",
                [row["content_hash"] for row in contents],
            )
            # A bundle may have waited on a disk until its run's month was gone.
            await connection.execute(
                "DELETE FROM kubernaut.bundles WHERE taken_at < $1 "
                "AND NOT EXISTS (SELECT FROM kubernaut.runs WHERE uid = run_uid)",
                datetime(month.year, month.month, 1, tzinfo=UTC),
            )
            return month


async def _months(connection: Connection) -> list[date]:
    rows = await connection.fetch(
        "SELECT child.relname FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid "
        "WHERE inhparent = 'kubernaut.runs'::regclass"
    )
    found = (_MONTH.fullmatch(row["relname"]) for row in rows)
    return [date(int(match[1]), int(match[2]), 1) for match in found if match]
