"""What faults are tried on: a control plane, a Workflow of each shape, and the operator behind a proxy."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
import uuid
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import yaml

from faults.forked import ForkedOperator
from faults.oracle import Findings, Trial, judge
from faults.proxy import Peace, Proxy
from faults.shapes import NAMESPACE, Manifest, Nudge, Shape
from kubernaut.api.rbac import tenant_manifests
from kubernaut.cluster.client import ApiConnection
from kubernaut.core.errors import ClusterError, Conflict
from kubernaut.core.ports import ObjectRef
from localcluster import Cluster
from localrun.access import account_kubeconfig
from localrun.audit import AuditLog

ROOT = Path(__file__).resolve().parents[2]
KUBERNAUT = "kubernaut.io/v1alpha1"
LOOK_EVERY = 0.2


def say(text: str) -> None:
    """Show progress."""
    print(f"faults: {text}", file=sys.stderr, flush=True)


def set_up(cluster: Cluster, shapes: Iterable[Shape]) -> None:
    """Install the operator's manifests, a tenant namespace, and a Workflow of each shape."""
    cluster.run_kubectl("apply", "-k", str(ROOT / "manifests" / "base"))
    crds = ["workflows", "workflowexecutions", "discoveredpatterns"]
    names = [f"crd/{name}.kubernaut.io" for name in crds]
    cluster.run_kubectl("wait", "--for=condition=Established", "--timeout=30s", *names)
    manifests: list[Manifest] = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}]
    manifests += tenant_manifests(NAMESPACE)
    manifests += [shape.workflow() for shape in shapes]
    cluster.run_kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(manifests))


class World:
    """A cluster, a proxy before it, an operator behind that, and runs of all shapes."""

    def __init__(
        self, cluster: Cluster, connection: ApiConnection, proxy: Proxy, operator: ForkedOperator
    ) -> None:
        assert cluster.audit_log is not None
        self.cluster = cluster
        self.admin = connection.own()
        self.proxy = proxy
        self.operator = operator
        self._audit = AuditLog(cluster.audit_log)
        self._tag = uuid.uuid4().hex[:5]
        self._numbers = itertools.count(1)
        self._supervisor: asyncio.Task[None] | None = None
        self._stopping = False

    @classmethod
    @asynccontextmanager
    async def running(
        cls, cluster: Cluster, folder: Path, *, dsn: str | None = None, before: Path | None = None
    ) -> AsyncIterator[World]:
        """Start proxy and operator; an operator that is killed is started again at once."""
        rights = account_kubeconfig(cluster, "kubernaut-operator", folder)
        proxy = Proxy(rights, folder)
        kubeconfig = await proxy.start()
        operator = ForkedOperator(kubeconfig, folder, dsn=dsn, before=before)
        async with await ApiConnection.load(cluster.kubeconfig) as connection:
            world = cls(cluster, connection, proxy, operator)
            world._supervisor = asyncio.create_task(world._supervise())
            try:
                yield world
            finally:
                world._stopping = True
                proxy.script = Peace()
                await world._end()
                await proxy.stop()

    async def _supervise(self) -> None:
        while not self._stopping:
            self.operator.start()
            await self.operator.ended()
            self.proxy.generation += 1

    async def _end(self) -> None:
        assert self._supervisor is not None
        self.operator.terminate()
        try:
            await asyncio.wait_for(asyncio.shield(self._supervisor), 20)
        except TimeoutError:
            self.operator.kill()
            await self._supervisor

    # Runs

    async def begin(self, shapes: Sequence[Shape]) -> list[Trial]:
        """Make a Deployment and a run of each shape."""
        return list(await asyncio.gather(*map(self._begin, shapes)))

    async def _begin(self, shape: Shape) -> Trial:
        name = f"{shape.name}-{self._tag}{next(self._numbers)}"
        await self.admin.create(shape.deployment(name))
        pods = await self._pods(name, shape.begins_with) if shape.begins_with else []
        given = dict(zip(("evicted", "deleted"), pods, strict=False))
        run = await self.admin.create(shape.execution(name, given))
        return Trial(shape, name, run["metadata"]["uid"], dict(zip(("evict", "delete"), pods, strict=False)))

    async def _pods(self, name: str, count: int) -> list[str]:
        async with asyncio.timeout(30):
            while True:
                found = await self.admin.list("v1", "Pod", NAMESPACE, label_selector=f"app={name}")
                ready = [pod["metadata"]["name"] for pod in found if pod["status"].get("phase") == "Running"]
                if len(ready) == count:
                    return sorted(ready)
                await asyncio.sleep(LOOK_EVERY)

    async def settle(self, trials: Sequence[Trial], seconds: float = 60.0) -> dict[str, Manifest]:
        """Do what somebody outside has to, until every run has ended; return the runs, stuck ones too."""
        waiting = {trial.name: trial for trial in trials}
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        runs: dict[str, Manifest] = {}
        while waiting and loop.time() < deadline:
            await asyncio.sleep(LOOK_EVERY)
            try:
                found = await self.admin.list(KUBERNAUT, "WorkflowExecution", NAMESPACE)
            except ClusterError:
                continue  # the API server is away: that is the fault that is tried
            for run in found:
                trial = waiting.get(run["metadata"]["name"])
                if trial is None:
                    continue
                runs[trial.name] = run
                if (run.get("status") or {}).get("finishedAt"):
                    del waiting[trial.name]
                else:
                    await self._nudge(trial, run)
        return runs

    async def _nudge(self, trial: Trial, run: Manifest) -> None:
        if trial.shape.nudge is None:
            return
        name, what = trial.shape.nudge
        steps = {step["name"]: step.get("phase") for step in (run.get("status") or {}).get("steps", [])}
        if steps.get(name) != "Waiting":
            return
        with contextlib.suppress(ClusterError):  # seen again next time
            if what is Nudge.LABEL:
                ref = ObjectRef("apps/v1", "Deployment", NAMESPACE, trial.name)
                while True:
                    seen = await self.admin.get(ref)
                    body = {"metadata": {"labels": {"go": "yes"}}}
                    if seen["metadata"]["labels"].get("go"):
                        return
                    with contextlib.suppress(Conflict):
                        version = seen["metadata"]["resourceVersion"]
                        await self.admin.patch(ref, body, resource_version=version)
            answer = {"step": name, "decision": "Approve", "by": "admin"}
            control = {"cancel": True} if what is Nudge.CANCEL else {"approvals": [answer]}
            version = run["metadata"]["resourceVersion"]
            await self.admin.patch(
                ObjectRef.of(run), {"spec": {"control": control}}, resource_version=version
            )

    async def judge(self, trials: Sequence[Trial], runs: dict[str, Manifest], findings: Findings) -> None:
        """Compare what the API server says with what must be, and clear the runs away."""
        found = await self.admin.list("apps/v1", "Deployment", NAMESPACE)
        deployments = {one["metadata"]["name"]: one for one in found}
        judge(trials, runs, deployments, self._audit.read(), findings)
        for unfenced in self.proxy.unfenced:
            findings.unfenced += 1
            findings.note(f"no precondition: {unfenced}")
        self.proxy.unfenced.clear()
