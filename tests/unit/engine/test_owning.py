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


def autoscaled(world: World) -> None:
    """Have an autoscaler for Deployment web that has not scaled it yet, so that ``managedFields`` tell of none."""
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    world.cluster.add(
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "grows", "namespace": "shop"},
            "spec": {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 9},
        }
    )


def patching(patch: dict[str, Any]) -> dict[str, Any]:
    given = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "patch": patch}
    return {"name": "one", "action": "patch_resource", "with": given}


SCALING: dict[str, dict[str, Any]] = {
    "patch_resource": patching({"spec": {"replicas": 5}}),
    "apply_manifest": {
        "name": "one",
        "action": "apply_manifest",
        "with": {
            "manifest": {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": "web"},
                "spec": {"replicas": 5},
            }
        },
    },
    "scale_deployment that does not look": scale("one", 5),
}
SCALING["scale_deployment that does not look"]["with"] |= {"autoscaler": "Ignore"}


def listings(world: World) -> list[str]:
    return [one for one in world.cluster.requests if "HorizontalPodAutoscaler" in one]


@pytest.mark.parametrize("step", SCALING.values(), ids=SCALING)
async def test_replicas_of_what_an_autoscaler_scales_are_not_changed_though_it_never_scaled_yet(
    step: dict[str, Any],
) -> None:
    world = World()
    before = replicas(world)
    autoscaled(world)
    status = await run(world, step)
    assert (status["reason"], replicas(world)) == ("KeptByAnother", before), status
    assert "HorizontalPodAutoscaler shop/grows keeps spec.replicas" in status["message"]


async def test_with_act_they_are_changed_and_the_autoscaler_is_named() -> None:
    world = World()
    autoscaled(world)
    status = await run(world, patching({"spec": {"replicas": 5}}), gitOps="Act")
    assert (status["phase"], replicas(world)) == ("Succeeded", 5)
    assert "HorizontalPodAutoscaler shop/grows may set back spec.replicas" in status["steps"][0]["message"]


async def test_who_may_not_list_autoscalers_is_told_that_it_is_not_known() -> None:
    world = World()
    autoscaled(world)
    world.cluster.forbidden.add("list HorizontalPodAutoscaler")
    status = await run(world, patching({"spec": {"replicas": 5}}))
    assert (status["phase"], replicas(world)) == ("Succeeded", 5)
    (step,) = status["steps"]
    assert "whether an autoscaler keeps spec.replicas of Deployment shop/web is not known" in step["message"]
    assert "may not list horizontalpodautoscalers.autoscaling" in step["message"]


async def test_autoscalers_are_listed_once_where_replicas_change_and_else_never() -> None:
    scaled, patched, other = World(), World(), World()
    await run(scaled)
    await run(patched, patching({"spec": {"replicas": 5}}))
    await run(other, patching({"spec": {"paused": True}}))
    assert (len(listings(scaled)), len(listings(patched)), listings(other)) == (1, 1, [])


async def test_a_run_of_many_steps_lists_autoscalers_once() -> None:
    world = World()
    first, second = (scale(name, replicas) for name, replicas in (("one", 5), ("two", 6)))
    for step in (first, second):
        step["with"] |= {"autoscaler": "Ignore"}
    await run(world, first, {**second, "dependsOn": ["one"]})
    assert (replicas(world), len(listings(world))) == (6, 1)
