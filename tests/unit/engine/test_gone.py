"""What is gone without that a watch has told of it is found to be, and what follows from that is done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from kubernaut.api.names import FINALIZER
from kubernaut.core.errors import NotFound
from kubernaut.core.ports import Manifest
from kubernaut.engine.past import PastRuns
from unit.engine.test_engine import Bench
from unit.engine.world import World, scale

pytestmark = pytest.mark.looptime


async def test_a_workflow_whose_deletion_a_watch_missed_is_forgotten_and_one_made_anew_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(World())
    cluster = bench.world.cluster
    for name in ("fix", "mend"):
        bench.world.workflow(scale("one", 2), name=name)
    async with bench.running() as engine:
        assert len(engine.workflows()) == 2
        for name in ("fix", "mend"):
            cluster.drop("Workflow", name)
        original = cluster.list_pages

        async def late(api_version: str, kind: str, **more: Any) -> AsyncIterator[list[Manifest]]:
            async for page in original(api_version, kind, **more):
                yield page
            if kind == "Workflow":
                bench.world.workflow(scale("one", 3), name="mend")
                engine.on_workflow("ADDED", cluster.find("Workflow", "mend"))

        monkeypatch.setattr(cluster, "list_pages", late)
        assert await engine.relist() == 1
        assert [one["metadata"]["name"] for one in engine.workflows()] == ["mend"]


async def test_a_run_that_was_found_gone_when_its_status_was_written_counts_as_ended_for_guards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(World())
    monkeypatch.setattr(bench.engine._listing, "keep_resyncing", lambda *_: asyncio.sleep(3600))

    async def gone(ref: Any, body: Any, **more: Any) -> Any:
        raise NotFound("there is no such run", status=404)

    bench.world.workflow(
        scale("one", 2), {"name": "pause", "wait": {"duration": "30s"}, "dependsOn": ["one"]}
    )
    bench.world.run(finalizers=[FINALIZER])
    past = PastRuns(bench.world.clock)
    bench.engine._guards = SimpleNamespace(past=past, needed_until=lambda uid: None)  # type: ignore[assignment]
    async with bench.running():
        bench.tell()
        await asyncio.sleep(10)
        bench.tell(event="MODIFIED")
        uid = bench.world.cluster.find("WorkflowExecution", "run")["metadata"]["uid"]
        found = past.get(uid)
        assert found is not None
        assert found.ended is None
        # The finalizer was taken off by force, and no watch has told of the deletion yet.
        bench.world.cluster.drop("WorkflowExecution", "run")
        monkeypatch.setattr(bench.world.cluster, "patch_status", gone)
        await asyncio.sleep(60)
        found = past.get(uid)
        assert found is not None
        assert found.ended is not None, "deleting a run lifts no guard"
