"""An hour's worth of runs and of periodic work in minutes: does anything grow that should not?"""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from bench.auditlog import AuditTail
from bench.client import PlainClient
from bench.driver import Driver
from bench.figures import Report, rounded
from bench.ground import Ground, ObservedOperator
from bench.machine import CpuMeter
from bench.plan import Plan
from bench.shapes import RUNS, Change, Manifest, Shape, target

ABOUT = (
    "Waves of one-step runs that expire a second after their end, with the history in a Postgres beside "
    "it; what happens every 15 s, 30 s or 10 min otherwise (lists, policy checks, lists of everything) "
    "happens every 1 s, 1 s and 10 s, so a minute has the periodic work of a quarter of an hour to an "
    "hour. Every few waves, when all runs have expired, the operator's memory, tasks, files and sockets "
    "are noted. The first quarter warms up; growth is the median of the last quarter less that of the "
    "second. meanwhile: what the waves asked of the cluster: requests that the API server answered to anybody, "
    "and processors that each process used on average (1 is one of them, all the time)."
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


class Meanwhile:
    """What the waves ask of the cluster."""

    def __init__(self, ground: Ground, operator: ObservedOperator) -> None:
        assert ground.cluster.audit_log is not None
        assert operator.pid is not None
        self._log = AuditTail(ground.cluster.audit_log)
        self._pids = {"operator": operator.pid, "driver": os.getpid(), **ground.pids}
        self._seconds = 0.0
        self._requests = 0
        self._spent: dict[str, float] = defaultdict(float)

    @contextlib.contextmanager
    def wave(self) -> Iterator[None]:
        """Count during one wave; reading the log falls outside of its time."""
        self._log.read()
        meter, began = CpuMeter(self._pids), time.monotonic()
        yield
        self._seconds += time.monotonic() - began
        for process, seconds in meter.spent().items():
            self._spent[process] += seconds
        self._requests += len(self._log.read())

    def tell(self, report: Report) -> None:
        """Write down the rates."""
        used = {process: rounded(seconds / self._seconds) for process, seconds in self._spent.items()}
        rate = rounded(self._requests / self._seconds)
        report.figures["meanwhile"] = {
            "seconds": rounded(self._seconds),
            "requests_per_second": rate,
            "processors_used": used,
        }
        by = ", ".join(f"{process} {share:.2f}" for process, share in used.items())
        report.remark(f"meanwhile the API server answered {rate:g} requests/s; processors used: {by}")


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
            notes, meanwhile = [], Meanwhile(ground, operator)
            async with driver.ends.watching():
                for number in range(waves):
                    with meanwhile.wave():
                        await driver.batch(_make, count)
                        await driver.gone()
                    if number % WAVES_PER_NOTE == WAVES_PER_NOTE - 1:
                        ground.say(f"soak: wave {number + 1} of {waves}")
                        notes.append(await _note(operator))
    report.figures["runs"] = waves * count
    _tell(report, notes)
    meanwhile.tell(report)
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
