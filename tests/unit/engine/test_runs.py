"""Reconciling runs against a cluster that keeps preconditions: few writes, each effect once, honest refusals."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import pytest

from kubernaut.api.execution import RunPhase
from kubernaut.api.reasons import Reason
from kubernaut.core.errors import (
    ClusterError,
    Conflict,
    TooManyRequests,
    Unavailable,
    UnknownOutcome,
)
from kubernaut.core.run import Hold
from kubernaut.engine.views import View
from unit.actions.fake import Lost
from unit.engine.world import World, deployment, scale

pytestmark = pytest.mark.looptime
STOPPED = Hold(Reason.STOPPED, "Acting is stopped: stopped by ann: too noisy.")


async def finish(world: World, name: str = "run") -> None:
    """Reconcile a run until it has ended, as the engine would."""
    reconciler, live = world.reconciler(), world.take_up(name)
    for _ in range(50):
        delay = await reconciler.reconcile(live)
        if live.stored.phase.final or live.gone:
            return
        await asyncio.sleep(delay if delay is not None else 1)
    raise AssertionError(f"still {live.status.phase} after 50 rounds")


async def test_sequential_steps_cost_one_write_each_and_two_more() -> None:
    world = World()
    world.workflow(scale("one", 2), scale("two", 3, "one"), scale("three", 4, "two"))
    world.run()
    await finish(world)
    assert world.cluster.written() == [
        "patch WorkflowExecution shop/run",  # the finalizer, for a person made the run
        f"create ControllerRevision {world.stored()['workflow']['snapshot']}",
        "patch WorkflowExecution shop/run",  # the claim
        "patch Deployment shop/web",
        "patch Deployment shop/web",
        "patch Deployment shop/web",
        "patch WorkflowExecution shop/run",  # the end
    ]
    assert world.stored()["phase"] == "Succeeded"
    assert world.stored()["progress"] == "3/3"


async def test_a_run_born_with_the_finalizer_needs_no_write_for_it() -> None:
    world = World()
    world.workflow(scale("one", 2))
    world.run(finalizers=["kubernaut.io/mirror"])
    await finish(world)
    assert len([w for w in world.cluster.written() if "WorkflowExecution" in w]) == 2


async def test_an_output_that_decides_is_stored_before_the_effect_it_decides() -> None:
    world = World()
    world.workflow(scale("one", 2), scale("two", 3, "one", when="steps.one.outputs.replicas == 2"))
    world.run(finalizers=["kubernaut.io/mirror"])
    await finish(world)
    assert [w for w in world.cluster.written() if "ControllerRevision" not in w] == [
        "patch WorkflowExecution shop/run",
        "patch Deployment shop/web",
        "patch WorkflowExecution shop/run",
        "patch Deployment shop/web",
        "patch WorkflowExecution shop/run",
    ]


async def test_nothing_is_done_before_the_claim_is_stored() -> None:
    world = World()
    world.workflow(scale("one", 2))
    live = world.run(finalizers=["kubernaut.io/mirror"])
    world.cluster.troubles["patch"] = [Unavailable("away"), Unavailable("away")]
    reconciler = world.reconciler()
    assert await reconciler.reconcile(live) == 2.0
    assert "patch Deployment shop/web" not in world.cluster.written()
    await finish(world)
    assert world.stored()["phase"] == "Succeeded"


@pytest.mark.parametrize("landed", [True, False])
async def test_a_lost_answer_to_an_effect_does_not_double_it(landed: bool) -> None:
    world = World()
    world.workflow(scale("one", 5))
    live = world.run(finalizers=["kubernaut.io/mirror"])
    world.cluster.troubles["patch"] = [None, Lost(landed)]
    await world.reconciler().reconcile(live)
    patches = [w for w in world.cluster.written() if w == "patch Deployment shop/web"]
    assert len(patches) == 1
    assert world.stored()["phase"] == "Succeeded"


@pytest.mark.parametrize("landed", [True, False])
async def test_a_lost_answer_to_a_status_write_is_cleared_up_by_reading(landed: bool) -> None:
    world = World()
    world.workflow(scale("one", 5))
    live = world.run(finalizers=["kubernaut.io/mirror"])
    world.cluster.troubles["patch"] = [Lost(landed)]
    await world.reconciler().reconcile(live)
    assert world.stored()["phase"] == "Succeeded"
    assert len([w for w in world.cluster.written() if w == "patch Deployment shop/web"]) == 1


async def test_after_a_crash_before_the_end_was_stored_the_effect_is_found_on_the_object() -> None:
    world = World()
    world.workflow(scale("one", 5))
    live = world.run(finalizers=["kubernaut.io/mirror"])
    world.cluster.troubles["patch"] = [None, None, Unavailable("killed here")]
    await world.reconciler().reconcile(live)
    assert world.stored()["phase"] == "Running"
    world.locks.release(live.key)
    await finish(world)
    assert world.stored()["phase"] == "Succeeded"
    assert world.stored()["steps"][0]["changed"]
    assert len([w for w in world.cluster.written() if w == "patch Deployment shop/web"]) == 1


async def test_an_effect_that_was_not_recorded_is_found_before_a_cancelled_run_ends() -> None:
    world = World()
    world.workflow(scale("one", 5), scale("two", 6, "one"), onFailure="Rollback")
    live = world.run(finalizers=["kubernaut.io/mirror"])
    world.cluster.troubles["patch"] = [None, None, None, Unavailable("killed here")]
    await world.reconciler().reconcile(live)
    world.locks.release(live.key)
    world.cluster.troubles.clear()
    world.cluster.edit("WorkflowExecution", "run", {"spec": {"control": {"cancel": True}}})
    await finish(world)
    status = world.stored()
    assert status["phase"] == "Cancelled"
    assert [step["phase"] for step in status["steps"]] == ["Succeeded", "Succeeded"]
    assert len([w for w in world.cluster.written() if w == "patch Deployment shop/web"]) == 2
    assert status["verdict"] == "Inconclusive"


PAUSE: Final[dict[str, Any]] = {"name": "pause", "wait": {"duration": "1h"}, "timeout": "2h"}
REFUSED: Final[dict[str, Any]] = {
    "name": "bad",
    "action": "restart_pod",
    "with": {"name": "none"},
    "dependsOn": ["pause"],
}


@pytest.mark.parametrize("policy", ["Alternate", "Fail", "cancel"])
async def test_steps_under_finally_and_alternates_act_though_a_restart_had_others_fenced_off(
    policy: str,
) -> None:
    """What an earlier owner may have begun is fenced off on its object; the steps that follow are on the same one."""
    world = World()
    more: dict[str, Any] = {"finally": [scale("tidy", 9)]}
    if policy == "Alternate":
        more |= {"onFailure": policy, "alternate": "b"}
    world.workflow(
        PAUSE | {"wait": {"duration": "1s"}},
        *(() if policy == "cancel" else (REFUSED,)),
        scale("late", 7, "pause", *(() if policy == "cancel" else ("bad",))),
        templates=[{"name": "b", "steps": [scale("other", 8)]}],
        **more,
    )
    live = world.run(finalizers=["kubernaut.io/mirror"])
    await world.reconciler().reconcile(live)
    world.locks.release(live.key)
    if policy == "cancel":
        world.cluster.edit("WorkflowExecution", "run", {"spec": {"control": {"cancel": True}}})
    await finish(world)
    phases = {step["name"]: step["phase"] for step in world.stored()["steps"]}
    assert phases["late"] == "Skipped"
    assert phases["tidy"] == "Succeeded", world.stored()
    assert phases.get("alternate/other", "Succeeded") == "Succeeded"
    assert world.cluster.find("Deployment", "web")["spec"]["replicas"] == 9


async def test_a_status_that_another_replica_stored_is_taken_for_the_truth() -> None:
    world = World()
    world.workflow(scale("one", 5))
    live = world.run(finalizers=["kubernaut.io/mirror"])

    def other() -> None:
        world.cluster.edit("WorkflowExecution", "run", {"status": {"phase": "Cancelled"}})
        raise Conflict("changed", status=409)

    world.cluster.troubles["patch"] = [other]
    await world.reconciler().reconcile(live)
    assert live.stored.phase is RunPhase.CANCELLED
    assert "patch Deployment shop/web" not in world.cluster.written()


def drop_workflow(world: World) -> None:
    world.cluster.drop("Workflow", "fix")


def drop_target(world: World) -> None:
    world.cluster.drop("Deployment", "web")


def drop_account(world: World) -> None:
    world.cluster.drop("ServiceAccount", "repair")


def break_workflow(world: World) -> None:
    world.cluster.edit("Workflow", "fix", {"spec": {"steps": [{"name": "x", "action": "no_such_action"}]}})


def forbid_target(world: World) -> None:
    world.cluster.forbidden.add("get Deployment")


@pytest.mark.parametrize(
    ("harm", "reason", "told"),
    [
        (drop_workflow, "WorkflowNotFound", "no Workflow 'fix' in namespace shop"),
        (drop_target, "TargetNotFound", "Deployment shop/web does not exist"),
        (drop_account, "ServiceAccountNotFound", "shop/repair does not exist"),
        (break_workflow, "WorkflowNotReady", "no_such_action"),
        (forbid_target, "MissingRight", "lacks verb get on Deployment"),
    ],
)
async def test_a_run_that_lacks_something_ends_with_the_reason(
    harm: Callable[[World], None], reason: str, told: str
) -> None:
    world = World()
    world.workflow(scale("one", 5))
    live = world.run()
    harm(world)
    await world.reconciler().reconcile(live)
    status = world.stored()
    assert (status["phase"], status["reason"]) == ("Failed", reason)
    assert told in status["message"]
    stalled = next(c for c in status["conditions"] if c["type"] == "Stalled")
    assert stalled["status"] == "True"
    assert len(stalled["message"]) > len(status["message"]), "the condition also says how to mend it"


async def test_while_acting_is_stopped_a_run_waits_and_says_so() -> None:
    world = World()
    world.workflow(scale("one", 5))
    live = world.run()
    world.hold = STOPPED
    reconciler = world.reconciler()
    await reconciler.reconcile(live)
    ready = next(c for c in world.stored()["conditions"] if c["type"] == "Reconciling")
    assert ready["reason"] == "Stopped"
    assert "stopped by ann" in ready["message"]
    writes = len(world.cluster.writes)
    await reconciler.reconcile(live)
    assert len(world.cluster.writes) == writes, "saying it once is enough"
    world.hold = None
    await reconciler.reconcile(live)
    assert world.stored()["phase"] == "Succeeded"


async def test_a_stop_between_reading_and_writing_keeps_the_write_back() -> None:
    world = World()
    world.workflow(scale("one", 5))
    live = world.run(finalizers=["kubernaut.io/mirror"])
    original = world.cluster.list

    async def stop_now(*args: object, **more: object) -> object:
        world.hold = STOPPED
        return await original(*args, **more)  # type: ignore[arg-type]

    world.cluster.list = stop_now  # type: ignore[method-assign, assignment]
    reconciler = world.reconciler()
    await reconciler.reconcile(live)
    assert "patch Deployment shop/web" not in world.cluster.written()
    world.hold, world.cluster.list = None, original  # type: ignore[method-assign]
    await asyncio.sleep(3)
    await reconciler.reconcile(live)
    assert world.stored()["phase"] == "Succeeded"
    assert world.stored()["steps"][0]["attempt"] == 1, "a stop is not the step's fault"


async def test_two_runs_on_one_target_come_one_after_the_other() -> None:
    world = World()
    world.workflow({"name": "pause", "wait": {"duration": "5s"}}, scale("one", 5, "pause"))
    first, second = world.run("first"), world.run("second")
    reconciler = world.reconciler()
    await reconciler.reconcile(first)
    await reconciler.reconcile(second)
    waits = next(c for c in world.stored("second")["conditions"] if c["type"] == "Reconciling")
    assert waits["reason"] == "TargetBusy"
    assert "shop/first" in waits["message"]
    await asyncio.sleep(6)
    await reconciler.reconcile(first)
    assert world.stored("first")["phase"] == "Succeeded"
    assert second.key in world.woken
    await reconciler.reconcile(second)
    assert world.stored("second")["phase"] == "Running"


async def test_waiting_for_the_target_costs_no_request_until_a_watch_brings_it() -> None:
    world = World()
    world.workflow({"name": "up", "wait": {"until": "target.status.readyReplicas == 7"}})
    live = world.run(finalizers=["kubernaut.io/mirror"])
    reconciler = world.reconciler()
    await reconciler.reconcile(live)
    before = len(world.cluster.requests)
    await asyncio.sleep(30)
    await reconciler.reconcile(live)
    assert len(world.cluster.requests) == before
    world.cluster.edit("Deployment", "web", {"status": {"readyReplicas": 7}})
    world.watches.callbacks[0](world.cluster.find("Deployment", "web"))
    assert live.key in world.woken
    await reconciler.reconcile(live)
    assert world.stored()["phase"] == "Succeeded"
    assert world.watches.callbacks == [], "a finished run watches nothing"


async def test_what_a_watch_brings_late_does_not_count_after_an_act() -> None:
    view = View()
    old = deployment("web")
    view.look_at({**old, "metadata": {**old["metadata"], "resourceVersion": "500"}})
    view.look_away()
    view.watched({**old, "metadata": {**old["metadata"], "resourceVersion": "501"}})
    assert view.seen is None
    view.look_at({**old, "metadata": {**old["metadata"], "resourceVersion": "600"}})
    view.watched({**old, "metadata": {**old["metadata"], "resourceVersion": "599"}})
    assert view.seen is not None
    assert view.seen.manifest is not None
    assert view.seen.manifest["metadata"]["resourceVersion"] == "600"


async def test_deleting_a_live_run_cancels_it() -> None:
    world = World()
    world.workflow({"name": "pause", "wait": {"duration": "1h"}}, timeout="2h")
    live = world.run(finalizers=["kubernaut.io/mirror"])
    reconciler = world.reconciler()
    await reconciler.reconcile(live)
    world.cluster.edit(
        "WorkflowExecution", "run", {"metadata": {"deletionTimestamp": "2026-01-01T00:00:01Z"}}
    )
    live.observe(world.cluster.find("WorkflowExecution", "run"))
    await reconciler.reconcile(live)
    assert world.stored()["phase"] == "Cancelled"


async def test_a_deleted_run_without_our_finalizer_is_left_alone() -> None:
    world = World()
    world.workflow(scale("one", 5))
    live = world.run(deletionTimestamp="2026-01-01T00:00:01Z", finalizers=["other/one"])
    await world.reconciler().reconcile(live)
    assert live.gone
    assert world.cluster.writes == []


async def test_an_action_that_takes_too_long_is_given_up() -> None:
    world = World()
    world.workflow(scale("one", 5, timeout="3s"))
    live = world.run(finalizers=["kubernaut.io/mirror"])

    async def hang(*_: object, **__: object) -> object:
        await asyncio.sleep(100)
        raise AssertionError

    world.cluster.list = hang  # type: ignore[method-assign, assignment]
    began = asyncio.get_running_loop().time()
    await world.reconciler().reconcile(live)
    assert asyncio.get_running_loop().time() - began == pytest.approx(3, abs=0.5)
    assert world.stored()["reason"] == "StepTimeout"


async def test_a_bug_in_an_action_fails_the_step_and_not_the_operator() -> None:
    world = World()
    world.workflow(scale("one", 5))
    live = world.run(finalizers=["kubernaut.io/mirror"])

    async def bug(*_: object, **__: object) -> object:
        raise ZeroDivisionError("oops")

    world.cluster.list = bug  # type: ignore[method-assign, assignment]
    await world.reconciler().reconcile(live)
    assert world.stored()["reason"] == "InternalError"
    assert "ZeroDivisionError: oops" in world.stored()["message"]


@pytest.mark.parametrize("request_", ["get", "create"])
@pytest.mark.parametrize(
    "trouble", [Unavailable("away"), UnknownOutcome("lost"), TooManyRequests("not now", status=429)]
)
async def test_an_api_server_that_is_away_or_busy_costs_time_and_nothing_else(
    request_: str, trouble: ClusterError
) -> None:
    world = World()
    world.workflow(scale("one", 5))
    live = world.run(finalizers=["kubernaut.io/mirror"])
    world.cluster.troubles[request_] = [trouble]
    reconciler = world.reconciler()
    assert await reconciler.reconcile(live) == 2.0
    assert world.cluster.writes == []
    await finish(world)
    assert world.stored()["phase"] == "Succeeded"


async def test_the_finalizer_survives_conflicts_and_lost_answers() -> None:
    world = World()
    world.workflow(scale("one", 5))
    live = world.run(finalizers=["other/one"])

    def other() -> None:
        world.cluster.edit("WorkflowExecution", "run", {"metadata": {"labels": {"a": "b"}}})

    world.cluster.troubles["patch"] = [other, Lost(True)]
    await world.reconciler().reconcile(live)
    finalizers = world.cluster.find("WorkflowExecution", "run")["metadata"]["finalizers"]
    assert finalizers == ["other/one", "kubernaut.io/mirror"]
    assert world.stored()["phase"] == "Succeeded"


async def test_a_run_that_vanishes_is_forgotten_without_a_fuss() -> None:
    world = World()
    world.workflow({"name": "pause", "wait": {"duration": "5s"}})
    live = world.run(finalizers=["kubernaut.io/mirror"])
    world.cluster.troubles["patch"] = [lambda: world.cluster.drop("WorkflowExecution", "run")]
    assert await world.reconciler().reconcile(live) is None
    assert live.gone
    assert len(world.locks) == 0


async def test_an_unknown_outcome_on_the_api_is_tried_again_later() -> None:
    world = World()
    world.workflow(scale("one", 5))
    live = world.run(finalizers=["kubernaut.io/mirror"])
    world.cluster.troubles["create"] = [UnknownOutcome("lost")]
    assert await world.reconciler().reconcile(live) == 2.0
    await finish(world)
    assert world.stored()["phase"] == "Succeeded"
