"""Runs share what is scarce: targets and named resources; in order, fairly, and nothing leaks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from apiserver.rest import MERGE_PATCH
from e2e.feed import Manifest
from e2e.websteps import note
from e2e.world import API, Place, Run, World, done, effects, phases, steps, until, web
from kubernaut.cluster.slots import LABEL_CAPACITY, PREFIX

LEASES = "/apis/coordination.k8s.io/v1/namespaces/kubernaut-system/leases"
DRAIN = {"resources": [{"name": "node-drain"}]}


@pytest.fixture(autouse=True)
def _nothing_leaks(world: World) -> Iterator[None]:
    yield
    cancel_all(world)
    until("nobody holds a unit of anything", lambda: not holders(world))


def cancel_all(world: World) -> None:
    """Cancel what a test that failed left behind, lest the next one waits for it."""
    listed = world.admin.request("GET", f"{API}/workflowexecutions").body["items"]
    for run in listed:
        if "finishedAt" not in run.get("status", {}):
            meta = run["metadata"]
            path = f"{API}/namespaces/{meta['namespace']}/workflowexecutions/{meta['name']}"
            body = {"spec": {"control": {"cancel": True}}}
            world.admin.request("PATCH", path, body, content_type=MERGE_PATCH)


def holders(world: World) -> dict[str, str]:
    """Return who holds which unit, as stored."""
    answer = world.admin.request("GET", f"{LEASES}?labelSelector={LABEL_CAPACITY}")
    assert answer.ok, answer
    found = {one["metadata"]["name"]: one["spec"].get("holderIdentity") for one in answer.body["items"]}
    return {name.removeprefix(PREFIX): holder for name, holder in found.items() if holder}


def taken(world: World) -> list[str]:
    """Return the runs that took a unit, in the order of the audit log; none did while another held it."""
    found: list[str] = []
    holder: dict[str, str] = {}
    for request in sorted(world.requests(), key=lambda request: request.at):
        if request.resource != "leases" or not request.name.startswith(PREFIX) or not request.persisted:
            continue
        assert request.has_precondition
        answer = request.answer or {}
        now = (answer.get("spec") or {}).get("holderIdentity") or ""
        before = holder.get(request.name, "")
        assert not (now and before), f"{now} took {request.name} from {before}"
        holder[request.name] = now
        if now:
            found.append(now.partition("/")[0])
    return found


def drain(label: str = "", seconds: float = 0.0) -> Manifest:
    """Return a step that takes the only node-drain there is, for a while or until ``web`` has a label."""
    if not label:
        return {"name": "drain", "wait": {"duration": f"{int(seconds * 1000)}ms"}, **DRAIN}
    holds = f"has(target.metadata.labels) && '{label}' in target.metadata.labels"
    return {"name": "drain", "wait": {"until": holds}, "timeout": "2m", **DRAIN}


def targets(place: Place, count: int) -> None:
    """Make more Deployments, so that runs of one namespace wait for capacity and not for each other's target."""
    for number in range(count):
        manifest = web(replicas=0)
        manifest["metadata"]["name"] = f"web-{number}"
        place.create("Deployment", manifest)


def on_any(place: Place, *flow: Manifest, name: str = "flow", **spec: Any) -> None:
    """Declare a Workflow on the Deployment that a run names."""
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "=params.deployment"}
    parameters = [{"name": "deployment", "default": "web"}]
    place.workflow(*flow, name=name, target=target, parameters=parameters, **spec)


def awaits_capacity(run: Run) -> None:
    run.wait(
        lambda r: steps(r.get("status", {})).get("drain", {}).get("reason") == "WaitingForCapacity",
        "the run says that it waits for capacity",
    )


# Named resources


def test_one_drains_at_a_time_though_runs_of_three_namespaces_want_to(world: World) -> None:
    places = [world.place() for _ in range(3)]
    runs = []
    for place in places:
        targets(place, 3)
        on_any(place, drain(seconds=0.1), note("after", "drain"))
        runs += [place.run(f"run-{number}", deployment=f"web-{number}") for number in range(3)]
    spans = []
    for run in runs:
        status = run.end(60)
        assert status["phase"] == "Succeeded", status
        record = steps(status)["drain"]
        spans.append((record["startedAt"], record["finishedAt"]))
    spans.sort()
    assert all(ended <= begun for (_, ended), (begun, _) in itertools.pairwise(spans))
    assert {run.uid for run in runs} <= set(taken(world))


def test_a_namespace_with_many_runs_does_not_hold_up_the_single_one_of_another(world: World) -> None:
    many, single = world.place(), world.place()
    targets(many, 6)
    on_any(many, drain("go"))
    on_any(many, drain(seconds=0.05), name="quick")
    single.workflow(drain(seconds=0.05))
    first = many.run("first")
    first.step_is("drain", "Waiting")
    crowd = [many.run(f"run-{number}", "quick", deployment=f"web-{number}") for number in range(6)]
    for run in crowd:
        awaits_capacity(run)
    one = single.run()
    awaits_capacity(one)
    many.label(go="yes")
    for run in [first, *crowd, one]:
        assert run.end()["phase"] == "Succeeded"
    order = [uid for uid in taken(world) if uid in {run.uid for run in [first, *crowd, one]}]
    assert order.index(one.uid) <= 2


def test_higher_priority_goes_first(world: World) -> None:
    place = world.place()
    targets(place, 2)
    on_any(place, drain("go"), name="holds")
    on_any(place, drain(seconds=0.05), name="low", priority=-5)
    on_any(place, drain(seconds=0.05), name="high", priority=5)
    first = place.run("first", "holds")
    first.step_is("drain", "Waiting")
    low = place.run("low", "low", deployment="web-0")
    awaits_capacity(low)
    high = place.run("high", "high", deployment="web-1")
    awaits_capacity(high)
    place.label(go="yes")
    low.end()
    order = taken(world)
    assert order.index(high.uid) < order.index(low.uid)


def test_who_waits_for_capacity_sends_no_request(world: World) -> None:
    place, other = world.place(), world.place()
    place.workflow(drain("go"))
    other.workflow(drain(seconds=0.05))
    first = place.run()
    first.step_is("drain", "Waiting")
    second = other.run()
    awaits_capacity(second)
    # What was answered may be logged a moment later.
    until("what was sent before is logged", heartbeats(world, 1))
    before = len(world.requests())
    # Long enough for several rounds of what would be asked again and again.
    until("heartbeats went on", heartbeats(world, 4))
    asked = [
        request
        for request in world.requests()[before:]
        if LABEL_CAPACITY in request.uri
        # What a Workflow's account may do is told a moment after it was declared.
        or (request.namespace == other.namespace and request.resource != "workflows")
    ]
    assert [request for request in asked if request.by.endswith("kubernaut-operator")] == []
    assert world.operator.metric("kubernaut_capacity_units_used", resource="node-drain") == 1
    assert world.operator.metric("kubernaut_capacity_waiting_steps", resource="node-drain") == 1
    place.label(go="yes")
    assert second.end()["phase"] == "Succeeded"


def heartbeats(world: World, count: int) -> Callable[[], bool]:
    """Return whether so many heartbeats were shown since this was first asked."""
    seen: set[float | None] = set()

    def look() -> bool:
        seen.add(world.operator.metric("kubernaut_heartbeat_timestamp_seconds"))
        return len(seen) > count

    return look


def test_a_capacity_that_is_raised_helps_who_waits(world: World) -> None:
    place, other = world.place(), world.place()
    place.workflow(drain("go"))
    other.workflow(drain(seconds=0.05))
    first = place.run()
    first.step_is("drain", "Waiting")
    second = other.run()
    awaits_capacity(second)
    try:
        assert world.kubernaut("features", "capacity.node-drain=2").returncode == 0
        assert second.end()["phase"] == "Succeeded"
        assert phases(first.versions()[-1]["status"])["drain"] == "Waiting"
    finally:
        world.kubernaut("features", "capacity.node-drain=1")
    place.label(go="yes")
    first.end()


@pytest.mark.parametrize("how", ["cancel", "delete"])
def test_a_run_that_is_cancelled_or_deleted_gives_back_what_it_holds(world: World, how: str) -> None:
    place, other = world.place(), world.place()
    place.workflow(drain("never"))
    other.workflow(drain(seconds=0.05))
    first = place.run()
    first.step_is("drain", "Waiting")
    assert holders(world) == {"node-drain-0": f"{first.uid}/drain"}
    second = other.run()
    awaits_capacity(second)
    if how == "cancel":
        first.control(cancel=True)
    else:
        place.delete("WorkflowExecution", first.name)
    assert second.end()["phase"] == "Succeeded"


def test_who_is_cancelled_while_it_waits_is_passed_over(world: World) -> None:
    place, other = world.place(), world.place()
    place.workflow(drain("go"))
    targets(other, 1)
    on_any(other, drain(seconds=0.05))
    first = place.run()
    first.step_is("drain", "Waiting")
    second, third = other.run("second"), other.run("third", deployment="web-0")
    for run in (second, third):
        awaits_capacity(run)
    second.control(cancel=True)
    assert second.end()["phase"] == "Cancelled"
    place.label(go="yes")
    assert third.end()["phase"] == "Succeeded"
    assert second.uid not in taken(world)


def test_killed_while_a_run_holds_the_operator_comes_back_and_it_still_does(world: World) -> None:
    place, other = world.place(), world.place()
    place.workflow(drain("go"), note("after", "drain"))
    other.workflow(drain(seconds=0.05))
    first = place.run()
    first.step_is("drain", "Waiting")
    world.operator.kill()
    second = other.run()
    world.restart_operator()
    awaits_capacity(second)
    assert holders(world) == {"node-drain-0": f"{first.uid}/drain"}
    place.label(go="yes")
    assert first.end()["phase"] == "Succeeded"
    assert second.end()["phase"] == "Succeeded"
    order = taken(world)
    assert order.count(first.uid) == order.count(second.uid) == 1


def test_what_a_run_held_that_went_away_while_nobody_looked_is_found(world: World) -> None:
    place, other = world.place(), world.place()
    place.workflow(drain("never"))
    other.workflow(drain(seconds=0.05))
    first = place.run()
    first.step_is("drain", "Waiting")
    world.operator.kill()
    place.change("WorkflowExecution", first.name, {"metadata": {"finalizers": None}})
    place.delete("WorkflowExecution", first.name)
    second = other.run()
    world.restart_operator()
    assert second.end(60)["phase"] == "Succeeded"


# Targets


def test_queue_waits_for_the_target_and_then_runs(place: Place) -> None:
    place.workflow(drain("go"), note("first", "drain"))
    place.workflow(note("second"), name="other")
    first = place.run("a")
    first.step_is("drain", "Waiting")
    second = place.run("b", "other")
    assert f"run {place.namespace}/a" in second.held("TargetBusy")
    place.label(go="yes")
    assert second.end()["phase"] == "Succeeded"
    assert effects(place) == ["first", "second"]


def test_forbid_declines_at_once_and_names_who_holds_the_target(place: Place) -> None:
    place.workflow(drain("go"), concurrencyPolicy="Forbid")
    first = place.run("a")
    first.step_is("drain", "Waiting")
    status = place.run("b").end()
    assert (status["phase"], status["verdict"], status["reason"]) == ("Failed", "Declined", "ConcurrentRun")
    assert f"{place.namespace}/a" in status["message"]
    place.label(go="yes")
    assert first.end()["phase"] == "Succeeded"
    assert place.run("c").end()["phase"] == "Succeeded"


def test_replace_ends_older_runs_of_the_workflow_and_begins(place: Place) -> None:
    place.workflow(drain("never"), concurrencyPolicy="Replace", name="old")
    place.workflow(
        {**drain("never"), "when": "params.wait"},
        note("last", "drain"),
        concurrencyPolicy="Replace",
        parameters=[{"name": "wait", "type": "boolean", "default": "true"}],
    )
    holder = place.run("holder")
    holder.step_is("drain", "Waiting")
    waiting = place.run("waiting", "old")
    waiting.held("TargetBusy")
    newer = place.run("newer", wait="false")
    status = holder.end()
    assert (status["phase"], status["reason"]) == ("Cancelled", "Replaced")
    assert "newer" in status["message"]
    cancels = [
        request
        for request in place.world.persisted(place.namespace)
        if (request.body or {}).get("spec", {}).get("control")
    ]
    assert [(request.name, request.has_precondition) for request in cancels] == [("holder", True)]
    waiting.step_is("drain", "Waiting")
    waiting.control(cancel=True)
    assert newer.end()["phase"] == "Succeeded"
    assert done(place) == {"last"}


def test_replace_takes_the_place_of_who_waits_too(place: Place) -> None:
    place.workflow(drain("go"), name="other")
    place.workflow(note("only"), concurrencyPolicy="Replace")
    place.run("holder", "other").step_is("drain", "Waiting")
    older = place.run("older")
    older.held("TargetBusy")
    newer = place.run("newer")
    status = older.end()
    assert (status["phase"], status["verdict"], status["reason"]) == ("Cancelled", "Declined", "Replaced")
    place.label(go="yes")
    assert newer.end()["phase"] == "Succeeded"
    assert effects(place) == ["only"]


def test_a_started_run_shares_the_target_of_the_run_that_started_it(place: Place) -> None:
    place.workflow(note("inner"), name="inner")
    place.workflow(note("before"), {"name": "sub", "workflow": {"name": "inner"}, "dependsOn": ["before"]})
    assert place.run().end()["phase"] == "Succeeded"
    assert effects(place) == ["before", "inner"]
