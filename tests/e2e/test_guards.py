"""Guards on a real cluster: each holds or declines, says why in one line, and lets go when it should."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import yaml

from apiserver.resources import allow
from apiserver.rest import MERGE_PATCH
from e2e.websteps import note
from e2e.world import SWITCH, Place, Run, World, condition, done, steps, until

APPROVAL = "guards/approval"
NEVER = {"expect": ["false"], "timeout": "300ms"}
RESTART = {"name": "restart", "action": "restart_deployment"}


@pytest.fixture(autouse=True)
def _no_guards_left(world: World) -> Iterator[None]:
    yield
    data = world.admin.request("GET", SWITCH).body.get("data") or {}
    declare(world, **{key: None for key in data if key.startswith("guards.")})


def declare(world: World, **entries: dict[str, Any] | None) -> None:
    """Declare guards of the cluster or of a namespace; None takes an entry away."""
    data = {key: None if one is None else yaml.safe_dump(one) for key, one in entries.items()}
    answer = world.admin.request("PATCH", SWITCH, {"data": data}, content_type=MERGE_PATCH)
    assert answer.ok, answer
    declared = sum(key.startswith("guards.") for key in answer.body.get("data") or {})
    until(
        "the operator knows of it",
        lambda: world.operator.metric("kubernaut_guard_levels") == declared,
    )


def guard_namespace(place: Place, guards: dict[str, Any] | None) -> None:
    declare(place.world, **{f"guards.namespace.{place.namespace}": guards})


def statuses_written(place: Place, run: Run) -> int:
    """Return how often the operator has written a run's status, by the audit log."""
    return sum(
        request.subresource == "status" and request.name == run.name
        for request in place.world.persisted(place.namespace)
    )


def why(place: Place, run: Run) -> str:
    told = place.world.kubernaut("why", run.name, "-n", place.namespace)
    assert told.returncode == 0, told
    return " ".join(told.stdout.split())


def test_a_run_waits_for_the_cooldown_at_the_price_of_one_write_also_over_a_restart(place: Place) -> None:
    place.workflow(note("only"), guards={"cooldown": "25s"})
    assert place.run("a").end()["phase"] == "Succeeded"
    world = place.world
    world.operator.stop()
    world.restart_operator()
    run = place.run("b")
    told = run.held("Cooldown")
    assert f"Cooldown 25s of Workflow flow: run {place.namespace}/a on Deployment web ended at" in told
    assert statuses_written(place, run) == 1
    shown = why(place, run)
    assert "declared cooldown 25s" in shown
    assert "waits Cooldown: Cooldown 25s of Workflow flow" in shown
    status = run.end()
    assert status["phase"] == "Succeeded"
    ended = datetime.fromisoformat(place.get("WorkflowExecution", "a")["status"]["finishedAt"])
    assert datetime.fromisoformat(status["startedAt"]) - ended >= timedelta(seconds=25)


def test_guards_that_let_a_run_pass_cost_no_write(place: Place) -> None:
    place.workflow(note("only"))
    place.workflow(note("only"), name="guarded", guards={"maxPerHour": 9, "cooldown": "1s"})
    runs = []
    for name, workflow in (("a", "flow"), ("b", "guarded")):
        # One after the other: who waits for the target has to say so, which is a write.
        runs.append(place.run(name, workflow))
        runs[-1].end()
    until("both ends are in the audit log", lambda: all(statuses_written(place, run) >= 2 for run in runs))
    assert [statuses_written(place, run) for run in runs] == [2, 2]


def test_more_runs_than_may_in_an_hour_wait_and_are_declined_after_their_wait(place: Place) -> None:
    place.workflow(note("only"), guards={"maxPerHour": 2, "waitAtMost": "1s"})
    for name in ("a", "b"):
        assert place.run(name).end()["phase"] == "Succeeded"
    run = place.run("c")
    status = run.end()
    assert (status["phase"], status["verdict"], status["reason"]) == ("Failed", "Declined", "TooManyRuns")
    assert "maxPerHour 2 of Workflow flow" in status["message"]
    assert "It waited for 1s, as long as waitAtMost allows." in status["message"]
    assert "declined TooManyRuns" in why(place, run)


def _down(place: Place, count: int) -> bool:
    found = place.get("Deployment", "web")
    status = found["status"]
    told = [status.get(field) for field in ("replicas", "updatedReplicas", "unavailableReplicas")]
    return status.get("observedGeneration") == found["metadata"]["generation"] and told == [count] * 3


def test_nothing_is_changed_while_too_few_replicas_are_there(place: Place) -> None:
    all_at_once = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "100%", "maxSurge": 0}}
    template = {"spec": {"nodeSelector": {"no": "where"}}}
    # One after the other: else the former template's pods may come up four times before they go.
    place.change("Deployment", "web", {"spec": {"strategy": all_at_once, "template": template}})
    until("its only pod is one that nobody takes", lambda: _down(place, 1))
    place.change("Deployment", "web", {"spec": {"replicas": 4}})
    until("no replica is available", lambda: _down(place, 4))
    place.workflow(note("only"), guards={"maxUnavailablePercent": 50})
    run = place.run()
    told = run.held("TooFewHealthy")
    assert (
        "maxUnavailablePercent 50 of Workflow flow: 4 of 4 replicas of Deployment web are unavailable" in told
    )
    assert done(place) == set()
    place.change("Deployment", "web", {"spec": {"template": {"spec": {"nodeSelector": None}}}})
    assert run.end()["phase"] == "Succeeded"
    assert done(place) == {"only"}


def test_a_step_takes_down_no_more_than_may_be_and_why_says_whether_what_it_did_stands(place: Place) -> None:
    place.change("Deployment", "web", {"spec": {"replicas": 4}})
    until("all are available", lambda: place.get("Deployment", "web")["status"].get("availableReplicas") == 4)
    guard_namespace(place, {"maxUnavailablePercent": 25})
    scale = {"name": "scale", "action": "scale_deployment", "with": {"replicas": 2, "autoscaler": "Ignore"}}
    place.workflow(scale)
    status = place.run("much").end()
    assert (status["verdict"], status["reason"]) == ("Declined", "TooFewHealthy")
    assert (
        f"maxUnavailablePercent 25 of namespace {place.namespace}: it would take down 2 of 4 replicas of Deployment "
        "web beside 0 that are unavailable, and at most 1 may be" in status["message"]
    )
    assert place.get("Deployment", "web")["spec"]["replicas"] == 4
    place.workflow({**scale, "with": {"replicas": 3, "autoscaler": "Ignore"}}, name="less")
    run = place.run("little", "less")
    assert run.end()["phase"] == "Succeeded"
    told = f"effect happened Yes, helped Yes: Deployment {place.namespace}/web carries the mark of step scale"
    until("its controller has told that all fare well", lambda: told in why(place, run))


def test_a_closed_change_window_holds_until_it_is_taken_away(place: Place) -> None:
    now = datetime.now(UTC)
    clock = {"start": f"{now - timedelta(hours=1):%H:%M}", "end": f"{now + timedelta(hours=1):%H:%M}"}
    guard_namespace(place, {"changeWindows": [{"name": "freeze", "type": "Closed", **clock}]})
    place.workflow(note("only"))
    run = place.run()
    told = run.held("OutsideChangeWindow")
    assert f"No changes by changeWindows of namespace {place.namespace}: within closed window freeze" in told
    assert done(place) == set()
    guard_namespace(place, None)
    assert run.end()["phase"] == "Succeeded"


def test_in_a_protected_namespace_nothing_is_done(place: Place) -> None:
    declare(place.world, **{"guards.cluster": {"protectedNamespaces": [place.namespace]}})
    place.workflow(note("only"))
    status = place.run().end()
    assert (status["phase"], status["verdict"], status["reason"]) == ("Failed", "Declined", "Protected")
    assert f"namespace {place.namespace} is protected by guards of the cluster" in status["message"].lower()
    assert place.world.persisted(place.namespace, user=place.account) == []


def test_a_protected_object_is_not_touched_whoever_names_it(place: Place) -> None:
    place.label(tier="gold")
    patch = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": "web",
        "patch": {"metadata": {"labels": {"x": "y"}}},
    }
    other = {"apiVersion": "v1", "kind": "ServiceAccount", "name": "default"}
    guard_namespace(place, {"protectedLabels": [{"key": "tier", "value": "gold"}]})
    place.workflow(
        {"name": "sneak", "action": "patch_resource", "with": patch},
        target=other,
        serviceAccountName="kubernaut-repair",
    )
    status = place.run().end()
    assert status["verdict"] in ("Declined", "NotFixed")
    assert "x" not in place.get("Deployment", "web")["metadata"]["labels"]


def test_a_storm_holds_new_runs_and_lets_them_go_when_it_is_over(place: Place) -> None:
    guard_namespace(place, {"storm": {"runs": 2, "within": "6s", "cooldown": "6s"}})
    place.workflow(note("only"))
    for name in ("a", "b"):
        assert place.run(name).end()["phase"] == "Succeeded"
    run = place.run("c")
    assert f"Storm in namespace {place.namespace}: 2 runs began within 6s" in run.held("Storm")
    assert run.end()["phase"] == "Succeeded"


def test_guards_that_can_not_be_read_hold_their_namespace_and_say_which_entry(place: Place) -> None:
    guard_namespace(place, {"coolDown": "10m"})
    place.workflow(note("only"))
    run = place.run()
    told = run.held("GuardsInvalid")
    assert f"entry guards.namespace.{place.namespace}: coolDown" in told
    guard_namespace(place, None)
    assert run.end()["phase"] == "Succeeded"


def approve(place: Place, run: Run, user: str) -> None:
    """Approve what guards ask, as a user with the right to, in the user's own name."""
    allow(place.world.admin, place.namespace, user, "kubernaut-approver")
    verb = {"verb": "approve", "group": "kubernaut.io", "resource": "workflowexecutions"}
    place.await_right(user, verb, True)
    record = {"step": APPROVAL, "decision": "Approve", "by": user, "reason": "looked at it"}
    with place.world.admin.acting_as(user, "system:authenticated") as client:
        body = {"spec": {"control": {"approvals": [record]}}}
        answer = place.patch("WorkflowExecution", run.name, body, client)
        assert answer.ok, answer


def test_after_bad_ends_the_next_action_of_high_risk_waits_for_a_person(place: Place) -> None:
    place.workflow(RESTART, verify=NEVER, guards={"approval": "Never"})
    for name in ("a", "b", "c"):
        status = place.run(name).end()
        assert (status["verdict"], status["highRisk"]) == ("NotFixed", ["restart_deployment"])
    run = place.run("d")
    told = run.held("ApprovalRequired")
    assert f"the breaker of restart_deployment is open in namespace {place.namespace}: 3 runs with it" in told
    assert steps(place.get("WorkflowExecution", "d")["status"]).get("restart") is None
    assert f"kubernaut approve d {APPROVAL}" in why(place, run)
    with place.world.admin.acting_as("mallory", "system:authenticated", "system:masters") as client:
        forged = {"step": APPROVAL, "decision": "Approve", "by": "alice"}
        body = {"spec": {"control": {"approvals": [forged]}}}
        assert place.patch("WorkflowExecution", run.name, body, client).status == 422
    approve(place, run, "alice")
    status = run.end()
    assert steps(status)["restart"]["phase"] == "Succeeded"
    assert steps(status)[APPROVAL]["message"] == "Approve by alice: looked at it"
    assert "approval Succeeded: Approve by alice: looked at it" in why(place, run)


def test_always_asks_before_the_first_effect_and_a_denial_declines(place: Place) -> None:
    guard_namespace(place, {"approval": "Always"})
    place.workflow(note("only"))
    run = place.run()
    run.step_is(APPROVAL, "Waiting")
    assert done(place) == set()
    told = place.world.kubernaut("deny", run.name, APPROVAL, "-n", place.namespace, "--reason", "not now")
    assert told.returncode == 0, told
    status = run.end()
    assert (status["verdict"], status["reason"]) == ("Declined", "ApprovalDenied")
    assert done(place) == set()


class Alertmanager:
    """Answers like an Alertmanager; ``firing`` None answers nothing that can be read."""

    def __init__(self) -> None:
        self.firing: list[str] | None = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                names = outer.firing
                body = json.dumps([{"labels": {"alertname": name}} for name in names or []]).encode()
                self.send_response(200 if names is not None else 503)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@contextmanager
def alerting() -> Iterator[Alertmanager]:
    one = Alertmanager()
    try:
        yield one
    finally:
        one.server.shutdown()
        one.server.server_close()


def test_a_named_alert_holds_and_so_does_an_alertmanager_that_is_away(world: World) -> None:
    with alerting() as source:
        env = {"KUBERNAUT_ALERTMANAGER_URL": source.url, "KUBERNAUT_POLICY_CHECK": "1s"}
        # Before the operator starts: runs of others that wait for an alert make it ask, and an answer serves for 5 s.
        source.firing = ["KubeNodeNotReady"]
        with world.other_operator(world.postgres.dsn, env):
            place = world.place()
            place.workflow(note("only"), guards={"stopWhileFiring": [{"alert": "KubeNodeNotReady"}]})
            run = place.run()
            assert "Alert KubeNodeNotReady fires (stopWhileFiring of Workflow flow)" in run.held(
                "AlertFiring"
            )
            source.firing = None
            told = run.held("AlertsUnknown")
            assert f"the Alertmanager at {source.url} can't be asked: it answered 503" in told
            source.firing = ["Other"]
            assert run.end()["phase"] == "Succeeded"


def test_without_an_alert_source_a_named_alert_counts_as_firing(place: Place) -> None:
    place.workflow(note("only"), guards={"stopWhileFiring": [{"alert": "KubeNodeNotReady"}]})
    run = place.run()
    assert "set KUBERNAUT_ALERTMANAGER_URL" in run.held("AlertsUnknown")
    run.control(cancel=True)
    assert run.end()["verdict"] == "Declined"
    assert condition(place.get("WorkflowExecution", run.name), "Ready")["reason"] == "Cancelled"
