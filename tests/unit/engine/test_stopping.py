"""An operator that is told to end begins no effect any more; what was sent is awaited, stored, and gone on from."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kubernaut.api.names import FINALIZER
from kubernaut.core.errors import Unavailable
from kubernaut.core.ports import Manifest
from kubernaut.core.run import Outcome
from kubernaut.engine.ownership import Alone
from unit.engine.test_engine import Bench
from unit.engine.test_moved import Slow
from unit.engine.world import World, scale

pytestmark = pytest.mark.looptime
CALL: Manifest = {"name": "tell", "action": "http_request", "with": {"url": "https://example.com/x"}}


class Counted(Alone):
    """Says how often it was let go of."""

    stopped = 0

    async def stop(self) -> None:
        self.stopped += 1


async def calling(*steps: Manifest) -> tuple[Bench, Slow, asyncio.Task[None]]:
    """Return an engine that is told to end while a request of its run is under way."""
    world = World()
    world.web = receiver = Slow(world)
    world.workflow(CALL, *steps)
    bench = Bench(world, shards=Counted())
    world.run(finalizers=[FINALIZER])
    await bench.engine.start()
    bench.tell()
    await receiver.asked.wait()
    return bench, receiver, asyncio.create_task(bench.engine.stop())


async def next_life(world: World) -> None:
    """Let another replica bring what is left to its end."""
    world.locks._held.clear()
    world.locks._targets.clear()
    async with Bench(world).running():
        await asyncio.sleep(30)


async def test_what_was_sent_is_awaited_and_stored_and_no_further_step_begins() -> None:
    bench, receiver, stopping = await calling(scale("one", 5, "tell"))
    await asyncio.sleep(3)
    receiver.answer.set()
    await stopping
    assert asyncio.get_running_loop().time() < 4, "nothing more is waited for"
    (step,) = bench.world.stored()["steps"]
    assert (step["name"], step["phase"]) == ("tell", "Succeeded")
    assert bench.world.stored()["phase"] == "Running"
    assert "patch Deployment shop/web" not in bench.world.cluster.written()
    assert bench.engine._parts.shards.stopped == 1  # type: ignore[attr-defined]
    await next_life(bench.world)
    assert bench.world.stored()["phase"] == "Succeeded"
    assert bench.world.cluster.written().count("patch Deployment shop/web") == 1
    assert len(receiver.keys) == 1


async def test_what_does_not_end_within_the_grace_is_cancelled_and_the_shards_are_let_go() -> None:
    bench, receiver, stopping = await calling()
    await stopping
    assert asyncio.get_running_loop().time() == pytest.approx(10, abs=0.5)
    assert receiver.keys == []
    assert bench.engine._parts.shards.stopped == 1  # type: ignore[attr-defined]


async def test_an_effect_under_way_is_awaited_also_where_its_worker_was_sent_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    world.web = receiver = Slow(world)
    world.workflow(CALL, {"name": "pause", "wait": {"duration": "3s"}})
    bench = Bench(world)
    world.run(finalizers=[FINALIZER])
    failed = asyncio.Event()

    async def away(ref: Any, body: Any, **more: Any) -> Manifest:
        failed.set()
        raise Unavailable("away")

    await bench.engine.start()
    bench.tell()
    await receiver.asked.wait()
    monkeypatch.setattr(world.cluster, "patch_status", away)
    await failed.wait()
    await asyncio.sleep(0.1)
    assert not bench.engine._busy
    stopping = asyncio.create_task(bench.engine.stop())
    await asyncio.sleep(1)
    receiver.answer.set()
    await stopping
    assert len(receiver.keys) == 1


async def test_runs_that_no_worker_is_with_are_left_to_the_next() -> None:
    bench = Bench(World())
    bench.world.workflow(scale("one", 5))
    await bench.engine.start()
    bench.world.run(finalizers=[FINALIZER])
    bench.tell()
    await bench.engine.stop()
    assert bench.world.stored() == {}
    await next_life(bench.world)
    assert bench.world.stored()["phase"] == "Succeeded"


async def test_what_was_but_prepared_counts_as_not_begun_and_is_sent_once_by_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    world.web = receiver = Slow(world)
    receiver.answer.set()
    world.workflow(CALL)
    bench = Bench(world)
    world.run(finalizers=[FINALIZER])
    performer = bench.engine._parts.runs._performer
    preparing, original = asyncio.Event(), performer.perform

    async def slowly(live: Any, act: Any) -> Outcome:
        preparing.set()
        await asyncio.sleep(2)
        return await original(live, act)

    monkeypatch.setattr(performer, "perform", slowly)
    await bench.engine.start()
    bench.tell()
    await preparing.wait()
    await bench.engine.stop()
    assert receiver.keys == []
    assert not any("intent" in step for step in world.stored().get("steps", []))
    await next_life(world)
    assert (world.stored()["phase"], len(receiver.keys)) == ("Succeeded", 1)


@pytest.mark.parametrize(("step", "sent", "patched"), [(CALL, 1, 0), (scale("one", 5), 0, 0)])
async def test_an_effect_of_which_it_is_just_being_stored_that_it_may_be_sent_is_sent_and_no_other(
    step: Manifest, sent: int, patched: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    world.web = receiver = Slow(world)
    receiver.answer.set()
    world.workflow(step)
    bench = Bench(world)
    world.run(finalizers=[FINALIZER])
    storing, write = asyncio.Event(), world.cluster.patch_status

    async def slowly(ref: Any, body: Any, **more: Any) -> Manifest:
        steps = body["status"]["steps"]
        if any("intent" in one or step is not CALL for one in steps):
            storing.set()
            await asyncio.sleep(2)
        return await write(ref, body, **more)

    monkeypatch.setattr(world.cluster, "patch_status", slowly)
    await bench.engine.start()
    bench.tell()
    await storing.wait()
    await bench.engine.stop()
    assert len(receiver.keys) == sent
    assert world.cluster.written().count("patch Deployment shop/web") == patched
    await next_life(world)
    assert world.stored()["phase"] == "Succeeded"
    assert len(receiver.keys) + world.cluster.written().count("patch Deployment shop/web") == 1
