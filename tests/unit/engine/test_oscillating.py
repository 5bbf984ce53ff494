"""What another manager has undone is not done again, for a while; who that is, is named, also on the Workflow."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from kubernaut.engine.fights import Fights
from kubernaut.engine.keys import WorkflowKey
from unit.core.gitops_objects import entry, spec_of
from unit.engine.test_owning import replicas, run, tracked
from unit.engine.world import EPOCH, World, scale

pytestmark = pytest.mark.looptime


def time(seconds: int) -> str:
    return (EPOCH + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


async def undone(world: World, after: int = 30, by: str = "argocd-controller", to: int = 1) -> None:
    """Have a run scale web, and another manager set that back so many seconds later."""
    await run(world, gitOps="Act")
    web = world.cluster.find("Deployment", "web")
    web["spec"]["replicas"] = to
    marks: dict[str, Any] = {"f:metadata": {"f:annotations": {"f:x": {}}}}
    web["metadata"]["managedFields"] = [
        entry("kubernaut", marks, operation="Update", time=time(0)),
        entry(by, spec_of("replicas"), time=time(after)),
    ]


async def test_what_was_undone_is_not_done_again_and_the_manager_is_named() -> None:
    world = World()
    await undone(world)
    status = await again(world)
    assert replicas(world) == 1
    assert (status["phase"], status["verdict"], status["reason"]) == ("Failed", "NotFixed", "UndoneByAnother")
    assert "field manager argocd-controller set spec.replicas back 30s after run" in status["message"]
    assert "not tried until 2026-01-01 01:00:30Z" in status["message"]


async def again(world: World, *steps: Any, **guards: Any) -> dict[str, Any]:
    """Have another run do it again; return what became of it."""
    world.workflow(*(steps or (scale("one", 5),)), guards={"gitOps": "Act", **guards})
    live, reconciler = world.run("later", finalizers=["kubernaut.io/mirror"]), world.reconciler()
    for _ in range(20):
        await reconciler.reconcile(live)
        if live.stored.phase.final:
            break
    return world.stored("later")


async def test_other_fields_of_the_object_are_changed_all_the_same() -> None:
    world = World()
    await undone(world)
    status = await again(world, {"name": "again", "action": "restart_deployment"})
    assert status["phase"] == "Succeeded"


@pytest.mark.parametrize(
    "guards",
    [
        {"oscillation": {"within": "10s"}},
        {"oscillation": {"within": "5m", "cooldown": "20s"}},
    ],
)
async def test_what_was_undone_late_or_long_ago_does_not_count(guards: dict[str, Any]) -> None:
    world = World()
    await undone(world)
    await asyncio.sleep(60)
    assert (await again(world, **guards))["phase"] == "Succeeded"


async def test_who_gave_the_field_another_value_has_undone_nothing() -> None:
    world = World()
    await undone(world, to=4)
    assert (await again(world))["phase"] == "Succeeded"


async def test_our_own_undoing_is_no_fight() -> None:
    world = World()
    await undone(world, by="kubernaut")
    assert (await again(world))["phase"] == "Succeeded"


async def test_a_run_whose_own_change_was_undone_stops() -> None:
    world = World()
    tracked(world)
    world.workflow(scale("one", 5), scale("two", 6, dependsOn=["one"], when="true"), guards={"gitOps": "Act"})
    world.run(finalizers=["kubernaut.io/mirror"])
    patched, cluster = world.cluster.patch, world.cluster

    async def patch(ref: Any, body: Any, **more: Any) -> Any:
        done = await patched(ref, body, **more)
        web = cluster.find("Deployment", "web")
        if ref.kind == "Deployment" and web["spec"]["replicas"] == 5:
            web["spec"]["replicas"] = 1
            web["metadata"]["managedFields"] = [
                entry("kubernaut", {"f:metadata": {}}, operation="Update", time=time(0)),
                entry("argocd-controller", spec_of("replicas"), time=time(1)),
            ]
            web["metadata"]["resourceVersion"] = "9999"
        return done

    world.cluster.patch = patch  # type: ignore[method-assign]
    live, reconciler = world.take_up(), world.reconciler()
    for _ in range(10):
        await reconciler.reconcile(live)
    status = world.stored()
    assert (status["verdict"], status["reason"]) == ("NotFixed", "UndoneByAnother")
    assert replicas(world) == 1


def ended(at: int, reason: str = "UndoneByAnother") -> dict[str, Any]:
    return {
        "metadata": {"name": f"run-{at}", "namespace": "shop"},
        "spec": {"workflowRef": {"name": "flow"}},
        "status": {"reason": reason, "finishedAt": time(at), "message": "argocd-controller did it."},
    }


def test_a_workflow_tells_of_it_until_the_cooldown_is_over() -> None:
    now = [EPOCH + timedelta(minutes=1)]
    fights, key = Fights(lambda: now[0]), WorkflowKey("shop", "flow")
    assert fights.see(ended(0, "Completed")) is None
    assert fights.see(ended(0)) == key
    assert fights.left(key) == pytest.approx(59 * 60, abs=1)
    assert fights.see(ended(0)) is None, "once"
    assert fights.told(key) == "Run run-0: argocd-controller did it."
    now[0] += timedelta(hours=1)
    assert fights.told(key) == ""
    assert fights.see(ended(0)) is None


def test_a_workflow_that_says_so_tells_of_it_for_another_time() -> None:
    fights, key = Fights(lambda: EPOCH + timedelta(seconds=30)), WorkflowKey("shop", "flow")
    fights.workflow = lambda _: {"spec": {"guards": {"oscillation": {"cooldown": "20s"}}}}
    assert fights.see(ended(0)) is None
    assert fights.told(key) == ""


# What is undone while the run itself waits for its verification


async def unmet(by: str = "argocd-controller", to: int = 1, **spec: Any) -> dict[str, Any]:
    """Have somebody write the field after a run has changed it, so that its expectation does not hold."""
    world = World()
    tracked(world)
    verify = {"expect": ["target.spec.replicas == 5"], "timeout": "20s", "stabilization": "5s"}
    world.workflow(scale("one", 5), verify=verify, guards={"gitOps": "Act"}, **spec)
    world.run(finalizers=["kubernaut.io/mirror"])
    patched, cluster = world.cluster.patch, world.cluster

    async def patch(ref: Any, body: Any, **more: Any) -> Any:
        done = await patched(ref, body, **more)
        web = cluster.find("Deployment", "web")
        if ref.kind == "Deployment" and web["spec"]["replicas"] == 5:
            web["spec"]["replicas"] = to
            web["metadata"]["managedFields"] = [
                entry("kubernaut", {"f:metadata": {}}, operation="Update", time=time(0)),
                entry(by, spec_of("replicas"), time=time(3)),
            ]
            web["metadata"]["resourceVersion"] = "9999"
        return done

    world.cluster.patch = patch  # type: ignore[method-assign]
    live, reconciler = world.take_up(), world.reconciler()
    for _ in range(60):
        await reconciler.reconcile(live)
        if live.stored.phase.final:
            break
        await asyncio.sleep(1)
    return world.stored()


async def test_an_expectation_that_is_not_met_names_who_undid_what_the_run_changed() -> None:
    status = await unmet()
    assert (status["verdict"], status["reason"]) == ("NotFixed", "ExpectationNotMet")
    assert status["message"].startswith("Not met within")
    assert (
        "Field manager argocd-controller set spec.replicas back 3s after this run had changed it."
        in status["message"]
    )


@pytest.mark.parametrize(("by", "to"), [("kubernaut", 1), ("argocd-controller", 2)])
async def test_an_expectation_that_is_not_met_for_another_reason_names_nobody(by: str, to: int) -> None:
    status = await unmet(by, to)
    assert status["reason"] == "ExpectationNotMet"
    assert "Field manager" not in status["message"]
