"""Finished runs: nothing goes before it is stored, nothing is held hostage, and what is stored expires."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from kubernaut.api.names import FINALIZER
from kubernaut.core.features import Feature
from kubernaut.engine.afterlife import Afterlife, RecordLoader
from kubernaut.engine.finished import FinishedRun
from kubernaut.engine.live import LiveRun
from kubernaut.history.records import RunKey, RunRecord
from unit.engine.test_runs import finish
from unit.engine.world import World, scale

pytestmark = pytest.mark.looptime
DELETED = {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}


class FakeMirror:
    """An outbox and a spool."""

    def __init__(self, room: bool = True, disk: bool = True) -> None:
        self.room, self.disk = room, disk
        self.offered: list[RunKey] = []
        self.kept: list[RunRecord] = []

    def offer(self, key: RunKey) -> bool:
        if self.room:
            self.offered.append(key)
        return self.room

    async def keep(self, record: RunRecord) -> bool:
        if self.disk:
            self.kept.append(record)
        return self.disk


async def finished(world: World, **spec: Any) -> FinishedRun:
    world.workflow(scale("one", 5), **spec)
    world.run(finalizers=[FINALIZER])
    await finish(world)
    return FinishedRun.of(world.cluster.find("WorkflowExecution", "run"))


def afterlife(world: World, mirror: FakeMirror | None, off: frozenset[Feature] = frozenset()) -> Afterlife:
    grace, load = timedelta(minutes=10), RecordLoader(world.cluster)
    return Afterlife(
        world.cluster, mirror, mirror, load, grace, world.clock, enabled=lambda feature: feature not in off
    )


def finalizers(world: World) -> list[str]:
    meta = world.cluster.find("WorkflowExecution", "run")["metadata"]
    return list(meta.get("finalizers") or [])


async def test_a_finished_run_is_offered_to_the_history() -> None:
    world, mirror = World(), FakeMirror()
    run = await finished(world)
    assert await afterlife(world, mirror).reconcile(run) is None
    assert [key.name for key in mirror.offered] == ["run"]


async def test_where_the_outbox_is_full_it_is_offered_again_later() -> None:
    world, mirror = World(), FakeMirror(room=False)
    assert await afterlife(world, mirror).reconcile(await finished(world)) == 60.0


async def test_a_deletion_waits_for_the_history_and_then_goes_on() -> None:
    world, mirror = World(), FakeMirror()
    run = await finished(world)
    world.cluster.edit("WorkflowExecution", "run", DELETED)
    run.observe(world.cluster.find("WorkflowExecution", "run"))
    looks = afterlife(world, mirror)
    left = await looks.reconcile(run)
    assert left == pytest.approx(600, abs=5)
    assert finalizers(world) == [FINALIZER]
    run.mirrored = True
    await looks.reconcile(run)
    assert finalizers(world) == []
    assert mirror.kept == []


@pytest.mark.parametrize("disk", [True, False])
async def test_a_deletion_that_waited_too_long_is_let_go(disk: bool) -> None:
    world, mirror = World(), FakeMirror(disk=disk)
    run = await finished(world)
    world.cluster.edit("WorkflowExecution", "run", DELETED)
    run.observe(world.cluster.find("WorkflowExecution", "run"))
    await asyncio.sleep(601)
    await afterlife(world, mirror).reconcile(run)
    assert finalizers(world) == []
    assert [record.name for record in mirror.kept] == (["run"] if disk else [])
    if disk:
        assert [step.action for step in mirror.kept[0].steps] == ["scale_deployment"]


async def test_other_peoples_finalizers_are_left_alone() -> None:
    world = World()
    run = await finished(world)
    patch = {"metadata": {"finalizers": ["other/one", FINALIZER], **DELETED["metadata"]}}
    world.cluster.edit("WorkflowExecution", "run", patch)
    run.mirrored = True
    run.deleted_at = world.clock()
    run.finalizers = (FINALIZER,)
    await afterlife(world, FakeMirror()).reconcile(run)
    assert finalizers(world) == ["other/one"], "a conflict made it look again"


async def test_without_a_history_nothing_waits_for_one() -> None:
    world = World()
    run = await finished(world)
    world.cluster.edit("WorkflowExecution", "run", DELETED)
    run.observe(world.cluster.find("WorkflowExecution", "run"))
    await afterlife(world, None).reconcile(run)
    assert finalizers(world) == []


async def test_a_run_that_may_expire_is_stored_first() -> None:
    world = World()
    run = await finished(world)
    assert not afterlife(world, FakeMirror()).expirable(run)
    assert afterlife(world, None).expirable(run), "there is no history that would have to store it"
    run.mirrored = True
    assert afterlife(world, FakeMirror()).expirable(run)
    assert not afterlife(world, FakeMirror(), frozenset({Feature.EXPIRY})).expirable(run)


async def test_an_expired_run_is_deleted_in_two_requests() -> None:
    world = World()
    run = await finished(world)
    before = len(world.cluster.written())
    await afterlife(world, None).expire(run)
    assert world.cluster.written()[before:] == [
        "patch WorkflowExecution shop/run",
        "delete WorkflowExecution shop/run",
    ]
    await afterlife(world, None).expire(run)  # it is gone: nothing to do


async def test_another_run_of_the_same_name_is_not_deleted() -> None:
    world = World()
    run = await finished(world)
    world.cluster.drop("WorkflowExecution", "run")
    world.run(finalizers=[FINALIZER], uid="another")
    await afterlife(world, None).expire(run)
    assert ("WorkflowExecution", "shop", "run") in world.cluster.objects
    assert finalizers(world) == [FINALIZER]


async def test_a_finished_run_is_the_same_as_lived_and_as_read() -> None:
    world = World()
    run = await finished(world, ttlSecondsAfterFinished=60)
    world.cluster.edit(
        "WorkflowExecution",
        "run",
        {
            "spec": {"parent": {"name": "above", "uid": "uid-of-above", "step": "sub", "depth": 1}},
            "status": {"workflow": {"successfulRunsHistoryLimit": 3, "failedRunsHistoryLimit": 1}},
        },
    )
    manifest = world.cluster.find("WorkflowExecution", "run")
    read, lived = FinishedRun.of(manifest), FinishedRun.of_live(LiveRun.of(manifest))
    assert (lived.fresh, read.fresh) == (True, False)
    assert replace(lived, fresh=False) == read
    assert (read.ttl, read.limit, read.workflow, read.succeeded) == (60, 3, "fix", True)
    assert read.parent == ("uid-of-above", "sub")
    assert read.expires_at is not None
    assert run.finished_at is not None
    assert read.expires_at - run.finished_at == timedelta(seconds=60)


async def test_records_are_loaded_with_their_actions_and_what_is_gone_is_none() -> None:
    world = World()
    run = await finished(world)
    load = RecordLoader(world.cluster)
    keys: Sequence[RunKey] = [
        RunKey(run.uid, "shop", "run"),
        RunKey("another", "shop", "run"),
        RunKey("x", "shop", "gone"),
    ]
    records = await load(keys)
    assert [record.name if record else None for record in records] == ["run", None, None]
    assert records[0] is not None
    assert records[0].steps[0].action == "scale_deployment"
    world.cluster.drop("ControllerRevision", world.stored()["workflow"]["snapshot"])
    (bare,) = await RecordLoader(world.cluster)(keys[:1])
    assert bare is not None
    assert bare.steps[0].action is None


async def test_with_expiry_switched_off_a_deletion_by_a_person_still_goes_on() -> None:
    world = World()
    run = await finished(world)
    run.mirrored = True
    world.cluster.edit("WorkflowExecution", "run", DELETED)
    run.observe(world.cluster.find("WorkflowExecution", "run"))
    await afterlife(world, FakeMirror(), frozenset({Feature.EXPIRY})).reconcile(run)
    assert finalizers(world) == []
