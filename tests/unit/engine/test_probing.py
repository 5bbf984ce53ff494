"""Probes as the operator asks them: as the Workflow's account, with reads alone, after the run or in its midst."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from kubernaut.core.acted import Acted, acted
from kubernaut.core.probing import Answer
from kubernaut.core.run import Seen
from kubernaut.engine.live import LiveRun
from unit.engine.world import World, scale

pytestmark = pytest.mark.looptime


async def ended(world: World) -> tuple[LiveRun, list[Acted]]:
    """Let a run end, and return it with what of it can be asked."""
    live, reconciler = world.run("a"), world.reconciler()
    for _ in range(50):
        delay = await reconciler.reconcile(live)
        if live.stored.phase.final:
            break
        await asyncio.sleep(delay if delay is not None else 1)
    assert live.plan is not None
    target = Seen(world.cluster.find("Deployment", "web"))
    return live, acted(live.view(), live.plan, target, world.clock())


async def test_what_a_run_did_can_be_asked_of_its_steps_and_nothing_is_written_for_it() -> None:
    world = World()
    world.workflow(scale("one", 3), {"name": "say", "action": "notify_only", "with": {"message": "x"}})
    (live, found), performer = await ended(world), world.performer()
    assert [one.step.name for one in found] == ["one"]
    assert found[0].done.acted
    writes = len(world.cluster.writes)
    probed = await performer.probe(live, found[0])
    assert probed.happened is Answer.YES
    counts = dict.fromkeys(("replicas", "updatedReplicas", "availableReplicas"), 3)
    world.cluster.edit_status("Deployment", "web", {"observedGeneration": 99, **counts})
    assert (await performer.probe(live, found[0])).helped is Answer.YES
    assert len(world.cluster.writes) == writes


async def test_an_action_that_is_wrong_about_itself_is_unknown_and_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    world.workflow(scale("one", 3))
    (live, (one,)), performer = await ended(world), world.performer()
    action = one.step.action
    assert action is not None

    def wrong(*given: object) -> None:
        raise KeyError("mine")

    monkeypatch.setattr(type(action), "probe", wrong)
    probed = await performer.probe(live, one)
    assert probed.happened is Answer.UNKNOWN
    assert probed.evidence == "scale_deployment can't tell: KeyError: 'mine'"
    monkeypatch.undo()
    lost = replace(one, parameters="with what parameters it acted can't be told any more")
    assert (await performer.probe(live, lost)).evidence == lost.parameters
