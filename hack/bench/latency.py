"""How long one run takes on an idle cluster, and what a step costs beyond the API server's own latency."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
import statistics
import time
from collections.abc import AsyncIterator

from bench.alone import OneByOne
from bench.auditlog import AuditTail, Entry
from bench.client import PlainClient, Refused
from bench.driver import Driver
from bench.figures import Report, interval, spread
from bench.ground import OPERATOR, Ground, ObservedOperator
from bench.plan import Plan
from bench.shapes import ACCOUNT, DEPLOYMENTS, NAMESPACE, RUNS, Change, Manifest, Shape, one_more, target

ABOUT = (
    "Runs that are alone on the cluster. by_watch: from the create being sent to the end being seen by a "
    "watch, on the driver's monotonic clock. by_api_server: from the create being received to the last "
    "status write being answered, in the audit log. Steps: the time from one patch of the Deployment "
    "being answered to the next, in a run of 40 sequential scale steps, by the audit log; the same for a "
    "plain client that reads and patches the same Deployment as the same account 40 times in the same "
    "round. Overhead is each of our steps less the plain client's median of that round. Conflicts with "
    "the deployment controller, which writes the same objects, are in both. alone: in each round the "
    "operator's process is halted, and a plain client sends what a one-step run consists of at the least, "
    "one request after the other: create of a run, a status patch of one field, GET and PATCH of a "
    "Deployment, the status patch again; then one put of 1 KiB after the other to the same etcd, by its "
    "JSON gateway. What 40 steps take alone is computed from the medians of these."
)
STEPS = 40
PAUSE = 0.15
#: how long what piled up for a halted operator takes to be dealt with
SETTLE = 1.0
REPAIR = f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"


class Latency:
    """The rounds."""

    def __init__(self, ground: Ground, client: PlainClient, same: PlainClient, plan: Plan) -> None:
        assert ground.cluster.audit_log is not None
        self._ground = ground
        self._driver = Driver(client, RUNS)
        self._same = same
        self._plan = plan
        self._log = AuditTail(ground.cluster.audit_log)
        self.singles: dict[str, list[float]] = {}
        self.forty: list[float] = []
        self.cycles: list[float] = []
        self.plain: list[float] = []
        self.overheads: list[float] = []
        self.plain_one: list[float] = []
        self.conflicts = {"ours": 0, "plain": 0}

    async def all(self, operator: ObservedOperator, alone: OneByOne) -> None:
        """Do all rounds."""
        async with self._driver.ends.watching():
            for number in range(self._plan.rounds):
                self._ground.say(f"latency: round {number + 1} of {self._plan.rounds}")
                for change in Change:
                    await self._singles(change)
                await self._steps(number)
                async with _halted(operator):
                    await alone.measure(self._ground, self._plan.singles)
            await self._driver.clean()

    async def _singles(self, change: Change) -> None:
        shape = Shape(1, change)
        for number in range(self._plan.singles):
            where = target(change, number)

            def make(run: str, where: str = where) -> Manifest:
                return shape.run(run, where)

            await asyncio.sleep(PAUSE)
            self._log.read()
            name, seconds = await self._driver.one(make)
            entries = self._log.read()
            created = next(e for e in entries if e.verb == "create" and e.what == "workflowexecutions")
            last = max(
                e.answered for e in entries if e.what == "workflowexecutions/status" and e.name == name
            )
            self.singles.setdefault(f"{change}_by_watch", []).append(seconds)
            self.singles.setdefault(f"{change}_by_api_server", []).append(last - created.came)

    async def _steps(self, number: int) -> None:
        shape, where = Shape(STEPS), target(Change.SCALE, number)
        await asyncio.sleep(PAUSE)
        self._log.read()
        _, seconds = await self._driver.one(lambda run: shape.run(run, where))
        self.forty.append(seconds)
        ours = self._patches(self._log.read(), where, OPERATOR, "ours")
        await asyncio.sleep(PAUSE)
        self._log.read()
        began = time.monotonic()
        await self._read_and_patch(where)
        self.plain_one.append((time.monotonic() - began) / (STEPS + 1))
        plain = self._patches(self._log.read(), where, "", "plain")
        usual = statistics.median(plain)
        self.cycles += ours
        self.plain += plain
        self.overheads += [cycle - usual for cycle in ours]

    def _patches(self, entries: list[Entry], name: str, by: str, whose: str) -> list[float]:
        """Return the seconds between patches of a Deployment, and count those that met a conflict."""
        found = [e for e in entries if e.verb == "patch" and e.what == "deployments" and e.name == name]
        found = [e for e in found if e.user == REPAIR and (not by or e.by == by)]
        self.conflicts[whose] += sum(e.code == 409 for e in found)
        times = sorted(e.answered for e in found if e.persisted)
        return [late - soon for soon, late in itertools.pairwise(times)]

    async def _read_and_patch(self, name: str) -> None:
        path = f"{DEPLOYMENTS}/{name}"
        done = 0
        while done <= STEPS:
            seen = await self._same.send("GET", path)
            try:
                await self._same.patch(path, one_more(seen))
            except Refused as refusal:
                if refusal.code != 409:
                    raise
            else:
                done += 1


@contextlib.asynccontextmanager
async def _halted(operator: ObservedOperator) -> AsyncIterator[None]:
    """Have the operator stand still meanwhile; ended and started again, it would begin the next round cold."""
    await asyncio.sleep(PAUSE)
    operator.send(signal.SIGSTOP)
    try:
        yield
    finally:
        operator.send(signal.SIGCONT)
    await asyncio.sleep(SETTLE)


async def measure(ground: Ground, plan: Plan) -> Report:
    """Measure."""
    report = Report("latency", ABOUT)
    ground.apply(*(Shape(1, change).workflow() for change in Change), Shape(STEPS).workflow())
    count = max(plan.singles, plan.rounds)
    async with (
        PlainClient(ground.driver) as client,
        PlainClient(ground.rights) as own,
        PlainClient(ground.driver, account=REPAIR) as same,
    ):
        for change in Change:
            await ground.deployments(client, change, count)
        alone = OneByOne(client, own, same)
        with ground.operator() as operator:
            work = Latency(ground, client, same, plan)
            await work.all(operator, alone)
    _tell(report, work, alone)
    return report


def _tell(report: Report, work: Latency, alone: OneByOne) -> None:
    for name, values in work.singles.items():
        report.figures[f"one_step_run_{name}_seconds"] = {**interval(values), **spread(values)}
        del report.figures[f"one_step_run_{name}_seconds"]["rounds"]
    report.figures["forty_step_run_by_watch_seconds"] = interval(work.forty)
    report.figures["step_seconds"] = spread(work.cycles)
    report.figures["plain_read_and_patch_seconds"] = spread(work.plain)
    report.figures["overhead_per_step_seconds"] = spread(work.overheads)
    report.figures["conflicts_with_the_deployment_controller"] = work.conflicts
    report.figures["forty_plain_reads_and_patches_seconds"] = interval(
        [STEPS * one for one in work.plain_one]
    )
    report.figures["alone"] = alone.figures()
    watch = report.figures["one_step_run_scale_by_watch_seconds"]
    overhead = report.figures["overhead_per_step_seconds"]
    forty = report.figures["forty_step_run_by_watch_seconds"]
    report.at_most(
        "one-step run alone, created to finished, p50", "s", watch["upper_95"], 0.05, alone.beside_run(1)
    )
    for name, share, bound in (("p50", 0.5, 0.010), ("p99", 0.99, 0.050)):
        beside = {
            "API server alone, a read and a patch": alone.read_and_patch(share),
            "with the deployment controller's writes": report.figures["plain_read_and_patch_seconds"][name],
        }
        report.at_most(f"overhead per step, {name}", "s", overhead[name], bound, beside)
    plain = {"plain reads and patches": report.figures["forty_plain_reads_and_patches_seconds"]["median"]}
    report.at_most("40 sequential steps", "s", forty["upper_95"], 0.8, {**alone.beside_run(STEPS), **plain})
