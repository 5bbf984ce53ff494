"""Writing runs: binary COPY into staging tables, one upsert, one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from itertools import chain

from kubernaut.history.database import Connection, Database
from kubernaut.history.errors import Rejected
from kubernaut.history.records import RunRecord
from kubernaut.history.rows import RUN_COLUMNS, STEP_COLUMNS, run_row, step_rows
from kubernaut.history.schema import ensure_months, month_of

POSITION_LOCK = 7239104581
_ASK = 5000
_RUN = ", ".join(RUN_COLUMNS)
_STEP = ", ".join(STEP_COLUMNS)
_STAGING = f"""
CREATE TEMPORARY TABLE IF NOT EXISTS staged_runs ON COMMIT DELETE ROWS
    AS SELECT {_RUN} FROM kubernaut.runs WITH NO DATA;
CREATE TEMPORARY TABLE IF NOT EXISTS staged_steps ON COMMIT DELETE ROWS
    AS SELECT {_STEP} FROM kubernaut.steps WITH NO DATA;
"""


def _assignments(columns: Iterable[str], key: set[str]) -> str:
    return ", ".join(f"{column} = excluded.{column}" for column in columns if column not in key)


# One statement, so that steps are written for exactly those runs whose own row was.
_UPSERT = f"""
WITH written AS (
    INSERT INTO kubernaut.runs AS known ({_RUN}, position)
    SELECT {_RUN}, nextval('kubernaut.run_position') FROM staged_runs
    ON CONFLICT (uid, created_at) DO UPDATE
        SET {_assignments(RUN_COLUMNS, {"uid", "created_at"})}, position = excluded.position
        WHERE excluded.revision > known.revision
    RETURNING uid, created_at
), stale AS (
    DELETE FROM kubernaut.steps step USING written
    WHERE step.run_uid = written.uid AND step.created_at = written.created_at AND NOT EXISTS (
        SELECT FROM staged_steps staged WHERE staged.run_uid = step.run_uid AND staged.position = step.position)
), steps AS (
    INSERT INTO kubernaut.steps ({_STEP})
    SELECT {", ".join(f"staged.{column}" for column in STEP_COLUMNS)}
    FROM staged_steps staged JOIN written ON written.uid = staged.run_uid
    ON CONFLICT (run_uid, created_at, position) DO UPDATE
        SET {_assignments(STEP_COLUMNS, {"run_uid", "created_at", "position"})}
)
SELECT count(*) FROM written
"""


class RunWriter:
    """Writes records exactly once: by uid, a newer revision over an older one, a replay changes nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._months: set[date] = set()

    async def write(self, runs: Sequence[RunRecord]) -> int:
        """Store records; return how many were new or newer than what was stored.

        Raises:
            HistoryUnavailable, BadDsn, ...: nothing is known of the outcome; writing again is safe.
            Rejected: Postgres can't hold one of them; none was stored.
        """
        newest = _newest(runs)
        if not newest:
            return 0
        created = [run.created_at for run in newest]
        try:
            return await self._write(newest, created)
        except Rejected:
            # A month that was known here may have been dropped by retention.
            if not self._months:
                raise
            self._months.clear()
            return await self._write(newest, created)

    async def _write(self, runs: Sequence[RunRecord], created: Sequence[datetime]) -> int:
        months = set(map(month_of, created))
        if unknown := months - self._months:
            async with self._database.connection() as connection:
                await ensure_months(connection, unknown)
            self._months |= months
        async with self._database.transaction() as connection:
            await connection.execute(_STAGING)
            await _copy(connection, "staged_runs", map(run_row, runs), RUN_COLUMNS)
            await _copy(connection, "staged_steps", chain.from_iterable(map(step_rows, runs)), STEP_COLUMNS)
            # Held until commit: readers who go by position must never see one before a lower one.
            await connection.execute("SELECT pg_advisory_xact_lock($1)", POSITION_LOCK)
            return int(await connection.fetchval(_UPSERT))

    async def stored(self, uids: Sequence[str]) -> frozenset[str]:
        """Return which of the runs are stored.

        Raises:
            HistoryUnavailable: Postgres can't answer.
        """
        found: set[str] = set()
        async with self._database.connection() as connection:
            for at in range(0, len(uids), _ASK):
                rows = await connection.fetch(
                    "SELECT uid FROM kubernaut.runs WHERE uid = ANY($1::text[])", list(uids[at : at + _ASK])
                )
                found.update(row["uid"] for row in rows)
        return frozenset(found)


async def _copy(
    connection: Connection, table: str, rows: Iterable[Sequence[object]], columns: Sequence[str]
) -> None:
    await connection.copy_records_to_table(table, records=rows, columns=columns, schema_name="pg_temp")


def _newest(runs: Sequence[RunRecord]) -> list[RunRecord]:
    newest: dict[str, RunRecord] = {}
    for run in runs:
        known = newest.get(run.uid)
        if known is None or run.revision > known.revision:
            newest[run.uid] = run
    return sorted(newest.values(), key=lambda run: (run.created_at, run.uid))
