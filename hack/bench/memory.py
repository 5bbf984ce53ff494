"""Memory, start and the longest hold of the event loop, with many finished and many waiting runs in the cluster."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from typing import Any

from bench.alone import bare_process, list_as_at_start
from bench.auditlog import AuditTail
from bench.client import PlainClient
from bench.driver import Driver
from bench.figures import Report, interval
from bench.ground import OPERATOR, Ground, ObservedOperator
from bench.machine import memory_mib
from bench.plan import Plan
from bench.shapes import RUNS, Change, Manifest, Shape, run, target, workflow

ABOUT = (
    "Finished runs are made by writing the status of one that really ran to many; live ones wait for a "
    "time, each on a Deployment of its own. The history is a Postgres beside it. Start: from starting the "
    "process to its first patch of a Deployment being received, for a run that was created while no "
    "operator was there. Holds of the event loop are measured by a task in it: as time that passed, and "
    "as processor time of its own thread within (the rest is waiting for a processor). resident memory is "
    "that of the operator after it has been idle for a while with all of them; watching: what as many "
    "more runs cost that wait for an expression, so that each target is watched. alone, before each "
    "start: how long a plain client waits for the lists that a start waits for (Workflows and live runs, in "
    "pages of the operator's size, with the operator's rights), and how long a Python process takes to "
    "import what the operator does, and the resident memory of it then: what is above that is data and work."
)
STARTS = 3
IDLE_SECONDS = 25
WAIT_LONG: Manifest = {"name": "wait", "wait": {"duration": "20h"}, "timeout": "23h"}
WAIT_WATCHING: Manifest = {
    "name": "wait",
    "wait": {"until": "target.metadata.name == 'never'"},
    "timeout": "23h",
}
ONE = Shape(1)


class Memory:
    """Fills the cluster, starts the operator, looks at it."""

    def __init__(self, ground: Ground, client: PlainClient, own: PlainClient, plan: Plan) -> None:
        assert ground.cluster.audit_log is not None
        self._ground = ground
        self._driver = Driver(client, RUNS)
        self._own = own
        self._plan = plan
        self._log = AuditTail(ground.cluster.audit_log)
        self._numbers = itertools.count()
        self._lists: list[float] = []
        self._imports: list[float] = []
        self._bare_mib: list[float] = []

    async def fill(self, dsn: str) -> None:
        """Have live and finished runs in the cluster; no operator runs afterwards."""
        client = self._driver.client
        with self._ground.operator(dsn):
            async with self._driver.ends.watching():
                name, _ = await self._driver.one(lambda run: ONE.run(run, target(Change.SCALE, 0)))
            ended = await client.send("GET", f"{RUNS}/{name}")
            self._ground.say(f"memory: {self._plan.live} live runs")
            await self._start_live("wait-long", 1)
        self._ground.say(f"memory: {self._plan.finished} finished runs")
        slots = asyncio.Semaphore(32)

        async def finished(number: int) -> None:
            name = f"finished-{number}"
            async with slots:
                await client.send("POST", RUNS, ONE.run(name, target(Change.SCALE, 0)))
                await self._own.patch(f"{RUNS}/{name}/status", {"status": ended["status"]})

        await asyncio.gather(*(finished(number) for number in range(self._plan.finished)))

    async def _start_live(self, of: str, first: int) -> None:
        client = self._driver.client
        runs = [run(f"{of}-{at}", of, target(Change.SCALE, first + at)) for at in range(self._plan.live)]
        before = len(await client.names(RUNS, "fieldSelector=status.phase%3DRunning"))
        await asyncio.gather(*(client.send("POST", RUNS, one) for one in runs))
        await self._driver.standing("Running", before + self._plan.live)

    async def start(self, operator: ObservedOperator) -> float:
        """Start an operator; return the seconds until its first act was received."""
        number = next(self._numbers)
        where = target(Change.SCALE, 0)
        await self._driver.client.send("POST", RUNS, ONE.run(f"first-{number}", where))
        self._log.read()
        began = time.time()
        operator.start()

        def acts(entry: Any) -> bool:
            return bool(entry.by == OPERATOR and entry.what == "deployments" and entry.verb == "patch")

        entries = await asyncio.to_thread(self._log.read_until, acts, 120.0)
        return float(next(entry.came for entry in entries if acts(entry)) - began)

    async def starts(self, dsn: str, report: Report) -> None:
        """Start it several times; look at the last one while it is idle."""
        seconds, observed = [], []
        for number in range(STARTS):
            self._ground.say(f"memory: start {number + 1} of {STARTS}")
            await self._alone()
            operator = self._ground.new_operator(dsn)
            try:
                seconds.append(await self.start(operator))
                await asyncio.sleep(IDLE_SECONDS if number == STARTS - 1 else 5)
                observed.append(operator.observed())
                if number == STARTS - 1:
                    await self._look(operator, observed[-1], report)
            finally:
                operator.stop()
        report.figures["start_to_first_act_seconds"] = interval(seconds)
        report.figures["longest_hold_by_start"] = [_holds(lines) for lines in observed]
        report.figures["alone"] = {
            "lists_seconds": interval(self._lists),
            "bare_process_seconds": interval(self._imports),
            "bare_process_resident_mib": interval(self._bare_mib),
        }
        beside = {
            "the API server's lists alone": statistics.median(self._lists),
            "imports alone": statistics.median(self._imports),
        }
        report.at_most("start to first act", "s", max(seconds), 8, beside)
        own = max(hold["held_by_own_work_seconds"] for hold in report.figures["longest_hold_by_start"])
        report.at_most("longest hold of the event loop by own work", "s", own, 0.1)

    async def _alone(self) -> None:
        """Add what a start takes of others, while no operator is there."""
        self._lists.append(await list_as_at_start(self._own))
        seconds, mib = await asyncio.to_thread(bare_process)
        self._imports.append(seconds)
        self._bare_mib.append(mib)

    async def _look(self, operator: ObservedOperator, lines: list[dict[str, Any]], report: Report) -> None:
        assert operator.pid is not None
        idle = memory_mib(operator.pid)
        report.figures["operator"] = {
            "finished_runs": self._plan.finished,
            "live_runs": self._plan.live,
            **idle,
            **{key: lines[-1][key] for key in ("tasks", "files", "sockets")},
            "idle_hold": _holds(lines[-16:]),
        }
        bare = {"bare process with the same imports": statistics.median(self._bare_mib)}
        report.at_most("resident memory", "MiB", idle["resident_mib"], 200, bare)
        self._ground.say(f"memory: {self._plan.live} more live runs, each with a watch")
        await self._start_live("wait-watching", 1 + self._plan.live)
        await asyncio.sleep(10)
        watching, last = memory_mib(operator.pid), operator.observed()[-1]
        report.figures["operator_with_as_many_more_runs_watching"] = {
            **watching,
            **{key: last[key] for key in ("tasks", "files", "sockets")},
            "more_kib_per_watching_run": round(
                1024 * (watching["resident_mib"] - idle["resident_mib"]) / self._plan.live, 1
            ),
        }

    async def clear(self) -> None:
        """Delete all runs, with nobody to hold them."""
        slots = asyncio.Semaphore(32)
        client = self._driver.client

        async def delete(name: str) -> None:
            async with slots:
                await client.patch(f"{RUNS}/{name}", {"metadata": {"finalizers": None}})
                await client.send("DELETE", f"{RUNS}/{name}")

        await asyncio.gather(*(delete(name) for name in await client.names(RUNS)))


def _holds(lines: list[dict[str, Any]]) -> dict[str, float]:
    return {
        key: max((line[key] for line in lines), default=0.0)
        for key in ("held_seconds", "held_by_own_work_seconds")
    }


async def measure(ground: Ground, plan: Plan) -> Report:
    """Measure."""
    report = Report("memory", ABOUT)
    ground.apply(
        ONE.workflow(),
        workflow("wait-long", [WAIT_LONG], timeout="24h"),
        workflow("wait-watching", [WAIT_WATCHING], timeout="24h"),
    )
    async with PlainClient(ground.driver) as client, PlainClient(ground.rights) as own:
        await ground.deployments(client, Change.SCALE, 1 + 2 * plan.live)
        with ground.postgres() as dsn:
            work = Memory(ground, client, own, plan)
            await work.fill(dsn)
            await work.starts(dsn, report)
            ground.say("memory: clearing up")
            await work.clear()
    return report
