"""Paused syncs: paused once, let go on in time, by whoever is there, and never against a person."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest

from kubernaut.api.execution import Verdict
from kubernaut.api.guards import PauseSync, Resume
from kubernaut.api.names import TICKET_ANNOTATION
from kubernaut.cluster.tickets import Ticket
from kubernaut.core.errors import Forbidden
from kubernaut.core.gitops import pausing
from kubernaut.core.guards.counting import Past
from kubernaut.core.marker import Signer
from kubernaut.core.ports import ObjectRef
from kubernaut.metrics import REGISTRY
from unit.actions.fake import Lost
from unit.core.gitops_objects import application
from unit.engine.test_owning import replicas, run, tracked
from unit.engine.world import EPOCH, World

pytestmark = pytest.mark.looptime
SIGNER = Signer(b"k" * 32)
HOUR = EPOCH + timedelta(hours=1)
HEALS = {"prune": True, "selfHeal": True}


def app(world: World) -> dict[str, Any]:
    found: dict[str, Any] = world.cluster.find("Application", "shop", "argocd")
    return found


def automated(world: World) -> Any:
    return app(world)["spec"].get("syncPolicy", {}).get("automated")


def leases(world: World) -> list[str]:
    found = world.cluster.objects.items()
    return [key[2] for key, one in found if key[0] == "Lease" and "deletionTimestamp" not in one["metadata"]]


async def sweep(world: World) -> list[Ticket]:
    return await world.pauses.sweep(await world.pauses.tickets.read(), {})


async def test_the_sync_is_paused_before_the_change_and_its_ticket_written_before_that() -> None:
    world = World()
    tracked(world)
    status = await run(world, gitOps="PauseSync")
    assert (status["phase"], replicas(world)) == ("Succeeded", 5)
    assert automated(world) is None
    assert "the sync of Application argocd/shop is paused until" in status["steps"][0]["message"]
    order = [
        one for one in world.cluster.written() if "Lease" in one or "Application" in one or "Depl" in one
    ]
    assert [one.split()[1] for one in order] == ["Lease", "Application", "Deployment"]


async def test_it_goes_on_as_it_was_when_its_time_is_over_and_no_sooner() -> None:
    world = World()
    tracked(world)
    await run(world, gitOps="PauseSync")
    world.pauses.over = lambda uid: True
    assert len(await sweep(world)) == 1
    world.pauses.clock = lambda: HOUR + timedelta(minutes=1)
    assert await sweep(world) == []
    assert automated(world) == HEALS
    assert pausing.read(app(world), SIGNER) is None
    assert leases(world) == []


async def test_at_run_end_it_goes_on_when_the_run_is_over() -> None:
    world = World()
    tracked(world)
    await run(world, gitOps="PauseSync", pauseSync={"resume": "AtRunEnd"})
    assert len(await sweep(world)) == 1, "not before it is certain"
    world.pauses.over = lambda uid: True
    assert await sweep(world) == []
    assert automated(world) == HEALS


async def test_nothing_is_let_go_on_while_acting_is_stopped() -> None:
    world = World()
    tracked(world)
    await run(world, gitOps="PauseSync", pauseSync={"resume": "AtRunEnd"})
    world.pauses.over = lambda uid: True
    world.pauses.may_act = lambda: False
    assert len(await sweep(world)) == 1
    assert automated(world) is None


async def test_who_does_not_look_after_them_any_more_shows_none() -> None:
    def shown() -> list[float | None]:
        names = ("kubernaut_sync_pauses_held", "kubernaut_sync_pauses_overdue")
        return [REGISTRY.get_sample_value(name) for name in names]

    world = World()
    tracked(world)
    await run(world, gitOps="PauseSync", pauseSync={"resume": "AtRunEnd"})
    world.pauses.over = lambda uid: True
    world.pauses.may_act = lambda: False
    await sweep(world)
    assert shown() == [1, 1]
    world.pauses.active = lambda: False
    task = asyncio.create_task(world.pauses.run())
    await asyncio.sleep(10)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert shown() == [0, 0]


async def test_what_a_person_let_go_on_meanwhile_is_left_as_it_is() -> None:
    world = World()
    tracked(world)
    await run(world, gitOps="PauseSync")
    world.cluster.edit("Application", "shop", {"spec": {"syncPolicy": {"automated": {}}}}, "argocd")
    world.pauses.clock = lambda: HOUR + timedelta(minutes=1)
    await sweep(world)
    assert automated(world) == {}
    assert pausing.read(app(world), SIGNER) is None


@pytest.mark.parametrize("landed", [True, False])
async def test_a_pause_whose_answer_is_lost_happens_once(landed: bool) -> None:
    world = World()
    tracked(world)
    live = await _taken(world)
    world.cluster.troubles["patch"] = [Lost(landed)]
    await _pause(world, live)
    patches = [one for one in world.cluster.written() if one.startswith("patch Application")]
    assert len(patches) == 1
    assert automated(world) is None


async def _taken(world: World) -> Any:
    await run(world, gitOps="Act")
    return world.take_up()


async def _pause(world: World, live: Any) -> str:
    return await world.pauses.pause(live, world.cluster, app(world), PauseSync(), "argocd")


async def test_who_may_not_patch_it_leaves_no_ticket() -> None:
    world = World()
    tracked(world)
    live = await _taken(world)
    world.cluster.forbidden.add("patch Application")
    with pytest.raises(Forbidden):
        await _pause(world, live)
    assert leases(world) == []


async def test_one_that_is_kept_by_another_application_is_not_paused_and_that_one_is_named() -> None:
    world = World()
    tracked(world)
    child = app(world)
    child["metadata"]["annotations"] = {
        "argocd.argoproj.io/tracking-id": "root:argoproj.io/Application:argocd/shop"
    }
    root = application()
    root["metadata"]["name"] = "root"
    world.cluster.add(root)
    status = await run(world, gitOps="PauseSync")
    assert status["reason"] == "KeptByAnother"
    assert "Application argocd/root keeps its spec.syncPolicy.automated" in status["message"]
    assert automated(world) == HEALS


async def test_one_that_an_application_set_makes_is_not_paused() -> None:
    world = World()
    tracked(world)
    app(world)["metadata"]["ownerReferences"] = [{"kind": "ApplicationSet", "name": "all"}]
    status = await run(world, gitOps="PauseSync")
    assert "ApplicationSet all makes it" in status["message"]


async def test_a_protected_application_is_not_paused() -> None:
    world = World()
    tracked(world)
    status = await run(world, gitOps="PauseSync", protectedNamespaces=["argocd"])
    assert status["reason"] == "KeptByAnother"
    assert "argocd is protected" in status["message"]
    assert automated(world) == HEALS


async def test_a_dry_run_pauses_nothing() -> None:
    world = World()
    tracked(world)
    status = await run(world, dry=True, gitOps="PauseSync")
    assert status["phase"] == "Succeeded"
    assert "would be paused" in status["steps"][0]["message"]
    assert (automated(world), leases(world)) == (HEALS, [])


async def test_a_sync_that_can_not_be_let_go_on_is_tried_again() -> None:
    world = World()
    tracked(world)
    await run(world, gitOps="PauseSync", pauseSync={"resume": "AtRunEnd"})
    world.pauses.over = lambda uid: True
    world.cluster.troubles["patch"] = [Forbidden("no", status=403)]
    assert len(await sweep(world)) == 1
    assert await sweep(world) == []
    assert automated(world) == HEALS


# The record on the object


def test_two_runs_hold_one_pause_and_the_last_lifts_it() -> None:
    seen = _seen()
    one = pausing.paused(seen, "a", HOUR, SIGNER)
    assert one is not None
    both = pausing.paused(one, "b", HOUR, SIGNER)
    assert both is not None
    left = pausing.resumed(both, "a", SIGNER)
    assert left is not None
    assert pausing.is_paused(left)
    done = pausing.resumed(left, "b", SIGNER)
    assert done == {**seen, "metadata": {**seen["metadata"], "annotations": {}}}
    assert pausing.resumed(left, "a", SIGNER) is None


def test_a_record_that_we_did_not_sign_for_this_object_is_none() -> None:
    made = pausing.paused(_seen(), "a", HOUR, SIGNER)
    assert made is not None
    assert pausing.read(made, Signer(b"other")) is None
    copied = {**made, "metadata": {**made["metadata"], "uid": "other"}}
    assert pausing.read(copied, SIGNER) is None
    assert pausing.resumed(copied, "a", SIGNER) is None


def test_what_somebody_else_has_paused_is_not_ours() -> None:
    seen = _seen()
    del seen["spec"]["syncPolicy"]
    assert pausing.paused(seen, "a", HOUR, SIGNER) is None


def test_a_ticket_is_read_as_it_was_written() -> None:
    owner = ObjectRef("argoproj.io/v1alpha1", "Application", "argocd", "shop", "u1")
    ticket = Ticket(owner, "shop", "repair", "run", "r1", HOUR, Resume.AT_RUN_END)
    made = ticket.manifest("kubernaut-system")
    made["metadata"]["uid"] = "lease"
    found = Ticket.of(made)
    assert found is not None
    assert (found.owner, found.until, found.resume, found.name) == (
        owner,
        HOUR,
        Resume.AT_RUN_END,
        ticket.name,
    )
    assert Ticket.of({"metadata": {"uid": "x"}}) is None


def edited(world: World, **told: Any) -> None:
    """Change what the one ticket says by hand."""
    (name,) = leases(world)
    notes = world.cluster.find("Lease", name, "kubernaut-system")["metadata"]["annotations"]
    notes[TICKET_ANNOTATION] = json.dumps({**json.loads(notes[TICKET_ANNOTATION]), **told})


async def test_a_ticket_whose_time_was_edited_to_one_without_a_zone_is_meant_in_utc() -> None:
    world = World()
    tracked(world)
    await run(world, gitOps="PauseSync")
    edited(world, until=(EPOCH + timedelta(minutes=5)).replace(tzinfo=None).isoformat())
    world.pauses.clock = lambda: EPOCH + timedelta(minutes=4)
    assert len(await sweep(world)) == 1
    world.pauses.clock = lambda: EPOCH + timedelta(minutes=5)
    assert await sweep(world) == []
    assert automated(world) == HEALS


async def test_a_ticket_that_meets_an_error_that_nobody_thought_of_keeps_no_other_from_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World()
    tracked(world)
    await run(world, gitOps="PauseSync")
    odd = Ticket(ObjectRef("v1", "X", "", "x", "u"), "shop", "repair", "odd", "r0", EPOCH, Resume.AT_EXPIRY)
    world.pauses.clock = lambda: HOUR + timedelta(minutes=1)
    resume = type(world.pauses).resume

    async def broken(self: Any, ticket: Ticket) -> None:
        if ticket.run == "odd":
            raise TypeError("expected string or bytes-like object")
        await resume(self, ticket)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(type(world.pauses), "resume", broken)
        left = await world.pauses.sweep([odd, *await world.pauses.tickets.read()], {})
    assert left == [odd]
    assert automated(world) == HEALS
    assert "expected string" in caplog.text


def _seen() -> dict[str, Any]:
    found = application()
    found["metadata"]["uid"] = "u1"
    return found


@pytest.mark.parametrize(
    ("verdict", "due"), [(Verdict.ROLLED_BACK, True), (Verdict.DECLINED, True), (Verdict.REMEDIATED, False)]
)
async def test_a_run_that_left_nothing_changed_lets_the_sync_go_on_when_it_ends(
    verdict: Verdict, due: bool
) -> None:
    world = World()
    ticket = Ticket(ObjectRef("v1", "X", "", "x", "u"), "shop", "repair", "run", "r1", HOUR, Resume.AT_EXPIRY)
    past = Past("r1", "shop", "run", "flow", "t", EPOCH, EPOCH, verdict=verdict)
    world.pauses.past = {"r1": past}.get
    assert not world.pauses.due(ticket)
    world.pauses.over = lambda uid: True
    assert world.pauses.due(ticket) is due
