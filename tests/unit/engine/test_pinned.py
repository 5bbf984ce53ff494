"""A pod that is pinned and changed: the same one after a crash, and the same one when it is put back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kubernaut.core.errors import ClusterError, Unavailable
from kubernaut.core.ports import Manifest
from unit.actions.builders import pod, replica_set, template
from unit.engine.world import World

pytestmark = pytest.mark.looptime
PODS = ("web-1", "web-2")
QUARANTINE = {"name": "take-out", "action": "quarantine_pod", "with": {"unhealthy": True}}
WAIT = {"name": "wait", "dependsOn": ["take-out"], "wait": {"duration": "10s"}}
BAD = {"name": "bad", "dependsOn": ["take-out"], "action": "restart_pod", "with": {"name": "none"}}


def ailing(name: str) -> Manifest:
    made = pod(name, ready=False)
    return {**made, "metadata": {**made["metadata"], "labels": {"app": "web", "team": "a"}}}


def world_of(*steps: Manifest, **spec: Any) -> World:
    """Return a world with two pods of which one is as ill as the other."""
    world = World()
    selector = {"selector": {"matchLabels": {"app": "web"}}}
    world.cluster.add(*map(ailing, PODS), {**replica_set(1, template()), "spec": selector})
    world.workflow(*steps, **spec)
    return world


def labels(world: World) -> list[dict[str, str]]:
    return [world.cluster.find("Pod", name)["metadata"]["labels"] for name in PODS]


def changes(world: World) -> list[str]:
    return [one for one in world.cluster.written() if one.startswith("patch Pod")]


async def finish(world: World) -> None:
    """Reconcile the run until it has ended, with a new operator wherever one dies."""
    live = world.take_up()
    reconciler = world.reconciler()
    for _ in range(50):
        try:
            delay = await reconciler.reconcile(live)
        except ClusterError:
            world.locks.release(live.key)
            live, reconciler, delay = world.take_up(), world.reconciler(), None
        if live.stored.phase.final:
            return
        await asyncio.sleep(delay if delay is not None else 1)
    raise AssertionError(f"still {live.status.phase} after 50 rounds")


@pytest.mark.parametrize("lost", range(8))
async def test_after_a_crash_no_second_pod_is_taken(lost: int) -> None:
    """Once the worst pod has lost its labels another one would be the worst."""
    world = world_of(QUARANTINE)
    world.run(finalizers=["kubernaut.io/mirror"])
    world.cluster.troubles["patch"] = [*[None] * lost, Unavailable("killed here")]
    await finish(world)
    assert world.stored()["phase"] == "Succeeded"
    assert labels(world) == [{"team": "a"}, {"app": "web", "team": "a"}]
    assert changes(world) == ["patch Pod shop/web-1"]


async def test_what_somebody_took_the_record_of_is_not_told_as_put_back() -> None:
    """Without the mark nobody knows how it was before."""
    world = world_of(QUARANTINE, {**BAD, "dependsOn": ["wait"]}, WAIT, onFailure="Rollback")
    live = world.run(finalizers=["kubernaut.io/mirror"])
    reconciler = world.reconciler()
    while not (world.stored().get("steps") or [{}])[0].get("changed"):
        await reconciler.reconcile(live)
    meta = world.cluster.find("Pod", "web-1")["metadata"]
    del meta["annotations"]
    world.locks.release(live.key)
    await finish(world)
    status = world.stored()
    assert (status["verdict"], status["reason"]) == ("NotFixed", "RollbackFailed")
    assert "Pod shop/web-1 carries the mark of step take-out no more" in status["steps"][0]["message"]
    assert labels(world)[0] == {"team": "a"}


async def test_what_can_not_be_taken_back_is_not_told_as_put_back() -> None:
    scaled: Manifest = {
        "name": "more",
        "dependsOn": ["again"],
        "action": "scale_deployment",
        "with": {"replicas": 7},
    }
    restarted: Manifest = {"name": "again", "action": "restart_deployment"}
    for steps, told in (
        (
            [restarted, scaled, {**BAD, "dependsOn": ["more"]}],
            "What the run had changed was put back; nothing can",
        ),
        ([restarted, {**BAD, "dependsOn": ["again"]}], "Nothing was put back; nothing can"),
    ):
        world = world_of(*steps, onFailure="Rollback")
        world.run(finalizers=["kubernaut.io/mirror"])
        await finish(world)
        assert f"{told} be of what these did: again." in world.stored()["message"]


@pytest.mark.parametrize("lost", range(8))
async def test_a_rollback_puts_the_labels_of_that_pod_back_once(lost: int) -> None:
    world = world_of(QUARANTINE, BAD, onFailure="Rollback")
    world.run(finalizers=["kubernaut.io/mirror"])
    world.cluster.troubles["patch"] = [*[None] * lost, Unavailable("killed here")]
    await finish(world)
    assert world.stored()["verdict"] == "RolledBack"
    assert labels(world) == [{"app": "web", "team": "a"}] * 2
    assert changes(world) == ["patch Pod shop/web-1"] * 2
