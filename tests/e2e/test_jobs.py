"""Steps that run Jobs: the operator waits for them without a worker, once, and stops them where it has to."""

from __future__ import annotations

from typing import Any

import pytest

from e2e.websteps import gate, note
from e2e.world import OPERATOR, REPAIR, Place, Run, phases, steps, until, web

Manifest = dict[str, Any]

# No node has room for it: its pod waits, and so does the Job, until somebody takes it away.
WAITS: Manifest = {"requests": {"memory": "4Ti"}, "limits": {"memory": "4Ti"}}


@pytest.fixture
def place(place: Place) -> Place:
    """A namespace whose account may run Jobs."""
    rules = [
        {
            "apiGroups": ["batch"],
            "resources": ["jobs"],
            "verbs": ["create", "get", "list", "watch", "delete"],
        }
    ]
    place.create("Role", {"metadata": {"name": "jobs"}, "rules": rules})
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "jobs"}
    subjects = [{"kind": "ServiceAccount", "name": REPAIR, "namespace": place.namespace}]
    place.create("RoleBinding", {"metadata": {"name": "jobs"}, "roleRef": role, "subjects": subjects})
    place.await_right(place.account, {"verb": "create", "group": "batch", "resource": "jobs"}, allowed=True)
    return place


def job(name: str, *needs: str, timeout: str = "2m", **given: Any) -> Manifest:
    with_ = {"image": "kubernaut.local/pause:1", **given}
    return {"name": name, "action": "run_job", "dependsOn": list(needs), "timeout": timeout, "with": with_}


def made(place: Place) -> list[Any]:
    """Return the operator's requests that created a Job, by name."""
    found = place.world.persisted(place.namespace, user=place.account)
    bodies = [one.body or {} for one in found if one.what == "jobs" and one.verb == "create"]
    return [body["metadata"]["name"] for body in bodies]


def test_a_run_waits_for_its_job_and_reads_how_it_ended(place: Place) -> None:
    place.workflow(job("work"), note("after", "work"))
    run = place.run()
    status = run.end()
    assert phases(status) == {"work": "Succeeded", "after": "Succeeded"}
    outputs = steps(status)["work"]["outputs"]
    (found,) = place.list("Job")
    assert (outputs["job"], outputs["uid"]) == (found["metadata"]["name"], found["metadata"]["uid"])
    assert outputs["exitCode"] == 0
    assert found["metadata"]["ownerReferences"][0]["uid"] == run.uid
    assert found["spec"]["template"]["spec"]["serviceAccountName"] == REPAIR
    assert made(place) == [outputs["job"]]
    requests = place.world.persisted(place.namespace)
    assert all(one.has_precondition for one in requests)
    assert {one.user for one in requests if one.what == "jobs"} == {place.account}
    place.delete("WorkflowExecution", "run")
    until("the Job goes with its run", lambda: not place.list("Job"))


def test_while_a_job_runs_no_worker_is_with_its_run(place: Place) -> None:
    world = place.world
    other = world.place()
    with world.other_operator(world.postgres.dsn, {"KUBERNAUT_WORKERS": "1"}):
        place.workflow(job("work", **WAITS))
        run = place.run()
        run.step_is("work", "Waiting")
        other.workflow(note("only"))
        assert other.run().end()["phase"] == "Succeeded"
        run.control(cancel=True)
        run.end()


def test_a_cancelled_run_takes_its_job_away(place: Place) -> None:
    place.workflow(job("work", **WAITS), note("after", "work"))
    run = place.run()
    run.step_is("work", "Waiting")
    run.control(cancel=True)
    status = run.end()
    assert (status["phase"], phases(status)) == ("Cancelled", {"work": "Failed", "after": "Skipped"})
    assert "deleted, with its pods" in steps(status)["work"]["message"]
    until("the Job is gone", lambda: not place.list("Job"))


def test_a_job_that_takes_too_long_is_taken_away(place: Place) -> None:
    place.workflow(job("work", timeout="3s", activeDeadlineSeconds=600, **WAITS))
    status = place.run().end()
    assert (status["phase"], steps(status)["work"]["reason"]) == ("Failed", "StepTimeout")
    until("the Job is gone", lambda: not place.list("Job"))


def test_a_job_that_fails_tells_how_and_a_retry_is_another_job(place: Place) -> None:
    retry = {"limit": 1, "backoff": {"initial": "1s"}}
    place.workflow({**job("work", activeDeadlineSeconds=1, **WAITS), "retry": retry})
    status = place.run().end()
    record = steps(status)["work"]
    assert (record["reason"], record["attempt"]) == ("JobFailed", 2)
    assert "DeadlineExceeded" in record["message"]
    names = made(place)
    assert len(names) == len(set(names)) == 2


@pytest.mark.parametrize("signal", ["SIGTERM", "SIGKILL"])
def test_a_job_is_waited_for_by_the_operator_that_comes_after(place: Place, signal: str) -> None:
    world = place.world
    place.workflow(job("work"), note("after", "work"))
    run = place.run()
    until("there is a Job", lambda: place.list("Job"))
    if signal == "SIGKILL":
        world.operator.kill()
    else:
        assert world.operator.stop() == 0
    world.restart_operator()
    assert run.end()["phase"] == "Succeeded"
    assert len(made(place)) == 1


def test_a_dry_run_creates_no_job(place: Place) -> None:
    place.workflow(job("work"))
    manifest = {
        "apiVersion": "kubernaut.io/v1alpha1",
        "kind": "WorkflowExecution",
        "metadata": {"name": "dry"},
        "spec": {"workflowRef": {"name": "flow"}, "dryRun": True},
    }
    place.create("WorkflowExecution", manifest)
    found = place.world.runs.wait(
        (place.namespace, "dry"), lambda r: "finishedAt" in r.get("status", {}), "the dry run ends"
    )
    assert found["status"]["phase"] == "Succeeded"
    assert place.list("Job") == []
    asked = [one for one in place.world.requests() if one.namespace == place.namespace and one.what == "jobs"]
    assert [(one.verb, one.by == OPERATOR, one.dry_run) for one in asked if one.mutates] == [
        ("create", True, True)
    ]


def still_needed(place: Place) -> Manifest:
    """Begin a run of a Job and a request, both needed as long as ``web`` has its pods; it waits to be let go on."""
    needed = {"when": "target.spec.replicas > 0"}
    url = {"url": "http://hooks.example.invalid/resume"}
    tell = {"name": "tell", "action": "http_request", "dependsOn": ["gate"], "with": url}
    place.workflow(gate("gate"), {**job("work", "gate"), **needed}, {**tell, **needed})
    place.run().step_is("gate", "Waiting")
    return place.get("Deployment", "web")


def test_neither_a_job_nor_a_request_is_sent_that_another_actor_has_made_needless(place: Place) -> None:
    still_needed(place)
    place.change("Deployment", "web", {"spec": {"replicas": 0}, "metadata": {"labels": {"go": "on"}}})
    status = Run(place, place.get("WorkflowExecution", "run")).end()
    assert phases(status) == {"gate": "Succeeded", "work": "Skipped", "tell": "Skipped"}
    assert {steps(status)[name]["reason"] for name in ("work", "tell")} == {"WhenFalse"}
    assert (place.list("Job"), made(place)) == ([], [])


def test_neither_a_job_nor_a_request_is_sent_for_a_target_that_was_made_anew(place: Place) -> None:
    former = still_needed(place)
    place.delete("Deployment", "web")
    until("it is gone", lambda: not place.list("Deployment"))
    # It is as the run waits for it to be, and needs what the former one needed.
    meta = {"name": "web", "labels": {"go": "on"}}
    place.create("Deployment", {"metadata": meta, "spec": former["spec"]})
    status = Run(place, place.get("WorkflowExecution", "run")).end()
    assert status["reason"] in ("TargetNotFound", "TargetReplaced")
    assert not {"work", "tell"} & {name for name, phase in phases(status).items() if phase == "Succeeded"}
    assert (place.list("Job"), made(place)) == ([], [])


@pytest.mark.parametrize("anew", [False, True], ids=["deleted", "made anew"])
def test_no_job_is_created_for_a_target_that_went_while_a_person_was_asked(place: Place, anew: bool) -> None:
    """No step looks at the target, so nothing stops the run."""
    ask = {"name": "ask", "approval": {"message": "May it be done?"}}
    url = {"url": "http://hooks.example.invalid/resume", "whenTargetGone": "Refuse"}
    refused = {
        "name": "tell",
        "action": "http_request",
        "dependsOn": ["ask"],
        "with": url,
        "onFailure": "Continue",
    }
    place.workflow(ask, refused, job("work", "tell"))
    run = place.run()
    run.step_is("ask", "Waiting")
    place.delete("Deployment", "web")
    until("it is gone", lambda: not place.list("Deployment"))
    if anew:
        place.create("Deployment", web())
    assert place.world.kubernaut("approve", "run", "ask", "-n", place.namespace).returncode == 0
    records = steps(run.end())
    reason = "TargetReplaced" if anew else "TargetNotFound"
    assert (records["tell"]["reason"], records["work"]["reason"]) == (reason, reason)
    assert "set whenTargetGone: Act" in records["work"]["message"]
    assert (place.list("Job"), made(place)) == ([], [])
