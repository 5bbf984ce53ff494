"""A run that can't be read, of a later version say, is left alone, and keeps nobody else from anything."""

from __future__ import annotations

import asyncio
import copy
import logging
from typing import Any

import pytest

from kubernaut.api.names import FINALIZER
from kubernaut.core.errors import OfLaterVersion, Unavailable
from kubernaut.core.ports import Manifest
from kubernaut.engine.afterlife import RecordLoader
from kubernaut.engine.live import Unreadable
from kubernaut.engine.store import StatusStore
from kubernaut.engine.unending import AGAIN
from kubernaut.history.records import RunKey
from kubernaut.metrics import REGISTRY
from unit.engine.test_engine import Bench
from unit.engine.test_runs import finish
from unit.engine.test_tenure import WEB, Half
from unit.engine.world import World, scale

pytestmark = pytest.mark.looptime
LATER: list[Manifest] = [
    {"status": {"phase": "Running", "mood": "hopeful"}},
    {"status": {"phase": "Pondering"}},
    {"spec": {"mood": "hopeful"}},
]


def two(world: World, later: Manifest) -> None:
    """A run of this version, and one before it in every list that only a later version can read."""
    world.workflow(scale("one", 2))
    world.run("later", finalizers=[FINALIZER])
    world.cluster.edit("WorkflowExecution", "later", later)
    world.run("run", finalizers=[FINALIZER])


def unreadable() -> float | None:
    return REGISTRY.get_sample_value("kubernaut_runs_unreadable")


@pytest.mark.parametrize("later", LATER)
async def test_it_keeps_no_operator_from_starting_and_no_other_run_from_being_driven(
    later: Manifest, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(World())
    two(bench.world, later)
    before = copy.deepcopy(bench.world.cluster.find("WorkflowExecution", "later"))
    with caplog.at_level(logging.ERROR):
        async with bench.running() as engine:
            await asyncio.sleep(60)
            assert bench.world.stored("run")["phase"] == "Succeeded"
            assert unreadable() == 1
            assert not engine.finished(before["metadata"]["uid"]), "its marks are needed still"
    assert bench.world.cluster.find("WorkflowExecution", "later") == before
    (told,) = {record.run for record in caplog.records if hasattr(record, "run")}
    assert told == "shop/later"
    assert any("mood" in record.error or "Pondering" in record.error for record in caplog.records)  # type: ignore[attr-defined]


@pytest.mark.parametrize("told", [True, False], ids=["told by the watch", "seen in the answer to a write"])
async def test_one_that_can_not_be_read_any_more_is_left_alone_amid_its_way(
    told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    world = World()
    bench = Bench(world)
    world.workflow(scale("one", 2), {"name": "pause", "wait": {"duration": "30s"}, "dependsOn": ["one"]})
    world.run("run", finalizers=[FINALIZER])
    with caplog.at_level(logging.WARNING):
        async with bench.running():
            await asyncio.sleep(10)
            assert world.stored("run")["phase"] == "Running"
            assert unreadable() == 0
            # Of the spec, for the status is written as a whole.
            world.cluster.edit(
                "WorkflowExecution", "run", {"metadata": {"generation": 9}, "spec": {"mood": "x"}}
            )
            before = copy.deepcopy(world.cluster.find("WorkflowExecution", "run"))
            if told:
                bench.tell("run", "MODIFIED")
            await asyncio.sleep(60)
            assert unreadable() == 1
            if told:
                assert world.cluster.find("WorkflowExecution", "run") == before
            assert world.stored("run")["phase"] == "Running"
            record = next(one for one in caplog.records if "can't be read" in one.message)
            assert "reconciliation failed" not in caplog.text
            assert "mood" in record.error  # type: ignore[attr-defined]
            # It is looked at when it changes.
            world.cluster.edit("WorkflowExecution", "run", {"spec": {"mood": None}})
            bench.tell("run", "MODIFIED")
            await asyncio.sleep(60)
            assert world.stored("run")["phase"] == "Succeeded"
            assert unreadable() == 0


async def test_a_status_that_another_version_stored_meanwhile_is_told_as_unreadable_and_not_written_over() -> (
    None
):
    world = World()
    world.workflow(scale("one", 2))
    world.run("run", finalizers=[FINALIZER])
    live = world.take_up("run")
    live.status = live.status.replace(message="on its way")
    world.cluster.edit("WorkflowExecution", "run", {"status": {"mood": "hopeful"}})
    with pytest.raises(Unreadable, match="mood"):
        await StatusStore(world.cluster).store(live)
    assert world.stored("run") == {"mood": "hopeful"}


async def test_once_it_can_be_read_it_is_driven_and_once_it_is_gone_it_is_forgotten() -> None:
    bench = Bench(World())
    two(bench.world, LATER[0])
    async with bench.running() as engine:
        await asyncio.sleep(1)
        assert unreadable() == 1
        bench.world.cluster.edit("WorkflowExecution", "later", {"status": {"phase": None, "mood": None}})
        bench.tell("later", "MODIFIED")
        await asyncio.sleep(60)
        assert bench.world.stored("later")["phase"] == "Succeeded"
        assert unreadable() == 0
        bench.world.run("other", finalizers=[FINALIZER])
        bench.world.cluster.edit("WorkflowExecution", "other", LATER[0])
        bench.tell("other")
        assert unreadable() == 1
        uid = bench.world.cluster.find("WorkflowExecution", "other")["metadata"]["uid"]
        bench.tell("other", "DELETED")
        assert unreadable() == 0
        assert engine.finished(uid)


async def test_a_shard_that_is_taken_over_is_driven_though_one_of_its_runs_can_not_be_read() -> None:
    bench = Half(World())
    two(bench.world, LATER[0])
    async with bench.running():
        bench.tell("later")
        bench.tell("run")
        bench.shards.gain(WEB)
        await asyncio.sleep(60)
        assert bench.world.stored("run")["phase"] == "Succeeded"


def lists_fail(world: World, times: int) -> None:
    """Have so many of the next lists fail as nobody thought of."""
    original, left = world.cluster.list_pages, iter(range(times))

    def failing(*args: Any, **more: Any) -> Any:
        if next(left, None) is not None:
            raise RuntimeError("nobody thought of this")
        return original(*args, **more)

    world.cluster.list_pages = failing  # type: ignore[method-assign]


async def test_a_shard_that_could_not_be_taken_up_for_a_reason_nobody_thought_of_is_taken_up_later() -> None:
    bench = Half(World())
    two(bench.world, {})
    async with bench.running():
        lists_fail(bench.world, 1)
        bench.shards.gain(WEB)
        await asyncio.sleep(60)
        assert bench.world.stored("run")["phase"] == "Succeeded"


async def test_listing_goes_on_after_an_error_that_nobody_thought_of() -> None:
    bench = Bench(World())
    bench.world.workflow(scale("one", 2))
    async with bench.running() as engine:
        lists_fail(bench.world, 2)
        every = engine._parts.settings.relist.total_seconds()
        await asyncio.sleep(3 * (every + AGAIN))
        bench.world.run("run", finalizers=[FINALIZER])
        await asyncio.sleep(every + AGAIN)
        assert bench.world.stored("run")["phase"] == "Succeeded"


async def test_a_finished_one_holds_up_no_other_on_its_way_into_the_history() -> None:
    world = World()
    two(world, {"status": {"phase": "Succeeded", "finishedAt": "2026-01-01T00:00:00Z", "mood": "hopeful"}})
    await finish(world)
    keys = [
        RunKey(world.cluster.find("WorkflowExecution", name)["metadata"]["uid"], "shop", name)
        for name in ("later", "run")
    ]
    later, run = await RecordLoader(world.cluster)(keys)
    assert later is None
    assert run is not None


async def test_a_run_is_not_stored_without_the_names_of_its_actions_because_its_snapshot_could_not_be_read_once() -> (
    None
):
    world = World()
    world.workflow(scale("one", 2))
    world.run(finalizers=[FINALIZER])
    await finish(world)
    load = RecordLoader(world.cluster)
    key = RunKey(world.cluster.find("WorkflowExecution", "run")["metadata"]["uid"], "shop", "run")
    world.cluster.troubles["get"] = [None, Unavailable("away")]
    with pytest.raises(Unavailable):
        await load([key])
    (record,) = await load([key])
    assert record is not None
    assert [step.action for step in record.steps] == ["scale_deployment"]


async def test_a_run_that_follows_content_of_a_later_version_is_left_as_it_is_until_that_is_back() -> None:
    world = World()
    world.workflow({"name": "pause", "wait": {"duration": "5s"}}, scale("one", 5, "pause"))
    live = world.run(finalizers=["kubernaut.io/mirror"])
    await world.reconciler().reconcile(live)
    snapshot, written = world.stored()["workflow"]["snapshot"], world.cluster.written()
    kept = world.cluster.find("ControllerRevision", snapshot)["data"]
    kept["mood"] = "hopeful"
    world.locks.release(live.key)
    await asyncio.sleep(6)
    with pytest.raises(OfLaterVersion, match=r"shop/fix-\w+, .* \(mood\): upgrade the operator again"):
        await world.reconciler().reconcile(world.take_up())
    assert (world.stored()["phase"], world.cluster.written()) == ("Running", written)
    assert len(world.locks) == 1
    world.locks.release(live.key)
    del kept["mood"]
    await finish(world)
    assert world.stored()["phase"] == "Succeeded"


async def test_a_finished_run_is_not_stored_while_the_content_it_followed_is_of_a_later_version() -> None:
    world = World()
    world.workflow(scale("one", 2))
    world.run(finalizers=[FINALIZER])
    await finish(world)
    kept = world.cluster.find("ControllerRevision", world.stored()["workflow"]["snapshot"])["data"]
    key = RunKey(world.cluster.find("WorkflowExecution", "run")["metadata"]["uid"], "shop", "run")
    load = RecordLoader(world.cluster)
    kept["mood"] = "hopeful"
    assert await load([key]) == [None]
    del kept["mood"]
    (record,) = await load([key])
    assert record is not None
    assert [step.action for step in record.steps] == ["scale_deployment"]
