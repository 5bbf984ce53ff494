"""How many rows a second the mirror stores, beside a plain COPY of the same rows in the same run.

    PYTHONPATH=hack python -m bench.backfill [--sizes 50000] [--rounds 7] [--out FILE]

A size is a number of runs; each has two steps, so three rows. Ours is the mirror's writer, from records to commit, in
batches of 5,000 runs, into the empty tables of the history: partitioned, with all indexes. The plain COPY sends the
same rows, made ready before the clock starts, by the same driver and in the same batches: into the same tables
(``copy``), and into tables without index or partition (``copy_bare``, which nobody could read back; for information).
``replay`` is ours once more with the same records: nothing may change. Postgres has its default settings.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from bench.figures import interval, ratio
from bench.synthetic_runs import history
from kubernaut.history.database import Connection, Database
from kubernaut.history.records import RunRecord
from kubernaut.history.rows import RUN_COLUMNS, STEP_COLUMNS, Row, run_row, step_rows
from kubernaut.history.writer import RunWriter
from localpostgres import LocalPostgres

GOAL_ROWS = 100_000
GOAL_RATIO = 0.6
BATCH = 5_000
_EMPTY = "TRUNCATE kubernaut.runs, kubernaut.steps, public.bare_runs, public.bare_steps"
_BARE = """
CREATE TABLE public.bare_runs AS SELECT * FROM kubernaut.runs WITH NO DATA;
CREATE TABLE public.bare_steps AS SELECT * FROM kubernaut.steps WITH NO DATA;
"""


class Backfill:
    """One size, and what is stored of it."""

    def __init__(self, database: Database, runs: int) -> None:
        self._database = database
        self._records = [record for record, _ in history(runs)]
        self._batches = [self._records[at : at + BATCH] for at in range(0, runs, BATCH)]
        self._ready = [
            ([(*row, at) for at, row in enumerate(map(run_row, batch))], _steps(batch))
            for batch in self._batches
        ]
        self.rows = runs + sum(len(steps) for _, steps in self._ready)

    async def empty(self) -> None:
        """Take all rows away, and what that leaves to do for Postgres."""
        async with self._database.connection() as connection:
            await connection.execute(_EMPTY)
            await connection.execute("CHECKPOINT")

    async def ours(self) -> None:
        writer = RunWriter(self._database)
        for batch in self._batches:
            await writer.write(batch)

    async def copy(self, schema: str = "kubernaut", prefix: str = "") -> None:
        for runs, steps in self._ready:
            async with self._database.transaction() as connection:
                await _copy(connection, schema, f"{prefix}runs", runs, (*RUN_COLUMNS, "position"))
                await _copy(connection, schema, f"{prefix}steps", steps, STEP_COLUMNS)

    async def stored(self) -> int:
        async with self._database.connection() as connection:
            return int(
                await connection.fetchval(
                    "SELECT (SELECT count(*) FROM kubernaut.runs) + (SELECT count(*) FROM kubernaut.steps)"
                )
            )


def _steps(batch: Sequence[RunRecord]) -> list[Row]:
    return list(chain.from_iterable(map(step_rows, batch)))


async def _copy(
    connection: Connection, schema: str, table: str, rows: Sequence[Row], columns: Sequence[str]
) -> None:
    await connection.copy_records_to_table(table, records=rows, columns=columns, schema_name=schema)


async def _seconds(work: Callable[[], Awaitable[None]]) -> float:
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


async def bench(dsn: str, runs: int, rounds: int) -> dict[str, Any]:
    """Measure one size; all take turns, and the first round is for warming up."""
    database = Database(dsn)
    async with database.connection() as connection:
        await connection.execute(_BARE)
    work = Backfill(database, runs)
    # The partitions are made by the first write; the plain COPY finds them there.
    await work.ours()
    rates: dict[str, list[float]] = {"ours": [], "replay": [], "copy": [], "copy_bare": []}
    for number in range(rounds):
        print(f"backfill: {runs} runs, round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        for name, doing in (
            ("ours", work.ours),
            ("replay", work.ours),
            ("copy", work.copy),
            ("copy_bare", lambda: work.copy("public", "bare_")),
        ):
            if name != "replay":
                await work.empty()
            rates[name].append(work.rows / await _seconds(doing))
            if name != "copy_bare" and await work.stored() != work.rows:
                raise SystemExit(f"backfill: {name} stored other rows than it was given")
    await database.close()
    of_copy = ratio(rates["ours"], rates["copy"])
    return {
        "runs": runs,
        "rows": work.rows,
        "batch_runs": BATCH,
        **{f"{name}_rows_per_second": interval(values) for name, values in rates.items()},
        "ours_per_copy": of_copy,
        "ours_per_copy_bare": ratio(rates["ours"], rates["copy_bare"]),
        "goals_met": {
            "rows_per_second": interval(rates["ours"])["lower_95"] >= GOAL_ROWS,
            "ours_per_copy": of_copy["lower_95"] >= GOAL_RATIO,
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sizes", default="50000")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    results = []
    for runs in map(int, given.sizes.split(",")):
        with tempfile.TemporaryDirectory(prefix="kubernaut-bench-") as folder:
            server = LocalPostgres.up("backfill", root=Path(folder))
            try:
                results.append(asyncio.run(bench(server.dsn, runs, given.rounds)))
            finally:
                server.down()
    goals = {"goal_rows_per_second": GOAL_ROWS, "goal_ours_per_copy": GOAL_RATIO}
    text = json.dumps({"bench": "backfill", **goals, "sizes": results}, indent=2)
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
