"""What steps can be beside actions, on the real API server: decisions, items, runs of other Workflows, ends."""

from __future__ import annotations

from typing import Any

from apiserver.resources import allow
from e2e.websteps import gate, note
from e2e.world import Place, Run, done, effects, phases, steps

Manifest = dict[str, Any]


def template(name: str, *inner: Manifest) -> Manifest:
    return {"name": name, "steps": list(inner)}


def at_last(*inner: Manifest) -> dict[str, Any]:
    """Return the steps under finally; the word is Python's own."""
    return {"finally": list(inner)}


def note_item(name: str) -> Manifest:
    """Return a step that writes its item into an annotation of ``web``."""
    # patch_resource takes literal field names only; the value tells which item it was.
    patch = {"metadata": {"annotations": {f"did-{name}": "=string(index) + ':' + item"}}}
    with_ = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "patch": patch}
    return {"name": name, "action": "patch_resource", "with": with_}


def test_a_switch_runs_the_first_branch_that_holds_and_no_other(place: Place) -> None:
    cases = [
        {"name": "many", "when": "target.spec.replicas > 5", "template": "big"},
        {"name": "one", "when": "target.spec.replicas == 1", "template": "small"},
        {"name": "any", "when": "true", "template": "big"},
    ]
    place.workflow(
        {"name": "decide", "switch": {"cases": cases}},
        note("after", "decide"),
        templates=[template("big", note("b")), template("small", note("s"), note("t", "s"))],
    )
    status = place.run().end()
    assert phases(status) == {
        "decide": "Succeeded",
        "decide/one/s": "Succeeded",
        "decide/one/t": "Succeeded",
        "after": "Succeeded",
    }
    assert steps(status)["decide"]["branch"] == "one"
    assert status["progress"] == "4/4"
    assert effects(place) == ["s", "t", "after"]


def test_a_for_each_does_the_same_for_every_item_one_after_the_other(place: Place) -> None:
    place.workflow(
        {"name": "each", "forEach": {"items": ["a", "b", "=target.metadata.name"], "template": "body"}},
        templates=[template("body", note_item("item"))],
    )
    status = place.run().end()
    assert status["phase"] == "Succeeded"
    assert [name for name in phases(status) if "/" in name] == [
        "each/0/item",
        "each/1/item",
        "each/2/item",
    ]
    assert steps(status)["each"]["outputs"] == {"items": ["a", "b", "web"]}
    changed = place.get("Deployment", "web")["metadata"]["annotations"]["did-item"]
    assert changed == "2:web"
    assert effects(place) == ["item"] * 3


def test_a_for_each_over_labels_takes_the_objects_that_the_account_sees(place: Place) -> None:
    for name in ("one", "two"):
        other = place.get("Deployment", "web")
        made = {"metadata": {"name": name, "labels": {"part": "x"}}, "spec": other["spec"]}
        place.create("Deployment", {"apiVersion": "apps/v1", "kind": "Deployment", **made})
    select = {"apiVersion": "apps/v1", "kind": "Deployment", "labelSelector": "part=x"}
    place.workflow(
        {"name": "each", "forEach": {"select": select, "template": "body", "parallelism": 2}},
        templates=[
            template(
                "body",
                {
                    "name": "scale",
                    "action": "scale_deployment",
                    "with": {"name": "=item.name", "replicas": 3},
                },
            )
        ],
    )
    status = place.run().end()
    assert status["phase"] == "Succeeded", status
    assert [place.get("Deployment", name)["spec"]["replicas"] for name in ("one", "two", "web")] == [3, 3, 1]


def test_more_items_than_allowed_fail_the_step_before_anything_is_done(place: Place) -> None:
    place.workflow(
        {"name": "each", "forEach": {"itemsFrom": "['a', 'b', 'c']", "maxItems": 2, "template": "body"}},
        templates=[template("body", note_item("item"))],
    )
    status = place.run().end()
    assert (status["phase"], status["reason"]) == ("Failed", "TooManyItems")
    assert done(place) == set()


def test_a_subflow_is_a_run_of_its_own_whose_end_and_outputs_the_step_takes(place: Place) -> None:
    place.workflow(
        note("inner"),
        name="child",
        parameters=[{"name": "who", "type": "string", "required": True}],
        outputs=[{"name": "greeting", "value": "='hello ' + params.who"}],
    )
    call = {"name": "child", "parameters": [{"name": "who", "value": "=target.metadata.name"}]}
    place.workflow(
        {"name": "call", "workflow": call},
        note("last", "call", when="steps.call.outputs.greeting == 'hello web'"),
    )
    status = place.run().end()
    assert phases(status) == {"call": "Succeeded", "last": "Succeeded"}
    outputs = steps(status)["call"]["outputs"]
    child = place.get("WorkflowExecution", outputs["run"])
    assert child["spec"]["parent"]["name"] == "run"
    assert child["status"]["outputs"] == {"greeting": "hello web"}
    assert effects(place) == ["inner", "last"]


def test_a_subflow_that_fails_fails_its_step_with_the_reason_of_that_run(place: Place) -> None:
    place.workflow({"name": "inner", "action": "restart_pod", "with": {"name": "none"}}, name="child")
    place.workflow({"name": "call", "workflow": {"name": "child"}}, note("last", "call"))
    status = place.run().end()
    assert (status["phase"], status["reason"]) == ("Failed", "SubflowFailed")
    assert phases(status) == {"call": "Failed", "last": "Skipped"}
    assert done(place) == set()


def test_cancelling_a_run_cancels_the_runs_it_started(place: Place) -> None:
    place.workflow(gate("gate"), note("inner", "gate"), name="child")
    place.workflow({"name": "call", "workflow": {"name": "child"}})
    run = place.run()
    record = run.step_is("call", "Waiting")
    child = Run(place, place.get("WorkflowExecution", record["intent"]["run"]))
    child.step_is("gate", "Waiting")
    run.control(cancel=True)
    assert child.end()["phase"] == "Cancelled"
    assert run.end()["phase"] == "Cancelled"
    assert done(place) == set()


def test_finally_runs_after_a_failure_and_knows_how_the_run_went(place: Place) -> None:
    place.workflow(
        note("first"),
        {"name": "bad", "dependsOn": ["first"], "action": "restart_pod", "with": {"name": "none"}},
        onFailure="Rollback",
        **at_last(note("tidy", when="run.outcome == 'Failed' && run.verdict == 'RolledBack'")),
    )
    status = place.run().end()
    assert (status["phase"], status["verdict"]) == ("Failed", "RolledBack")
    assert phases(status)["tidy"] == "Succeeded"
    assert done(place) == {"tidy"}


def test_finally_runs_after_a_cancel(place: Place) -> None:
    place.workflow(gate("gate"), **at_last(note("tidy")))
    run = place.run()
    run.step_is("gate", "Waiting")
    run.control(cancel=True)
    assert run.end()["phase"] == "Cancelled"
    assert done(place) == {"tidy"}


def test_an_alternate_stands_in_for_a_step_that_failed(place: Place) -> None:
    bad = {"name": "bad", "action": "restart_pod", "with": {"name": "none"}}
    place.workflow(
        {**bad, "onFailure": "Alternate", "alternate": "other"},
        note("last", "bad"),
        templates=[template("other", note("instead"))],
    )
    status = place.run().end()
    assert status["phase"] == "Succeeded"
    assert phases(status) == {
        "bad": "Failed",
        "bad/alternate": "Succeeded",
        "bad/alternate/instead": "Succeeded",
        "last": "Succeeded",
    }
    assert effects(place) == ["instead", "last"]


def test_an_alternate_of_the_workflow_takes_the_place_of_what_was_left(place: Place) -> None:
    bad = {"name": "bad", "action": "restart_pod", "with": {"name": "none"}}
    place.workflow(
        bad,
        note("last", "bad"),
        onFailure="Alternate",
        alternate="other",
        templates=[template("other", note("instead"))],
    )
    status = place.run().end()
    assert status["phase"] == "Succeeded"
    assert phases(status)["last"] == "Skipped"
    assert effects(place) == ["instead"]


def test_continue_lets_dependents_go_on(place: Place) -> None:
    bad = {"name": "bad", "action": "restart_pod", "with": {"name": "none"}, "onFailure": "Continue"}
    place.workflow(bad, note("last", "bad"))
    status = place.run().end()
    assert status["phase"] == "Succeeded"
    assert phases(status) == {"bad": "Failed", "last": "Succeeded"}


def _say(run: Run, user: str, step: str, attempt: int, remedy: str) -> None:
    said = {"step": step, "attempt": attempt, "remedy": remedy, "by": user, "reason": "looked at it"}
    known = run.place.get("WorkflowExecution", run.name)["spec"].get("control", {}).get("interventions", [])
    body = {"spec": {"control": {"interventions": [*known, said]}}}
    with run.place.world.admin.acting_as(user, "system:authenticated") as client:
        answer = run.place.patch("WorkflowExecution", run.name, body, client)
    assert answer.ok, answer


def test_a_manual_failure_waits_for_a_person_who_tries_again_and_then_goes_on_without_it(
    place: Place,
) -> None:
    allow(place.world.admin, place.namespace, "ada", "kubernaut-approver")
    verb = {"verb": "approve", "group": "kubernaut.io", "resource": "workflowexecutions"}
    place.await_right("ada", verb, True)
    bad = {"name": "bad", "action": "restart_pod", "with": {"name": "none"}}
    place.workflow(bad, note("last", "bad"), onFailure="Manual")
    run = place.run()
    run.wait(lambda r: r.get("status", {}).get("phase") == "Suspended", "the run is suspended")
    assert run.step_is("bad", "Failed")["attempt"] == 1
    _say(run, "ada", "bad", 1, "Retry")
    run.wait(
        lambda r: (
            r.get("status", {}).get("phase") == "Suspended" and steps(r["status"])["bad"].get("attempt") == 2
        ),
        "the second attempt failed",
    )
    _say(run, "ada", "bad", 2, "Skip")
    status = run.end()
    assert status["phase"] == "Succeeded"
    assert phases(status) == {"bad": "Skipped", "last": "Succeeded"}


def test_an_approver_may_give_a_parameter_another_value(place: Place) -> None:
    allow(place.world.admin, place.namespace, "ada", "kubernaut-approver")
    verb = {"verb": "approve", "group": "kubernaut.io", "resource": "workflowexecutions"}
    place.await_right("ada", verb, True)
    place.workflow(
        {"name": "ask", "approval": {"mayOverride": ["count"]}},
        {
            "name": "scale",
            "dependsOn": ["ask"],
            "action": "scale_deployment",
            "with": {"replicas": "=params.count"},
        },
        parameters=[{"name": "count", "type": "integer", "default": "2"}],
    )
    run = place.run()
    run.step_is("ask", "Waiting")
    record = {
        "step": "ask",
        "decision": "Approve",
        "by": "ada",
        "parameters": [{"name": "count", "value": "4"}],
    }
    with place.world.admin.acting_as("ada", "system:authenticated") as client:
        body = {"spec": {"control": {"approvals": [record]}}}
        answer = place.patch("WorkflowExecution", run.name, body, client)
        assert answer.ok, answer
    assert run.end()["phase"] == "Succeeded"
    assert place.get("Deployment", "web")["spec"]["replicas"] == 4


def test_a_dry_run_tells_what_would_change_and_changes_nothing(place: Place) -> None:
    place.workflow(note("first"), gate("gate", "first"), note("last", "gate"))
    before = place.get("Deployment", "web")["metadata"]["generation"]
    run = _started(place, dryRun=True)
    status = run.end()
    assert (status["phase"], status["verdict"], status["reason"]) == ("Succeeded", "Inconclusive", "DryRun")
    assert 'metadata.annotations.did-first: unset -> "yes"' in steps(status)["first"]["changed"][0]
    assert steps(status)["gate"]["reason"] == "DryRun"
    web = place.get("Deployment", "web")
    assert web["metadata"]["generation"] == before
    assert done(place) == set()
    assert not any(name.startswith("step.kubernaut.io") for name in web["metadata"].get("annotations", {}))


def test_a_run_that_is_tried_again_begins_where_the_other_failed(place: Place) -> None:
    bad = {
        "name": "bad",
        "dependsOn": ["first"],
        "action": "scale_deployment",
        "with": {"name": "two", "replicas": 2},
    }
    place.workflow(note("first"), bad, note("last", "bad"))
    assert place.run().end()["phase"] == "Failed"
    other = place.get("Deployment", "web")
    place.create(
        "Deployment",
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "two"}, "spec": other["spec"]},
    )
    status = _started(place, name="again", retryFrom={"name": "run"}).end()
    assert status["phase"] == "Succeeded", status
    assert steps(status)["first"]["reason"] == "CarriedOver"
    assert effects(place) == ["first", "last"]


def test_a_paused_run_moves_to_a_newer_revision_where_the_plan_allows(place: Place) -> None:
    old = place.workflow(note("first"), gate("gate", "first"), note("last", "gate"))
    run = place.run()
    run.step_is("gate", "Waiting")
    run.control(paused=True)
    run.held("Paused")
    place.change(
        "Workflow", "flow", {"spec": {"steps": [note("first"), gate("gate", "first"), note("other", "gate")]}}
    )
    new = place.world.workflows.wait(
        (place.namespace, "flow"),
        lambda w: (
            w.get("status", {}).get("snapshot") not in (None, old["status"]["snapshot"])
            and w["status"]["observedGeneration"] == w["metadata"]["generation"]
        ),
        "the Workflow has another snapshot",
    )
    run.control(migrateTo=new["status"]["snapshot"])
    snapshot = new["status"]["snapshot"]
    run.wait(
        lambda r: r.get("status", {}).get("workflow", {}).get("snapshot") == snapshot, "the run has moved"
    )
    run.control(paused=False)
    place.label(go="1")
    status = run.end()
    assert phases(status) == {"first": "Succeeded", "gate": "Succeeded", "other": "Succeeded"}


def test_a_wait_on_another_object_sees_it_as_object(place: Place) -> None:
    until = "has(object.metadata.labels) && object.metadata.labels.state == 'done'"
    watched = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "two"}
    place.workflow({"name": "wait", "wait": {"until": until, "object": watched}}, note("last", "wait"))
    run = place.run()
    run.step_is("wait", "Waiting")
    other = place.get("Deployment", "web")
    made = {"metadata": {"name": "two", "labels": {"state": "new"}}, "spec": other["spec"]}
    place.create("Deployment", {"apiVersion": "apps/v1", "kind": "Deployment", **made})
    place.change("Deployment", "two", {"metadata": {"labels": {"state": "done"}}})
    assert run.end()["phase"] == "Succeeded"


def _started(place: Place, name: str = "run", **spec: Any) -> Run:
    manifest = {
        "apiVersion": "kubernaut.io/v1alpha1",
        "kind": "WorkflowExecution",
        "metadata": {"name": name, "namespace": place.namespace},
        "spec": {"workflowRef": {"name": "flow"}, **spec},
    }
    return Run(place, place.create("WorkflowExecution", manifest))
