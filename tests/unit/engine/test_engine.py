"""The engine as a whole: events wake keys, workers reconcile them, what is missed is found again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from kubernaut.actions.registry import ActionRegistry
from kubernaut.api.names import FINALIZER
from kubernaut.config import Settings
from kubernaut.core.errors import Forbidden, TooManyRequests, Unavailable
from kubernaut.core.ports import Manifest
from kubernaut.engine.afterlife import Afterlife, RecordLoader
from kubernaut.engine.engine import Engine, Key
from kubernaut.engine.events import BURST
from kubernaut.engine.evidence import AvailabilityEvidence
from kubernaut.engine.holds import Gate
from kubernaut.engine.ownership import Alone, Keeper
from kubernaut.engine.parts import Parts
from kubernaut.engine.queue import KeyedQueue
from kubernaut.engine.sweep import SnapshotSweep
from kubernaut.engine.workflows import WorkflowReconciler
from kubernaut.metrics import HEARTBEAT, REGISTRY
from unit.engine.test_afterlife import FakeMirror
from unit.engine.test_holds import FakeSwitch
from unit.engine.world import World, scale

pytestmark = pytest.mark.looptime


class Bench:
    """An engine around a world."""

    def __init__(self, world: World, *, shards: Keeper | None = None, **settings: Any) -> None:
        self.world, self.mirror, self.switch = world, FakeMirror(), FakeSwitch()
        self.problems: list[str] = []
        self.gate = Gate(self.switch)
        self.forgotten: list[tuple[str, str]] = []
        queue: KeyedQueue[Key] = KeyedQueue()
        world.locks._wake = queue.add
        cluster = world.cluster
        runs = world.reconciler()
        runs._hold = runs.starter._hold = self.gate.hold
        runs._lookout._wake = queue.add
        self.engine = Engine(
            Parts(
                settings=Settings(workers=4, resync=timedelta(minutes=10), **settings),
                cluster=cluster,
                runs=runs,
                workflows=WorkflowReconciler(cluster, ActionRegistry(installed=False), world.clock),
                afterlife=Afterlife(
                    cluster,
                    self.mirror,
                    self.mirror,
                    RecordLoader(cluster),
                    timedelta(minutes=10),
                    world.clock,
                ),
                evidence=AvailabilityEvidence(None),
                gate=self.gate,
                locks=world.locks,
                check_policies=self.check,
                sweep=SnapshotSweep(cluster, lambda *name: self.forgotten.append(name), world.clock),
                clock=world.clock,
                instance="test",
                shards=shards or Alone(),
                target_key=runs.starter._claims.target_key,
            ),
            queue,
        )

    async def check(self) -> list[str]:
        return self.problems

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Engine]:
        await self.engine.start()
        try:
            yield self.engine
        finally:
            await self.engine.stop()

    def tell(self, name: str = "run", event: str | None = "ADDED") -> None:
        self.engine.on_run(event, self.world.cluster.find("WorkflowExecution", name))


async def test_an_event_is_enough_to_bring_a_run_to_its_end_and_into_the_history() -> None:
    bench = Bench(World())
    bench.world.workflow(scale("one", 2))
    bench.world.run()
    async with bench.running():
        bench.tell()
        await asyncio.sleep(1)
        assert bench.world.stored()["phase"] == "Succeeded"
        assert [key.name for key in bench.mirror.offered] == ["run"]
    events = [what for verb, what, _ in bench.world.cluster.writes if verb == "event"]
    assert len(events) == 1


async def test_listing_all_runs_and_the_sweep_after_it_fail_in_no_test_that_does_not_say_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench(World())
    bench.world.workflow(scale("one", 2))
    bench.world.run()
    listed, original = list[str](), bench.world.cluster.list_pages

    def counted(api_version: str, kind: str, **more: Any) -> AsyncIterator[list[Manifest]]:
        if kind == "ControllerRevision":
            listed.append(kind)
        return original(api_version, kind, **more)

    bench.world.cluster.list_pages = counted  # type: ignore[method-assign,assignment]
    async with bench.running():
        bench.tell()
        await asyncio.sleep(650)
    assert len(listed) == 2, "soon after the start, and every 10 minutes"
    assert "failed" not in caplog.text


async def test_of_a_storm_of_good_runs_not_each_gets_an_event() -> None:
    bench = Bench(World(), event_rate=0)
    bench.world.workflow({"name": "pause", "wait": {"duration": "1s"}})
    names = [f"run-{number}" for number in range(BURST + 15)]
    for name in names:
        bench.world.run(name)
    withheld = REGISTRY.get_sample_value("kubernaut_events_withheld_total") or 0
    async with bench.running():
        for name in names:
            bench.tell(name)
        await asyncio.sleep(60)
        assert {bench.world.stored(name)["phase"] for name in names} == {"Succeeded"}
    events = [what for verb, what, _ in bench.world.cluster.writes if verb == "event"]
    assert len(events) == BURST
    assert REGISTRY.get_sample_value("kubernaut_events_withheld_total") == withheld + 15


async def test_events_that_are_doubled_or_late_change_nothing() -> None:
    bench = Bench(World())
    bench.world.workflow(scale("one", 2))
    bench.world.run()
    stale = dict(bench.world.cluster.find("WorkflowExecution", "run"))
    async with bench.running() as engine:
        for _ in range(3):
            bench.tell()
        await asyncio.sleep(1)
        engine.on_run("MODIFIED", stale)
        bench.tell()
        await asyncio.sleep(5)
    patches = [w for w in bench.world.cluster.written() if w == "patch Deployment shop/web"]
    assert len(patches) == 1


async def test_a_live_run_is_taken_up_at_the_start_and_its_lock_with_it() -> None:
    bench = Bench(World())
    bench.world.workflow({"name": "pause", "wait": {"duration": "1h"}}, timeout="2h")
    live = bench.world.run("first", finalizers=[FINALIZER])
    await bench.world.reconciler().reconcile(live)
    bench.world.locks.release(live.key)
    bench.world.run("second", finalizers=[FINALIZER])
    async with bench.running():
        await asyncio.sleep(1)
        waits = next(c for c in bench.world.stored("second")["conditions"] if c["type"] == "Reconciling")
        assert waits["reason"] == "TargetBusy"


async def test_an_api_server_that_starts_late_is_waited_for() -> None:
    bench = Bench(World())
    original = bench.world.cluster.list_pages
    calls = 0

    async def late(*args: str, **more: str) -> AsyncIterator[list[dict[str, object]]]:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise Unavailable("away")
        async for page in original(*args, **more):  # type: ignore[arg-type]
            yield page

    bench.world.cluster.list_pages = late  # type: ignore[method-assign, assignment]
    HEARTBEAT.set(0)
    async with bench.running():
        assert calls == 4, "two failed; then Workflows and runs were listed"
        # Waiting is no hanging.
        assert REGISTRY.get_sample_value("kubernaut_heartbeat_timestamp_seconds")


async def test_an_operator_that_may_not_list_runs_says_so_and_ends() -> None:
    bench = Bench(World())

    async def refused(*_: str, **__: str) -> AsyncIterator[list[dict[str, object]]]:
        raise Forbidden("may not list workflowexecutions", status=403)
        yield []

    bench.world.cluster.list_pages = refused  # type: ignore[method-assign, assignment]
    with pytest.raises(Forbidden):
        await bench.engine.start()


async def test_missing_policies_hold_runs_until_they_are_back() -> None:
    bench = Bench(World())
    bench.problems = ["ValidatingAdmissionPolicy run-status.kubernaut.io is missing"]
    bench.world.workflow(scale("one", 2))
    bench.world.run()
    async with bench.running():
        bench.tell()
        await asyncio.sleep(1)
        assert bench.world.stored()["conditions"][0]["reason"] == "PoliciesMissing"
        bench.problems = []
        await asyncio.sleep(5)
        assert bench.world.stored()["phase"] == "Succeeded"


async def test_a_stop_holds_runs_at_once_and_a_start_lets_them_go_on() -> None:
    bench = Bench(World())
    bench.world.workflow({"name": "pause", "wait": {"duration": "10s"}}, scale("one", 2, "pause"))
    bench.world.run()
    async with bench.running() as engine:
        bench.tell()
        await asyncio.sleep(1)
        bench.switch.on = False
        engine.on_switch()
        await asyncio.sleep(20)
        assert "patch Deployment shop/web" not in bench.world.cluster.written()
        told = next(c for c in bench.world.stored()["conditions"] if c["type"] == "Reconciling")
        assert told["reason"] == "Stopped"
        bench.switch.on = True
        engine.on_switch()
        await asyncio.sleep(1)
        assert bench.world.stored()["phase"] == "Succeeded"


async def test_a_deletion_that_a_watch_missed_is_found_by_listing_again() -> None:
    bench = Bench(World())
    bench.world.workflow({"name": "pause", "wait": {"duration": "1h"}}, timeout="2h")
    bench.world.run(finalizers=[FINALIZER])
    async with bench.running() as engine:
        bench.tell()
        await asyncio.sleep(1)
        assert len(bench.world.locks) == 1
        bench.world.cluster.drop("WorkflowExecution", "run")
        await engine.resync()
        await asyncio.sleep(1)
        assert len(bench.world.locks) == 0


async def test_a_listing_of_all_runs_that_failed_is_made_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(World())
    bench.world.workflow(scale("one", 2))
    bench.world.run()
    over = {"phase": "Succeeded", "finishedAt": "2026-01-01T00:00:00Z"}
    bench.world.cluster.objects["WorkflowExecution", "shop", "run"]["status"] = over
    listed, lists = bench.world.cluster.list_pages, 0

    async def refused_once(api_version: str, kind: str, **more: Any) -> AsyncIterator[list[Manifest]]:
        nonlocal lists
        all_runs = kind == "WorkflowExecution" and "field_selector" not in more
        lists += all_runs
        if all_runs and lists == 1:
            raise TooManyRequests("later", status=429)
        async for page in listed(api_version, kind, **more):
            yield page

    monkeypatch.setattr(bench.world.cluster, "list_pages", refused_once)
    async with bench.running():
        await asyncio.sleep(2)
        assert (lists, bench.mirror.offered) == (1, [])
        await asyncio.sleep(10)
        assert [key.name for key in bench.mirror.offered] == ["run"]


async def test_a_run_of_the_same_name_but_another_uid_is_another_run() -> None:
    bench = Bench(World())
    bench.world.workflow({"name": "pause", "wait": {"duration": "1h"}}, timeout="2h")
    bench.world.run(finalizers=[FINALIZER])
    async with bench.running():
        bench.tell()
        await asyncio.sleep(1)
        bench.world.cluster.drop("WorkflowExecution", "run")
        bench.world.workflow(scale("one", 2))
        bench.world.run(uid="another", finalizers=[FINALIZER])
        bench.tell()
        await asyncio.sleep(1)
        assert bench.world.stored()["phase"] == "Succeeded"


async def test_what_fails_unexpectedly_is_tried_again_later_and_later() -> None:
    bench = Bench(World())
    bench.world.workflow(scale("one", 2))
    bench.world.run(finalizers=[FINALIZER])
    bench.world.cluster.troubles["patch"] = [Forbidden("not now", status=403)] * 6
    async with bench.running():
        bench.tell()
        await asyncio.sleep(3)
        assert bench.world.stored().get("phase") != "Succeeded"
        await asyncio.sleep(30)
        assert bench.world.stored()["phase"] == "Succeeded"


async def test_a_mirrored_run_is_let_go_when_it_is_deleted() -> None:
    bench = Bench(World())
    bench.world.workflow(scale("one", 2))
    bench.world.run(finalizers=[FINALIZER])
    async with bench.running() as engine:
        bench.tell()
        await asyncio.sleep(1)
        patch = {"metadata": {"deletionTimestamp": "2026-01-01T00:00:02Z"}}
        bench.world.cluster.edit("WorkflowExecution", "run", patch)
        bench.tell(event="MODIFIED")
        await asyncio.sleep(1)
        assert bench.world.cluster.find("WorkflowExecution", "run")["metadata"]["finalizers"] == [FINALIZER]
        engine.on_mirrored([bench.world.cluster.find("WorkflowExecution", "run")["metadata"]["uid"]])
        await asyncio.sleep(1)
        assert not bench.world.cluster.find("WorkflowExecution", "run")["metadata"].get("finalizers")


async def test_workers_prove_that_they_work() -> None:
    bench = Bench(World())
    async with bench.running() as engine:
        await asyncio.sleep(30)
        assert engine.seconds_since_progress < 20


async def test_snapshots_that_nobody_needs_are_swept_and_the_others_kept() -> None:
    bench = Bench(World())
    bench.world.workflow(scale("one", 2))
    bench.world.run(finalizers=[FINALIZER])
    old = {"namespace": "shop", "creationTimestamp": "2025-01-01T00:00:00Z"}
    orphan = {"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {"name": "orphan", **old}}
    bench.world.cluster.add(orphan)
    bench.world.cluster.linger = False
    async with bench.running():
        bench.tell()
        await asyncio.sleep(1)
        snapshot = bench.world.stored()["workflow"]["snapshot"]
        kept = bench.world.cluster.find("ControllerRevision", snapshot)
        kept["metadata"]["creationTimestamp"] = "2025-01-01T00:00:00Z"
        await asyncio.sleep(700)
    assert bench.forgotten == [("shop", "orphan")]
    assert ("ControllerRevision", "shop", snapshot) in bench.world.cluster.objects


async def test_the_marker_of_a_run_is_needed_as_long_as_the_run_lives() -> None:
    bench = Bench(World())
    bench.world.workflow({"name": "pause", "wait": {"duration": "10s"}})
    live = bench.world.run(finalizers=[FINALIZER])
    async with bench.running() as engine:
        bench.tell()
        await asyncio.sleep(1)
        assert not engine.finished(live.uid)
        assert not engine.finished("of a run that no list was asked about yet")
        await engine.relist()
        assert engine.finished("of a run that no list was asked about yet")
        await asyncio.sleep(20)
        assert engine.finished(live.uid)


async def test_what_a_dead_watch_does_not_bring_is_found_by_listing() -> None:
    bench = Bench(World())
    bench.world.workflow({"name": "ask", "approval": {"expiresAfter": "2h"}}, timeout="3h")
    bench.world.run(finalizers=[FINALIZER])
    async with bench.running() as engine:
        await asyncio.sleep(20)
        assert bench.world.stored()["phase"] == "Running"
        bench.world.cluster.edit("WorkflowExecution", "run", {"spec": {"control": {"cancel": True}}})
        await asyncio.sleep(20)
        assert bench.world.stored()["phase"] == "Cancelled"
        assert await engine.relist() == 0, "nothing is new"


async def test_a_live_run_that_left_the_watch_is_forgotten_where_it_is_gone() -> None:
    bench = Bench(World())
    bench.world.workflow({"name": "pause", "wait": {"duration": "1h"}}, timeout="2h")
    bench.world.run(finalizers=[FINALIZER])
    async with bench.running() as engine:
        await asyncio.sleep(1)
        left = dict(bench.world.cluster.find("WorkflowExecution", "run"))
        engine.on_run("DELETED", left)
        await asyncio.sleep(1)
        assert not engine.finished(left["metadata"]["uid"]), "it is still there: only the watch lost it"
        bench.world.cluster.drop("WorkflowExecution", "run")
        engine.on_run("DELETED", left)
        await asyncio.sleep(1)
        assert engine.finished(left["metadata"]["uid"])
    assert len(bench.world.locks) == 0


async def test_a_live_run_that_somebody_else_ended_is_looked_after_as_a_finished_one() -> None:
    bench = Bench(World())
    bench.world.workflow({"name": "pause", "wait": {"duration": "1h"}}, timeout="2h")
    bench.world.run(finalizers=[FINALIZER])
    async with bench.running() as engine:
        await asyncio.sleep(1)
        ended = {"status": {"phase": "Failed", "finishedAt": "2026-01-01T00:00:02.000000Z"}}
        bench.world.cluster.edit("WorkflowExecution", "run", ended)
        engine.on_run("DELETED", bench.world.cluster.find("WorkflowExecution", "run"))
        await asyncio.sleep(1)
        assert [key.name for key in bench.mirror.offered] == ["run"]
        assert len(bench.world.locks) == 0


async def test_that_a_run_left_the_watch_because_it_ended_here_changes_nothing() -> None:
    bench = Bench(World())
    bench.world.workflow(scale("one", 2), ttlSecondsAfterFinished=60)
    bench.world.run(finalizers=[FINALIZER])
    async with bench.running() as engine:
        bench.tell()
        await asyncio.sleep(1)
        reads = len(bench.world.cluster.requests)
        bench.tell(event="DELETED")
        await asyncio.sleep(1)
        assert len(bench.world.cluster.requests) == reads
        uid = bench.world.cluster.find("WorkflowExecution", "run")["metadata"]["uid"]
        engine.on_mirrored([uid])
        await asyncio.sleep(70)
    assert bench.world.cluster.written()[-1] == "delete WorkflowExecution shop/run", "it expired all the same"


async def test_a_finished_run_that_a_person_deletes_is_let_go_at_once() -> None:
    bench = Bench(World())
    bench.world.workflow(scale("one", 2))
    bench.world.run(finalizers=[FINALIZER])
    async with bench.running() as engine:
        bench.tell()
        await asyncio.sleep(1)
        uid = bench.world.cluster.find("WorkflowExecution", "run")["metadata"]["uid"]
        engine.on_mirrored([uid])
        going = {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}
        bench.world.cluster.edit("WorkflowExecution", "run", going)
        engine.on_ended("MODIFIED", bench.world.cluster.find("WorkflowExecution", "run"))
        await asyncio.sleep(1)
        last = bench.world.cluster.find("WorkflowExecution", "run")
        assert last["metadata"].get("finalizers") is None
        engine.on_ended("DELETED", last)
        assert engine._known.finished == {}


async def test_finished_runs_of_earlier_days_are_found_while_live_ones_go_on() -> None:
    bench = Bench(World())
    bench.world.workflow(scale("one", 2))
    bench.world.run("old", finalizers=[FINALIZER])
    bench.world.cluster.edit(
        "WorkflowExecution",
        "old",
        {"status": {"phase": "Succeeded", "finishedAt": "2025-12-31T23:00:00.000000Z"}},
    )
    async with bench.running():
        assert bench.mirror.offered == []
        await asyncio.sleep(2)
        assert [(key.name, key.fresh) for key in bench.mirror.offered] == [("old", False)]


async def test_a_started_run_expires_only_once_its_parent_has_taken_its_outcome() -> None:
    bench = Bench(World())
    world, done = bench.world, {"phase": "Succeeded", "finishedAt": "2025-12-31T23:00:00.000000Z"}
    bench.switch.on = False
    world.workflow(scale("one", 2))
    world.run("parent", finalizers=[FINALIZER])
    world.run("child", finalizers=[FINALIZER])
    ref = {"name": "parent", "uid": "uid-workflowexecution-parent", "step": "one", "depth": 1}
    world.cluster.edit("WorkflowExecution", "child", {"spec": {"parent": ref}, "status": done})
    async with bench.running() as engine:
        bench.tell("child")
        (run,) = engine._known.finished.values()
        run.mirrored, run.ttl = True, 0
        await asyncio.sleep(20)
        assert "delete WorkflowExecution shop/child" not in world.cluster.written()
        world.cluster.edit("WorkflowExecution", "parent", {"status": done})
        bench.tell("parent", "MODIFIED")
        await asyncio.sleep(20)
        assert "delete WorkflowExecution shop/child" in world.cluster.written()
