"""Shards come and go: a replica drives the runs of its own, has their locks first, and drops them when they go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from kubernaut.api.names import FINALIZER
from kubernaut.core.errors import Unavailable
from kubernaut.core.guards.deciding import Alerts
from kubernaut.engine.engine import Engine
from kubernaut.engine.homes import home_of
from kubernaut.engine.ownership import Listener, Shards
from kubernaut.engine.sharding import GLOBAL
from unit.engine.test_engine import Bench
from unit.engine.world import World, deployment, scale

pytestmark = pytest.mark.looptime
WEB, API = 1, 2


class Scripted:
    """Holds what a test says. ``web`` is in one shard, ``api`` in another, what has no target in a third."""

    def __init__(self, *held: int) -> None:
        self.held: Shards = frozenset(held)
        self.lapsed = False
        self._listener: Listener | None = None

    def shard_of(self, key: str) -> int:
        return {"shop/apps/v1/Deployment/web": WEB, "shop/apps/v1/Deployment/api": API}.get(key, 3)

    def holds(self, shard: int) -> bool:
        return shard in self.held and not self.lapsed

    def may_send(self, shard: int) -> bool:
        return self.holds(shard)

    def holds_global(self) -> bool:
        return self.holds(GLOBAL)

    def listen(self, listener: Listener) -> None:
        self._listener = listener

    async def begin(self) -> None: ...

    async def run(self) -> None: ...

    async def stop(self) -> None:
        self.held = frozenset()

    def gain(self, *shards: int) -> None:
        assert self._listener is not None
        self.held |= frozenset(shards)
        self._listener.gained(frozenset(shards))

    def lose(self, *shards: int) -> None:
        assert self._listener is not None
        self.held -= frozenset(shards)
        self._listener.lost(frozenset(shards))

    async def leave(self, *shards: int) -> None:
        assert self._listener is not None
        await self._listener.leave(frozenset(shards))
        self.held -= frozenset(shards)


class Half(Bench):
    """An engine that holds some shards only."""

    def __init__(self, world: World, *held: int) -> None:
        self.shards = Scripted(*held)
        super().__init__(world, shards=self.shards)
        world.cluster.add(deployment("api"))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Engine]:
        async with super().running() as engine:
            for name in ("fix", "mend"):
                if ("Workflow", "shop", name) in self.world.cluster.objects:
                    engine.on_workflow("ADDED", self.world.cluster.find("Workflow", name))
            yield engine


def two_runs(world: World, *steps: Any) -> None:
    """A run on ``web`` and one on ``api``."""
    steps = steps or (scale("one", 2),)
    world.workflow(*steps, timeout="2h")
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "api"}
    world.workflow(*steps, name="mend", target=target, timeout="2h")
    world.run("on-web", finalizers=[FINALIZER])
    world.run("on-api", workflow="mend", finalizers=[FINALIZER])


def pause(seconds: str = "1h") -> dict[str, Any]:
    return {"name": "pause", "wait": {"duration": seconds}}


async def test_only_runs_whose_target_is_in_a_shard_of_ours_are_driven() -> None:
    bench = Half(World(), WEB)
    two_runs(bench.world)
    async with bench.running():
        bench.tell("on-web")
        bench.tell("on-api")
        await asyncio.sleep(60)
    assert bench.world.stored("on-web")["phase"] == "Succeeded"
    assert bench.world.stored("on-api") == {}
    assert {key.name for key in bench.mirror.offered} == {"on-web"}


async def test_a_gained_shard_is_listed_locked_and_then_driven() -> None:
    bench = Half(World(), WEB)
    two_runs(bench.world, pause())
    first = bench.world.take_up("on-api")
    await bench.world.reconciler().reconcile(first)
    bench.world.locks.release(first.key)
    bench.world.run("later", workflow="mend", finalizers=[FINALIZER])
    async with bench.running():
        bench.shards.gain(API)
        await asyncio.sleep(1)
        waits = next(c for c in bench.world.stored("later")["conditions"] if c["type"] == "Reconciling")
        assert waits["reason"] == "TargetBusy"


async def test_a_gained_shard_waits_for_an_api_server_that_can_not_list() -> None:
    bench = Half(World(), WEB)
    two_runs(bench.world)
    async with bench.running():
        original, failures = bench.world.cluster.list_pages, 2

        async def failing(*args: Any, **more: Any) -> AsyncIterator[list[dict[str, Any]]]:
            nonlocal failures
            if failures:
                failures -= 1
                raise Unavailable("away")
            async for page in original(*args, **more):
                yield page

        bench.world.cluster.list_pages = failing  # type: ignore[method-assign]
        bench.shards.gain(API)
        await asyncio.sleep(5)
        assert bench.world.stored("on-api")["phase"] == "Succeeded"


async def test_the_runs_of_a_lost_shard_are_dropped_with_their_locks_and_nothing_is_written_for_them() -> (
    None
):
    bench = Half(World(), WEB, API)
    two_runs(bench.world, pause("10s"), scale("one", 2, "pause"))
    async with bench.running() as engine:
        bench.tell("on-web")
        bench.tell("on-api")
        await asyncio.sleep(1)
        assert len(bench.world.locks) == 2
        bench.shards.lose(API)
        assert len(bench.world.locks) == 1
        written = len(bench.world.cluster.writes)
        await engine.relist()
        await asyncio.sleep(30)
    touched = {what for verb, what, _ in bench.world.cluster.writes[written:]}
    assert "Deployment shop/web" in touched
    assert not {what for what in touched if "api" in what}


async def test_a_shard_that_comes_back_goes_on_with_what_was_stored_meanwhile() -> None:
    bench = Half(World(), WEB, API)
    two_runs(bench.world, pause())
    async with bench.running():
        bench.tell("on-api")
        await asyncio.sleep(1)
        bench.shards.lose(API)
        ended = {"phase": "Cancelled", "finishedAt": "2026-01-01T00:00:02Z", "reason": "Cancelled"}
        bench.world.cluster.edit("WorkflowExecution", "on-api", {"status": ended})
        bench.shards.gain(API)
        await asyncio.sleep(1)
        bench.tell("on-api", "MODIFIED")
        await asyncio.sleep(1)
    assert bench.world.stored("on-api")["phase"] == "Cancelled"
    assert len(bench.world.locks) == 0


async def test_while_a_lease_has_lapsed_nothing_is_sent_and_then_it_goes_on() -> None:
    bench = Half(World(), WEB)
    two_runs(bench.world, pause("10s"), scale("one", 2, "pause"))
    async with bench.running():
        bench.tell("on-web")
        await asyncio.sleep(1)
        bench.shards.lapsed = True
        written = len(bench.world.cluster.writes)
        await asyncio.sleep(30)
        assert len(bench.world.cluster.writes) == written
        bench.shards.lapsed = False
        await asyncio.sleep(5)
    assert bench.world.stored("on-web")["phase"] == "Succeeded"


async def test_a_shard_is_left_once_the_effect_under_way_has_ended_and_nothing_more_begins() -> None:
    bench = Half(World(), WEB)
    two_runs(bench.world, scale("one", 2), scale("two", 3, "one"))
    arrived, answered = asyncio.Event(), asyncio.Event()
    original = bench.world.cluster.patch

    async def slow(ref: Any, body: Any, **more: Any) -> Any:
        if ref.kind == "Deployment":
            arrived.set()
            await answered.wait()
        return await original(ref, body, **more)

    bench.world.cluster.patch = slow  # type: ignore[method-assign]
    async with bench.running():
        bench.tell("on-web")
        await arrived.wait()
        leaving = asyncio.create_task(bench.shards.leave(WEB))
        await asyncio.sleep(1)
        assert not leaving.done()
        answered.set()
        await leaving
        await asyncio.sleep(10)
    patches = [w for w in bench.world.cluster.written() if w == "patch Deployment shop/web"]
    assert len(patches) == 1
    assert bench.world.cluster.find("Deployment", "web")["spec"]["replicas"] == 2


async def test_a_run_whose_workflow_comes_to_name_another_target_is_another_replicas() -> None:
    bench = Half(World(), WEB)
    bench.world.workflow(pause())
    async with bench.running():
        # What the engine knows of the Workflow is older than what the claim reads.
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "api"}
        bench.world.cluster.edit("Workflow", "fix", {"spec": {"target": target}})
        bench.world.run("run", finalizers=[FINALIZER])
        bench.tell("run")
        await asyncio.sleep(10)
        assert bench.world.stored("run") == {}
        assert len(bench.world.locks) == 0
        bench.shards.gain(API)
        await asyncio.sleep(1)
        assert bench.world.stored("run")["phase"] == "Running"


async def test_a_run_is_taken_up_when_its_workflow_says_that_it_is_ours() -> None:
    bench = Half(World(), WEB)
    bench.world.run("run", finalizers=[FINALIZER])
    async with bench.running() as engine:
        bench.tell("run")
        await asyncio.sleep(1)
        assert bench.world.stored("run") == {}, "what is not known to be ours is another's to refuse"
        bench.world.workflow(scale("one", 2))
        engine.on_workflow("ADDED", bench.world.cluster.find("Workflow", "fix"))
        await asyncio.sleep(1)
        assert bench.world.stored("run")["phase"] == "Succeeded"


async def test_a_run_without_a_workflow_is_refused_by_one_replica_only() -> None:
    for held, phase in (((WEB, API), None), ((3,), "Failed")):
        bench = Half(World(), *held)
        bench.world.run("run", workflow="none", finalizers=[FINALIZER])
        async with bench.running():
            bench.tell("run")
            await asyncio.sleep(1)
        assert bench.world.stored("run").get("phase") == phase


async def test_workflows_are_looked_after_by_whoever_holds_the_global_shard() -> None:
    bench = Half(World(), WEB)
    bench.world.workflow(scale("one", 2))
    async with bench.running():
        await asyncio.sleep(1)
        assert not bench.world.cluster.find("Workflow", "fix").get("status")
        bench.shards.gain(GLOBAL)
        await asyncio.sleep(1)
        assert bench.world.cluster.find("Workflow", "fix")["status"]["conditions"]


async def test_the_marker_of_another_replicas_run_is_needed_as_long_as_that_lives() -> None:
    bench = Half(World(), WEB)
    two_runs(bench.world)
    async with bench.running() as engine:
        bench.tell("on-api")
        uid = bench.world.cluster.find("WorkflowExecution", "on-api")["metadata"]["uid"]
        assert not engine.finished(uid)
        bench.world.cluster.drop("WorkflowExecution", "on-api")
        bench.engine.on_run("DELETED", {"metadata": {"namespace": "shop", "name": "on-api", "uid": uid}})
        assert engine.finished(uid)


async def test_runs_of_a_shard_that_is_lost_while_it_is_taken_up_are_not_kept_as_they_were(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Half(World(), WEB)
    two_runs(bench.world, pause())
    for name in ("on-api-2", "on-api-3"):
        bench.world.run(name, workflow="mend", finalizers=[FINALIZER])
    monkeypatch.setattr("kubernaut.engine.tenure.turn", lambda: asyncio.sleep(1))
    async with bench.running() as engine:
        bench.shards.gain(API)
        await asyncio.sleep(0.5)
        bench.shards.lose(API)
        await asyncio.sleep(10)
        assert {key.name for key in engine.known.live} == {"on-web"}
        assert len(bench.world.locks) == 1
        # What another replica stores meanwhile is what counts when the shard is back.
        ended = {"phase": "Cancelled", "finishedAt": "2026-01-01T00:00:02Z", "reason": "Cancelled"}
        for name in ("on-api", "on-api-2", "on-api-3"):
            bench.world.cluster.edit("WorkflowExecution", name, {"status": ended})
        bench.shards.gain(API)
        await asyncio.sleep(10)
        assert {bench.world.stored(name)["phase"] for name in ("on-api", "on-api-2", "on-api-3")} == {
            "Cancelled"
        }


async def test_a_shard_that_comes_while_a_start_lists_runs_is_listed_anew() -> None:
    bench = Half(World(), WEB)
    two_runs(bench.world, pause())
    first = bench.world.take_up("on-api")
    await bench.world.reconciler().reconcile(first)
    bench.world.locks.release(first.key)
    original, listed = bench.world.cluster.list_pages, asyncio.Event()

    async def slow(api_version: str, kind: str, *args: Any, **more: Any) -> AsyncIterator[Any]:
        async for page in original(api_version, kind, *args, **more):
            yield page
        if kind == "WorkflowExecution" and not listed.is_set():
            listed.set()
            await asyncio.sleep(5)

    bench.world.cluster.list_pages = slow  # type: ignore[method-assign]
    starting = asyncio.create_task(bench.engine.start())
    await listed.wait()
    # Its last holder goes on until it gives the shard away, and what it stored was not listed.
    told = {"steps": [{"name": "pause", "phase": "Succeeded", "attempt": 1}]}
    bench.world.cluster.edit("WorkflowExecution", "on-api", {"status": told})
    bench.shards.gain(API)
    await starting
    await asyncio.sleep(1)
    assert bench.world.stored("on-api")["phase"] == "Succeeded", "and not waiting for what was done already"
    await bench.engine.stop()


@pytest.mark.parametrize(
    ("status", "home"),
    [
        ({}, "shop/apps/v1/Deployment/rendered"),
        ({"target": {"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "u"}}, "shop/v1/Pod/a"),
        ({"finishedAt": "2026-01-01T00:00:00Z"}, "shop/kubernaut.io/v1alpha1/Workflow/fix"),
    ],
)
def test_a_run_belongs_to_its_target_and_a_refused_one_to_its_workflow(
    status: dict[str, Any], home: str
) -> None:
    run = {"metadata": {"namespace": "shop"}, "spec": {"workflowRef": {"name": "fix"}}, "status": status}
    assert home_of(run, lambda _: "shop/apps/v1/Deployment/rendered") == home


def held_up(bench: Half, verb: str, kind: str) -> tuple[asyncio.Event, asyncio.Event]:
    """Have the first such request wait; return what tells that it was sent, and what lets it be answered."""
    sent, answered = asyncio.Event(), asyncio.Event()
    original = getattr(bench.world.cluster, verb)

    async def slow(ref: Any, *args: Any, **more: Any) -> Any:
        result = await original(ref, *args, **more)
        if ref.kind == kind and not sent.is_set():
            sent.set()
            await answered.wait()
        return result

    setattr(bench.world.cluster, verb, slow)
    return sent, answered


async def test_a_run_that_is_left_while_its_status_is_written_begins_nothing_more() -> None:
    bench = Half(World(), WEB)
    two_runs(bench.world, scale("one", 2))
    sent, answered = held_up(bench, "patch_status", "WorkflowExecution")
    async with bench.running():
        bench.tell("on-web")
        await sent.wait()
        leaving = asyncio.create_task(bench.shards.leave(WEB))
        await asyncio.sleep(0)
        answered.set()
        await leaving
        await asyncio.sleep(10)
    assert "patch Deployment shop/web" not in bench.world.cluster.written()


async def test_a_run_that_is_left_while_it_says_that_it_waits_leaves_no_watch() -> None:
    bench = Half(World(), WEB)
    two_runs(bench.world, {"name": "ready", "wait": {"until": "target.status.readyReplicas == 9"}})
    async with bench.running():
        original = bench.world.cluster.patch_status
        sent, answered = asyncio.Event(), asyncio.Event()

        async def slow(ref: Any, body: Any, **more: Any) -> Any:
            result = await original(ref, body, **more)
            if ref.kind == "WorkflowExecution" and "steps" in str(body) and not sent.is_set():
                sent.set()
                await answered.wait()
            return result

        bench.world.cluster.patch_status = slow  # type: ignore[method-assign]
        bench.tell("on-web")
        await sent.wait()
        leaving = asyncio.create_task(bench.shards.leave(WEB))
        await asyncio.sleep(0)
        answered.set()
        await leaving
        await asyncio.sleep(1)
        assert bench.world.watches.callbacks == []


async def test_a_run_that_is_lost_while_alerts_are_asked_for_takes_no_lock() -> None:
    bench = Half(World(), WEB)
    two_runs(bench.world, pause())
    bench.world.workflow(pause(), guards={"stopWhileFiring": [{"alert": "Down"}]}, timeout="2h")
    asked, answered = asyncio.Event(), asyncio.Event()

    class Source:
        async def look(self) -> Alerts:
            asked.set()
            await answered.wait()
            return Alerts(asked_at=bench.world.clock())

    bench.world.guards.source = Source()
    async with bench.running():
        bench.tell("on-web")
        await asked.wait()
        bench.shards.lose(WEB)
        answered.set()
        await asyncio.sleep(1)
        assert (len(bench.world.locks), bench.world.locks.waiting) == (0, 0)


async def test_after_a_restart_no_run_that_goes_first_takes_the_target_of_one_that_had_begun() -> None:
    bench = Half(World(), WEB)
    bench.world.workflow(pause())
    bench.world.workflow(pause(), name="urgent", priority=1000)
    begun = bench.world.run("begun", finalizers=[FINALIZER])
    await bench.world.reconciler().reconcile(begun)
    bench.world.locks.release(begun.key)
    # More than there are workers, and all of them go first.
    names = [f"urgent-{number}" for number in range(9)]
    for name in names:
        bench.world.run(name, "urgent", finalizers=[FINALIZER])
    async with bench.running():
        for name in names:
            bench.tell(name)
        await asyncio.sleep(1)
        assert {bench.world.stored(name).get("phase") for name in names} <= {None, "Pending"}
        assert bench.world.stored("begun")["phase"] == "Running"
