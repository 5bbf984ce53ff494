"""Snapshots are kept as long as any run needs them, however many newer ones there are."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from kubernaut.api.names import FINALIZER
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
