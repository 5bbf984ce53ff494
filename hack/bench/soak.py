"""An hour's worth of runs and of periodic work in minutes: does anything grow that should not?"""

from __future__ import annotations

import asyncio
import statistics
from typing import Any

from bench.client import PlainClient
from bench.driver import Driver
from bench.figures import Report, rounded
from bench.ground import Ground, ObservedOperator
from bench.plan import Plan
from bench.shapes import RUNS, Change, Manifest, Shape, target

ABOUT = (
    "Waves of one-step runs that expire a second after their end, with the history in a Postgres beside "
    "it; what happens every 15 s, 30 s or 10 min otherwise (lists, policy checks, lists of everything) "
    "happens every 1 s, 1 s and 10 s, so a minute has the periodic work of a quarter of an hour to an "
    "hour. Every few waves, when all runs have expired, the operator's memory, tasks, files and sockets "
    "are noted. The first quarter warms up; growth is the median of the last quarter less that of the "
    "second."
)
WAVE = 120
WAVES_PER_NOTE = 3
SHAPE = Shape(1, ttl_seconds=1)
FASTER = {
    "KUBERNAUT_RELIST": "1s",
    "KUBERNAUT_POLICY_CHECK": "1s",
    "KUBERNAUT_RESYNC": "10s",
    "KUBERNAUT_LOG_LEVEL": "WARNING",
}
#: what is allowed to differ between two quarters without being growth: noise of allocator and pools
SLACK = {"resident_mib": 4.0, "tasks": 8, "sockets": 8}
UNITS = {"resident_mib": "MiB", "tasks": "tasks", "sockets": "sockets"}


async def measure(ground: Ground, plan: Plan) -> Report:
    """Measure."""
    report = Report("soak", ABOUT)
    ground.apply(SHAPE.workflow())
    waves = max(plan.soaked // WAVE, 4 * WAVES_PER_NOTE)
    count = min(WAVE, plan.soaked // waves)
    async with PlainClient(ground.driver) as client:
        await ground.deployments(client, Change.SCALE, count)
        with ground.postgres() as dsn, ground.operator(dsn, FASTER) as operator:
            driver = Driver(client, RUNS)
            notes = []
            async with driver.ends.watching():
                for number in range(waves):
                    await driver.batch(_make, count)
                    await driver.gone()
                    if number % WAVES_PER_NOTE == WAVES_PER_NOTE - 1:
                        ground.say(f"soak: wave {number + 1} of {waves}")
                        notes.append(await _note(operator))
    report.figures["runs"] = waves * count
    _tell(report, notes)
    return report


def _make(name: str, at: int) -> Manifest:
    return SHAPE.run(name, target(Change.SCALE, at))


async def _note(operator: ObservedOperator) -> dict[str, Any]:
    """Return how the operator is once what the waves left has settled: Kopf keeps a task per object for 5 s."""
    await asyncio.sleep(6.5)
    last = operator.observed()[-1]
    return {key: last[key] for key in ("resident_mib", "tasks", "files", "sockets")}


def _tell(report: Report, notes: list[dict[str, Any]]) -> None:
    quarter = len(notes) // 4
    early, late = notes[quarter : 2 * quarter], notes[-quarter:]
    report.figures["notes"] = notes
    for key, slack in SLACK.items():
        before = statistics.median(note[key] for note in early)
        after = statistics.median(note[key] for note in late)
        report.figures[f"{key}_early_late"] = [rounded(before), rounded(after)]
        report.at_most(f"growth of {key}", UNITS[key], after - before, slack)
