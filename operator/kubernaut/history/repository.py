"""Reading runs back: pages by key, never a count of all rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from kubernaut.history.database import Database
from kubernaut.history.pages import DurationStatistics, Page, RunBatch, RunFilter
from kubernaut.history.records import RunRecord


class Repository:
    """Questions about stored runs. Every method raises HistoryUnavailable while Postgres can't answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_runs(
        self, where: RunFilter | None = None, *, after: str | None = None, limit: int = 50
    ) -> Page[RunRecord]:
        """Return runs without their steps, newest first by (created_at, uid)."""
        raise NotImplementedError

    async def run(self, uid: str) -> RunRecord | None:
        """Return one run with its steps."""
        raise NotImplementedError

    async def run_named(self, namespace: str, name: str) -> RunRecord | None:
        """Return the newest run of this name with its steps."""
        raise NotImplementedError

    async def finished_runs_after(
        self, position: int = 0, *, limit: int = 2000, details: bool = False
    ) -> RunBatch[RunRecord]:
        """Return finished runs with their steps in the order in which they reached the history.

        Runs that are mirrored late come late, so none is missed; a run whose record was replaced comes again.
        Without ``details`` parameters, outputs and changes are left empty (symptoms are there).
        """
        raise NotImplementedError

    async def duration_statistics(
        self, namespace: str, workflow: str, *, last: int = 200
    ) -> DurationStatistics | None:
        """Return how long the last finished runs of a Workflow took; None without any."""
        raise NotImplementedError

    async def verdict_counts(
        self, *, namespace: str | None = None, since: datetime | None = None
    ) -> dict[tuple[str, str], dict[str, int]]:
        """Return how often each verdict occurred, by (namespace, workflow); "" where there is none."""
        raise NotImplementedError
