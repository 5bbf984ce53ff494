"""A run that tries another one again takes over what that one did, and refuses what is no such run."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kubernaut.api.names import FINALIZER
from unit.engine.test_runs import finish
from unit.engine.world import World, deployment, scale

pytestmark = pytest.mark.looptime
FAILS = {
    "name": "two",
    "action": "patch_resource",
    "with": {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": "web",
        "patch": {"metadata": {"labels": {"x": "y"}}},
        "expect": {"spec.paused": True},
    },
    "dependsOn": ["one"],
}


async def failed(world: World) -> None:
    """Have a run of which the first step was done, and the second failed."""
    world.workflow(scale("one", 5), FAILS)
    world.workflow(scale("one", 5), FAILS, name="other")
    world.run("first", finalizers=[FINALIZER])
    await finish(world, "first")
    phases = {step["name"]: step["phase"] for step in world.stored("first")["steps"]}
    assert phases == {"one": "Succeeded", "two": "Failed"}


async def again(world: World, workflow: str = "fix", name: str = "first") -> dict[str, str]:
    """Try it again by a new run; return the phase of each of its steps."""
    world.run("second", workflow, finalizers=[FINALIZER])
    world.cluster.edit("WorkflowExecution", "second", {"spec": {"retryFrom": {"name": name}}})
    world.cluster.writes.clear()
    await finish(world, "second")
    return {step["name"]: f"{step['phase']} {step.get('reason')}" for step in world.stored("second")["steps"]}


async def test_what_was_done_is_taken_over_and_not_done_again() -> None:
    world = World()
    await failed(world)
    world.cluster.edit("Deployment", "web", {"spec": {"replicas": 1, "paused": True}})
    assert await again(world) == {"one": "Succeeded CarriedOver", "two": "Succeeded None"}
    assert world.cluster.find("Deployment", "web")["spec"]["replicas"] == 1


def vanish(world: World) -> None:
    world.cluster.drop("WorkflowExecution", "first")


def dry(world: World) -> None:
    world.cluster.edit("WorkflowExecution", "first", {"spec": {"dryRun": True}})


def replace_target(world: World) -> None:
    world.cluster.drop("Deployment", "web")
    made = deployment("web")
    made["metadata"]["uid"] = "another"
    world.cluster.add(made)


def succeed(world: World) -> None:
    world.cluster.edit("WorkflowExecution", "first", {"status": {"phase": "Succeeded"}})


def lose_what_it_followed(world: World) -> None:
    world.cluster.drop("ControllerRevision", world.stored("first")["workflow"]["snapshot"])
    world.cluster.edit("Workflow", "fix", {"spec": {"description": "edited since"}})


def not_begun(world: World) -> None:
    """Have it wait for its target still: it will begin."""
    world.cluster.drop("WorkflowExecution", "first")
    world.run("first", finalizers=[FINALIZER])


def other_workflow(world: World) -> None:
    world.cluster.edit("WorkflowExecution", "first", {"spec": {"workflowRef": {"name": "other"}}})


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (vanish, "there is no run 'first'"),
        (dry, "run first was a dry run"),
        (replace_target, "was about another Deployment web"),
        (succeed, "only a failed or cancelled run is tried again"),
        (lose_what_it_followed, "is gone, so what of it still counts can't be told"),
        (not_begun, "run first is Pending; only a failed or cancelled run is tried again"),
        (other_workflow, "run first is of Workflow other"),
    ],
)
async def test_what_can_not_be_tried_again_is_refused_and_nothing_is_done(
    harm: Callable[[World], None], told: str
) -> None:
    world = World()
    await failed(world)
    harm(world)
    world.run("second", finalizers=[FINALIZER])
    world.cluster.edit("WorkflowExecution", "second", {"spec": {"retryFrom": {"name": "first"}}})
    world.cluster.writes.clear()
    await finish(world, "second")
    status = world.stored("second")
    assert (status["phase"], status["reason"]) == ("Failed", "RetryRefused")
    assert told in status["message"]
    assert "patch Deployment shop/web" not in world.cluster.written()
    assert len(world.locks) == 0
