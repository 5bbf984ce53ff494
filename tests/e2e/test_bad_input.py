"""What people get wrong is answered clearly, at once, and before anything is done."""

from __future__ import annotations

import time
from typing import Any

import pytest

from e2e.websteps import gate, note
from e2e.world import Place, World, condition, done, execution, phases, steps

TELL = {"name": "tell", "action": "notify_only", "with": {"message": "hello"}}
COUNT = {"name": "count", "type": "integer", "default": "1"}
NOT_READY: dict[str, tuple[list[dict[str, Any]], str, tuple[str, ...]]] = {
    "an unknown action": (
        [{"name": "a", "action": "scale_deploymnt"}],
        "UnknownAction",
        ("spec.steps[0].action", "'scale_deploymnt'", "Did you mean 'scale_deployment'?"),
    ),
    "a cycle": (
        [
            {**TELL, "name": "a", "dependsOn": ["c"]},
            {**TELL, "name": "b", "dependsOn": ["a"]},
            {**TELL, "name": "c", "dependsOn": ["b"]},
        ],
        "Cycle",
        ("the steps depend on each other", " -> ", "Remove one dependsOn"),
    ),
    "a step that does not exist": (
        [{**TELL, "dependsOn": ["tel"]}],
        "UnknownStep",
        ("spec.steps[0].dependsOn[0]", "there is no step 'tel'", "Name a step of this Workflow"),
    ),
    "CEL that does not compile": (
        [{**TELL, "when": "params.count >"}],
        "InvalidExpression",
        ("spec.steps[0].when", "params.count >", "Correct the CEL expression"),
    ),
    "CEL of the wrong type": (
        [{**TELL, "when": "params.count == 'one'"}],
        "InvalidExpression",
        ("spec.steps[0].when", "no matching overload", "Correct the CEL expression"),
    ),
    "CEL that is no condition": (
        [{**TELL, "when": "params.count + 1"}],
        "InvalidExpression",
        ("spec.steps[0].when", "gives INT", "true or false is needed"),
    ),
    "a parameter that the action does not have": (
        [{"name": "a", "action": "scale_deployment", "with": {"replica": 3}}],
        "InvalidParameters",
        ("spec.steps[0].with.replica", "scale_deployment"),
    ),
}


@pytest.fixture(scope="module")
def shared(world: World) -> Place:
    """A place for runs that never act."""
    return world.place()


@pytest.mark.parametrize("wrong", NOT_READY)
def test_a_workflow_that_can_not_run_says_why_and_no_run_of_it_starts(shared: Place, wrong: str) -> None:
    declared, reason, told = NOT_READY[wrong]
    name = "-".join(wrong.lower().split())
    began = time.monotonic()
    found = shared.workflow(*declared, name=name, ready=False, parameters=[COUNT])
    seconds = shared.world.workflows.arrived((shared.namespace, name)) - began
    print(f"{wrong}: Ready=False after {seconds * 1000:.0f} ms")
    ready = condition(found, "Ready")
    assert ready["reason"] == reason
    for part in told:
        assert part in ready["message"]
    assert condition(found, "Stalled")["status"] == "True"
    status = shared.run(name, name).end()
    assert (status["phase"], status["reason"], status["verdict"]) == (
        "Failed",
        "WorkflowNotReady",
        "NotFixed",
    )
    assert told[0] in status["message"]
    assert "steps" not in status or status["steps"] == []


def test_the_path_of_a_cycle_can_be_followed(shared: Place) -> None:
    a, b = {**TELL, "name": "a", "dependsOn": ["b"]}, {**TELL, "name": "b", "dependsOn": ["a"]}
    found = shared.workflow(TELL, a, b, name="cycle", ready=False)
    message = condition(found, "Ready")["message"]
    assert "a -> b -> a" in message or "b -> a -> b" in message


def test_a_workflow_that_is_mended_becomes_ready(shared: Place) -> None:
    shared.workflow({**TELL, "action": "notify"}, name="mended", ready=False)
    shared.change("Workflow", "mended", {"spec": {"steps": [TELL]}})
    shared.world.workflows.wait(
        (shared.namespace, "mended"), lambda w: condition(w, "Ready").get("status") == "True", "it is ready"
    )
    assert shared.run("mended", "mended").end()["phase"] == "Succeeded"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"count": "many"}, "parameter count: 'many' is not of type integer"),
        ({"count": "1", "cuont": "2"}, "declares no parameter 'cuont'; it declares: count, who"),
        ({}, "parameter 'who' (string) is required and was not given"),
    ],
)
def test_parameters_that_do_not_fit_fail_the_run(shared: Place, given: dict[str, str], told: str) -> None:
    who = {"name": "who", "required": True}
    name = f"parameters-{len(given)}-{len(told)}"
    shared.workflow(TELL, name=name, parameters=[COUNT, who])
    values = {"who": "me", **given} if given else {}
    status = shared.run(name, name, **values).end()
    assert (status["phase"], status["reason"]) == ("Failed", "InvalidParameters")
    assert told in status["message"]


def test_two_megabytes_of_parameters_are_refused_by_the_api_server(shared: Place) -> None:
    shared.workflow(TELL, name="big", parameters=[{"name": "text"}])
    answer = shared.post(
        "WorkflowExecution", execution(shared.namespace, "big", "big", {"text": "x" * 2_000_000})
    )
    assert answer.status == 422
    assert "spec.parameters[0].value" in answer.message
    assert "may not be more than 4096 bytes" in answer.message
    assert len(answer.message) < 2000


def test_a_workflow_that_does_not_exist(shared: Place) -> None:
    status = shared.run("nowhere", "no-such-flow").end()
    assert (status["phase"], status["reason"]) == ("Failed", "WorkflowNotFound")
    assert "'no-such-flow'" in status["message"]


def test_a_target_that_does_not_exist(shared: Place) -> None:
    shared.workflow(
        note("patch"),
        name="no-target",
        target={"apiVersion": "apps/v1", "kind": "Deployment", "name": "nothing"},
    )
    status = shared.run("no-target", "no-target").end()
    assert (status["phase"], status["reason"]) == ("Failed", "TargetNotFound")
    assert f"Deployment {shared.namespace}/nothing" in status["message"]


@pytest.mark.parametrize("name", ["kubernaut-repair", "somebody-else"])
def test_a_service_account_that_does_not_exist(world: World, name: str) -> None:
    place = world.place(account=False)
    world.refusing.add(place.namespace)
    place.workflow(note("patch"), serviceAccountName=name)
    status = place.run().end()
    assert (status["phase"], status["reason"]) == ("Failed", "ServiceAccountNotFound")
    assert f"{place.namespace}/{name}" in status["message"]
    assert done(place) == set()


@pytest.mark.parametrize(("verb", "acts"), [("get", False), ("patch", True)])
def test_a_right_that_is_missing_is_named(place: Place, verb: str, acts: bool) -> None:
    role = place.get("Role", "kubernaut-repair")
    for rule in role["rules"]:
        if "deployments" in rule["resources"]:
            rule["verbs"].remove(verb)
    place.change("Role", "kubernaut-repair", {"rules": role["rules"]})
    right = {"verb": verb, "group": "apps", "resource": "deployments", "name": "web"}
    place.await_right(place.account, right, False)
    place.workflow(note("patch", retry={"limit": 3}))
    status = place.run().end()
    assert (status["phase"], status["reason"]) == ("Failed", "MissingRight")
    assert place.account in status["message"]
    assert verb in status["message"]
    assert "deployments" in status["message"]
    assert done(place) == set()
    if acts:
        assert steps(status)["patch"]["attempt"] == 1  # trying again does not grant a right


def test_a_workflow_deleted_during_its_run_lets_the_run_end_as_it_began(place: Place) -> None:
    place.workflow(note("first"), gate("gate", "first"), note("last", "gate"))
    run = place.run()
    run.step_is("gate", "Waiting")
    place.delete("Workflow", "flow")
    place.label(go="yes")
    status = run.end()
    assert status["phase"] == "Succeeded"
    assert phases(status) == {"first": "Succeeded", "gate": "Succeeded", "last": "Succeeded"}
    assert done(place) == {"first", "last"}


def test_a_workflow_changed_during_its_run_does_not_change_the_run(place: Place) -> None:
    place.workflow(gate("gate"), note("last", "gate"))
    run = place.run()
    run.step_is("gate", "Waiting")
    place.change("Workflow", "flow", {"spec": {"steps": [note("other")]}})
    place.label(go="yes")
    assert phases(run.end()) == {"gate": "Succeeded", "last": "Succeeded"}
    assert done(place) == {"last"}


def test_a_target_deleted_during_the_run_ends_it(place: Place) -> None:
    place.workflow(gate("gate"), note("last", "gate"))
    run = place.run()
    run.step_is("gate", "Waiting")
    place.delete("Deployment", "web")
    status = run.end()
    assert (status["phase"], status["reason"]) == ("Failed", "TargetNotFound")
    assert "Deployment web was deleted during the run" in status["message"]
    assert status["verdict"] == "NotFixed"
    assert phases(status)["last"] == "Skipped"
