"""An operator in its place behind a proxy, and runs of all shapes that it works on."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from faults.arena import Arena
from faults.forked import ForkedOperator
from faults.nudging import nudge
from faults.oracle import Findings, Trial, judge
from faults.places import Place
from faults.proxy import Peace, Proxy
from faults.shapes.model import Manifest, Shape
from kubernaut.cluster.client import ApiConnection
from kubernaut.core.errors import ClusterError, Conflict, NotFound
from kubernaut.core.ports import ObjectRef
from localrun.access import account_kubeconfig

KUBERNAUT = "kubernaut.io/v1alpha1"
LOOK_EVERY = 0.2
_BATCH = "faults/batch"
#: how often an operator may end by itself, as where it can't begin while the API server is away
_DEATHS = 10


def say(text: str) -> None:
    """Show progress."""
    print(f"faults: {text}", file=sys.stderr, flush=True)


class World:
    """A place, a proxy before the API server, an operator behind that, and runs of all shapes."""

    def __init__(
        self, arena: Arena, place: Place, connection: ApiConnection, proxy: Proxy, operator: ForkedOperator
    ) -> None:
        self.cluster = arena.cluster
        self.place = place
        self.admin = connection.own()
        self.proxy = proxy
        self.operator = operator
        self._witness = arena.witness
        self._tag = uuid.uuid4().hex[:5]
        self._numbers = itertools.count(1)
        self._supervisor: asyncio.Task[None] | None = None
        self._stopping = False
        #: the statuses of all runs that ended, by UID
        self.finished: dict[str, Manifest] = {}

    @classmethod
    @asynccontextmanager
    async def running(
        cls,
        arena: Arena,
        place: Place,
        folder: Path,
        *,
        dsn: str | None = None,
        before: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> AsyncIterator[World]:
        """Start proxy and operator; an operator that is killed is started again at once."""
        rights = await asyncio.to_thread(account_kubeconfig, arena.cluster, "kubernaut-operator", folder)
        proxy = Proxy(rights, folder, place)
        kubeconfig = await proxy.start()
        operator = ForkedOperator(kubeconfig, folder, dsn=dsn, before=before, env=env)
        async with await ApiConnection.load(arena.cluster.kubeconfig) as connection:
            world = cls(arena, place, connection, proxy, operator)
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
            if self.operator.starts > self.operator.kills + _DEATHS and not self._stopping:
                raise RuntimeError(f"the operator ends by itself, again and again:\n{self.operator.tail()}")

    def demand_operator(self) -> None:
        """Raise what keeps the operator from running at all, if anything does."""
        if self._supervisor is not None and self._supervisor.done():
            self._supervisor.result()

    async def _end(self) -> None:
        assert self._supervisor is not None
        self.operator.terminate()
        _, late = await asyncio.wait({self._supervisor}, timeout=20)
        if late:
            self.operator.kill()
            await asyncio.wait(late)

    # Runs

    async def begin(self, shapes: Sequence[Shape]) -> Batch:
        """Make a Deployment and a run of each shape."""
        label = f"{self._tag}{next(self._numbers)}"
        trials = await asyncio.gather(*(self._begin(shape, label) for shape in shapes))
        return Batch(self, label, list(trials))

    async def _begin(self, shape: Shape, label: str) -> Trial:
        namespace, labels = self.place.namespace, {_BATCH: label}
        name = f"{shape.name}-{self._tag}{next(self._numbers)}"
        await self.admin.create(shape.deployment(namespace, name, labels))
        pods = await self._pods(name, shape.begins_with) if shape.begins_with else []
        given = dict(zip(("evicted", "deleted"), pods, strict=False))
        run = await self.admin.create(shape.execution(namespace, name, given, labels))
        return Trial(shape, name, run["metadata"]["uid"], dict(zip(("evict", "delete"), pods, strict=False)))

    async def _pods(self, name: str, count: int) -> list[str]:
        async with asyncio.timeout(30):
            while True:
                found = await self.admin.list("v1", "Pod", self.place.namespace, label_selector=f"app={name}")
                ready = [pod["metadata"]["name"] for pod in found if pod["status"].get("phase") == "Running"]
                if len(ready) == count:
                    return sorted(ready)
                await asyncio.sleep(LOOK_EVERY)

    async def run_all(self, shapes: Sequence[Shape], findings: Findings) -> dict[str, Manifest]:
        """Run shapes side by side to their ends, judge them, and clear them away; return the runs."""
        batch = await self.begin(shapes)
        runs = await batch.settle()
        await batch.close(runs, findings)
        return runs

    def judge(
        self,
        trials: Sequence[Trial],
        runs: Mapping[str, Manifest],
        found: Sequence[Manifest],
        findings: Findings,
    ) -> None:
        """Compare what the API server says with what must be."""
        deployments = {one["metadata"]["name"]: one for one in found}
        judge(trials, runs, deployments, self._witness.of(self.place.namespace), findings)
        for unfenced in self.proxy.unfenced:
            findings.unfenced += 1
            findings.note(f"no precondition: {unfenced}")
        self.proxy.unfenced.clear()


class Batch:
    """Runs that were begun together."""

    def __init__(self, world: World, label: str, trials: list[Trial]) -> None:
        self._world = world
        self._selector = f"{_BATCH}={label}"
        self.trials = trials

    async def _list(self, api_version: str, kind: str) -> list[Manifest]:
        world = self._world
        return await world.admin.list(api_version, kind, world.place.namespace, label_selector=self._selector)

    async def settle(self, seconds: float = 90.0) -> dict[str, Manifest]:
        """Do what somebody outside has to, until every run has ended; return the runs, stuck ones too.

        A run is stuck if it has not ended so many seconds after the operator was last killed.
        """
        waiting = {trial.name: trial for trial in self.trials}
        loop = asyncio.get_running_loop()
        deadline, kills = loop.time() + seconds, self._world.operator.kills
        runs: dict[str, Manifest] = {}
        while waiting and loop.time() < deadline:
            await asyncio.sleep(LOOK_EVERY)
            if kills != self._world.operator.kills:
                deadline, kills = loop.time() + seconds, self._world.operator.kills
            self._world.demand_operator()
            try:
                found = await self._list(KUBERNAUT, "WorkflowExecution")
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
                    await nudge(self._world.admin, trial, run)
        return runs

    async def close(self, runs: Mapping[str, Manifest], findings: Findings, seconds: float = 60.0) -> None:
        """Delete the runs, which the operator has to let go, then judge, and delete what they worked on."""
        await self._world.proxy.all_arrived()
        for name in await self._deleted(runs, seconds):
            findings.stuck += 1
            findings.note(f"{name} is not let go after its deletion")
        await self.leave(runs, findings)

    async def leave(self, runs: Mapping[str, Manifest], findings: Findings) -> None:
        """Judge the runs and leave them there; delete what they worked on."""
        self._world.finished.update((run["metadata"]["uid"], run["status"]) for run in _ended(runs))
        await asyncio.sleep(0.3)  # the audit log is written after the answer
        deployments = await self._list("apps/v1", "Deployment")
        self._world.judge(self.trials, runs, deployments, findings)
        await asyncio.gather(*map(self._delete, deployments))

    async def _deleted(self, runs: Mapping[str, Manifest], seconds: float) -> list[str]:
        """Delete runs; return the names of those still there so long after the operator was last killed."""
        ended = _ended(runs)
        await asyncio.gather(*map(self._delete, ended))
        uids = {run["metadata"]["uid"] for run in ended}
        loop = asyncio.get_running_loop()
        deadline, kills = loop.time() + seconds, self._world.operator.kills
        while True:
            if kills != self._world.operator.kills:
                deadline, kills = loop.time() + seconds, self._world.operator.kills
            left = await self._list(KUBERNAUT, "WorkflowExecution")
            names = [run["metadata"]["name"] for run in left if run["metadata"]["uid"] in uids]
            if not names or loop.time() > deadline:
                return names
            await asyncio.sleep(LOOK_EVERY)

    async def _delete(self, manifest: Manifest) -> None:
        with contextlib.suppress(NotFound, Conflict):
            await self._world.admin.delete(ObjectRef.of(manifest), uid=manifest["metadata"]["uid"])


def _ended(runs: Mapping[str, Manifest]) -> list[Manifest]:
    return [run for run in runs.values() if (run.get("status") or {}).get("finishedAt")]
