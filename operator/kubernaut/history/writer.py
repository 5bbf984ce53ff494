"""Writing runs: binary COPY, straight into the tables where all are new, else by staging tables and an upsert."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from itertools import chain

import asyncpg

from kubernaut.history.database import Connection, Database
from kubernaut.history.errors import Rejected
from kubernaut.history.records import RunRecord
from kubernaut.history.rows import RUN_COLUMNS, STEP_COLUMNS, Row, run_row, step_rows, to_json
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
            # Held until commit: readers who go by position must never see one before a lower one.
            await connection.execute("SELECT pg_advisory_xact_lock($1)", POSITION_LOCK)
            await _keep_contents(connection, runs)
            try:
                async with connection.transaction():
                    return await _insert(connection, runs)
            except asyncpg.UniqueViolationError:
                # One of them is stored already: a newer one takes its place, and a replay changes nothing.
                return await _upsert(connection, runs)

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


async def _keep_contents(connection: Connection, runs: Sequence[RunRecord]) -> None:
    """Keep the contents that the runs followed, each once; nobody else writes any now."""
    found = {run.content_hash: run.content for run in runs if run.content_hash and run.content is not None}
    if found:
        await connection.execute(
            "INSERT INTO kubernaut.contents (digest, spec) "
            "SELECT * FROM unnest($1::text[], $2::jsonb[]) ON CONFLICT DO NOTHING",
            list(found),
            [to_json(content) for content in found.values()],
        )


def _steps(runs: Iterable[RunRecord]) -> Iterable[Row]:
    return chain.from_iterable(map(step_rows, runs))


async def _insert(connection: Connection, runs: Sequence[RunRecord]) -> int:
    """Copy runs straight into the tables, each row made while the server takes those before it.

    Raises:
        UniqueViolationError: one of them is there already.
    """
    # Nobody else draws positions now, so as many can be taken at once as there are runs.
    last = await connection.fetchval(
        "SELECT setval('kubernaut.run_position', nextval('kubernaut.run_position') + $1 - 1)", len(runs)
    )
    first = last - len(runs) + 1
    positioned = ((*run_row(run), position) for position, run in enumerate(runs, start=first))
    await _copy(connection, "runs", positioned, (*RUN_COLUMNS, "position"))
    await _copy(connection, "steps", _steps(runs), STEP_COLUMNS)
    return len(runs)


async def _upsert(connection: Connection, runs: Sequence[RunRecord]) -> int:
    await connection.execute(_STAGING)
    await _copy(connection, "staged_runs", map(run_row, runs), RUN_COLUMNS, "pg_temp")
    await _copy(connection, "staged_steps", _steps(runs), STEP_COLUMNS, "pg_temp")
    return int(await connection.fetchval(_UPSERT))


async def _copy(
    connection: Connection,
    table: str,
    rows: Iterable[Row],
    columns: Sequence[str],
    schema: str = "kubernaut",
) -> None:
    await connection.copy_records_to_table(table, records=rows, columns=columns, schema_name=schema)


def _newest(runs: Sequence[RunRecord]) -> list[RunRecord]:
    newest: dict[str, RunRecord] = {}
    for run in runs:
        known = newest.get(run.uid)
        if known is None or run.revision > known.revision:
            newest[run.uid] = run
    return sorted(newest.values(), key=lambda run: (run.created_at, run.uid))
