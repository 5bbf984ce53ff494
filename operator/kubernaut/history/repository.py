"""Reading runs back: pages by key, never a count of all rows."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

import orjson

from kubernaut.history.database import Connection, Database
from kubernaut.history.errors import HistoryError
from kubernaut.history.pages import Durations, DurationStatistics, Page, RunBatch, RunFilter
from kubernaut.history.records import RunRecord, StepRecord
from kubernaut.history.rows import RUN_COLUMNS, STEP_COLUMNS, run_of, step_of

_LIST_COLUMNS = ", ".join(RUN_COLUMNS)
_BRIEF_RUN = ", ".join(column for column in RUN_COLUMNS if column not in ("parameters", "outputs", "facts"))
_STEP = ", ".join(STEP_COLUMNS)
_BRIEF_STEP = ", ".join(column for column in STEP_COLUMNS if column not in ("outputs", "changed"))
_FINISHED = ("Succeeded", "Failed", "Cancelled")
# The conditions are those of the index runs_durations, so no row has to be read. Of the newest runs, those with the
# same content count where there are enough of them, else all.
_DURATIONS = """
WITH newest AS MATERIALIZED (
    SELECT duration_seconds AS seconds, content_hash = $3 AS same FROM kubernaut.runs
    WHERE namespace = $1 AND workflow = $2 AND phase = 'Succeeded' AND NOT dry_run AND retry_from IS NULL
        AND duration_seconds IS NOT NULL
    ORDER BY created_at DESC LIMIT $4
), chosen AS (
    SELECT seconds FROM newest WHERE same OR (SELECT count(*) FILTER (WHERE same) FROM newest) < $5
)
SELECT count(*) AS runs, percentile_cont(ARRAY[0.1, 0.5, 0.9]) WITHIN GROUP (ORDER BY seconds) AS seconds
FROM chosen
"""


class InvalidCursor(HistoryError):
    """The cursor of a page is not one that was given out."""


class Repository:
    """Questions about stored runs. Every method raises HistoryUnavailable while Postgres can't answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_runs(
        self, where: RunFilter | None = None, *, after: str | None = None, limit: int = 50
    ) -> Page[RunRecord]:
        """Return runs without their steps, newest first by (created_at, uid).

        Raises:
            InvalidCursor: ``after`` is not the ``next`` of an earlier page.
        """
        where = where or RunFilter()
        conditions, values = ["true"], list[Any]()
        for column, value in (
            ("namespace =", where.namespace),
            ("workflow =", where.workflow),
            ("verdict =", where.verdict),
            ("created_at >=", where.since),
        ):
            if value is not None:
                values.append(value)
                conditions.append(f"{column} ${len(values)}")
        if after is not None:
            values.extend(_read_cursor(after))
            conditions.append(f"(created_at, uid) < (${len(values) - 1}, ${len(values)})")
        values.append(limit + 1)
        query = (
            f"SELECT {_LIST_COLUMNS} FROM kubernaut.runs WHERE {' AND '.join(conditions)} "
            f"ORDER BY created_at DESC, uid DESC LIMIT ${len(values)}"
        )
        async with self._database.connection() as connection:
            runs = [run_of(row) for row in await connection.fetch(query, *values)]
        more = len(runs) > limit
        return Page(tuple(runs[:limit]), _cursor(runs[limit - 1]) if more else None)

    async def run(self, uid: str) -> RunRecord | None:
        """Return one run with its steps."""
        return await self._one("uid = $1", uid)

    async def run_named(self, namespace: str, name: str) -> RunRecord | None:
        """Return the newest run of this name with its steps."""
        return await self._one("namespace = $1 AND name = $2", namespace, name)

    async def _one(self, condition: str, *values: str) -> RunRecord | None:
        query = (
            f"SELECT {_LIST_COLUMNS} FROM kubernaut.runs WHERE {condition} "
            "ORDER BY created_at DESC, uid DESC LIMIT 1"
        )
        async with self._database.connection() as connection:
            row = await connection.fetchrow(query, *values)
            if row is None:
                return None
            steps = await steps_of(connection, [row], _STEP)
        return run_of(row, steps.get(row["uid"], ()))

    async def finished_runs_after(
        self, position: int = 0, *, limit: int = 2000, details: bool = False
    ) -> RunBatch[RunRecord]:
        """Return finished runs with their steps in the order in which they reached the history.

        Runs that are mirrored late come late, so none is missed; a run whose record was replaced comes again.
        Dry runs are left out: they changed nothing, so there is nothing to learn from them. Without ``details``
        parameters, outputs and changes are left empty (symptoms are there).
        """
        query = (
            f"SELECT {_LIST_COLUMNS if details else _BRIEF_RUN}, position FROM kubernaut.runs "
            "WHERE position > $1 AND phase = ANY($2::text[]) AND NOT dry_run ORDER BY position LIMIT $3"
        )
        async with self._database.connection() as connection:
            rows = await connection.fetch(query, position, _FINISHED, limit)
            steps = await steps_of(connection, rows, _STEP if details else _BRIEF_STEP)
        runs = tuple(run_of(row, steps.get(row["uid"], ())) for row in rows)
        return RunBatch(runs, rows[-1]["position"] if rows else position)

    async def duration_statistics(
        self, namespace: str, workflow: str, *, last: int = 200
    ) -> DurationStatistics | None:
        """Return how long the last succeeded runs of a Workflow took; None without any.

        Dry runs and runs that repeat only a part of another don't count.
        """
        query = (
            "SELECT duration_seconds FROM kubernaut.runs WHERE namespace = $1 AND workflow = $2 "
            "AND phase = 'Succeeded' AND NOT dry_run AND retry_from IS NULL AND duration_seconds IS NOT NULL "
            "ORDER BY created_at DESC, uid DESC LIMIT $3"
        )
        async with self._database.connection() as connection:
            rows = await connection.fetch(query, namespace, workflow, last)
        return statistics_of([row["duration_seconds"] for row in rows])

    async def durations(
        self, namespace: str, workflow: str, content_hash: str, *, last: int = 200, enough: int = 5
    ) -> Durations | None:
        """Return how long the last runs of a Workflow took that succeeded; None where there are not enough.

        Those that had the same content count, or all where these are not enough. Dry runs and runs that repeat only
        a part of another don't count.
        """
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_DURATIONS, namespace, workflow, content_hash, last, enough)
        return Durations(row["runs"], *row["seconds"]) if row["runs"] >= enough else None

    async def verdict_counts(
        self, *, namespace: str | None = None, since: datetime | None = None
    ) -> dict[tuple[str, str], dict[str, int]]:
        """Return how often each verdict occurred, by (namespace, workflow), without dry runs; "" where none."""
        query = (
            "SELECT namespace, workflow, coalesce(verdict, '') AS verdict, count(*) AS runs FROM kubernaut.runs "
            "WHERE NOT dry_run AND ($1::text IS NULL OR namespace = $1) "
            "AND ($2::timestamptz IS NULL OR created_at >= $2) "
            "GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
        )
        counts: dict[tuple[str, str], dict[str, int]] = {}
        async with self._database.connection() as connection:
            for row in await connection.fetch(query, namespace, since):
                counts.setdefault((row["namespace"], row["workflow"]), {})[row["verdict"]] = row["runs"]
        return counts


def statistics_of(seconds: Sequence[float]) -> DurationStatistics | None:
    """Return median, its distribution-free 95 % interval (order statistics, Conover 1999 §3.2) and 90th percentile.

    With fewer than six values there is no such interval; the extremes are given.
    """
    values = sorted(seconds)
    count = len(values)
    if not count:
        return None
    low = _lower_rank(count)
    high = count - 1 - low
    middle = (values[(count - 1) // 2] + values[count // 2]) / 2
    return DurationStatistics(
        count, middle, values[low], values[high], values[min(math.ceil(0.9 * count), count) - 1]
    )


def _lower_rank(count: int) -> int:
    """Return the largest rank (from 0) that at most 2.5 % of samples have above the median; 0 where none has."""
    rank, tail, term = 0, 0, 1
    for at in range(count // 2):
        tail += term
        if 40 * tail > 2**count:
            break
        rank = at
        term = term * (count - at) // (at + 1)
    return rank


async def steps_of(
    connection: Connection, runs: Sequence[Any], columns: str
) -> dict[str, tuple[StepRecord, ...]]:
    """Return the steps of runs by their uid."""
    if not runs:
        return {}
    created = [run["created_at"] for run in runs]
    # The bounds let Postgres leave out the other months.
    rows = await connection.fetch(
        f"SELECT {columns} FROM kubernaut.steps WHERE run_uid = ANY($1::text[]) "
        "AND created_at BETWEEN $2 AND $3 ORDER BY run_uid, position",
        [run["uid"] for run in runs],
        min(created),
        max(created),
    )
    return {uid: tuple(map(step_of, steps)) for uid, steps in groupby(rows, key=lambda row: row["run_uid"])}


def _cursor(run: RunRecord) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([run.created_at, run.uid])).decode()


def _read_cursor(text: str) -> tuple[datetime, str]:
    try:
        created, uid = orjson.loads(base64.urlsafe_b64decode(text))
        return datetime.fromisoformat(created), str(uid)
    except (ValueError, TypeError):
        raise InvalidCursor(
            f"{text[:80]!r} is not the cursor of an earlier page; start again without"
        ) from None
