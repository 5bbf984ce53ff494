"""How many past runs `kubernaut replay` decides again in a second, and how much memory that takes.

    PYTHONPATH=hack python -m bench.replay [--sizes 1000,10000] [--rounds 3] [--out FILE]

Each measurement is a process of its own with a real Postgres: rows read, each run decided again under the content
that it followed and under one with another threshold, results counted. The runs are of one Workflow with five steps,
a cooldown and a verification; one step is left out by ``when`` for every other run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench.discovery import peak_mib
from localpostgres import LocalPostgres

GOAL_MIB = 200
_BEGAN = datetime(2026, 1, 5, tzinfo=UTC)


def spec(threshold: int) -> Any:
    """Return the Workflow; its second step hangs on what the first one gave."""
    from kubernaut.api.workflow import WorkflowSpec

    def scale(name: str, *needs: str, **more: Any) -> dict[str, Any]:
        return {
            "name": name,
            "action": "scale_deployment",
            "with": {"replicas": 2},
            "dependsOn": list(needs),
            **more,
        }

    return WorkflowSpec.from_wire(
        {
            "serviceAccountName": "repair",
            "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "steps": [
                scale("first"),
                scale("many", "first", when=f"steps.first.outputs.before > {threshold}"),
                {"name": "pause", "wait": {"duration": "2s"}, "dependsOn": ["many"]},
                scale("second", "pause"),
                scale("third", "second"),
            ],
            "guards": {"cooldown": "1m"},
            "verify": {"expect": ["target.status.readyReplicas > 0"], "stabilization": "1s"},
        }
    )


def steps(at: datetime, before: int) -> tuple[Any, ...]:
    """Return the records of the steps of a run that began then, and found so many replicas."""
    from kubernaut.history.records import StepRecord

    def ended(name: str, position: int, second: float, took: float = 1.0, **more: Any) -> Any:
        begin = at + timedelta(seconds=second)
        times = {
            "started_at": begin,
            "finished_at": begin + timedelta(seconds=took),
            "duration_seconds": took,
        }
        values = {"action": "scale_deployment", "attempts": 1, **times, **more}
        return StepRecord(name, position, "Succeeded", **values)

    left_out: dict[str, Any] = {
        "action": "scale_deployment",
        "reason": "WhenFalse",
        "finished_at": at + timedelta(seconds=1),
    }
    return (
        ended("first", 0, 0, outputs={"before": before, "replicas": 2}, changed=("replicas",)),
        ended("many", 1, 1) if before > 4 else StepRecord("many", 1, "Skipped", **left_out),
        ended("pause", 2, 2, 2.0, action=None),
        ended("second", 3, 4),
        ended("third", 4, 5),
    )


def records(count: int) -> Iterator[Any]:
    """Yield runs as the operator would have stored them, five minutes apart."""
    from kubernaut.core.content import content_hash
    from kubernaut.history.facts import content_of
    from kubernaut.history.records import RunRecord

    old = spec(4)
    always: dict[str, Any] = {
        "namespace": "shop",
        "workflow": "repair",
        "phase": "Succeeded",
        "content_hash": content_hash(old),
        "content": content_of(old),
        "service_account": "repair",
        "verdict": "Remediated",
        "target_kind": "Deployment",
        "target_name": "web",
        "target_uid": "web",
        "duration_seconds": 8.0,
        "reason": "ExpectationMet",
    }
    for number in range(count):
        at = _BEGAN + timedelta(minutes=5 * number)
        facts = {
            "approvals": [],
            "interventions": [],
            "targetApiVersion": "apps/v1",
            "verifySince": (at + timedelta(seconds=6)).isoformat(),
            "healthySince": (at + timedelta(seconds=7)).isoformat(),
        }
        yield RunRecord(
            uid=f"run-{number:08d}",
            name=f"run-{number}",
            created_at=at,
            started_at=at,
            finished_at=at + timedelta(seconds=8),
            steps=steps(at, number % 10),
            facts=facts,
            **always,
        )


async def fill(dsn: str, runs: int) -> None:
    """Store runs."""
    from kubernaut.history.database import Database
    from kubernaut.history.writer import RunWriter

    database, batch = Database(dsn), []
    writer = RunWriter(database)
    for record in records(runs):
        batch.append(record)
        if len(batch) == 5_000:
            await writer.write(batch)
            batch.clear()
    await writer.write(batch)
    await database.close()


def measured(dsn: str) -> dict[str, Any]:
    """Replay what is stored, as the command does."""
    from kubernaut.cli.catalogue import actions
    from kubernaut.cli.replaying import replay_all
    from kubernaut.history.begun import BegunRuns, Chosen
    from kubernaut.history.database import Database
    from kubernaut.replaying.replay import Replay

    async def all_of_them() -> dict[str, Any]:
        database = Database(dsn, migrating=False, connections=1, read_only=True)
        await database.open()
        replay = Replay("repair", "shop", spec(6), actions())
        began = time.perf_counter()
        chosen = Chosen("shop", "repair", _BEGAN - timedelta(days=1), datetime(2030, 1, 1, tzinfo=UTC))
        found = await replay_all(BegunRuns(database), replay, chosen, 50)
        seconds = time.perf_counter() - began
        await database.close()
        return {
            "runs": found.runs,
            "seconds": round(seconds, 2),
            "runs_per_second": round(found.runs / seconds),
            "peak_mib": round(peak_mib()),
            **found.wire()["summary"],
        }

    return asyncio.run(all_of_them())


def rounds_of(size: int, rounds: int) -> dict[str, Any]:
    """Return the median round of some, each a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        server = LocalPostgres.up("replay", root=Path(folder))
        try:
            asyncio.run(fill(server.dsn, size))
            command = [sys.executable, "-m", "bench.replay", "--measure", server.dsn]
            found = []
            for number in range(rounds):
                print(f"replay: {size} runs, round {number + 1} of {rounds}", file=sys.stderr, flush=True)
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                found.append(json.loads(done.stdout.splitlines()[-1]))
        finally:
            server.down()
    found.sort(key=lambda one: one["seconds"])
    return {
        **found[len(found) // 2],
        "goals_met": {f"peak memory <= {GOAL_MIB} MiB": found[0]["peak_mib"] <= GOAL_MIB},
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", default="1000,10000")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measured(options.measure)))
        return
    sizes = [rounds_of(int(size), options.rounds) for size in options.sizes.split(",")]
    text = json.dumps({"bench": "replay", "goal_mib": GOAL_MIB, "sizes": sizes}, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
