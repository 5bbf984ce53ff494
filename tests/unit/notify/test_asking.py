"""What a run waits for: which question, why, until when, and what is done once it is answered."""

from __future__ import annotations

from datetime import timedelta

import pytest

from kubernaut.core.asking import Asks
from unit.engine.world import EPOCH, World, scale
from unit.notify.asking import again, all_asked, answer, asks, waiting

pytestmark = pytest.mark.looptime


async def test_an_approval_step_tells_its_question_and_what_follows() -> None:
    world = World()
    live = await waiting(
        world,
        {"name": "ask", "approval": {"message": "Scale web?", "expiresAfter": "30m", "mayOverride": ["to"]}},
        scale("beside", 2),
        {
            "name": "grow",
            "action": "scale_deployment",
            "with": {"replicas": "=params.to"},
            "dependsOn": ["ask"],
        },
        parameters=[{"name": "to", "type": "integer", "default": "5"}],
    )
    (one,) = all_asked(world, live)
    assert (one.asks, one.step, one.question, one.why) == (Asks.APPROVAL, "ask", "Scale web?", "")
    assert one.until - one.since == timedelta(minutes=30)
    assert one.effects == ("grow: scale_deployment (replicas: 5)",)
    assert one.may_set == ("to",)
    assert one.id_in("u") == "u/approval/ask/1"


async def test_a_guard_tells_why_it_asks_and_all_that_is_still_to_come() -> None:
    world = World()
    live = await waiting(world, scale("one", 3), scale("two", 5, "one"), guards={"approval": "Always"})
    (one,) = all_asked(world, live)
    assert (one.asks, one.step) == (Asks.GUARD, "guards/approval")
    assert "guards.approval of Workflow fix is Always" in one.why
    assert [effect.partition(":")[0] for effect in one.effects] == ["one", "two"]


async def test_a_failed_step_that_a_person_decides_upon_tells_why_it_failed() -> None:
    world = World()
    live = await waiting(
        world,
        {"name": "bad", "action": "restart_pod", "with": {"name": "gone"}, "onFailure": "Manual"},
        scale("after", 3, "bad"),
    )
    (one,) = all_asked(world, live)
    assert (one.asks, one.step) == (Asks.REMEDY, "bad")
    assert one.why.startswith("bad failed: ")
    assert [effect.partition(":")[0] for effect in one.effects] == ["bad", "after"]
    assert one.until == EPOCH + live.plan.timeout if live.plan else None


async def test_what_was_answered_is_asked_no_more() -> None:
    world = World()
    await asks(world)
    answer(world)
    assert all_asked(world, await again(world)) == []


async def test_secrets_and_what_an_object_says_are_not_told() -> None:
    world = World()
    live = await waiting(
        world,
        {"name": "ask", "approval": {}},
        {
            "name": "note",
            "action": "patch_resource",
            "dependsOn": ["ask"],
            "with": {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "name": "=target.metadata.name",
                "patch": {"metadata": {"annotations": {"password": "hunter2-canary"}}},
            },
        },
    )
    (one,) = all_asked(world, live)
    assert "hunter2-canary" not in one.effects[0]
    assert "name: =target.metadata.name" in one.effects[0]
