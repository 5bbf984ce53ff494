"""People steer runs: cancel, pause, approve, deny; and nobody in somebody else's name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from apiserver.resources import allow
from apiserver.rest import Answer
from e2e.websteps import gate, note
from e2e.world import Place, Run, World, condition, done, effects, phases, steps, until

ASK = {"name": "ask", "approval": {"message": "May it be done?"}}


def answer(run: Run, user: str, decision: str, by: str, reason: str = "") -> Answer:
    """Answer the approval step as a user, in the name of one."""
    record = {"step": "ask", "decision": decision, "by": by, "reason": reason}
    body = {"spec": {"control": {"approvals": [record]}}}
    with run.place.world.admin.acting_as(user, "system:authenticated") as client:
        return run.place.patch("WorkflowExecution", run.name, body, client)


def approver(place: Place, user: str) -> None:
    """Let a user approve runs."""
    allow(place.world.admin, place.namespace, user, "kubernaut-approver")
    verb = {"verb": "approve", "group": "kubernaut.io", "resource": "workflowexecutions"}
    place.await_right(user, verb, True)


def test_a_cancelled_run_begins_nothing_more_and_can_not_be_brought_back(place: Place) -> None:
    place.workflow(note("first"), gate("gate", "first"), note("last", "gate"))
    run = place.run()
    run.step_is("gate", "Waiting")
    run.control(cancel=True)
    status = run.end()
    assert (status["phase"], status["verdict"], status["reason"]) == (
        "Cancelled",
        "Inconclusive",
        "Cancelled",
    )
    assert phases(status) == {"first": "Succeeded", "gate": "Skipped", "last": "Skipped"}
    refused = place.patch("WorkflowExecution", run.name, {"spec": {"control": {"cancel": False}}})
    assert refused.status == 422
    assert "can't be un-cancelled" in refused.message
    assert done(place) == {"first"}


def test_a_run_cancelled_before_it_changed_anything_was_declined(place: Place) -> None:
    place.workflow(gate("gate"), note("last", "gate"))
    run = place.run()
    run.step_is("gate", "Waiting")
    run.control(cancel=True)
    assert run.end()["verdict"] == "Declined"


def test_a_paused_run_begins_nothing_more_until_it_is_resumed(place: Place) -> None:
    place.workflow(gate("gate"), note("last", "gate"))
    run = place.run()
    run.step_is("gate", "Waiting")
    run.control(paused=True)
    assert "paused by a person" in run.held("Paused")
    place.label(go="yes")
    assert run.begun_when("gate") == {"gate"}
    assert condition(run.versions()[-1], "Reconciling")["reason"] == "Paused"
    assert done(place) == set()
    run.control(paused=False)
    assert run.end()["phase"] == "Succeeded"
    assert done(place) == {"last"}


def test_a_run_that_is_created_paused_does_not_begin(place: Place) -> None:
    place.workflow(note("only"))
    run = Run(
        place,
        place.create(
            "WorkflowExecution",
            {
                "apiVersion": "kubernaut.io/v1alpha1",
                "kind": "WorkflowExecution",
                "metadata": {"name": "paused"},
                "spec": {"workflowRef": {"name": "flow"}, "control": {"paused": True}},
            },
        ),
    )
    run.held("Paused")
    assert done(place) == set()
    run.control(paused=False)
    assert run.end()["phase"] == "Succeeded"


def test_an_approved_step_goes_on_and_its_record_names_who_and_why(place: Place) -> None:
    place.workflow(ASK, note("last", "ask"))
    run = place.run()
    run.step_is("ask", "Waiting")
    approver(place, "alice")
    assert answer(run, "alice", "Approve", "alice", "looks right").ok
    status = run.end()
    assert status["phase"] == "Succeeded"
    assert steps(status)["ask"]["message"] == "Approve by alice: looks right"
    assert done(place) == {"last"}


def test_a_denied_step_ends_the_run_as_declined(place: Place) -> None:
    place.workflow(ASK, note("last", "ask"))
    run = place.run()
    run.step_is("ask", "Waiting")
    approver(place, "alice")
    assert answer(run, "alice", "Deny", "alice", "not on a Friday").ok
    status = run.end()
    assert (status["phase"], status["verdict"], status["reason"]) == ("Failed", "Declined", "ApprovalDenied")
    assert "Deny by alice: not on a Friday" in status["message"]
    assert done(place) == set()


def test_nobody_approves_in_anothers_name_or_without_the_right(place: Place) -> None:
    place.workflow(ASK, note("last", "ask"))
    run = place.run()
    run.step_is("ask", "Waiting")
    approver(place, "alice")
    allow(place.world.admin, place.namespace, "bob", "kubernaut-edit")
    place.await_right(
        "bob", {"verb": "patch", "group": "kubernaut.io", "resource": "workflowexecutions"}, True
    )
    forged, unentitled = answer(run, "alice", "Approve", "carol"), answer(run, "bob", "Approve", "bob")
    assert forged.status == 422
    assert "in one's own name: set by to alice" in forged.message
    assert unentitled.status == 422
    assert "needs the verb approve" in unentitled.message
    operator = place.world.admin.account("kubernaut-system", "kubernaut-operator")
    with operator:
        body = {"spec": {"control": {"approvals": [{"step": "ask", "decision": "Approve", "by": "x"}]}}}
        assert not place.patch("WorkflowExecution", run.name, body, operator).ok
    run.control(cancel=True)
    assert phases(run.end())["ask"] == "Skipped"
    assert done(place) == set()


def test_silence_is_a_denial(place: Place) -> None:
    place.workflow({"name": "ask", "approval": {"expiresAfter": "300ms"}}, note("last", "ask"))
    status = place.run().end()
    assert (status["verdict"], status["reason"]) == ("Declined", "ApprovalExpired")
    assert done(place) == set()


def test_while_no_operator_runs_an_approval_counts_only_in_time(world: World) -> None:
    """What is seen too late is told apart by the time that the API server keeps with it."""
    early, late = world.place(), world.place()
    runs = []
    for place in (early, late):
        place.workflow({"name": "ask", "approval": {"expiresAfter": "5s"}}, note("last", "ask"))
        approver(place, "alice")
        runs.append(place.run())
    over = [datetime.fromisoformat(run.step_is("ask", "Waiting")["startedAt"]) for run in runs]
    world.operator.kill()
    assert answer(runs[0], "alice", "Approve", "alice").ok
    until("the time is over", lambda: datetime.now(UTC) > max(over) + timedelta(seconds=5))
    assert answer(runs[1], "alice", "Approve", "alice").ok
    world.restart_operator()
    in_time, too_late = (run.end() for run in runs)
    assert (in_time["phase"], done(early)) == ("Succeeded", {"last"})
    assert (too_late["verdict"], too_late["reason"]) == ("Declined", "ApprovalExpired")
    assert "Approve by alice; that was too late" in steps(too_late)["ask"]["message"]
    assert done(late) == set()


@pytest.mark.parametrize("field", ["parameters", "workflowRef", "trigger"])
def test_what_was_asked_for_can_not_be_changed_afterwards(place: Place, field: str) -> None:
    place.workflow(gate("gate"), parameters=[{"name": "who", "default": "me"}])
    run = place.run(who="you")
    other = {
        "parameters": [{"name": "who", "value": "them"}],
        "workflowRef": {"name": "other"},
        "trigger": {"by": "somebody"},
    }
    refused = place.patch("WorkflowExecution", run.name, {"spec": {field: other[field]}})
    assert refused.status == 422
    assert "start a new run" in refused.message
    run.control(cancel=True)
    run.end()


def test_a_run_that_is_deleted_ends_without_beginning_more(place: Place) -> None:
    place.workflow(note("first"), gate("gate", "first"), note("last", "gate"))
    run = place.run()
    run.step_is("gate", "Waiting")
    place.delete("WorkflowExecution", run.name)
    place.world.runs.wait_gone(run.uid)
    assert effects(place) == ["first"]
    (row,) = place.world.await_rows([run.uid])
    assert (row["phase"], row["verdict"]) == ("Cancelled", "Inconclusive")
