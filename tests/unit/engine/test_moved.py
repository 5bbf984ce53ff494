"""What somebody else stored of a live run is taken up, not written over; own writes that come back are no news."""

from __future__ import annotations

import asyncio
import copy
import json
from typing import Any

import pytest

from kubernaut.api.names import FINALIZER
from kubernaut.core.errors import Unavailable, UnknownOutcome
from kubernaut.core.ports import HttpAnswer, HttpRequest, Manifest, ObjectRef
from kubernaut.engine.live import LiveRun
from unit.actions.fake import Lost
from unit.engine.test_engine import Bench
from unit.engine.test_intents import Receiver
from unit.engine.world import World, scale

pytestmark = pytest.mark.looptime
PAUSE: Manifest = {"name": "pause", "wait": {"duration": "5s"}}


def moved_on(world: World, *steps: Manifest, **status: Any) -> Manifest:
    """Store a run's status as another replica that is at other steps; return the run."""
    stored = {**copy.deepcopy(world.stored()), "steps": list(steps), **status}
    world.cluster.edit_status("WorkflowExecution", "run", stored)
    return world.cluster.find("WorkflowExecution", "run")


class Slow(Receiver):
    """Answers when the test says so."""

    def __init__(self, world: World, *replies: Any) -> None:
        super().__init__(world, *replies)
        self.asked, self.answer = asyncio.Event(), asyncio.Event()

    async def send(self, request: HttpRequest) -> HttpAnswer:
        self.asked.set()
        await self.answer.wait()
        return await super().send(request)


def succeeded(name: str) -> Manifest:
    at = "2026-01-01T00:00:01Z"
    return {"name": name, "phase": "Succeeded", "attempt": 1, "startedAt": at, "finishedAt": at}


async def test_a_status_that_somebody_else_stored_is_taken_up_and_not_written_over() -> None:
    bench = Bench(World())
    bench.world.workflow(PAUSE, scale("one", 5, "pause"))
    bench.world.run(finalizers=[FINALIZER])
    async with bench.running():
        bench.tell()
        await asyncio.sleep(1)
        told = {**succeeded("pause"), "message": "an older owner saw this"}
        moved_on(bench.world, told)
        bench.tell(event="MODIFIED")
        await asyncio.sleep(20)
        status = bench.world.stored()
        assert status["phase"] == "Succeeded"
        first = next(one for one in status["steps"] if one["name"] == "pause")
        assert first.get("message") == "an older owner saw this"


async def test_an_effect_that_somebody_else_was_about_to_send_is_not_sent_again() -> None:
    world = World()
    world.web = receiver = Receiver(world)
    call = {"action": "http_request", "with": {"url": "https://example.com/x"}}
    world.workflow(PAUSE, {"name": "tell", "dependsOn": ["pause"], **call})
    bench = Bench(world)
    world.run(finalizers=[FINALIZER])
    async with bench.running():
        bench.tell()
        await asyncio.sleep(1)
        intent = {"key": "theirs", "repeatable": False}
        about_to = {"name": "tell", "phase": "Running", "attempt": 1, "startedAt": "2026-01-01T00:00:01Z"}
        moved_on(world, succeeded("pause"), {**about_to, "intent": intent})
        bench.tell(event="MODIFIED")
        await asyncio.sleep(20)
        step = next(one for one in world.stored()["steps"] if one["name"] == "tell")
        assert (step["phase"], step.get("reason"), receiver.keys) == ("Failed", "UnknownOutcome", [])


@pytest.mark.parametrize("replies", [(), (Unavailable("no connection"),)])
async def test_the_outcome_of_an_effect_under_way_when_somebody_else_stores_counts(replies: Any) -> None:
    world = World()
    world.web = receiver = Slow(world, *replies)
    call = {"action": "http_request", "with": {"url": "https://example.com/x"}}
    world.workflow({"name": "tell", **call})
    bench = Bench(world)
    world.run(finalizers=[FINALIZER])
    async with bench.running():
        bench.tell()
        await receiver.asked.wait()
        (step,) = world.stored()["steps"]
        moved_on(world, {**step, "message": "theirs"})
        bench.tell(event="MODIFIED")
        await asyncio.sleep(1)
        receiver.answer.set()
        await asyncio.sleep(10)
        assert (world.stored()["phase"], len(receiver.keys)) == ("Succeeded", 1 + len(replies))


async def test_a_foreign_status_is_not_written_over_by_what_is_being_stored() -> None:
    world = World()
    world.workflow(PAUSE, scale("one", 5, "pause"))
    live, reconciler = world.run(finalizers=[FINALIZER]), world.reconciler()
    await reconciler.reconcile(live)
    theirs = moved_on(world, {**succeeded("pause"), "message": "theirs"})
    live.status = live.status.replace(message="ours")
    live.observe(copy.deepcopy(theirs))
    writes = len(world.cluster.writes)
    assert not await reconciler._store.store(live)
    assert len(world.cluster.writes) == writes, "it was not even tried"
    assert world.stored()["steps"][0]["message"] == "theirs"
    assert live.status.message is None


def watched(world: World, live: LiveRun) -> None:
    """Have each status write come back by the watch before its answer does, and again afterwards, out of order."""
    write, seen = world.cluster.patch_status, list[Manifest]()

    async def early(ref: ObjectRef, body: Manifest, *, resource_version: str) -> Manifest:
        written = await write(ref, body, resource_version=resource_version)
        seen.append(copy.deepcopy(written))
        live.observe(copy.deepcopy(written))
        for late in reversed(seen):
            live.observe(copy.deepcopy(late))
        return written

    world.cluster.patch_status = early  # type: ignore[method-assign]


async def test_own_writes_that_a_watch_brings_early_late_and_out_of_order_are_no_news() -> None:
    world = World()
    world.workflow(PAUSE, scale("one", 5, "pause"), scale("two", 6, "one"))
    live, reconciler = world.run(finalizers=[FINALIZER]), world.reconciler()
    watched(world, live)
    for _ in range(10):
        delay = await reconciler.reconcile(live)
        assert live.moved is None
        if live.stored.phase.final:
            break
        plan = live.plan
        await asyncio.sleep(delay or 1)
        assert live.plan is plan is not None, "it was not taken up again"
    assert world.stored()["phase"] == "Succeeded"
    assert world.cluster.written().count("patch Deployment shop/web") == 2


async def test_an_own_write_whose_answer_was_lost_is_no_news_when_a_watch_brings_it() -> None:
    world = World()
    world.workflow(PAUSE, scale("one", 5, "pause"))
    live, reconciler = world.run(finalizers=[FINALIZER]), world.reconciler()
    await reconciler.reconcile(live)
    live.status = live.status.replace(message="ours")
    world.cluster.troubles["patch"] = [Lost(landed=True)]
    world.cluster.troubles["get"] = [Unavailable("away")]
    with pytest.raises((Unavailable, UnknownOutcome)):
        await reconciler._store.store(live)
    live.observe(copy.deepcopy(world.cluster.find("WorkflowExecution", "run")))
    assert live.moved is None
    assert live.stored.message == "ours"


async def test_what_others_change_beside_the_status_does_not_take_a_run_up_again() -> None:
    world = World()
    world.workflow(PAUSE)
    live = world.run(finalizers=[FINALIZER])
    await world.reconciler().reconcile(live)
    plan = live.plan
    world.cluster.edit("WorkflowExecution", "run", {"metadata": {"annotations": {"note": "x"}}})
    live.observe(copy.deepcopy(world.cluster.find("WorkflowExecution", "run")))
    assert live.moved is None
    assert live.plan is plan is not None


async def test_an_own_write_is_known_again_though_a_patch_has_no_nulls() -> None:
    world = World()
    world.workflow(PAUSE)
    live, reconciler = world.run(finalizers=[FINALIZER]), world.reconciler()
    await reconciler.reconcile(live)
    outputs: dict[str, Any] = {
        "nothing": None,
        "deep": {"no": None, "share": 0.5},
        "n": 2.0,
    }
    (step,) = live.status.steps
    live.status = live.status.replace(steps=[step.replace(outputs=outputs)])
    write = world.cluster.patch_status

    async def over_the_wire(ref: ObjectRef, body: Manifest, *, resource_version: str) -> Manifest:
        written = await write(ref, json.loads(json.dumps(body)), resource_version=resource_version)
        live.observe(copy.deepcopy(written))
        return written

    world.cluster.patch_status = over_the_wire  # type: ignore[method-assign]
    assert await reconciler._store.store(live)
    assert live.moved is None
