"""Alerts start runs: one for each incident, whoever tells them, how often, and whatever happens meanwhile."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from e2e.alerting import Teller, alert, payload, taking_alerts
from e2e.websteps import acting, note
from e2e.world import Place, Run, World, until, web
from escalation.played.alerted import ROWS, Alerted
from kubernaut.core.ports import Manifest
from localrun.process import Operator

OWNED = {"deployment": "=owner.name"}
NAMED = {"deployment": "=alert.labels.deployment"}
TARGET = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "=params.deployment"}


@pytest.fixture(scope="module")
def taking(world: World) -> Iterator[tuple[Teller, Operator]]:
    with taking_alerts(world, KUBERNAUT_ALERTS_RECEIVERS="kubernaut") as both:
        yield both


@pytest.fixture
def teller(taking: tuple[Teller, Operator]) -> Teller:
    return taking[0]


def broken(place: Place, parameters: Manifest = NAMED, step: Manifest | None = None, **more: Any) -> None:
    """Have a Workflow that alert Broken starts."""
    trigger = {"alert": {"matchLabels": {"alertname": "Broken"}}, "parameters": parameters, **more}
    place.workflow(
        step or note("only"), parameters=[{"name": "deployment", "required": True}], target=TARGET,
        triggers=[trigger],
    )  # fmt: skip


def over(teller: Teller, *alerts: Manifest) -> None:
    """Tell alerts to be resolved: only then a run that they started has helped."""
    now = datetime.now(UTC).isoformat()
    teller.tell(*({**one, "status": "resolved", "endsAt": now} for one in alerts))


def acted(place: Place) -> bool:
    """Whether the run has done its step."""
    meta = place.get("Deployment", "web")["metadata"]
    return "did-only" in meta.get("annotations", {})


def runs(place: Place) -> list[Manifest]:
    return place.list("WorkflowExecution")


def ended(place: Place, count: int = 1, seconds: float = 40) -> list[Manifest]:
    """Wait until so many runs have ended."""
    final = ("Succeeded", "Failed", "Cancelled")

    def look() -> list[Manifest] | None:
        found = [one for one in runs(place) if (one.get("status") or {}).get("phase") in final]
        return found if len(found) == count else None

    found = until(f"{count} runs have ended", look, seconds)
    assert found is not None
    return found


def test_the_alerts_of_all_pods_of_a_deployment_are_one_incident_with_one_run(
    place: Place, teller: Teller
) -> None:
    place.change("Deployment", "web", {"spec": {"replicas": 20}})
    pods = until("its pods are there", lambda: p if len(p := place.list("Pod")) == 20 else None)
    assert pods is not None
    broken(place, OWNED)
    told = [alert(namespace=place.namespace, pod=pod["metadata"]["name"]) for pod in pods]
    # A pod that is gone when its alert comes belongs to what made it.
    told.append(alert(namespace=place.namespace, pod=pods[0]["metadata"]["name"][:-5] + "zzzzz"))
    answer = teller.tell(*told[:7])
    assert answer["alerts"] == {"started": 1, "joined": 6}
    with ThreadPoolExecutor(7) as others:
        answers = list(others.map(lambda one: teller.tell(one), told[7:]))
    assert [one["alerts"] for one in answers] == [{"joined": 1}] * 14
    assert teller.tell(*told)["alerts"] == {"joined": 21}
    until("the step is done", lambda: acted(place))
    found = json.loads(runs(place)[0]["metadata"]["annotations"]["kubernaut.io/alerts"])
    assert set(found["alerts"]) == {one["fingerprint"] for one in told}
    assert runs(place)[0]["status"]["phase"] == "Verifying"
    over(teller, *told[1:])
    assert runs(place)[0]["status"]["phase"] == "Verifying"
    over(teller, told[0])
    (run,) = ended(place)
    assert run["status"]["verdict"] == "Remediated"
    assert run["status"]["reason"] == "AlertResolvedAfter"
    cause = run["spec"]["trigger"]["alert"]
    assert run["spec"]["trigger"]["type"] == "Alert"
    assert run["spec"]["trigger"]["reason"] == "Broken: Broken in a test"
    assert cause["targetUid"] == place.get("Deployment", "web")["metadata"]["uid"]
    assert cause["episode"] == 1
    assert run["spec"]["parameters"] == [{"name": "deployment", "value": "web"}]
    assert run["status"]["phase"] == "Succeeded"
    why = place.world.kubernaut("why", run["metadata"]["name"], "-n", place.namespace).stdout
    assert "Broken" in why
    assert "alertmanager" in why


def test_a_storm_of_alerts_starts_exactly_one_run_for_each_incident_though_the_operator_is_killed(
    world: World, taking: tuple[Teller, Operator]
) -> None:
    teller, operator = taking
    place = world.place(deployment=False)
    patch = {"metadata": {"annotations": {"did": "=run.name"}}}
    step = acting("only", patch=patch)
    step["with"]["name"] = "=params.deployment"
    broken(place, step=step)
    names = [f"web-{number}" for number in range(200)]
    for name in names:
        manifest = web(0)
        manifest["metadata"]["name"] = name
        place.create("Deployment", manifest)
    alerts = [
        alert(namespace=place.namespace, deployment=name, pod_number=str(pod))
        for pod in range(50)
        for name in names
    ]
    notifications = [alerts[at : at + 250] for at in range(0, len(alerts), 250)]
    told: Counter[str] = Counter()
    with ThreadPoolExecutor(8) as senders:
        answers = senders.map(lambda some: teller.insist(*some), notifications)
        for number, answer in enumerate(answers):
            told.update(answer["alerts"])
            if number == 8:
                operator.kill()
                world.restart_operator()
    found = runs(place)
    assert len(found) == 200
    assert Counter(run["spec"]["parameters"][0]["value"] for run in found) == dict.fromkeys(names, 1)
    assert set(told) <= {"started", "joined"}
    assert sum(told.values()) == 10_000

    def all_done() -> bool:
        return all((run.get("status") or {}).get("phase") == "Verifying" for run in runs(place))

    until("all have acted", all_done, 120)
    for name in names:
        over(teller, *(one for one in alerts if one["labels"]["deployment"] == name))
    for run in ended(place, 200, 120):
        assert run["status"]["verdict"] == "Remediated", run["status"]
    did = [one["metadata"]["annotations"]["did"] for one in place.list("Deployment")]
    assert sorted(did) == sorted(run["metadata"]["name"] for run in found)


def test_an_alert_that_fires_anew_is_the_same_incident_within_the_cooldown_and_another_after_it(
    place: Place, teller: Teller
) -> None:
    broken(place, cooldown="10m")
    labels = {"namespace": place.namespace, "deployment": "web"}
    assert teller.tell(alert(minutes_ago=60, labels=labels))["alerts"] == {"started": 1}
    assert teller.tell(alert(minutes_ago=60, ended_ago=40, labels=labels))["alerts"] == {"resolved": 1}
    assert teller.tell(alert(minutes_ago=35, labels=labels))["alerts"] == {"joined": 1}
    assert teller.tell(alert(minutes_ago=35, ended_ago=30, labels=labels))["alerts"] == {"resolved": 1}
    last = alert(minutes_ago=5, labels=labels)
    assert teller.tell(last)["alerts"] == {"started": 1}
    over(teller, last)
    first, second = sorted(ended(place, 2), key=lambda run: run["spec"]["trigger"]["alert"]["episode"])
    assert [run["spec"]["trigger"]["alert"]["episode"] for run in (first, second)] == [1, 2]
    assert (
        first["metadata"]["labels"]["kubernaut.io/incident"]
        == (second["metadata"]["labels"]["kubernaut.io/incident"])
    )


def test_the_next_run_by_an_alert_waits_after_one_that_did_not_help_and_a_person_s_does_not(
    place: Place, teller: Teller
) -> None:
    trigger = {"alert": {"matchLabels": {"alertname": "Broken"}}, "parameters": NAMED, "cooldown": "10m"}
    place.workflow(
        note("only"), parameters=[{"name": "deployment", "required": True}], target=TARGET, triggers=[trigger],
        verify={"expect": ["target.spec.paused"], "stabilization": "0s", "timeout": "100ms"},
    )  # fmt: skip
    labels = {"namespace": place.namespace, "deployment": "web"}
    assert teller.tell(alert(minutes_ago=60, labels=labels))["alerts"] == {"started": 1}
    (first,) = ended(place)
    assert first["status"]["verdict"] == "NotFixed"
    assert teller.tell(alert(minutes_ago=60, ended_ago=40, labels=labels))["alerts"] == {"resolved": 1}
    again = alert(minutes_ago=5, labels=labels)
    assert teller.tell(again)["alerts"] == {"started": 1}
    (second,) = [run for run in runs(place) if run["metadata"]["uid"] != first["metadata"]["uid"]]
    held = Run(place, second).held("BackingOff")
    assert f"did not help (run {first['metadata']['name']} ended" in held
    assert place.run("by-hand", deployment="web").end()["verdict"] == "NotFixed"
    assert not place.get("WorkflowExecution", second["metadata"]["name"])["status"].get("steps")
    over(teller, again)
    assert Run(place, second).end()["verdict"] == "SelfHealed"


def test_what_was_resolved_starts_nothing_and_ends_a_run_that_did_not_begin(
    place: Place, teller: Teller
) -> None:
    broken(place)
    labels = {"namespace": place.namespace, "deployment": "web"}
    assert teller.tell(alert(ended_ago=0.1, labels=labels))["alerts"] == {"resolved": 1}
    assert runs(place) == []
    place.world.switch("off", "a test")
    try:
        until("acting is stopped", lambda: place.world.operator.metric("kubernaut_acting_stopped"))
        teller.tell(alert(labels=labels))
        held = until("the run is held", lambda: (runs(place)[0].get("status") or {}).get("conditions"))
        assert held
        teller.tell(alert(ended_ago=0.01, labels=labels))
        (run,) = ended(place)
    finally:
        place.world.switch("on")
    assert run["status"]["verdict"] == "SelfHealed"
    assert run["status"]["reason"] == "AlertResolved"
    assert "was resolved at" in run["status"]["message"]
    assert "did-only" not in place.get("Deployment", "web")["metadata"].get("annotations", {})


def test_an_approval_that_comes_after_the_alert_was_resolved_changes_nothing(
    place: Place, teller: Teller
) -> None:
    trigger = {"alert": {"matchLabels": {"alertname": "Broken"}}, "parameters": NAMED}
    place.workflow(
        note("only"), parameters=[{"name": "deployment", "required": True}], target=TARGET,
        triggers=[trigger], guards={"approval": "Always"},
    )  # fmt: skip
    fires = alert(namespace=place.namespace, deployment="web")
    teller.tell(fires)
    run = Run(place, runs(place)[0])
    run.step_is("guards/approval", "Waiting")
    over(teller, fires)
    told = place.world.kubernaut("approve", run.name, "guards/approval", "-n", place.namespace)
    assert told.returncode == 0, told
    status = run.end()
    assert (status["verdict"], status["reason"]) == ("SelfHealed", "AlertResolved")
    assert not acted(place)


def test_an_alert_about_an_object_that_was_replaced_repairs_no_other(place: Place, teller: Teller) -> None:
    broken(place)
    place.world.switch("off", "a test")
    try:
        until("acting is stopped", lambda: place.world.operator.metric("kubernaut_acting_stopped"))
        teller.tell(alert(namespace=place.namespace, deployment="web"))
        until("the run is held", lambda: (runs(place)[0].get("status") or {}).get("conditions"))
        place.delete("Deployment", "web")
        until("it is gone", lambda: not place.list("Deployment"))
        place.create("Deployment", web())
    finally:
        place.world.switch("on")
    (run,) = ended(place)
    assert run["status"]["phase"] == "Failed"
    assert run["status"]["reason"] == "TargetReplaced"


def test_an_alert_of_another_namespace_is_none_of_a_workflows_business_unless_it_may_act_beyond_its_own(
    place: Place, teller: Teller
) -> None:
    broken(place)
    told = alert(namespace="elsewhere", deployment="web")
    assert teller.tell(told)["alerts"] == {"unmatched": 1}
    assert teller.tell(alert(deployment="web"))["alerts"] == {"unmatched": 1}
    labels = {"metadata": {"labels": {"kubernaut.io/cluster-scoped": "true"}}}
    place.change("Namespace", place.namespace, labels)
    try:
        until("the label counts", lambda: teller.tell(told)["alerts"] == {"started": 1})
    finally:
        # Else it would be told of what is tested elsewhere.
        place.delete("Workflow", "flow")


def test_an_alert_without_a_real_object_starts_nothing_and_says_why(place: Place, teller: Teller) -> None:
    broken(place, OWNED)
    answer = teller.tell(
        alert(namespace=place.namespace, pod="nobody-0-abcde"),
        alert(namespace=place.namespace, instance="10.0.0.1"),
        alert("Unknown", namespace=place.namespace),
    )
    assert answer["alerts"] == {"unresolved": 2, "unmatched": 1}
    assert any("Pod nobody-0-abcde is gone" in one for one in answer["problems"])
    assert any("no label of the alert names an object" in one for one in answer["problems"])
    assert runs(place) == []


def test_an_account_that_may_not_look_is_told_by_name(world: World, teller: Teller) -> None:
    place = world.place(rights=False)
    world.refusing.add(place.namespace)
    place.workflow(
        note("only"), parameters=[{"name": "deployment", "required": True}], target=TARGET, ready=True,
        triggers=[{"alert": {"matchLabels": {"alertname": "Broken"}}, "parameters": OWNED}],
    )  # fmt: skip
    answer = teller.tell(alert(namespace=place.namespace, pod="web-1-a"))
    assert answer["alerts"] == {"unresolved": 1}
    assert "pods" in answer["problems"][0]

    def lacks() -> str | None:
        told = place.get("Workflow", "flow")["status"]["conditions"]
        return next((one["message"] for one in told if one["type"] == "PermissionsReady"), None)

    lacking = until("it is told what the account lacks", lacks)
    assert lacking is not None
    assert "get pods" in lacking
    assert "get replicasets.apps" in lacking


@pytest.fixture(scope="module")
def labelled(world: World) -> Place:
    """A namespace in which alerts are told whose labels somebody else has written."""
    place = world.place()
    settings = {"metadata": {"name": "settings"}, "data": {"a": "x"}}
    path = f"/api/v1/namespaces/{place.namespace}/configmaps"
    assert world.admin.request("POST", path, settings).ok
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "patch"]}]
    place.create("Role", {"metadata": {"name": "settings"}, "rules": rules})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "settings"}
    subject = {"kind": "ServiceAccount", "name": "kubernaut-repair", "namespace": place.namespace}
    place.create(
        "RoleBinding", {"metadata": {"name": "settings"}, "roleRef": reference, "subjects": [subject]}
    )
    place.await_right(place.account, {"verb": "patch", "resource": "configmaps"}, True)
    return place


@pytest.mark.parametrize(("number", "row"), [*enumerate(ROWS)], ids=[str(row) for row in ROWS])
def test_what_is_written_in_a_label_is_a_text_and_gets_nobody_more_rights(
    labelled: Place, teller: Teller, number: int, row: Alerted
) -> None:
    """The attempts of tests/escalation/played/alerted.py."""
    told = row.played(teller, labelled, f"try-{number}", row.word)
    assert row.says in told, told or "nobody refused it"
    twin = row.played(teller, labelled, f"twin-{number}", row.twin)
    assert twin == "", f"the twin was refused: {twin}"


@pytest.mark.parametrize(
    ("body", "token", "status", "told"),
    [
        (b"{}", "wrong-token-0123456789", 401, "bearer token"),
        (b"{}", None, 401, "bearer token"),
        (b"no json", "", 400, "the body is no payload"),
        (b"[]", "", 400, "the body is no payload"),
        (json.dumps({**payload(), "version": "3"}).encode(), "", 400, "version: "),
        (json.dumps({**payload(), "alerts": [{"status": "firing"}]}).encode(), "", 400, "alerts.0.labels"),
        (
            json.dumps(payload({**alert(), "startsAt": "yesterday"})).encode(),
            "",
            400,
            "alerts.0.startsAt: Input should be a valid datetime",
        ),
        (json.dumps(payload(receiver="pager")).encode(), "", 403, "receiver 'pager' is not known here"),
        (b" " * (2**20 + 1), "", 413, "KUBERNAUT_ALERTS_BYTES"),
    ],
)
def test_what_can_not_be_taken_is_refused_with_what_is_wrong_and_counted(
    taking: tuple[Teller, Operator], body: bytes, token: str | None, status: int, told: str
) -> None:
    teller, operator = taking
    before = operator.metric("kubernaut_alert_requests_total", code=str(status))
    found, answer = teller.post(body, token) if token != "" else teller.post(body)
    assert found == status, answer
    assert told in answer["error"]
    assert operator.metric("kubernaut_alert_requests_total", code=str(status)) == before + 1


def test_while_the_feature_is_off_alerts_are_put_off_and_none_is_lost(place: Place, teller: Teller) -> None:
    broken(place)
    told = alert(namespace=place.namespace, deployment="web")
    world = place.world

    def feature(value: str) -> None:
        done = world.kubernaut("features", f"alerts={value}")
        assert done.returncode == 0, done.stderr

    feature("off")
    try:
        body = json.dumps(payload(told)).encode()
        status, answer = until("it is off", lambda: a if (a := teller.post(body))[0] == 503 else None) or (
            0,
            {},
        )
        assert status == 503
        assert "feature alerts is switched off" in answer["error"]
    finally:
        feature("on")
    teller.insist(told)
    until("the step is done", lambda: acted(place))
    assert len(runs(place)) == 1
