"""A lease that was renewed too late, but was nobody else's meanwhile: what came in between is done afterwards."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kubernaut.api.names import FINALIZER
from kubernaut.engine.keys import RunKey
from kubernaut.engine.sharding import GLOBAL
from unit.engine.test_tenure import WEB, Half, two_runs
from unit.engine.world import World, scale

pytestmark = pytest.mark.looptime


async def test_a_run_that_is_deleted_while_the_lease_has_lapsed_is_let_go_once_it_is_renewed() -> None:
    bench = Half(World(), WEB)
    two_runs(bench.world)
    async with bench.running() as engine:
        bench.tell("on-web")
        await asyncio.sleep(1)
        run = bench.world.cluster.find("WorkflowExecution", "on-web")
        engine.on_mirrored([run["metadata"]["uid"]])
        bench.shards.lapsed = True
        going = {"metadata": {"deletionTimestamp": "2026-01-01T00:00:02Z"}}
        bench.world.cluster.edit("WorkflowExecution", "on-web", going)
        engine.on_ended("MODIFIED", bench.world.cluster.find("WorkflowExecution", "on-web"))
        await asyncio.sleep(5)
        last = bench.world.cluster.find("WorkflowExecution", "on-web")
        assert last["metadata"]["finalizers"] == [FINALIZER]
        bench.shards.lapsed = False
        await asyncio.sleep(5)
        last = bench.world.cluster.find("WorkflowExecution", "on-web")
        assert not last["metadata"].get("finalizers")


async def test_a_run_that_ended_just_before_the_lease_lapsed_is_offered_to_the_history_once_it_is_renewed() -> (
    None
):
    bench = Half(World(), WEB)
    two_runs(bench.world)
    original = bench.world.cluster.patch_status

    async def lapsing(*given: Any, **more: Any) -> Any:
        written = await original(*given, **more)
        bench.shards.lapsed = written["status"]["phase"] == "Succeeded"
        return written

    bench.world.cluster.patch_status = lapsing  # type: ignore[method-assign]
    async with bench.running():
        bench.tell("on-web")
        await asyncio.sleep(5)
        assert bench.world.stored("on-web")["phase"] == "Succeeded"
        assert not bench.mirror.offered
        bench.shards.lapsed = False
        await asyncio.sleep(5)
        assert [key.name for key in bench.mirror.offered] == ["on-web"]


async def test_a_workflow_that_changes_while_the_lease_has_lapsed_is_looked_after_once_it_is_renewed() -> (
    None
):
    bench = Half(World(), WEB, GLOBAL)
    bench.shards.lapsed = True
    bench.world.workflow(scale("one", 2))
    async with bench.running():
        await asyncio.sleep(5)
        assert not bench.world.cluster.find("Workflow", "fix").get("status")
        bench.shards.lapsed = False
        await asyncio.sleep(5)
        assert bench.world.cluster.find("Workflow", "fix")["status"]["conditions"]


async def test_a_run_that_turns_out_to_be_of_another_shard_of_ours_as_the_lease_lapses_is_kept() -> None:
    bench = Half(World(), WEB, 3)
    original = bench.world.cluster.get

    async def lapsing(ref: Any, **more: Any) -> Any:
        bench.shards.lapsed = bench.shards.lapsed or ref.kind == "Deployment"
        return await original(ref, **more)

    async with bench.running() as engine:
        await asyncio.sleep(2)  # all runs are listed by then, and the next time is far
        # No watch has told of its Workflow yet, so its target is not known.
        bench.world.workflow(scale("one", 2))
        bench.world.run("on-web", finalizers=[FINALIZER])
        bench.world.cluster.get = lapsing  # type: ignore[method-assign]
        bench.tell("on-web")
        await asyncio.sleep(1)
        assert bench.shards.lapsed
        assert RunKey("shop", "on-web") in engine.known.live
        bench.world.cluster.get = original  # type: ignore[method-assign]
        bench.shards.lapsed = False
        await asyncio.sleep(5)
        assert bench.world.stored("on-web")["phase"] == "Succeeded"
