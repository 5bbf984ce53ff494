"""Fields that others keep: refused unless a guard says otherwise, at no request more where nobody keeps any."""

from __future__ import annotations

from typing import Any

import pytest

from unit.core.gitops_objects import TRACKING, application, entry, spec_of
from unit.engine.world import World, scale

pytestmark = pytest.mark.looptime
READY = ["kubernaut.io/mirror"]


def tracked(world: World, *, heals: bool = True) -> None:
    """Have Argo CD own the replicas of Deployment web."""
    web = world.cluster.find("Deployment", "web")
    web["metadata"]["annotations"] = {TRACKING: "shop:apps/Deployment:shop/web"}
    web["metadata"]["managedFields"] = [entry("argocd-controller", spec_of("replicas"))]
    world.cluster.add(application(**({} if heals else {"syncPolicy": {}})))


async def run(world: World, *steps: Any, dry: bool = False, **guards: Any) -> dict[str, Any]:
    world.workflow(*(steps or (scale("one", 5),)), guards=guards or None)
    world.run(finalizers=READY)
    if dry:
        world.cluster.edit("WorkflowExecution", "run", {"spec": {"dryRun": True}})
    live = world.take_up()
    reconciler = world.reconciler()
    for _ in range(20):
        await reconciler.reconcile(live)
        if live.stored.phase.final:
            break
    return world.stored()


def replicas(world: World) -> int:
    return int(world.cluster.find("Deployment", "web")["spec"]["replicas"])


async def test_a_field_that_an_application_keeps_is_not_changed_unless_that_is_said() -> None:
    world = World()
    before = replicas(world)
    tracked(world)
    status = await run(world)
    assert replicas(world) == before
    assert (status["phase"], status["verdict"], status["reason"]) == ("Failed", "Declined", "KeptByAnother")
    told = status["message"]
    assert "Application argocd/shop keeps spec.replicas" in told
    assert "guards.gitOps is Refuse unless set" in told


async def test_a_dry_run_tells_of_the_refusal_too() -> None:
    world = World()
    tracked(world)
    assert (await run(world, dry=True))["reason"] == "KeptByAnother"


async def test_where_the_application_would_not_set_it_back_it_is_changed() -> None:
    world = World()
    tracked(world, heals=False)
    status = await run(world)
    assert (status["phase"], replicas(world)) == ("Succeeded", 5)


async def test_act_acts_and_says_who_may_undo_it() -> None:
    world = World()
    tracked(world)
    status = await run(world, gitOps="Act")
    assert (status["phase"], replicas(world)) == ("Succeeded", 5)
    (step,) = status["steps"]
    assert "Application argocd/shop may set back spec.replicas" in step["message"]


async def test_a_restart_is_refused_by_nobody() -> None:
    world = World()
    tracked(world)
    status = await run(world, {"name": "again", "action": "restart_deployment"})
    assert status["phase"] == "Succeeded"


async def test_who_may_not_read_the_application_is_refused_and_told_so() -> None:
    world = World()
    tracked(world)
    world.cluster.forbidden.add("get Application")
    status = await run(world)
    assert status["reason"] == "KeptByAnother"
    assert "may not read it" in status["message"]


async def test_an_object_that_nobody_keeps_costs_no_request_more() -> None:
    def requests(world: World) -> list[str]:
        return [one for one in world.cluster.requests if "Deployment" in one or "Application" in one]

    plain, looked = World(), World()
    await run(plain, scale("one", 4), scale("two", 5, dependsOn=["one"]), gitOps="Act")
    without = requests(plain)
    await run(looked, scale("one", 4), scale("two", 5, dependsOn=["one"]))
    assert requests(looked) == without
    assert not any("Application" in one for one in requests(looked))


async def test_the_owner_is_asked_for_once_an_effect() -> None:
    world = World()
    tracked(world, heals=False)
    await run(world)
    assert [one for one in world.cluster.requests if "Application" in one] == ["get Application shop"]
