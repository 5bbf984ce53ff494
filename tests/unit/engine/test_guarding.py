"""Guards at work: a held run costs one write, and what is known of other runs outlives a restart."""

from __future__ import annotations

import asyncio
import copy
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from kubernaut.api.guards import GUARD_APPROVAL, Guards
from kubernaut.api.reasons import Reason
from kubernaut.core.errors import NotFound, StepError
from kubernaut.core.guards.deciding import Alerts
from kubernaut.core.guards.levels import Level, Reach
from kubernaut.core.ports import ObjectRef
from kubernaut.engine import past as past_module
from kubernaut.engine.guarding import Guarding
from kubernaut.engine.keys import WorkflowKey
from kubernaut.engine.live import LiveRun
from kubernaut.engine.past import PastRuns
from kubernaut.engine.protection import Protection
from unit.engine.world import EPOCH, World, deployment, scale

pytestmark = pytest.mark.looptime
READY = ["kubernaut.io/mirror"]


class Wider:
    def __init__(self, **cluster: Any) -> None:
        self.found = (Level(Reach.CLUSTER, "", Guards.model_validate(cluster)),) if cluster else ()

    def levels(self, namespace: str) -> tuple[Level, ...]:
        return self.found


class Source:
    def __init__(self, world: World) -> None:
        self.world, self.answer, self.asked = world, Alerts(trouble="away"), 0

    async def look(self) -> Alerts:
        self.asked += 1
        if self.answer.trouble:
            return self.answer
        return Alerts(self.answer.firing, asked_at=self.world.clock())


def guarded(world: World, **guards: Any) -> None:
    world.workflow(scale("one", 2), guards=guards)


async def end(world: World, live: LiveRun, reconciler: Any = None, rounds: int = 400) -> float:
    """Reconcile a run until it has ended; return how long that took."""
    began = asyncio.get_running_loop().time()
    reconciler = reconciler or world.reconciler()
    for _ in range(rounds):
        delay = await reconciler.reconcile(live)
        if live.stored.phase.final:
            world.guards.past.learn(live)
            return asyncio.get_running_loop().time() - began
        await asyncio.sleep(delay if delay is not None else 1)
    raise AssertionError(f"still {live.status.phase} after {rounds} rounds")


def a_run(world: World, name: str, **meta: Any) -> LiveRun:
    created = world.clock().isoformat().replace("+00:00", "Z")
    return world.run(name, finalizers=READY, creationTimestamp=created, **meta)


def ready(world: World, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in world.stored(name)["conditions"] if one["type"] == "Ready")
    return found


def writes_of(world: World, name: str) -> int:
    return sum(what == f"patch WorkflowExecution shop/{name}" for what in world.cluster.written())


async def test_a_run_waits_for_the_cooldown_with_one_write_and_then_begins() -> None:
    world = World()
    guarded(world, cooldown="10m")
    await end(world, a_run(world, "a"))
    waiting = a_run(world, "b")
    reconciler = world.reconciler()
    for _ in range(3):
        delay = await reconciler.reconcile(waiting)
        assert delay is not None
        assert 0 < delay <= 300.1
    assert writes_of(world, "b") == 1
    assert ready(world, "b")["reason"] == "Cooldown"
    assert (
        "run shop/a on Deployment web ended at 2026-01-01 00:00:00Z; until 2026-01-01 00:10:00Z"
        in (ready(world, "b")["message"])
    )
    assert 599 < await end(world, waiting, reconciler) < 602
    assert world.stored("b")["phase"] == "Succeeded"
    assert writes_of(world, "b") == 3  # it waits; the claim; the end


async def test_who_waits_for_a_guard_holds_no_target() -> None:
    world = World()
    guarded(world, cooldown="10m")
    world.workflow(scale("one", 3), name="free")
    await end(world, a_run(world, "a"))
    waiting, reconciler = a_run(world, "b"), world.reconciler()
    await reconciler.reconcile(waiting)
    assert await end(world, world.run("c", "free", finalizers=READY), reconciler) < 1


async def test_of_runs_that_come_together_only_as_many_begin_as_may() -> None:
    world = World()
    guarded(world, maxPerHour=2, waitAtMost="30m")
    reconciler = world.reconciler()
    runs = [a_run(world, f"run-{n}") for n in range(5)]
    await asyncio.gather(*(end(world, live, reconciler) for live in runs))
    verdicts = sorted(world.stored(f"run-{n}")["verdict"] for n in range(5))
    assert verdicts == ["Declined", "Declined", "Declined", "Inconclusive", "Inconclusive"]
    declined = next(
        world.stored(f"run-{n}") for n in range(5) if world.stored(f"run-{n}")["verdict"] == "Declined"
    )
    assert declined["reason"] == "TooManyRuns"
    assert "It waited for 30m, as long as waitAtMost allows." in declined["message"]
    assert (
        sum(what == "patch Deployment shop/web" for what in world.cluster.written()) == 1
    )  # the second changed nothing


async def test_a_storm_counts_runs_on_every_target() -> None:
    world = World()
    world.guards.wider = Wider(storm={"runs": 2, "within": "5m", "cooldown": "20m"})
    world.cluster.add(deployment("db"), deployment("api"))
    for name in ("web", "db", "api"):
        world.workflow(
            scale("one", 2), name=name, target={"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
        )
    reconciler = world.reconciler()
    took = [
        await end(world, world.run(name, name, finalizers=READY), reconciler) for name in ("web", "db", "api")
    ]
    assert took[0] < 1
    assert took[1] < 1
    assert 1199 < took[2] < 1203


async def test_what_is_protected_is_declined_before_anything_is_done() -> None:
    world = World()
    guarded(world, protectedLabels=[{"key": "tier", "value": "gold"}])
    world.cluster.edit("Deployment", "web", {"metadata": {"labels": {"tier": "gold"}}})
    await end(world, a_run(world, "a"))
    status = world.stored("a")
    assert (status["phase"], status["verdict"], status["reason"]) == ("Failed", "Declined", "Protected")
    assert "patch Deployment shop/web" not in world.cluster.written()
    assert writes_of(world, "a") == 1


async def test_alerts_are_asked_only_for_runs_that_want_to_know_and_silence_is_no_pass() -> None:
    world = World()
    source = world.guards.source = Source(world)
    world.workflow(scale("one", 2), name="free")
    await end(world, world.run("free", "free", finalizers=READY))
    assert source.asked == 0
    guarded(world, stopWhileFiring=[{"alert": "Down"}])
    live, reconciler = a_run(world, "a"), world.reconciler()
    assert await reconciler.reconcile(live) == pytest.approx(10, abs=0.1)
    assert ready(world, "a")["reason"] == "AlertsUnknown"
    source.answer = Alerts(({"alertname": "Down"},))
    await reconciler.reconcile(live)
    assert ready(world, "a")["reason"] == "AlertFiring"
    source.answer = Alerts()
    await end(world, live, reconciler)
    assert world.stored("a")["phase"] == "Succeeded"


async def test_guards_are_looked_at_again_immediately_before_the_first_effect() -> None:
    world = World()
    source = world.guards.source = Source(world)
    source.answer = Alerts()
    pause = {"name": "late", "wait": {"duration": "20m"}}
    world.workflow(pause, scale("one", 2, "late"), guards={"stopWhileFiring": [{"alert": "Down"}]})
    live, reconciler = a_run(world, "a"), world.reconciler()
    await reconciler.reconcile(live)
    source.answer = Alerts(({"alertname": "Down"},))
    await asyncio.sleep(1201)
    await reconciler.reconcile(live)
    assert ready(world, "a")["reason"] == "AlertFiring"
    assert "patch Deployment shop/web" not in world.cluster.written()
    source.answer = Alerts()
    await end(world, live, reconciler)
    assert world.stored("a")["phase"] == "Succeeded"


async def test_a_restart_forgets_nothing_that_is_stored_and_waits_until_all_is_seen() -> None:
    world = World()
    guarded(world, cooldown="10m")
    await end(world, a_run(world, "a"))
    world.guards = Guarding(PastRuns(world.clock), world.clock)
    live, reconciler = a_run(world, "b"), world.reconciler()
    assert await reconciler.reconcile(live) == 0.5
    assert writes_of(world, "b") == 0
    world.guards.past.see(copy.deepcopy(world.cluster.find("WorkflowExecution", "a")))
    world.guards.past.complete = True
    await reconciler.reconcile(live)
    assert ready(world, "b")["reason"] == "Cooldown"


async def test_the_breaker_asks_a_person_and_the_answer_lets_the_run_go_on() -> None:
    world = World()
    restart = {"name": "restart", "action": "restart_deployment"}
    never = {"expect": ["false"], "timeout": "1s"}
    world.workflow(restart, verify=never, guards={"approval": "Never"})
    reconciler = world.reconciler()
    for name in ("a", "b", "c"):
        await end(world, a_run(world, name), reconciler)
        assert world.stored(name)["verdict"] == "NotFixed"
        assert world.stored(name)["highRisk"] == ["restart_deployment"]
    effects = world.cluster.written().count("patch Deployment shop/web")
    live = a_run(world, "d")
    await reconciler.reconcile(live)
    told = ready(world, "d")
    assert told["reason"] == "ApprovalRequired"
    assert (
        "the breaker of restart_deployment is open in namespace shop: 3 runs with it ended badly"
        in told["message"]
    )
    assert world.cluster.written().count("patch Deployment shop/web") == effects
    answer = {"step": GUARD_APPROVAL, "decision": "Approve", "by": "ada"}
    world.cluster.edit("WorkflowExecution", "d", {"spec": {"control": {"approvals": [answer]}}})
    live.observe(copy.deepcopy(world.cluster.find("WorkflowExecution", "d")))
    await end(world, live, reconciler)
    assert world.cluster.written().count("patch Deployment shop/web") == effects + 1


# Memory


async def test_a_run_that_is_deleted_still_counts_and_one_that_vanished_counts_as_ended_then() -> None:
    world = World()
    guarded(world, cooldown="10m")
    await end(world, a_run(world, "a"))
    past = PastRuns(world.clock)
    manifest = copy.deepcopy(world.cluster.find("WorkflowExecution", "a"))
    unfinished = copy.deepcopy(manifest)
    for gone in ("finishedAt", "verdict"):
        del unfinished["status"][gone]
    unfinished["status"]["phase"] = "Running"
    past.see(unfinished)
    found = past.get(manifest["metadata"]["uid"])
    assert found is not None
    assert found.ended is None
    await asyncio.sleep(60)
    past.lost(found.uid)
    lost = past.get(found.uid)
    assert lost is not None
    assert lost.ended == world.clock()
    past.see(manifest)
    known = past.get(found.uid)
    assert known is not None
    assert known.verdict == "Inconclusive"
    past.lost(found.uid)
    assert [run.uid for run in past.on_target("uid-deployment-web", "")] == [found.uid]


async def test_what_is_too_old_for_any_guard_is_forgotten() -> None:
    world = World()
    guarded(world)
    await end(world, a_run(world, "a"))
    manifest = world.cluster.find("WorkflowExecution", "a")
    past = PastRuns(world.clock)
    for number in range(999):
        one = copy.deepcopy(manifest)
        one["metadata"]["uid"] = f"uid-{number}"
        past.see(one)
    await asyncio.sleep(timedelta(days=2, hours=1).total_seconds())
    assert len(past) == 999
    fresh = copy.deepcopy(manifest)
    now = world.clock().isoformat().replace("+00:00", "Z")
    fresh["metadata"]["uid"] = "fresh"
    fresh["status"] |= {"startedAt": now, "finishedAt": now}
    past.see(fresh)
    assert len(past) == 1
    assert [run.uid for run in past.since(EPOCH, "")] == ["fresh"]


async def test_a_run_is_kept_in_the_cluster_as_long_as_a_guard_needs_it() -> None:
    world = World()
    guarded(world, cooldown="10m")
    live = a_run(world, "a")
    await end(world, live)
    ended = live.stored.finished_at
    assert ended is not None
    assert world.guards.needed_until(live.uid) is None
    known = {WorkflowKey("shop", "fix"): world.cluster.find("Workflow", "fix")}
    world.guards.workflow = known.get
    assert world.guards.needed_until(live.uid) == ended + timedelta(minutes=10)
    known.clear()
    world.guards.wider = Wider(maxPerHour=3)
    assert world.guards.needed_until(live.uid) == ended + timedelta(hours=1)
    assert world.guards.needed_until("unknown") is None


async def test_of_very_many_runs_only_those_are_remembered_that_a_guard_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(past_module, "MOST", 500)
    world = World()
    guarded(world)
    await end(world, a_run(world, "a"))
    manifest = world.cluster.find("WorkflowExecution", "a")
    past = PastRuns(world.clock)
    past.needed = lambda run: run.uid.endswith("7")
    for number in range(1000):
        one = copy.deepcopy(manifest)
        one["metadata"]["uid"] = f"uid-{number}"
        past.see(one)
    assert len(past) == 100


# Protection of whatever a step reaches for

WEB = ObjectRef("apps/v1", "Deployment", "shop", "web")


def protection(world: World, **guards: Any) -> Protection:
    return Protection([Level(Reach.CLUSTER, "", Guards.model_validate(guards))], world.cluster)


async def test_an_object_is_protected_by_its_label_whether_the_action_has_read_it_or_not() -> None:
    world = World()
    world.cluster.edit("Deployment", "web", {"metadata": {"labels": {"tier": "gold"}}})
    guard = protection(world, protectedLabels=[{"key": "tier"}])
    with pytest.raises(StepError, match="the patch was not sent: label tier: 'gold' is protected") as caught:
        await guard.demand(WEB, "the patch")
    assert caught.value.reason is Reason.PROTECTED
    read = protection(world, protectedLabels=[{"key": "tier"}])
    read.note(copy.deepcopy(world.cluster.find("Deployment", "web")))
    world.cluster.requests.clear()
    with pytest.raises(StepError):
        await read.demand(WEB, "the patch")
    assert world.cluster.requests == []
    with pytest.raises(NotFound):
        await protection(world, protectedLabels=[{"key": "tier"}]).demand(
            ObjectRef("apps/v1", "Deployment", "shop", "gone"), "the patch"
        )


async def test_a_protected_namespace_lets_nothing_be_created_or_evicted_in_it() -> None:
    guard = protection(World(), protectedNamespaces=["kube-*"])
    pod = ObjectRef("v1", "Pod", "kube-system", "dns")
    for asked in (guard.demand(pod, "it"), guard.demand_namespace("kube-system", "it")):
        with pytest.raises(StepError, match="namespace kube-system is protected by guards of the cluster"):
            await asked
    await guard.demand(WEB, "it")


async def test_a_pod_that_no_budget_lets_go_is_not_deleted_either() -> None:
    world = World()
    world.cluster.add({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}})
    world.cluster.budgets.add("a")
    pod = ObjectRef("v1", "Pod", "shop", "a")
    await protection(world, protectedLabels=[{"key": "x"}]).demand_deletion(pod, "uid-pod-a", "the delete")
    with pytest.raises(StepError, match="respectBudgets of the cluster") as caught:
        await protection(world, respectBudgets=True).demand_deletion(pod, "uid-pod-a", "the delete")
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    world.cluster.budgets.clear()
    await protection(world, respectBudgets=True).demand_deletion(pod, "uid-pod-a", "the delete")
    assert ("Pod", "shop", "a") in world.cluster.objects


async def test_a_step_that_reaches_for_a_protected_object_fails_with_the_line_and_changes_nothing() -> None:
    world = World()
    world.guards.wider = Wider(protectedLabels=[{"key": "tier"}])
    world.cluster.add({**deployment("db"), "metadata": {"name": "db", "labels": {"tier": "gold"}}})
    patch = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "db", "patch": {"spec": {"replicas": 9}}}
    world.workflow({"name": "sneak", "action": "patch_resource", "with": patch})
    await end(world, a_run(world, "a"))
    status = world.stored("a")
    assert (status["verdict"], status["reason"]) == ("Declined", "Protected")
    assert "label tier: 'gold' is protected by guards of the cluster" in status["message"]
    assert world.cluster.find("Deployment", "db")["spec"]["replicas"] == 1


async def test_a_step_that_would_take_down_too_much_fails_with_the_line_and_changes_nothing() -> None:
    world = World()
    world.cluster.edit("Deployment", "web", {"spec": {"replicas": 4}})
    world.cluster.edit_status("Deployment", "web", {"observedGeneration": 99, "availableReplicas": 4})
    world.workflow(scale("one", 2), guards={"maxUnavailablePercent": 25})
    await end(world, a_run(world, "a"))
    status = world.stored("a")
    assert (status["verdict"], status["reason"]) == ("Declined", "TooFewHealthy")
    assert (
        "maxUnavailablePercent 25 of Workflow fix: it would take down 2 of 4 replicas of Deployment web beside 0 "
        "that are unavailable, and at most 1 may be" in status["message"]
    )
    assert world.cluster.find("Deployment", "web")["spec"]["replicas"] == 4
    world.workflow(scale("one", 3), guards={"maxUnavailablePercent": 25}, name="less")
    await end(world, world.run("b", "less", finalizers=READY, creationTimestamp="2026-01-01T00:00:00Z"))
    assert world.cluster.find("Deployment", "web")["spec"]["replicas"] == 3


async def test_what_was_heard_of_alerts_before_the_clock_was_set_back_is_asked_for_anew() -> None:
    world = World()
    world.guards.source = source = Source(world)
    source.answer = Alerts()
    guarded(world, stopWhileFiring=[{"alert": "Storm"}])
    live = a_run(world, "a")
    await end(world, live)
    world.guards.clock = lambda: world.clock() + timedelta(hours=1)
    source.world = SimpleNamespace(clock=world.guards.clock)  # type: ignore[assignment]
    await world.guards.refresh(live)
    asked = source.asked
    await world.guards.refresh(live)
    assert source.asked == asked
    world.guards.clock = world.clock
    await world.guards.refresh(live)
    assert source.asked == asked + 1
