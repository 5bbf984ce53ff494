"""Snapshots are kept as long as any run needs them, however many newer ones there are."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from kubernaut.api.names import FINALIZER
from kubernaut.api.reasons import Reason
from kubernaut.core.errors import ClusterError
from kubernaut.core.ports import ObjectRef
from kubernaut.engine.sweep import KEPT, SnapshotSweep
from unit.engine.test_engine import Bench
from unit.engine.test_runs import finish
from unit.engine.world import World, scale

pytestmark = pytest.mark.looptime
RESYNC = timedelta(minutes=10)


def snapshots(world: World) -> set[str]:
    return {name for kind, _, name in world.cluster.objects if kind == "ControllerRevision"}


async def test_what_a_live_or_a_finished_run_follows_outlasts_any_number_of_newer_ones() -> None:
    bench = Bench(World())
    world, reconciler = bench.world, bench.world.reconciler()
    world.cluster.linger = False
    pause = {"name": "pause", "wait": {"duration": "100h"}}
    made: list[str] = []
    for number in range(KEPT + 4):
        # The first has a live run, the second a finished one, and nobody needs the others.
        world.workflow(pause if number == 0 else scale("one", number), timeout="200h")
        name = f"run-{number}"
        live = world.run(name, finalizers=[FINALIZER])
        if number == 0:
            await reconciler.reconcile(live)
            world.locks.release(live.key)
        else:
            await finish(world, name)
        made.append(world.stored(name)["workflow"]["snapshot"])
        if number > 1:
            world.cluster.drop("WorkflowExecution", name)
    for name in made:
        world.cluster.edit(
            "ControllerRevision", name, {"metadata": {"creationTimestamp": "2025-12-01T00:00:00Z"}}
        )
    async with bench.running():
        await asyncio.sleep(RESYNC.total_seconds() + 60)
        left = snapshots(world)
    assert left == {made[0], made[1], *made[-KEPT:]}


async def test_of_those_that_nobody_needs_the_oldest_go() -> None:
    world = World()
    world.cluster.linger = False
    for number in range(KEPT + 2):
        world.cluster.add(
            {
                "apiVersion": "apps/v1",
                "kind": "ControllerRevision",
                "metadata": {
                    "name": f"fix-{number}",
                    "labels": {"kubernaut.io/workflow": "fix"},
                    "creationTimestamp": "2025-12-01T00:00:00Z",
                },
                "revision": number,
            }
        )
    sweep = SnapshotSweep(world.cluster, lambda namespace, name: None, world.clock)
    needed = {("shop", "fix-0"), ("shop", f"fix-{KEPT + 1}")}
    assert await sweep(lambda: needed) == 1
    assert snapshots(world) == {f"fix-{number}" for number in range(KEPT + 2) if number != 1}


def revisions(world: World, workflow: str, number: int = KEPT + 1) -> None:
    """Keep so many old snapshots of a Workflow."""
    for revision in range(number):
        meta = {
            "name": f"{workflow}-{revision}",
            "labels": {"kubernaut.io/workflow": workflow, "app.kubernetes.io/managed-by": "kubernaut"},
            "creationTimestamp": "2025-12-01T00:00:00Z",
        }
        world.cluster.add(
            {"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": meta, "revision": revision}
        )


async def test_what_is_used_is_gathered_once_and_not_for_each_workflow() -> None:
    world, gathered = World(), 0
    needed = {("shop", f"fix-{number}-0") for number in range(50)}
    for number in range(50):
        revisions(world, f"fix-{number}", 1)

    def used() -> set[tuple[str, str]]:
        nonlocal gathered
        gathered += 1
        return needed

    sweep = SnapshotSweep(world.cluster, lambda namespace, name: None, world.clock)
    assert await sweep(used) == 0
    assert gathered == 1, "with 50,000 runs each time holds the event loop for tens of milliseconds"


async def test_a_snapshot_whose_deletion_is_refused_keeps_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.cluster.linger = False
    for workflow in ("fix", "mend"):
        revisions(world, workflow, 1)
    delete = world.cluster.delete

    async def refusing(ref: ObjectRef, **more: Any) -> None:
        if ref.name == "fix-0":
            raise ClusterError("a webhook says no", status=403, reason=Reason.REJECTED)
        await delete(ref, **more)

    monkeypatch.setattr(world.cluster, "delete", refusing)
    sweep = SnapshotSweep(world.cluster, lambda namespace, name: None, world.clock)
    assert await sweep(set) == 1
    assert snapshots(world) == {"fix-0"}
