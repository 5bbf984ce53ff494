"""A run that a step started belongs to that step: where nobody waits for it, it does nothing."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest

from kubernaut.api.names import API_VERSION
from kubernaut.api.reasons import Reason
from kubernaut.core.errors import AlreadyExists
from kubernaut.core.naming import child_run
from kubernaut.core.run import Hold
from kubernaut.engine.live import LiveRun
from unit.actions.fake import Lost
from unit.engine.world import World, scale

pytestmark = pytest.mark.looptime
PARENT, CHILD, UID = "run", child_run("run", "uid-workflowexecution-run", "sub", 1), "uid-of-child"
OURS: dict[str, Any] = {"finalizers": ["kubernaut.io/mirror"]}


def a_world() -> World:
    world = World()
    world.workflow({"name": "sub", "workflow": {"name": "other"}}, name="fix")
    world.workflow(scale("one", 5), name="other")
    return world


def a_child(world: World, **parent: Any) -> LiveRun:
    """Have a run that says it was started by a step of another."""
    ref = {"name": PARENT, "uid": "uid-workflowexecution-run", "step": "sub", "depth": 1, **parent}
    world.cluster.add(
        {
            "apiVersion": API_VERSION,
            "kind": "WorkflowExecution",
            "metadata": {"name": CHILD, "uid": UID, **OURS},
            "spec": {"workflowRef": {"name": "other"}, "parent": ref},
        }
    )
    return world.take_up(CHILD)


def parent(world: World, phase: str = "Running", /, **record: Any) -> LiveRun:
    """Have the run that is said to have started it, and its record of the step."""
    world.run(PARENT, **OURS)
    status = {"phase": phase, "steps": [{"name": "sub", **record}] if record else []}
    world.cluster.edit_status("WorkflowExecution", PARENT, status)
    return world.take_up(PARENT)


def patched(world: World) -> bool:
    return "patch Deployment shop/web" in world.cluster.written()


@pytest.mark.parametrize(
    ("phase", "record", "told"),
    [
        ("Cancelled", {}, "Run run, which started it, had ended before it began."),
        ("Running", {"phase": "Failed"}, "Step sub of run run, which started it, had ended before it began."),
        ("Running", {"phase": "Waiting", "intent": {"uid": "another"}}, "waits for another run"),
    ],
)
async def test_a_run_that_nobody_waits_for_is_cancelled_before_it_acts(
    phase: str, record: dict[str, Any], told: str
) -> None:
    world = a_world()
    parent(world, phase, **record)
    await world.reconciler().reconcile(a_child(world))
    status = world.stored(CHILD)
    assert (status["phase"], status["verdict"], status["reason"]) == ("Cancelled", "Declined", "Cancelled")
    assert told in status["message"]
    assert not patched(world)


@pytest.mark.parametrize("uid", [None, "another"])
async def test_so_is_one_whose_parent_is_gone(uid: str | None) -> None:
    world = a_world()
    if uid is not None:
        world.run(PARENT, uid=uid, **OURS)
    await world.reconciler().reconcile(a_child(world))
    assert world.stored(CHILD)["phase"] == "Cancelled"
    assert "(UID uid-workflowexecution-run), which started it, is gone" in world.stored(CHILD)["message"]
    assert not patched(world)


@pytest.mark.parametrize(
    "record", [{}, {"phase": "Running", "attempt": 1}, {"phase": "Waiting", "intent": {"uid": UID}}]
)
async def test_a_run_whose_step_may_wait_for_it_begins_and_its_parent_is_read_once(
    record: dict[str, Any],
) -> None:
    world = a_world()
    parent(world, **record)
    await world.reconciler().reconcile(a_child(world))
    assert world.stored(CHILD)["phase"] == "Succeeded"
    assert world.cluster.requests.count(f"get WorkflowExecution {PARENT}") == 1


async def test_what_is_known_of_a_parent_that_is_driven_here_needs_no_request() -> None:
    world = a_world()
    live, runs = parent(world), world.reconciler()
    runs.starter.find = lambda key: live if key.name == PARENT else None
    await runs.reconcile(a_child(world))
    assert world.stored(CHILD)["phase"] == "Succeeded"
    assert f"get WorkflowExecution {PARENT}" not in world.cluster.requests


async def test_what_is_known_of_a_parent_that_another_replica_may_drive_counts_for_nothing() -> None:
    world = a_world()
    live, runs = parent(world), world.reconciler()
    live.lease = lambda: Hold(Reason.LEASE_LOST, "another's")
    world.cluster.edit_status("WorkflowExecution", PARENT, {"phase": "Cancelled"})
    runs.starter.find = lambda key: live if key.name == PARENT else None
    await runs.reconcile(a_child(world))
    assert world.stored(CHILD)["phase"] == "Cancelled"


async def test_a_create_that_is_late_starts_nothing_where_another_replica_has_ended_the_parent() -> None:
    world = a_world()
    live = world.run(PARENT, **OURS)
    # The first create is the snapshot's.
    world.cluster.troubles["create"] = [None, Lost(landed=False)]
    sent: list[dict[str, Any]] = []
    create = world.cluster.create

    async def remember(manifest: Any, *, dry_run: bool = False) -> Any:
        if manifest["kind"] == "WorkflowExecution":
            sent.append(copy.deepcopy(manifest))
            if len(sent) == 1:
                await asyncio.sleep(3600)
        return await create(manifest, dry_run=dry_run)

    world.cluster.create = remember  # type: ignore[method-assign]
    lost = asyncio.create_task(world.reconciler().reconcile(live))
    await asyncio.sleep(1)
    for task in live.tasks.values():
        task.cancel()
    lost.cancel()
    world.cluster.edit("WorkflowExecution", PARENT, {"spec": {"control": {"cancel": True}}})
    world.locks.release(live.key)
    await world.reconciler().reconcile(world.take_up(PARENT))
    assert world.stored(PARENT)["phase"] == "Cancelled"
    with pytest.raises(AlreadyExists):
        await create(sent[0])
    await world.reconciler().reconcile(world.take_up(CHILD))
    assert world.stored(CHILD)["phase"] == "Cancelled"
    assert not patched(world)
