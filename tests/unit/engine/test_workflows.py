"""A Workflow says whether runs of it can start, and what is wrong if not."""

from __future__ import annotations

from typing import Any

import pytest

from kubernaut.actions.registry import ActionRegistry
from kubernaut.core.errors import Conflict
from kubernaut.core.features import Feature
from kubernaut.core.ports import Manifest
from kubernaut.engine.workflows import WorkflowReconciler
from unit.engine.world import World, scale

pytestmark = pytest.mark.looptime


async def reconcile(world: World) -> Manifest:
    reconciler = WorkflowReconciler(world.cluster, ActionRegistry(installed=False), world.clock)
    await reconciler.reconcile(world.cluster.find("Workflow", "fix"))
    status: Manifest = world.cluster.find("Workflow", "fix")["status"]
    return status


def ready(status: Manifest) -> dict[str, Any]:
    found: dict[str, Any] = next(c for c in status["conditions"] if c["type"] == "Ready")
    return found


async def test_a_good_workflow_is_ready_and_says_what_its_content_is() -> None:
    world = World()
    world.workflow(scale("one", 2))
    status = await reconcile(world)
    assert ready(status)["status"] == "True"
    assert status["revision"] == 1
    assert status["snapshot"] == f"fix-{status['contentHash'][:10]}"
    assert status["observedGeneration"] == 1


async def test_looking_again_writes_nothing() -> None:
    world = World()
    world.workflow(scale("one", 2))
    await reconcile(world)
    writes = len(world.cluster.writes)
    await reconcile(world)
    assert len(world.cluster.writes) == writes


async def test_new_content_is_a_new_revision() -> None:
    world = World()
    world.workflow(scale("one", 2))
    first = await reconcile(world)
    world.cluster.edit("Workflow", "fix", {"spec": {"steps": [scale("one", 3)]}})
    second = await reconcile(world)
    assert second["revision"] == 2
    assert second["contentHash"] != first["contentHash"]


@pytest.mark.parametrize(
    ("steps", "reason", "told"),
    [
        ([scale("a", 1, "b"), scale("b", 1, "a")], "Cycle", "->"),
        ([{"name": "a", "action": "scale_deploymnet"}], "UnknownAction", "'scale_deployment'?"),
        ([scale("a", 1, when="1 + ")], "InvalidExpression", "spec.steps[0].when"),
        ([{"name": "a"}], "InvalidSpec", "exactly one of action, wait"),
        ([scale("a", 1, later="x")], "InvalidSpec", "spec.steps.0.later"),
    ],
)
async def test_a_bad_workflow_is_not_ready_and_says_why_and_how_to_mend_it(
    steps: list[Manifest], reason: str, told: str
) -> None:
    world = World()
    world.workflow(*steps)
    condition = ready(await reconcile(world))
    assert (condition["status"], condition["reason"]) == ("False", reason)
    assert told in condition["message"]


async def test_a_conflict_is_looked_at_again() -> None:
    world = World()
    world.workflow(scale("one", 2))

    def other() -> None:
        world.cluster.edit("Workflow", "fix", {"spec": {"steps": [scale("one", 3)]}})
        raise Conflict("changed", status=409)

    world.cluster.troubles["patch"] = [other]
    status = await reconcile(world)
    assert status["observedGeneration"] == world.cluster.find("Workflow", "fix")["metadata"]["generation"]


async def test_a_workflow_that_goes_away_is_left_alone() -> None:
    world = World()
    world.workflow(scale("one", 2))
    world.cluster.edit("Workflow", "fix", {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})
    with pytest.raises(KeyError):
        await reconcile(world)


async def test_a_workflow_says_which_of_its_features_are_off_and_is_ready_all_the_same() -> None:
    world = World()
    world.workflow(scale("one", 2), onFailure="Rollback", priority=5)
    off = {Feature.ROLLBACK, Feature.RETRIES}
    reconciler = WorkflowReconciler(
        world.cluster, ActionRegistry(installed=False), world.clock, lambda: frozenset(off)
    )

    async def conditions() -> dict[str, Any]:
        await reconciler.reconcile(world.cluster.find("Workflow", "fix"))
        status = world.cluster.find("Workflow", "fix")["status"]
        return {condition["type"]: condition for condition in status["conditions"]}

    told = await conditions()
    assert told["FeatureOff"]["status"] == "True"
    assert "used here: rollback." in told["FeatureOff"]["message"]
    assert told["Ready"]["status"] == "True"
    off.add(Feature.PRIORITIES)
    assert "used here: priorities, rollback." in (await conditions())["FeatureOff"]["message"]
    off.clear()
    assert "FeatureOff" not in await conditions()
