"""Claimed runs follow the content they began with, as long as it can be read, and no other."""

from __future__ import annotations

import asyncio
import gc

import pytest

from kubernaut.core.errors import Forbidden
from kubernaut.engine.claims import KEPT_SECONDS
from unit.engine.test_runs import finish
from unit.engine.world import World, scale

pytestmark = pytest.mark.looptime


async def test_a_claimed_run_goes_on_from_its_snapshot_when_its_workflow_is_gone() -> None:
    world = World()
    world.workflow({"name": "pause", "wait": {"duration": "5s"}}, scale("one", 5, "pause"))
    live = world.run(finalizers=["kubernaut.io/mirror"])
    await world.reconciler().reconcile(live)
    world.cluster.drop("Workflow", "fix")
    world.locks.release(live.key)
    await asyncio.sleep(6)
    await finish(world)
    assert world.stored()["phase"] == "Succeeded"


@pytest.mark.parametrize("turns", range(1, 12))
async def test_a_run_that_is_dropped_while_it_is_claimed_leaves_no_request_that_nobody_awaits(
    turns: int, recwarn: pytest.WarningsRecorder
) -> None:
    world = World()
    world.workflow(scale("one", 5))
    claiming = asyncio.create_task(
        world.reconciler().reconcile(world.run(finalizers=["kubernaut.io/mirror"]))
    )
    for _ in range(turns):
        await asyncio.sleep(0)
    claiming.cancel()
    await asyncio.gather(claiming, return_exceptions=True)
    gc.collect()
    assert [str(one.message) for one in recwarn] == []


@pytest.mark.parametrize("become", ["gone", "edited"])
async def test_a_claimed_run_whose_snapshot_is_gone_says_so(become: str) -> None:
    world = World()
    world.workflow({"name": "pause", "wait": {"duration": "5s"}})
    live = world.run(finalizers=["kubernaut.io/mirror"])
    await world.reconciler().reconcile(live)
    world.cluster.drop("ControllerRevision", world.stored()["workflow"]["snapshot"])
    if become == "edited":
        world.workflow({"name": "pause", "wait": {"duration": "6s"}})
    else:
        world.cluster.drop("Workflow", "fix")
    await world.reconciler().reconcile(world.take_up())
    assert world.stored()["phase"] == "Failed"
    assert "snapshot is gone" in world.stored()["message"]


async def test_a_snapshot_that_was_deleted_is_made_anew_from_a_workflow_that_still_says_the_same() -> None:
    world = World()
    world.workflow({"name": "pause", "wait": {"duration": "5s"}}, scale("one", 5, "pause"))
    live = world.run(finalizers=["kubernaut.io/mirror"])
    await world.reconciler().reconcile(live)
    snapshot = world.stored()["workflow"]["snapshot"]
    kept = world.cluster.find("ControllerRevision", snapshot)["data"]
    world.cluster.drop("ControllerRevision", snapshot)
    world.locks.release(live.key)
    await asyncio.sleep(6)
    await finish(world)
    assert world.stored()["phase"] == "Succeeded"
    assert world.cluster.find("ControllerRevision", snapshot)["data"] == kept


async def test_a_snapshot_that_was_deleted_is_made_anew_for_runs_that_begin_a_while_later() -> None:
    world = World()
    world.workflow(scale("one", 5))
    reconciler = world.reconciler()
    await reconciler.reconcile(world.run("first", finalizers=["kubernaut.io/mirror"]))
    snapshot = world.stored("first")["workflow"]["snapshot"]
    world.cluster.drop("ControllerRevision", snapshot)
    await asyncio.sleep(KEPT_SECONDS + 1)
    await reconciler.reconcile(world.run("second", finalizers=["kubernaut.io/mirror"]))
    assert world.stored("second")["phase"] == "Succeeded"
    assert world.cluster.find("ControllerRevision", snapshot)


@pytest.mark.parametrize("right", ["get Workflow", "get ServiceAccount", "create ControllerRevision"])
async def test_a_run_waits_where_it_is_the_operator_that_lacks_a_right_and_says_so(right: str) -> None:
    world = World()
    world.workflow(scale("one", 5))
    live, reconciler = world.run(finalizers=["kubernaut.io/mirror"]), world.reconciler()
    world.cluster.forbidden.add(right)
    for _ in range(3):
        with pytest.raises(Forbidden, match=right.split()[1]):
            await reconciler.reconcile(live)
    status = world.stored()
    assert "phase" not in status or status["phase"] == "Pending"
    told = next(c for c in status["conditions"] if c["type"] == "Reconciling")
    assert told["reason"] == "MissingRight"
    assert f"lacks verb {right.split()[0]}" in told["message"]
    assert world.cluster.written().count("patch WorkflowExecution shop/run") == 1
    assert len(world.locks) == 0
    world.cluster.forbidden.clear()
    await finish(world)
    assert world.stored()["phase"] == "Succeeded"


async def test_a_run_does_not_end_because_the_operator_may_not_read_snapshots_after_a_restart() -> None:
    world = World()
    world.workflow({"name": "pause", "wait": {"duration": "5s"}}, scale("one", 5, "pause"))
    live = world.run(finalizers=["kubernaut.io/mirror"])
    await world.reconciler().reconcile(live)
    world.cluster.forbidden.add("get ControllerRevision")
    world.locks.release(live.key)
    again = world.take_up()
    with pytest.raises(Forbidden, match="ControllerRevision"):
        await world.reconciler().reconcile(again)
    assert world.stored()["phase"] == "Running"
    assert len(world.locks) == 1
    world.cluster.forbidden.clear()
    world.locks.release(live.key)
    await asyncio.sleep(6)
    await finish(world)
    assert world.stored()["phase"] == "Succeeded"


async def test_a_claimed_run_follows_no_other_content_that_somebody_put_under_its_snapshots_name() -> None:
    world = World()
    world.workflow({"name": "pause", "wait": {"duration": "5s"}}, scale("one", 5, "pause"))
    live = world.run(finalizers=["kubernaut.io/mirror"])
    await world.reconciler().reconcile(live)
    snapshot, began = world.stored()["workflow"]["snapshot"], world.stored()["startedAt"]
    kept = world.cluster.find("ControllerRevision", snapshot)["data"]
    steps = [kept["steps"][0], {**kept["steps"][1], "with": {"replicas": 50}}]
    world.cluster.edit("ControllerRevision", snapshot, {"data": {"steps": steps}})
    world.locks.release(live.key)
    await asyncio.sleep(6)
    await finish(world)
    status = world.stored()
    assert (status["phase"], status["reason"]) == ("Failed", "PreconditionFailed")
    assert "no longer holds what the run claimed" in status["message"]
    assert "patch Deployment shop/web" not in world.cluster.written()
    assert status["startedAt"] == began
