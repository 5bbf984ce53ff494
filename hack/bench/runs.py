"""What a run costs: requests, latency, throughput; beside what the API server itself bears on this machine.

    python hack/bench runs

Counts come from the API server's audit log and are exact. Times are wall times of the whole operator process beside
its control plane on the same machine. The API server's ceiling (plain patches of the same objects by one client) is
measured in the same run, in turn with the runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from kubernaut.api.rbac import tenant_manifests
from kubernaut.cluster.client import ApiConnection
from kubernaut.core.errors import Conflict
from kubernaut.core.ports import ObjectRef
from localcluster import Cluster
from localrun.access import account_kubeconfig
from localrun.audit import AuditLog, Request
from localrun.process import Operator

ROOT = Path(__file__).resolve().parent.parent.parent
NAMESPACE = "bench"
OPERATOR = "system:serviceaccount:kubernaut-system:kubernaut-operator"
ROUNDS = 7
Manifest = dict[str, Any]


@dataclass(frozen=True)
class Shape:
    """A Workflow of sequential steps, each patching a Deployment."""

    name: str
    steps: int

    def workflow(self) -> Manifest:
        """Return the Workflow; no step uses an earlier one's output."""
        names = [f"s{n}" for n in range(self.steps)]
        steps = [
            {
                "name": name,
                "action": "patch_resource",
                "with": {
                    "apiVersion": "apps/v1",
                    "kind": "Deployment",
                    "name": "=params.deployment",
                    "patch": {"metadata": {"annotations": {f"bench/{name}": "=run.name"}}},
                },
                **({"dependsOn": [names[at - 1]]} if at else {}),
            }
            for at, name in enumerate(names)
        ]
        return {
            "apiVersion": "kubernaut.io/v1alpha1",
            "kind": "Workflow",
            "metadata": {"name": self.name, "namespace": NAMESPACE},
            "spec": {
                "serviceAccountName": "kubernaut-repair",
                "parameters": [{"name": "deployment", "required": True}],
                "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "=params.deployment"},
                "steps": steps,
            },
        }

    def execution(self, name: str, deployment: str) -> Manifest:
        """Return a run."""
        return {
            "apiVersion": "kubernaut.io/v1alpha1",
            "kind": "WorkflowExecution",
            "metadata": {"name": name, "namespace": NAMESPACE, "finalizers": ["kubernaut.io/mirror"]},
            "spec": {
                "workflowRef": {"name": self.name},
                "parameters": [{"name": "deployment", "value": deployment}],
            },
        }


def deployment(name: str) -> Manifest:
    """Return a Deployment of no replicas: its object is what matters here."""
    container = {"name": "app", "image": "kubernaut.local/busybox:1"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}},
        },
    }


class Runs:
    """Creates runs and waits for their end."""

    def __init__(self, connection: ApiConnection) -> None:
        self._own = connection.own()
        self._number = 0

    async def batch(self, shape: Shape, targets: Sequence[str]) -> tuple[float, list[Manifest]]:
        """Run one run per target at once; return seconds from first create to last end, and the runs."""
        names = []
        began = time.monotonic()
        for _target in targets:
            self._number += 1
            names.append(f"{shape.name}-{self._number}")
        await asyncio.gather(
            *(self._own.create(shape.execution(n, t)) for n, t in zip(names, targets, strict=True))
        )
        runs = await self._ended(names)
        last = max(datetime.fromisoformat(run["status"]["finishedAt"]) for run in runs)
        late = (datetime.now(last.tzinfo) - last).total_seconds()
        return time.monotonic() - began - late, runs

    async def _ended(self, names: Sequence[str]) -> list[Manifest]:
        wanted = set(names)
        while True:
            found = await self._own.list("kubernaut.io/v1alpha1", "WorkflowExecution", NAMESPACE)
            runs = [run for run in found if run["metadata"]["name"] in wanted]
            if sum(bool(run.get("status", {}).get("finishedAt")) for run in runs) == len(wanted):
                return runs
            await asyncio.sleep(0.02)

    async def clean(self) -> None:
        """Delete all runs."""
        for run in await self._own.list("kubernaut.io/v1alpha1", "WorkflowExecution", NAMESPACE):
            await self._own.delete(ObjectRef.of(run), uid=run["metadata"]["uid"])

    async def ceiling(self, targets: Sequence[str], patches: int) -> float:
        """Return how many plain patches a second the API server bears, 16 at a time."""
        slots = asyncio.Semaphore(16)

        async def one(number: int) -> None:
            ref = ObjectRef("apps/v1", "Deployment", NAMESPACE, targets[number % len(targets)])
            body = {"metadata": {"annotations": {"bench/ceiling": str(random.random())}}}
            async with slots:
                while True:
                    found = await self._own.get(ref)
                    version = found["metadata"]["resourceVersion"]
                    # The deployment controller writes these objects too.
                    with contextlib.suppress(Conflict):
                        await self._own.patch(ref, body, resource_version=version)
                        return

        began = time.monotonic()
        await asyncio.gather(*(one(number) for number in range(min(patches, len(targets)))))
        return min(patches, len(targets)) / (time.monotonic() - began)


def interval(values: Sequence[float]) -> dict[str, float]:
    """Return median and a bootstrap interval of it (95 %, 2,000 resamples, fixed seed)."""
    source = random.Random(1)
    medians = sorted(statistics.median(source.choices(values, k=len(values))) for _ in range(2000))
    return {"median": statistics.median(values), "lower": medians[50], "upper": medians[1949]}


def writes(requests: Sequence[Request]) -> dict[str, int]:
    """Count what the operator persisted, by verb and resource."""
    counted: Counter[str] = Counter()
    for request in requests:
        if request.by == OPERATOR and request.persisted:
            counted[f"{request.verb} {request.what}"] += 1
    return dict(counted)


async def measure(cluster: Cluster, say: Any) -> dict[str, Any]:
    """Measure everything; the operator is up."""
    assert cluster.audit_log is not None
    five, one, forty = Shape("five", 5), Shape("one", 1), Shape("forty", 40)
    targets = [f"web-{n}" for n in range(100)]
    report: dict[str, Any] = {}
    async with await ApiConnection.load(cluster.kubeconfig) as connection:
        runs = Runs(connection)
        for shape in (one, five, forty):
            await runs.batch(shape, targets[:1])
        await runs.clean()
        audit = AuditLog(cluster.audit_log)
        for shape in (one, five, forty):
            say(f"requests of one run of {shape.steps} steps")
            list(audit.read())
            await runs.batch(shape, targets[:1])
            await asyncio.sleep(1)
            counted = writes(list(audit.read()))
            events = sum(count for what, count in counted.items() if "events" in what)
            report[f"writes_{shape.steps}_steps"] = {
                "persisted_without_events": sum(counted.values()) - events,
                "goal_at_most": shape.steps + 2,
                "events": events,
                "by_request": counted,
            }
        latencies: dict[int, list[float]] = {1: [], 40: []}
        rates: dict[str, list[float]] = {"five": [], "one": [], "ceiling": []}
        for number in range(ROUNDS):
            say(f"round {number + 1} of {ROUNDS}")
            for shape in (one, forty):
                for _ in range(5 if shape is one else 1):
                    _, (run,) = await runs.batch(shape, targets[:1])
                    latencies[shape.steps].append(_seconds(run))
            for shape in (five, one):
                seconds, ended = await runs.batch(shape, targets)
                rates[shape.name].append(len(ended) * shape.steps / seconds)
            rates["ceiling"].append(await runs.ceiling(targets, 100))
            await runs.clean()
    report["steps_per_second_five_step_runs"] = {**interval(rates["five"]), "goal_at_least": 250}
    report["runs_per_second_one_step_runs"] = {**interval(rates["one"]), "goal_at_least": 130}
    report["plain_read_and_patch_per_second"] = interval(rates["ceiling"])
    report["one_step_run_created_to_finished_seconds"] = {**interval(latencies[1]), "goal_at_most": 0.05}
    report["forty_step_run_created_to_finished_seconds"] = {**interval(latencies[40]), "goal_at_most": 0.8}
    return report


def _seconds(run: Manifest) -> float:
    """Return the seconds from the run's start to its end, to which its creation (whole seconds only) adds little."""
    began = datetime.fromisoformat(run["status"]["startedAt"])
    return (datetime.fromisoformat(run["status"]["finishedAt"]) - began).total_seconds()


def main(say: Any, folder: Path) -> dict[str, Any]:
    """Bring up a cluster, measure, take it away."""
    say("bringing up a control plane")
    cluster = Cluster.up("bench", nodes="kwok")
    operator: Operator | None = None
    try:
        cluster.run_kubectl("apply", "-k", str(ROOT / "manifests" / "base"))
        cluster.run_kubectl("create", "namespace", NAMESPACE)
        objects = [
            *tenant_manifests(NAMESPACE),
            *(Shape(n, k).workflow() for n, k in (("one", 1), ("five", 5), ("forty", 40))),
        ]
        objects += [deployment(f"web-{n}") for n in range(100)]
        cluster.run_kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))
        rights = account_kubeconfig(cluster, "kubernaut-operator", folder)
        operator = Operator(rights, folder)
        operator.start()
        operator.wait_ready()
        return asyncio.run(measure(cluster, say))
    finally:
        if operator is not None:
            operator.stop()
        cluster.down()
