"""Runs of a Workflow in the order in which they began, with all that is kept of them: what a replay reads."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from kubernaut.history.database import Database
from kubernaut.history.records import RunRecord
from kubernaut.history.repository import steps_of
from kubernaut.history.rows import RUN_COLUMNS, STEP_COLUMNS, from_json, run_of

_RUN: Final = ", ".join(RUN_COLUMNS)
_STEP: Final = ", ".join(STEP_COLUMNS)
_FINISHED: Final = ("Succeeded", "Failed", "Cancelled")
#: a run may be created so long before it begins: its Workflow's waitAtMost, or a pause
_CREATED_BEFORE: Final = timedelta(days=31)


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which runs: of one Workflow, finished, begun since then and before then."""

    namespace: str
    workflow: str
    since: datetime
    until: datetime


class BegunRuns:
    """Reads only. Every method raises HistoryUnavailable while Postgres can't answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def pages(self, chosen: Chosen, size: int = 200) -> AsyncGenerator[Sequence[RunRecord], None]:
        """Yield runs with their steps, oldest first by (started_at, uid), dry runs apart; a page at a time."""
        after: tuple[datetime, str] = (chosen.since, "")
        while page := await self._page(chosen, after, size):
            yield page
            last = page[-1]
            assert last.started_at is not None
            after = (last.started_at, last.uid)
            if len(page) < size:
                return

    async def _page(self, chosen: Chosen, after: tuple[datetime, str], size: int) -> Sequence[RunRecord]:
        # The bounds on created_at let Postgres leave out the other months.
        query = (
            f"SELECT {_RUN} FROM kubernaut.runs WHERE namespace = $1 AND workflow = $2 "
            "AND started_at IS NOT NULL AND (started_at, uid) > ($3, $4) AND started_at < $5 "
            "AND created_at BETWEEN $6 AND $5 AND phase = ANY($7::text[]) AND NOT dry_run "
            "ORDER BY started_at, uid LIMIT $8"
        )
        values = (
            *(chosen.namespace, chosen.workflow, *after, chosen.until),
            *(after[0] - _CREATED_BEFORE, _FINISHED, size),
        )
        async with self._database.connection() as connection:
            rows = await connection.fetch(query, *values)
            steps = await steps_of(connection, rows, _STEP)
        return [run_of(row, steps.get(row["uid"], ())) for row in rows]

    async def content(self, digest: str) -> Mapping[str, Any] | None:
        """Return the content of a Workflow as it is kept, or None."""
        async with self._database.connection() as connection:
            found = await connection.fetchval("SELECT spec FROM kubernaut.contents WHERE digest = $1", digest)
        return None if found is None else from_json(found)

    async def namespaces(self, workflow: str) -> Sequence[str]:
        """Return where there are runs of a Workflow of this name."""
        query = "SELECT DISTINCT namespace FROM kubernaut.runs WHERE workflow = $1 ORDER BY 1 LIMIT 10"
        async with self._database.connection() as connection:
            return [row["namespace"] for row in await connection.fetch(query, workflow)]
