"""What is remembered of Workflows' contents is bounded, however often they are edited."""

from __future__ import annotations

import pytest

from kubernaut.actions.registry import ActionRegistry
from kubernaut.engine import claims
from kubernaut.engine.claims import Claims
from unit.engine.world import World, scale

pytestmark = pytest.mark.looptime


async def test_a_workflow_that_is_edited_again_and_again_leaves_few_contents_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(claims, "MOST_PLANS", 3)
    monkeypatch.setattr(claims, "MOST_KEPT", 3)
    world = World()
    made = Claims(world.cluster, ActionRegistry(installed=False), world.clock)
    for replicas in range(10):
        world.workflow(scale("one", replicas))
        live = world.run(f"run-{replicas}", finalizers=["kubernaut.io/mirror"])
        claim = await made.make(live)
        assert claim.plan is made.plan_of(world.cluster.find("Workflow", "fix"))
    assert len(made._plans) <= 3
    assert len(made._kept) <= 3
    live.status = claim.status
    plan, _ = await made.again(live)
    assert plan.spec == claim.plan.spec
