"""How long discovery takes from rows in Postgres to statuses, and how much memory, at several sizes.

    PYTHONPATH=hack python -m bench.discovery [--sizes 1000,5000,100000] [--rounds 7] [--out FILE]

Every measurement is a process of its own, so that its peak memory is its own; ours and the peer's take turns.
Ours is a first round on a warm process, the worst there is: read all rows from a real Postgres, features,
clusters, statistics, patterns and members stored, statuses written (to memory: the API server's speed is not
ours). The vectors, which are stored after the statuses, are timed apart, as ``vectors``.
The peer is what one would write in an hour: the same rows as dense one-hot features, scaled, into
scikit-learn's HDBSCAN, labels only, nothing stored or written; at the sizes it can bear.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.synthetic_runs import history
from localpostgres import LocalPostgres

GOALS = {1_000: 0.15, 5_000: 0.5, 100_000: 8.0}
GOAL_MIB = 400
GOAL_ASSIGN_SECONDS = 0.002
PEER_BEARS = 5_000


def peak_mib() -> float:
    """Peak resident memory of this process in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def bootstrap(values: Sequence[float], draw: Callable[[Sequence[float]], float]) -> list[float]:
    """Return a 95 % bootstrap interval (percentiles of 2,000 resamples)."""
    dice = random.Random(0)
    drawn = sorted(draw(dice.choices(values, k=len(values))) for _ in range(2_000))
    return [round(drawn[50], 4), round(drawn[1_949], 4)]


async def fill(dsn: str, runs: int) -> None:
    from kubernaut.history.database import Database
    from kubernaut.history.writer import RunWriter

    database = Database(dsn)
    batch = []
    writer = RunWriter(database)
    for record, _ in history(runs):
        batch.append(record)
        if len(batch) == 5_000:
            await writer.write(batch)
            batch.clear()
    if batch:
        await writer.write(batch)
    await database.close()


class Discard:
    """Takes objects and statuses and says how many."""

    def __init__(self) -> None:
        self.statuses = 0

    async def list(self) -> list[Any]:
        return []

    async def create(self, pattern: Any) -> Any:
        return pattern

    async def patch_status(self, pattern: Any, status: dict[str, Any]) -> None:
        self.statuses += 1


async def clear(dsn: str) -> None:
    from kubernaut.history.database import Database

    database = Database(dsn)
    async with database.connection() as connection:
        await connection.execute(
            "TRUNCATE kubernaut.patterns, kubernaut.pattern_members, kubernaut.run_features, "
            "kubernaut.feature_sets, kubernaut.analysis"
        )
    await database.close()


async def ours(dsn: str) -> dict[str, Any]:
    from kubernaut.history.database import Database
    from kubernaut.history.patternstore import PatternStore
    from kubernaut.history.repository import Repository
    from kubernaut.patterns.analysis import Analysis
    from kubernaut.patterns.clustering import Hdbscan
    from kubernaut.patterns.discovery import discover
    from kubernaut.patterns.settings import AnalystSettings
    from kubernaut.patterns.table import RunTable

    warm = RunTable()
    warm.extend(record for record, _ in history(40))
    discover(warm, {}, Hdbscan())
    await clear(dsn)
    database = Database(dsn, connections=2)
    await database.open()
    sink = Discard()
    analysis = Analysis(Repository(database), PatternStore(database), sink, AnalystSettings())
    began, began_cpu = time.perf_counter(), time.process_time()
    done = await analysis.round()
    cpu_seconds = time.process_time() - began_cpu
    seconds = time.perf_counter() - began - done.vectors_seconds
    await database.close()
    assigned = assignment(analysis)
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "peak_mib": peak_mib(),
        "statuses": sink.statuses,
        "assign_seconds": assigned,
        **done.to_json(),
    }


def assignment(analysis: Any) -> float:
    """Median seconds to assign one run whose look was never seen (the worst case)."""
    from kubernaut.patterns.assign import Assigner
    from kubernaut.patterns.terms import terms_of

    fresh = [terms_of(record) for record, _ in history(200, seed=99, stray=1.0)]
    times = []
    assigner = Assigner.of(analysis.discovery)
    for terms in dict.fromkeys(fresh):
        began = time.perf_counter()
        assigner.assign(terms)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


async def peer(dsn: str) -> dict[str, Any]:
    import numpy as np
    from sklearn.cluster import HDBSCAN

    from kubernaut.history.database import Database
    from kubernaut.history.records import RunRecord
    from kubernaut.history.repository import Repository

    HDBSCAN(copy=True).fit(np.random.default_rng(0).normal(size=(50, 3)))
    database = Database(dsn, connections=2)
    await database.open()
    began = time.perf_counter()
    repository, position = Repository(database), 0
    runs: list[RunRecord] = []
    while True:
        batch = await repository.finished_runs_after(position)
        if not batch.runs:
            break
        runs.extend(batch.runs)
        position = batch.position
    words = [
        {*run.symptoms, run.target_kind or "", run.workflow, *(step.action or "" for step in run.steps)}
        for run in runs
    ]
    columns = {word: at for at, word in enumerate(sorted(set().union(*words)))}
    points = np.zeros((len(runs), len(columns) + 1))
    for row, (run, of) in enumerate(zip(runs, words, strict=True)):
        points[row, [columns[word] for word in of]] = 1.0
        points[row, -1] = np.log1p(run.duration_seconds or 0.0)
    points = (points - points.mean(axis=0)) / np.maximum(points.std(axis=0), 1e-9)
    labels = HDBSCAN(min_cluster_size=max(3, int(len(runs) ** 0.4)), copy=True).fit(points).labels_
    seconds = time.perf_counter() - began
    await database.close()
    return {"seconds": seconds, "peak_mib": peak_mib(), "patterns": int(labels.max()) + 1}


def measured(kind: str, dsn: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.discovery", "--measure", kind, "--dsn", dsn]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def summary(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    seconds = [result["seconds"] for result in results]
    return {
        "median_seconds": round(statistics.median(seconds), 4),
        "median_seconds_interval_95": bootstrap(seconds, statistics.median),
        "peak_resident_mib": round(max(result["peak_mib"] for result in results), 1),
        "patterns": results[-1]["patterns"],
        "rounds": len(results),
    }


def bench(dsn: str, runs: int, rounds: int) -> dict[str, Any]:
    """Measure one size; ours and the peer's take turns."""
    asyncio.run(fill(dsn, runs))
    mine, others = [], []
    for number in range(rounds):
        print(f"discovery: {runs} runs, round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        mine.append(measured("ours", dsn))
        if runs <= PEER_BEARS:
            others.append(measured("peer", dsn))
    out: dict[str, Any] = {"runs": runs, "ours": summary(mine), "goal_seconds": GOALS.get(runs)}
    for phase in ("read", "discover", "keep", "publish", "vectors"):
        out["ours"][f"median_{phase}_seconds"] = round(
            statistics.median(one[f"{phase}_seconds"] for one in mine), 4
        )
    out["ours"]["median_cpu_seconds_with_vectors"] = round(
        statistics.median(one["cpu_seconds"] for one in mine), 4
    )
    out["ours"]["median_assign_seconds"] = round(statistics.median(one["assign_seconds"] for one in mine), 6)
    if others:
        out["peer_sklearn_hdbscan_dense"] = summary(others)
        ratios = [other["seconds"] / one["seconds"] for one, other in zip(mine, others, strict=True)]
        out["peer_seconds_per_our_second"] = round(statistics.median(ratios), 3)
        out["peer_seconds_per_our_second_interval_95"] = bootstrap(ratios, statistics.median)
    out["goals_met"] = {
        "seconds": runs not in GOALS or out["ours"]["median_seconds"] <= GOALS[runs],
        "peak_resident_mib": out["ours"]["peak_resident_mib"] <= GOAL_MIB,
        "assign_seconds": out["ours"]["median_assign_seconds"] <= GOAL_ASSIGN_SECONDS,
    }
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sizes", default="1000,5000,100000")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--measure", choices=["ours", "peer"], help=argparse.SUPPRESS)
    parser.add_argument("--dsn", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(asyncio.run((ours if given.measure == "ours" else peer)(given.dsn))))
        return
    results = []
    for runs in map(int, given.sizes.split(",")):
        with tempfile.TemporaryDirectory(prefix="kubernaut-bench-") as folder:
            server = LocalPostgres.up("discovery", root=Path(folder))
            try:
                results.append(bench(server.dsn, runs, given.rounds))
            finally:
                server.down()
    report = {"bench": "discovery", "goal_peak_resident_mib": GOAL_MIB, "sizes": results}
    text = json.dumps(report, indent=2)
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
