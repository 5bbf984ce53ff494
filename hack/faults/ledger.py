"""The history of one operator: a database of its own behind a relay, compared in the end with the runs there were."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from faults.relay import CommitKiller
from faults.shapes.model import Manifest
from localpostgres import LocalPostgres

_RUNS = "select uid::text, phase, verdict from kubernaut.runs"
_STEPS = """select s.run_uid::text as uid, s.name from kubernaut.steps s
            join kubernaut.runs r on r.uid = s.run_uid and r.created_at = s.created_at"""
_CATCH_UP_SECONDS = 40.0


class Ledger:
    """One operator's history."""

    def __init__(self, postgres: LocalPostgres, database: str) -> None:
        self._direct = postgres.dsn_of(database)
        self.relay = CommitKiller(postgres.socket_folder, database)

    @classmethod
    @asynccontextmanager
    async def kept(cls, postgres: LocalPostgres, database: str) -> AsyncIterator[Ledger]:
        """Make an empty database and relay to it."""
        connection = await asyncpg.connect(postgres.dsn_of("postgres"))
        try:
            await connection.execute(f'drop database if exists "{database}"')
            await connection.execute(f'create database "{database}"')
        finally:
            await connection.close()
        ledger = cls(postgres, database)
        await ledger.relay.start()
        try:
            yield ledger
        finally:
            await ledger.relay.stop()

    async def compare(self, finished: Mapping[str, Manifest]) -> dict[str, Any]:
        """Wait until all finished runs (by UID) are stored, and say what is missing, doubled or otherwise."""
        rows, steps, seconds = await self._caught_up(len(finished))
        counted = Counter(row["uid"] for row in rows)
        told = {row["uid"]: (row["phase"], row["verdict"]) for row in rows}
        of_steps = Counter((row["uid"], row["name"]) for row in steps if row["uid"] in finished)
        expected: Counter[tuple[str, str]] = Counter()
        wrong = 0
        for uid, status in finished.items():
            wrong += uid in told and told[uid] != (status["phase"], status["verdict"])
            expected.update((uid, step["name"]) for step in status["steps"])
        return {
            "finished_runs": len(finished),
            "rows_lost": sum(uid not in counted for uid in finished),
            "rows_doubled": sum(count - 1 for count in counted.values()),
            "rows_that_say_otherwise": wrong,
            "step_rows": of_steps.total(),
            "step_rows_lost": (expected - of_steps).total(),
            "step_rows_doubled": (of_steps - expected).total(),
            "seconds_to_catch_up": seconds,
        }

    async def _caught_up(self, runs: int) -> tuple[list[Any], list[Any], float]:
        began = time.monotonic()
        connection = await asyncpg.connect(self._direct)
        try:
            while True:
                rows = await connection.fetch(_RUNS)
                waited = time.monotonic() - began
                if len({row["uid"] for row in rows}) >= runs or waited > _CATCH_UP_SECONDS:
                    return rows, await connection.fetch(_STEPS), round(waited, 1)
                await asyncio.sleep(0.2)
        finally:
            await connection.close()


def together(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """Add the comparisons of several histories up; the longest time counts."""
    return {
        key: max(one[key] for one in reports)
        if key.startswith("seconds")
        else sum(one[key] for one in reports)
        for key in (reports[0] if reports else {})
    }
