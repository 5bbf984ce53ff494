"""A small world for the engine: a cluster in memory, a clock that is the loop's, a switch, and a mirror."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from kubernaut.actions.registry import ActionRegistry
from kubernaut.api.names import API_VERSION
from kubernaut.cluster.collections import Event
from kubernaut.cluster.tickets import Tickets
from kubernaut.core.errors import AlreadyExists
from kubernaut.core.keeping import NO_HISTORY, Keeper
from kubernaut.core.marker import Signer
from kubernaut.core.ports import Manifest, NoWeb, ObjectRef, Web
from kubernaut.core.run import Hold
from kubernaut.engine.claims import Claims
from kubernaut.engine.effects import Performer
from kubernaut.engine.evidence import AvailabilityEvidence
from kubernaut.engine.guarding import Guarding
from kubernaut.engine.keys import RunKey
from kubernaut.engine.live import LiveRun
from kubernaut.engine.locks import TargetLocks
from kubernaut.engine.measuring import Metrics, NoMetrics
from kubernaut.engine.owning import GitOps
from kubernaut.engine.past import PastRuns
from kubernaut.engine.pauses import Pauses
from kubernaut.engine.ports import MetricSource
from kubernaut.engine.proposing import Nobody, Tells
from kubernaut.engine.runs import RunReconciler
from kubernaut.engine.targets import Lookout
from unit.actions.fake import FakeCluster

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
Callback = Callable[[Manifest | None], None]


def now() -> datetime:
    """Return the time of the loop, which is the world's."""
    return EPOCH + timedelta(seconds=asyncio.get_running_loop().time())


class EngineCluster(FakeCluster):
    """The fake cluster as the operator sees it too; every account sees the same."""

    def add(self, *manifests: Manifest) -> EngineCluster:
        """Add objects, made now where they do not say when they were."""
        made = now().isoformat(timespec="seconds").replace("+00:00", "Z")
        for one in manifests:
            meta = one["metadata"]
            super().add(
                {**one, "metadata": {**meta, "creationTimestamp": meta.get("creationTimestamp", made)}}
            )
        return self

    async def patch_status(self, ref: ObjectRef, body: Manifest, *, resource_version: str) -> Manifest:
        generation = self.find(ref.kind, ref.name, ref.namespace)["metadata"]["generation"]
        written = await self.patch(ref, body, resource_version=resource_version)
        written["metadata"]["generation"] = generation
        self.find(ref.kind, ref.name, ref.namespace)["metadata"]["generation"] = generation
        return written

    async def create(self, manifest: Manifest, *, dry_run: bool = False) -> Manifest:
        key = (manifest["kind"], manifest["metadata"].get("namespace", ""), manifest["metadata"]["name"])
        self._request("create", key[0], key[2])
        if key in self.objects:
            raise AlreadyExists(f"{key[2]} exists", status=409)
        self.add({"metadata": {}, **manifest})
        self.writes.append(("create", f"{key[0]} {key[2]}", manifest))
        return copy.deepcopy(self.objects[key])

    async def create_event(self, event: Manifest) -> None:
        self.writes.append(("event", event["metadata"]["name"], event))

    async def list_pages(
        self,
        api_version: str,
        kind: str,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 500,
    ) -> AsyncIterator[list[Manifest]]:
        live = "status.phase!=" in field_selector
        yield [
            copy.deepcopy(one)
            for (k, _, _), one in self.objects.items()
            if k == kind and not (live and one.get("status", {}).get("finishedAt"))
        ]

    async def watch_all(
        self, api_version: str, kind: str, *, field_selector: str = "", label_selector: str = ""
    ) -> AsyncIterator[Event]:
        await asyncio.Event().wait()
        yield Event("", {})

    def own(self) -> EngineCluster:
        return self

    def as_account(self, namespace: str, service_account: str) -> EngineCluster:
        return self

    def written(self) -> list[str]:
        """Return what was written, in order, in short."""
        return [f"{verb} {what}" for verb, what, _ in self.writes]


class Watches:
    """Watches that tell when the test says so."""

    def __init__(self) -> None:
        self.callbacks: list[Callback] = []

    def subscribe(
        self, namespace: str, service_account: str, ref: ObjectRef, callback: Callback
    ) -> Callable[[], None]:
        self.callbacks.append(callback)
        return lambda: self.callbacks.remove(callback)


class World:
    """A reconciler of runs and everything around it."""

    def __init__(self) -> None:
        self.cluster = EngineCluster()
        self.watches = Watches()
        self.hold: Hold | None = None
        self.keeper: Keeper = NO_HISTORY
        self.web: Web = NoWeb()
        self.prometheus: MetricSource = NoMetrics(self.clock)
        self.looks = True
        self.proposals: Tells = Nobody()
        self.woken: list[RunKey] = []
        self.guards = Guarding(PastRuns(self.clock), self.clock)
        self.guards.past.complete = True
        self.pauses = Pauses(
            self.cluster,
            Tickets(self.cluster, "kubernaut-system"),
            Signer(b"k" * 32),
            self.clock,
            self.guards.past.get,
        )
        self.locks = TargetLocks(self.woken.append)
        self.cluster.add(
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "repair"}}, deployment("web")
        )

    def clock(self) -> datetime:
        return now()

    def performer(self) -> Performer:
        """Return what performs acts, with no memory of earlier ones."""
        return Performer(
            self.cluster,
            Signer(b"k" * 32),
            AvailabilityEvidence(None),
            lambda: self.hold,
            self.clock,
            self.keeper,
            protecting=self.guards.protecting,
            web=self.web,
            gitops=GitOps(
                self.guards.levels_of,
                lambda: self.looks,
                proposals=self.proposals,
                pauses=self.pauses,
                signer=Signer(b"k" * 32),
                clock=self.clock,
            ),
        )

    def reconciler(self) -> RunReconciler:
        """Return a fresh reconciler, as after a restart."""
        registry, performer = ActionRegistry(installed=False), self.performer()
        return RunReconciler(
            self.cluster,
            Claims(self.cluster, registry, self.clock),
            performer,
            self.locks,
            Lookout(self.cluster, self.watches, self.woken.append),
            lambda: self.hold,
            self.clock,
            guards=self.guards,
            metrics=Metrics(self.prometheus, self.woken.append),
        )

    def workflow(self, *steps: Manifest, name: str = "fix", **spec: Any) -> None:
        before = self.cluster.objects.get(("Workflow", "shop", name))
        generation = before["metadata"]["generation"] + 1 if before is not None else 1
        self.cluster.add(
            {
                "apiVersion": API_VERSION,
                "kind": "Workflow",
                "metadata": {"name": name, "generation": generation},
                "spec": {
                    "serviceAccountName": "repair",
                    "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                    "steps": list(steps),
                    **spec,
                },
            }
        )

    def run(self, name: str = "run", workflow: str = "fix", **meta: Any) -> LiveRun:
        self.cluster.add(
            {
                "apiVersion": API_VERSION,
                "kind": "WorkflowExecution",
                "metadata": {"name": name, "creationTimestamp": "2026-01-01T00:00:00Z", **meta},
                "spec": {"workflowRef": {"name": workflow}},
            }
        )
        return self.take_up(name)

    def take_up(self, name: str = "run") -> LiveRun:
        """Return the run as a fresh operator finds it."""
        return LiveRun.of(copy.deepcopy(self.cluster.find("WorkflowExecution", name)))

    def stored(self, name: str = "run") -> Manifest:
        status: Manifest = self.cluster.find("WorkflowExecution", name).get("status", {})
        return status


def deployment(name: str, replicas: int = 1) -> Manifest:
    container = {"name": "app", "image": "app:1"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}},
        },
        "status": {"readyReplicas": replicas, "observedGeneration": 99},
    }


def scale(name: str, replicas: int, *needs: str, **more: Any) -> Manifest:
    """Return a step that scales the target."""
    return {
        "name": name,
        "action": "scale_deployment",
        "with": {"replicas": replicas},
        "dependsOn": list(needs),
        **more,
    }
