"""Kills around Postgres' commits, while Postgres itself crashes and returns: no run lost, none stored twice."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Any

import asyncpg

from faults.kills import run_all
from faults.oracle import Findings
from faults.relay import CommitKiller
from faults.shapes import NAMESPACE, SHAPES, Manifest
from faults.world import KUBERNAUT, World, say
from localcluster import Cluster
from localpostgres import LocalPostgres

_RUNS = "select uid::text, phase, verdict from kubernaut.runs where namespace = $1"
_STEPS = """select s.run_uid::text as uid, s.name from kubernaut.steps s
            join kubernaut.runs r on r.uid = s.run_uid and r.created_at = s.created_at where r.namespace = $1"""


async def killed_around_commits(
    cluster: Cluster, postgres: LocalPostgres, folder: Path, seed: int, points: int
) -> dict[str, Any]:
    """Run all shapes while the operator is killed around commits and Postgres crashes."""
    findings, began, outages = Findings(), time.monotonic(), 0
    killer = CommitKiller(postgres.socket_folder, seed, points, lambda: world.operator.kill())
    await killer.start()
    try:
        async with World.running(cluster, folder, dsn=killer.dsn) as world:
            rounds = 0
            while killer.points.total() < points and rounds < 2 * points:
                rounds += 1
                running = asyncio.create_task(run_all(world, SHAPES, findings))
                while not running.done():
                    await asyncio.to_thread(postgres.stop)
                    await asyncio.sleep(0.5 * (rounds % 2))
                    await asyncio.to_thread(postgres.start)
                    outages += 1
                    await asyncio.wait({running}, timeout=6.0)
                await running
                say(f"{killer.points.total()} of {points} commits, {outages} crashes of Postgres")
            runs = [
                run
                for run in await world.admin.list(KUBERNAUT, "WorkflowExecution", NAMESPACE)
                if (run.get("status") or {}).get("finishedAt")
            ]
            rows, steps, seconds = await _caught_up(postgres, runs)
    finally:
        await killer.stop()
    return {
        "seed": seed,
        "kill_points": killer.points.total(),
        "by_way": dict(killer.points),
        "crashes_of_postgres": outages,
        **findings.report(),
        "seconds_to_catch_up": seconds,
        "seconds": round(time.monotonic() - began, 1),
        **_compare(runs, rows, steps),
    }


async def _caught_up(postgres: LocalPostgres, runs: list[Manifest]) -> tuple[list[Any], list[Any], float]:
    """Wait until the history holds as many runs as there are; return its rows, and how long it took."""
    began = time.monotonic()
    connection = await asyncpg.connect(postgres.dsn)
    try:
        while True:
            rows = await connection.fetch(_RUNS, NAMESPACE)
            waited = time.monotonic() - began
            if len({row["uid"] for row in rows}) >= len(runs) or waited > 40:
                return rows, await connection.fetch(_STEPS, NAMESPACE), round(waited, 1)
            await asyncio.sleep(0.2)
    finally:
        await connection.close()


def _compare(runs: list[Manifest], rows: list[Any], steps: list[Any]) -> dict[str, Any]:
    """Compare rows with the finished runs in the cluster."""
    counted = Counter(row["uid"] for row in rows)
    told = {row["uid"]: (row["phase"], row["verdict"]) for row in rows}
    of_steps = Counter((row["uid"], row["name"]) for row in steps)
    expected: Counter[tuple[str, str]] = Counter()
    lost, wrong = 0, 0
    for run in runs:
        uid, status = run["metadata"]["uid"], run["status"]
        lost += uid not in counted
        wrong += uid in told and told[uid] != (status["phase"], status["verdict"])
        expected.update((uid, step["name"]) for step in status["steps"])
    known = {run["metadata"]["uid"] for run in runs}
    mine = Counter({key: count for key, count in of_steps.items() if key[0] in known})
    return {
        "finished_runs": len(runs),
        "rows_lost": lost,
        "rows_doubled": sum(count - 1 for count in counted.values()),
        "rows_that_say_otherwise": wrong,
        "step_rows": mine.total(),
        "step_rows_lost": (expected - mine).total(),
        "step_rows_doubled": (mine - expected).total(),
    }
