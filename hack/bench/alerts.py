"""How long it takes from an alert being told to the first mutating request, at 100 alerts a second."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import aiohttp

from bench.auditlog import AuditTail
from bench.client import PlainClient
from bench.figures import Report, interval, spread
from bench.ground import Ground
from bench.latency import REPAIR
from bench.plan import Plan
from bench.shapes import NAMESPACE, RUNS, Change, Manifest, Shape, target
from localrun.process import free_port

ABOUT = (
    "One notification for each alert, 100 a second whether or not earlier ones are answered, each of 50 alerts of an "
    "incident in turn, so that two incidents begin a second. Seconds are from the first alert of an incident being "
    "sent to the API server receiving a request about it, by its audit log, on one clock: the creation of the run "
    "(to_run), which is the first mutating request, and the first effect on the Deployment (to_effect). answered: "
    "from the sending of any alert to its answer. The target is read and the run's Workflow acts as its own account; "
    "each run has one step that scales a Deployment."
)
RATE: Final = 100
ALERTS: Final = 50
WORKFLOW: Final = "on-alert"
_TOKEN: Final = "a-token-of-the-benchmarks-0123456789"
#: seconds after the last alert in which all runs have begun
SETTLE: Final = 5.0


def workflow() -> Manifest:
    """Return a Workflow of one scale step that an alert starts."""
    made = Shape(1, Change.SCALE).workflow()
    trigger = {
        "alert": {"matchLabels": {"alertname": "BenchBroken"}},
        "parameters": {"deployment": "=alert.labels.deployment"},
    }
    return {
        **made,
        "metadata": {**made["metadata"], "name": WORKFLOW},
        "spec": {**made["spec"], "triggers": [trigger]},
    }


def _notification(deployment: str, number: int, began: str, round_: int) -> Manifest:
    labels = {
        "alertname": "BenchBroken",
        "namespace": NAMESPACE,
        "deployment": deployment,
        "pod_number": str(number),
        "round": str(round_),
    }
    alert = {
        "status": "firing",
        "labels": labels,
        "annotations": {"summary": "for a benchmark"},
        "startsAt": began,
        "endsAt": "0001-01-01T00:00:00Z",
        "fingerprint": hashlib.sha256(repr(sorted(labels.items())).encode()).hexdigest()[:16],
    }
    return {"version": "4", "receiver": "bench", "alerts": [alert]}


class Alerts:
    """The rounds."""

    def __init__(self, ground: Ground, port: int, incidents: int) -> None:
        assert ground.cluster.audit_log is not None
        self._log = AuditTail(ground.cluster.audit_log)
        self._url = f"http://127.0.0.1:{port}/alerts"
        self._incidents = incidents
        self.to_run: list[float] = []
        self.to_effect: list[float] = []
        self.answered: list[float] = []
        self.runs = 0

    async def round(self, session: aiohttp.ClientSession, number: int) -> None:
        """Send all alerts, at their times."""
        self._log.read()
        first: dict[str, float] = {}
        sent: list[asyncio.Task[None]] = []
        began, told = time.monotonic(), datetime.now(UTC).isoformat()
        for at in range(self._incidents * ALERTS):
            await asyncio.sleep(max(0.0, began + at / RATE - time.monotonic()))
            name = target(Change.SCALE, number * self._incidents + at // ALERTS)
            first.setdefault(name, time.time())
            body = _notification(name, at % ALERTS, told, number)
            sent.append(asyncio.create_task(self._send(session, body)))
        await asyncio.gather(*sent)
        await asyncio.sleep(SETTLE)
        self._take(first)

    async def _send(self, session: aiohttp.ClientSession, body: Manifest) -> None:
        began = time.monotonic()
        async with session.post(self._url, json=body) as answer:
            told: dict[str, Any] = await answer.json()
            if answer.status != 200 or set(told["alerts"]) - {"started", "joined"}:
                raise RuntimeError(f"an alert was not taken: {answer.status} {told}")
        self.answered.append(time.monotonic() - began)

    def _take(self, first: dict[str, float]) -> None:
        entries = [entry for entry in self._log.read() if entry.persisted]
        created = sorted(e.came for e in entries if e.verb == "create" and e.what == "workflowexecutions")
        self.runs += len(created)
        # Incidents begin half a second apart, and their runs are created in that order.
        self.to_run += [came - sent for came, sent in zip(created, sorted(first.values()), strict=True)]
        for name, sent in first.items():
            effects = [
                e.came for e in entries if e.what == "deployments" and e.name == name and e.user == REPAIR
            ]
            if not effects:
                raise RuntimeError(f"nothing was done about {name}")
            self.to_effect.append(min(effects) - sent)


async def measure(ground: Ground, plan: Plan) -> Report:
    """Measure."""
    report = Report("alerts", ABOUT)
    rounds, incidents = max(2, plan.rounds // 2), max(4, plan.singles * 2)
    ground.apply(workflow())
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="kubernaut-bench-alerts-") as folder:
        tokens = Path(folder) / "tokens"
        tokens.write_text(_TOKEN)
        env = {"KUBERNAUT_ALERTS_PORT": str(port), "KUBERNAUT_ALERTS_TOKENS": str(tokens)}
        work = Alerts(ground, port, incidents)
        async with PlainClient(ground.driver) as client:
            await ground.deployments(client, Change.SCALE, rounds * incidents)
            with ground.operator(env=env):
                headers = {"Authorization": f"Bearer {_TOKEN}"}
                async with aiohttp.ClientSession(headers=headers) as session:
                    for number in range(rounds):
                        ground.say(f"alerts: round {number + 1} of {rounds}")
                        await work.round(session, number)
            # Without the operator nobody takes their finalizers off.
            for name in await client.names(RUNS):
                await client.patch(f"{RUNS}/{name}", {"metadata": {"finalizers": None}})
                await client.send("DELETE", f"{RUNS}/{name}")
    _tell(report, work, rounds * incidents)
    return report


def _tell(report: Report, work: Alerts, incidents: int) -> None:
    figures = {"to_run": work.to_run, "to_effect": work.to_effect, "answered": work.answered}
    for name, values in figures.items():
        report.figures[f"{name}_seconds"] = {**interval(values), **spread(values)}
        del report.figures[f"{name}_seconds"]["rounds"]
    report.figures |= {"alerts_per_second": RATE, "incidents": incidents, "runs": work.runs}
    run = report.figures["to_run_seconds"]
    beside = {
        "to the first effect": report.figures["to_effect_seconds"]["p50"],
        "any alert answered": report.figures["answered_seconds"]["p50"],
    }
    report.at_most("webhook to first mutating request, p50", "s", run["p50"], 0.050, beside)
    late = {
        "to the first effect": report.figures["to_effect_seconds"]["p99"],
        "any alert answered": report.figures["answered_seconds"]["p99"],
    }
    report.at_most("webhook to first mutating request, p99", "s", run["p99"], 0.250, late)
    report.at_most("runs beyond one for each incident", "runs", work.runs - incidents, 0)
