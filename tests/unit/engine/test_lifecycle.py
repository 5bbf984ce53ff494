"""What runs of a Workflow start, by where it is in its life; whoever created them, and with whatever."""

from __future__ import annotations

import pytest

from unit.engine.test_runs import finish
from unit.engine.world import World, scale

pytestmark = pytest.mark.looptime


async def test_of_a_draft_no_real_run_starts_and_the_run_says_why() -> None:
    world = World()
    world.workflow(scale("one", 5), lifecycle="Draft")
    world.run()
    await finish(world)
    status = world.stored()
    assert (status["phase"], status["reason"]) == ("Failed", "Draft")
    assert "only dry runs of it start" in status["message"]
    assert "patch Deployment shop/web" not in world.cluster.written()
    assert len(world.locks) == 0


async def test_of_a_draft_dry_runs_start() -> None:
    world = World()
    world.workflow(scale("one", 5), lifecycle="Draft")
    world.run()
    world.cluster.edit("WorkflowExecution", "run", {"spec": {"dryRun": True}})
    await finish(world)
    assert world.stored()["phase"] == "Succeeded"
    assert world.cluster.find("Deployment", "web")["spec"]["replicas"] == 1


@pytest.mark.parametrize("life", ["Active", "Deprecated"])
async def test_others_start_where_a_run_was_created(life: str) -> None:
    world = World()
    world.workflow(scale("one", 5), lifecycle=life)
    world.run()
    await finish(world)
    assert world.stored()["phase"] == "Succeeded"
    assert world.cluster.find("Deployment", "web")["spec"]["replicas"] == 5
