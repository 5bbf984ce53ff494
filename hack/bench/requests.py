"""What a run asks of the API server, counted in its audit log: exact numbers, no clock."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

from bench.auditlog import AuditTail, Entry, in_namespace
from bench.client import PlainClient
from bench.driver import Driver
from bench.figures import Report
from bench.ground import OPERATOR, Ground
from bench.plan import Plan
from bench.shapes import RUNS, Change, Manifest, Shape, run, target, workflow
from kubernaut.cluster.watching import SERVER_SECONDS

ABOUT = (
    "Requests of the operator about one run, alone on the cluster, whose Workflow has run before. "
    "persisted: those that changed an object, Events apart. persist_nothing: reads, dry runs, access "
    "reviews, and what was refused, such as a patch that met a write of the deployment controller. "
    "controllers: what the cluster's own controllers wrote meanwhile. waiting: runs that wait (for a "
    "time, for an expression on a watched object, for a person), watched for a while in which nothing "
    "happens; a request is theirs if it is about their namespace. What the operator asks regardless of "
    "how many runs there are (stop switch, lists of everything, policies) is counted apart. A watch lasts "
    "for more than an hour, so none is begun anew within one: computed, not observed. Counts have no "
    "ceiling of the machine's; beside writes stands their floor: an effect for each step, the claim before "
    "the first, and the end."
)
SHAPES = (
    *(Shape(steps, change) for change in Change for steps in (1, 5, 20)),
    Shape(5, outputs=True),
)
#: begun anew within an hour of waiting, at the shortest that a watch lasts
WATCHES_AN_HOUR = int(3600 // (0.9 * SERVER_SECONDS))
_CONTROLLERS = "system:serviceaccount:kube-system:"
_WAITS: dict[str, Manifest] = {
    "duration": {"wait": {"duration": "20h"}},
    "expression": {"wait": {"until": "target.metadata.name == 'never'"}},
    "approval": {"approval": {"expiresAfter": "20h"}},
}


class Requests:
    """Counts."""

    def __init__(self, ground: Ground, client: PlainClient) -> None:
        assert ground.cluster.audit_log is not None
        self._ground = ground
        self._driver = Driver(client, RUNS)
        self._log = AuditTail(ground.cluster.audit_log)

    async def of_runs(self, report: Report) -> None:
        """Count what a run of each shape asks."""
        async with self._driver.ends.watching():
            for shape in SHAPES:
                counted = await self._of(shape)
                name = f"{shape.change}_{shape.steps}_steps{'_with_outputs' if shape.outputs else ''}"
                self._ground.say(f"requests: {name}: {counted['persisted']}")
                report.figures[name] = counted
                most = 2 * shape.steps + 2 if shape.outputs else shape.steps + 2
                least = {"effects, claim and end alone": shape.steps + 2}
                report.at_most(f"writes of a run, {name}", "requests", counted["persisted"], most, least)
                report.at_most(f"Events of a run, {name}", "requests", counted["events"], 1)
            bare = await self._of(Shape(5), from_birth=False)
            report.figures["scale_5_steps_created_without_the_finalizer"] = bare
            await self._driver.clean()

    async def _of(self, shape: Shape, from_birth: bool = True) -> dict[str, Any]:
        where = target(shape.change, 0)

        def make(name: str) -> Manifest:
            made = shape.run(name, where)
            if not from_birth:
                made["metadata"]["finalizers"] = []
            return made

        for _ in range(2):
            # The first keeps the Workflow's snapshot; the second finds all as it will be.
            await self._driver.one(make)
            await asyncio.sleep(1)
        self._log.read()
        await self._driver.one(make)
        entries = self._log.read_until(lambda e: e.by == OPERATOR and e.what == "events")
        return _counted(entries)

    async def of_waiting(self, report: Report, plan: Plan) -> None:
        """Count what waiting runs ask."""
        client = self._driver.client
        for number, kind in enumerate(_WAITS):
            made = run(f"waits-{kind}", f"waits-{kind}", target(Change.SCALE, number))
            await client.send("POST", RUNS, made)
        await self._driver.standing("Running", len(_WAITS))
        await asyncio.sleep(5)
        self._log.read()
        self._ground.say(f"requests: watching runs that wait for {plan.watch_seconds:.0f} s")
        await asyncio.sleep(plan.watch_seconds)
        entries = [e for e in self._log.read() if e.by == OPERATOR]
        theirs = [e for e in entries if in_namespace(e)]
        report.figures["waiting"] = {
            "observed_seconds": plan.watch_seconds,
            "runs": list(_WAITS),
            "attributable": _kinds(theirs),
            "watches_an_hour_by_computation": WATCHES_AN_HOUR,
            "regardless_of_runs": _kinds(e for e in entries if not in_namespace(e)),
        }
        per_hour = 3600 / plan.watch_seconds
        writes = sum(e.persisted for e in theirs) * per_hour
        report.at_most("writes of three waiting runs", "requests an hour", writes, 0)
        asked = len(theirs) * per_hour
        report.at_most("requests of three waiting runs, observed", "requests an hour", asked, 0)
        report.at_most(
            "requests of a run that waits for an expression, with the computed watches",
            "requests an hour",
            asked + WATCHES_AN_HOUR,
            0,
        )
        await self._driver.clean()


def _kinds(entries: Any) -> dict[str, int]:
    return dict(Counter(entry.kind for entry in entries).most_common())


def _counted(entries: Sequence[Entry]) -> dict[str, Any]:
    ours = [e for e in entries if e.by == OPERATOR and in_namespace(e)]
    lasting = [e for e in ours if e.persisted and e.what != "events"]
    nothing = [e for e in ours if not e.persisted]
    others = [
        e
        for e in entries
        if in_namespace(e) and e.persisted and e.by.startswith((_CONTROLLERS, "system:kube"))
    ]
    return {
        "persisted": len(lasting),
        "events": sum(e.persisted and e.what == "events" for e in ours),
        "persist_nothing": len(nothing),
        "persisted_by_request": _kinds(lasting),
        "persist_nothing_by_request": _kinds(nothing),
        "controllers_persisted_by_request": _kinds(others),
    }


async def measure(ground: Ground, plan: Plan) -> Report:
    """Count."""
    report = Report("requests", ABOUT)
    waits = [
        workflow(f"waits-{kind}", [{"name": "wait", **how, "timeout": "23h"}], timeout="24h")
        for kind, how in _WAITS.items()
    ]
    ground.apply(*(shape.workflow() for shape in SHAPES), *waits)
    async with PlainClient(ground.driver) as client:
        for change in Change:
            await ground.deployments(client, change, len(_WAITS))
        with ground.operator():
            work = Requests(ground, client)
            await work.of_runs(report)
            await work.of_waiting(report, plan)
    return report
