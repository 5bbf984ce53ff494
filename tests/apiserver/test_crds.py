"""The API server takes and refuses what the models do, and keeps runs as they were asked for."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from apiobjects.crossfield import cross_field_cases
from apiobjects.examples import FULL
from apiobjects.mutants import mutants
from apiobjects.strategies import objects, schema_of
from apiserver.resources import (
    EXECUTION,
    WORKFLOW,
    create,
    patch,
    path_of,
    refused_by,
    smallest,
    writer_of_status,
)
from apiserver.rest import Answer, Client
from kubernaut.api.crd import KINDS, Kind
from localcluster import Cluster

Object = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]
# A failure names the place that differs, so there is nothing to shrink to.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
BY_NAME = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


def model_takes(kind: Kind, thing: Object) -> bool:
    try:
        kind.model.from_wire(thing)
    except ValidationError:
        return False
    return True


def without_status(thing: Object) -> Object:
    name = {"name": thing["metadata"]["name"]}
    return {key: value for key, value in thing.items() if key != "status"} | {"metadata": name}


class Judge:
    """Asks the API server what it thinks of an object, spec and status, without storing it."""

    def __init__(self, admin: Client, writers: dict[str, Client]) -> None:
        self.admin = admin
        self._writers = writers
        self._stored: dict[str, Object] = {}
        for kind in KINDS:
            create(admin, kind, "probe", smallest(kind, "stored"))
            self._stored[kind.name] = admin.request("GET", path_of(kind, "probe", "stored")).body

    def __call__(self, kind: Kind, thing: Object) -> Answer:
        """Return the first refusal, or the answer to the status."""
        answer = create(self.admin, kind, "probe", without_status(thing), dryRun="All")
        # Policies come after the schema: a run that only they refuse is fine by the schema.
        if not (answer.ok or refused_by(answer, "run-approval") or refused_by(answer, "run-origin")):
            return answer
        where = path_of(kind, "probe", "stored", "status")
        body = self._stored[kind.name] | {"status": thing["status"]}
        return self._writers[kind.name].request("PUT", where, body, fieldValidation="Strict", dryRun="All")


@pytest.fixture
def judge(cluster: Cluster) -> Iterator[Judge]:
    """One for each test: the API server hangs up on who has not asked anything for 90 s."""
    with Client(cluster.kubeconfig) as admin, contextlib.ExitStack() as stack:
        yield Judge(admin, {kind.name: stack.enter_context(writer_of_status(admin, kind)) for kind in KINDS})


@BY_NAME
def test_the_full_example_is_taken_as_it_is(kind: Kind, judge: Judge) -> None:
    whole = FULL[kind.name]()
    answer = judge(kind, whole)
    assert answer.ok, answer.message
    assert answer.body["status"] == whole["status"]


@BY_NAME
def test_api_server_and_model_judge_every_change_of_one_place_alike(kind: Kind, judge: Judge) -> None:
    whole, schema = FULL[kind.name](), schema_of(kind)
    cases = [case for part in ("spec", "status") for case in mutants(schema, whole, part)]
    answers = [(case, judge(kind, case.object)) for case in cases]
    assert [f"{case.label}: {answer.message}" for case, answer in answers if answer.ok != case.valid] == []
    assert [case.label for case in cases if model_takes(kind, case.object) != case.valid] == []


def test_api_server_and_model_judge_rules_across_fields_alike(judge: Judge) -> None:
    answers = [(case, judge(WORKFLOW, case.object)) for case in cross_field_cases()]
    assert [f"{case.label}: {answer.message}" for case, answer in answers if answer.ok != case.valid] == []


@BY_NAME
@settings(max_examples=60, phases=PHASES, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_api_server_and_model_take_the_same_random_objects_with_the_same_meaning(
    kind: Kind, judge: Judge, data: st.DataObject
) -> None:
    thing = data.draw(objects(kind))
    answer = judge(kind, thing)
    assert answer.ok, answer.message
    stored = create(judge.admin, kind, "probe", without_status(thing), dryRun="All")
    sent = kind.model.from_wire(thing)
    assert kind.model.from_wire(answer.body).model_dump()["status"] == sent.model_dump()["status"]
    if stored.ok:
        assert kind.model.from_wire(stored.body).model_dump()["spec"] == sent.model_dump()["spec"]


@BY_NAME
@settings(max_examples=60, phases=PHASES, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_api_server_and_model_refuse_the_same_changes_of_random_objects(
    kind: Kind, judge: Judge, data: st.DataObject
) -> None:
    thing = data.draw(objects(kind))
    part = data.draw(st.sampled_from(["spec", "status"]))
    case = data.draw(st.sampled_from(list(mutants(schema_of(kind), thing, part))))
    answer = judge(kind, case.object)
    assert (answer.ok, model_takes(kind, case.object)) == (case.valid, case.valid), (
        case.label,
        answer.message,
    )


CHANGES: dict[str, Object] = {
    "workflowRef": {"workflowRef": {"name": "other"}},
    "a parameter's value": {"parameters": [{"name": "deployment", "value": "other"}]},
    "one more parameter": {
        "parameters": [{"name": "deployment", "value": "shop"}, {"name": "more", "value": "1"}]
    },
    "no parameters": {"parameters": None},
    "trigger": {"trigger": {"by": "eve"}},
    "no trigger": {"trigger": None},
    "a dry run": {"dryRun": False},
    "no dry run": {"dryRun": None},
    "retryFrom": {"retryFrom": {"name": "other"}},
    "no retryFrom": {"retryFrom": None},
    "the parent's UID": {"parent": {"uid": "other"}},
    "the parent's step": {"parent": {"step": "other"}},
    "no parent": {"parent": None},
}
ASKED: Object = {
    "parameters": [{"name": "deployment", "value": "shop"}],
    "trigger": {"by": "whole"},
    "dryRun": True,
    "retryFrom": {"name": "first"},
    "parent": {"name": "whole", "uid": "1", "step": "repair"},
}


def ask(admin: Client, namespace: str) -> None:
    """Create a run as a step of another one does: as an account of the namespace."""
    with admin.account(namespace, "kubernaut-repair", "system:masters") as account:
        answer = create(account, EXECUTION, namespace, smallest(EXECUTION, "run", **ASKED))
    assert answer.ok, answer


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_a_run_was_asked_to_do_never_changes(change: Object, admin: Client, namespace: str) -> None:
    ask(admin, namespace)
    answer = patch(admin, EXECUTION, namespace, "run", {"spec": change})
    assert answer.status == 422
    assert "start a new run" in answer.message


@pytest.mark.parametrize("field", ASKED)
def test_what_a_run_was_not_asked_to_do_is_not_added_later(field: str, admin: Client, namespace: str) -> None:
    assert create(admin, EXECUTION, namespace, smallest(EXECUTION, "run")).ok
    answer = patch(admin, EXECUTION, namespace, "run", {"spec": {field: ASKED[field]}})
    assert answer.status == 422
    assert "start a new run" in answer.message


def test_what_a_run_was_asked_to_do_may_be_said_again(admin: Client, namespace: str) -> None:
    ask(admin, namespace)
    assert patch(admin, EXECUTION, namespace, "run", {"spec": ASKED}).ok


def test_a_run_can_be_moved_to_another_snapshot_more_than_once(admin: Client, namespace: str) -> None:
    assert create(admin, EXECUTION, namespace, smallest(EXECUTION, "run")).ok
    for snapshot in ("crash-loop-1", "crash-loop-2", None):
        assert patch(admin, EXECUTION, namespace, "run", {"spec": {"control": {"migrateTo": snapshot}}}).ok


def test_a_run_can_be_paused_and_resumed(admin: Client, namespace: str) -> None:
    assert create(admin, EXECUTION, namespace, smallest(EXECUTION, "run")).ok
    for paused in (True, False):
        assert patch(admin, EXECUTION, namespace, "run", {"spec": {"control": {"paused": paused}}}).ok


@pytest.mark.parametrize("change", [{"cancel": False}, {"cancel": None}, None], ids=str)
def test_a_cancelled_run_stays_cancelled(change: Any, admin: Client, namespace: str) -> None:
    assert create(admin, EXECUTION, namespace, smallest(EXECUTION, "run")).ok
    assert patch(admin, EXECUTION, namespace, "run", {"spec": {"control": {"cancel": True}}}).ok
    answer = patch(admin, EXECUTION, namespace, "run", {"spec": {"control": change}})
    assert answer.status == 422
    assert "can't be un-cancelled" in answer.message
    assert patch(admin, EXECUTION, namespace, "run", {"spec": {"control": {"paused": True}}}).ok


@BY_NAME
def test_status_is_a_thing_of_its_own(kind: Kind, admin: Client, namespace: str) -> None:
    status = FULL[kind.name]()["status"]
    created = create(admin, kind, namespace, smallest(kind, "one") | {"status": status})
    assert created.ok
    assert "status" not in created.body
    with writer_of_status(admin, kind) as writer:
        body = {"status": {"observedGeneration": 7}, "metadata": {"labels": {"a": "b"}}}
        written = patch(writer, kind, namespace, "one", body, "status")
    assert written.ok
    assert written.body["status"]["observedGeneration"] == 7
    assert "labels" not in written.body["metadata"]
    assert written.body["metadata"]["generation"] == 1
    through_main = patch(admin, kind, namespace, "one", {"status": {"observedGeneration": 8}})
    assert through_main.body["status"]["observedGeneration"] == 7


TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
ROWS: dict[str, dict[str, Any]] = {
    "Workflow": {
        "Ready": "True",
        "Reason": "Valid",
        "Permissions": None,
        "Account": "kubernaut-repair",
        "Target": "Deployment",
    },
    "WorkflowExecution": {
        "Workflow": "crash-loop",
        "Phase": "Succeeded",
        "Progress": "1/1",
        "Target": "shop",
        "Verdict": "Remediated",
    },
    "DiscoveredPattern": {
        "Support": 4,
        "Success": 0.75,
        "Recommended": "oom-killed",
        "Signature": "OOMKilled in Deployments",
    },
}


@BY_NAME
def test_kubectl_get_shows_what_a_person_wants(kind: Kind, admin: Client, namespace: str) -> None:
    whole = FULL[kind.name]()
    created = create(admin, kind, namespace, smallest(kind, "one"))
    assert created.ok
    with writer_of_status(admin, kind) as writer:
        assert patch(writer, kind, namespace, "one", {"status": whole["status"]}, "status").ok
    table = admin.request("GET", path_of(kind, namespace), accept=TABLE).body
    columns = [column["name"] for column in table["columnDefinitions"] if column["priority"] == 0]
    cells = dict(zip([c["name"] for c in table["columnDefinitions"]], table["rows"][0]["cells"], strict=True))
    assert columns == ["Name", *ROWS[kind.name], "Age"]
    assert {name: cells[name] for name in ROWS[kind.name]} == ROWS[kind.name]


def test_runs_are_selected_by_phase_and_by_workflow(admin: Client, namespace: str) -> None:
    for name, workflow, phase in (("a", "x", "Running"), ("b", "x", "Failed"), ("c", "y", "Running")):
        assert create(
            admin, EXECUTION, namespace, smallest(EXECUTION, name, workflowRef={"name": workflow})
        ).ok
        with writer_of_status(admin, EXECUTION) as writer:
            assert patch(writer, EXECUTION, namespace, name, {"status": {"phase": phase}}, "status").ok

    def select(selector: str) -> list[str]:
        found = admin.request("GET", path_of(EXECUTION, namespace), fieldSelector=selector).body
        return [item["metadata"]["name"] for item in found["items"]]

    assert select("status.phase=Running") == ["a", "c"]
    assert select("spec.workflowRef.name=x") == ["a", "b"]
    assert select("status.phase!=Running,spec.workflowRef.name=x") == ["b"]


@pytest.mark.parametrize("resource", ["kwf", "kwfe", "kdp"])
def test_short_names_work(resource: str, cluster: Cluster) -> None:
    assert "error" not in cluster.run_kubectl("get", resource, "-n", "probe")


def test_our_kinds_are_a_category(cluster: Cluster) -> None:
    names = cluster.run_kubectl("get", "kubernaut", "-n", "probe", "-o", "name").split()
    assert {name.split(".")[0] for name in names} == {kind.name.lower() for kind in KINDS}


def test_every_field_is_explained(cluster: Cluster) -> None:
    text = cluster.run_kubectl("explain", "workflow.spec.steps.when")
    assert "where it is false the step is skipped" in text


def heavy_steps(count: int, templates: int = 0) -> list[Object]:
    """Return steps that between them meet every rule, with conditions, retries, times and policies."""
    common = {
        "dependsOn": ["step-0"],
        "when": "params.replicas > 1",
        "retry": {"limit": 3, "backoff": {"initial": "1s", "max": "30s"}, "when": "failure.transient"},
        "timeout": "2m",
        "onFailure": "Alternate",
        "alternate": "template-0",
        "resources": [{"name": "node-drain"}],
    }
    kinds: list[Object] = [
        {"action": "notify_only", "with": {"message": "a"}},
        {"wait": {"until": "true", "object": {"apiVersion": "v1", "kind": "Service", "name": "shop"}}},
        {"forEach": {"items": ["a", "b"], "template": "template-0"}},
        {"switch": {"cases": [{"name": "one", "when": "true", "template": "template-0"}]}},
    ]
    return [{"name": f"step-{n}"} | common | kinds[n % len(kinds)] for n in range(count)]


def as_large_as_may_be() -> Object:
    templates = [{"name": f"template-{n}", "steps": heavy_steps(50)} for n in range(16)]
    return {"steps": heavy_steps(1000), "templates": templates, "finally": heavy_steps(32)}


def test_the_most_steps_stay_within_the_cost_of_the_rules(admin: Client, namespace: str) -> None:
    large = smallest(WORKFLOW, "large", **as_large_as_may_be())
    answer = create(admin, WORKFLOW, namespace, large)
    assert answer.ok, answer.message
    assert len(json.dumps(large)) > 500_000
    assert patch(admin, WORKFLOW, namespace, "large", {"spec": {"parallelism": 2}}).ok


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"steps": heavy_steps(1001)}, "spec.steps: Too many: 1001: must have at most 1000 items"),
        (
            {"templates": [{"name": "one", "steps": heavy_steps(51)}]},
            "spec.templates[0].steps: Too many: 51: must have at most 50 items",
        ),
        ({"finally": heavy_steps(33)}, "spec.finally: Too many: 33: must have at most 32 items"),
    ],
    ids=["steps", "a template", "finally"],
)
def test_one_step_too_many_is_refused_with_the_place_and_the_bound(
    change: Object, place: str, admin: Client, namespace: str
) -> None:
    answer = create(admin, WORKFLOW, namespace, smallest(WORKFLOW, "large", **change))
    assert answer.status == 422
    assert place in answer.message
    assert len(answer.message) < 500


def test_one_bad_step_among_the_most_is_named(admin: Client, namespace: str) -> None:
    spec = as_large_as_may_be()
    spec["templates"][15]["steps"][49] |= {"approval": {}}
    answer = create(admin, WORKFLOW, namespace, smallest(WORKFLOW, "large", **spec))
    assert answer.status == 422
    assert "spec.templates[15].steps[49]" in answer.message
    assert "set exactly one of action" in answer.message
    assert len(answer.message) < 1000


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ([{"name": "big", "value": "x" * 2_000_000}], "Too long"),
        ([{"name": f"big{n}", "value": "x" * 4096} for n in range(500)], "must have at most 32 items"),
    ],
    ids=["one of 2 MB", "500 of 4 KB"],
)
def test_two_megabytes_of_parameters_are_refused_with_the_place_and_the_bound(
    parameters: list[Object], says: str, admin: Client, namespace: str
) -> None:
    run = smallest(EXECUTION, "big", parameters=parameters)
    assert len(json.dumps(run)) > 2_000_000
    answer = create(admin, EXECUTION, namespace, run)
    assert answer.status == 422
    assert "spec.parameters" in answer.message
    assert says in answer.message
    assert len(answer.message) < 1000


@pytest.mark.parametrize("mode", [[], ["--server-side"]], ids=["by the client", "by the server"])
def test_applying_the_manifests_again_changes_nothing(mode: list[str], cluster: Cluster) -> None:
    base = str(ROOT / "manifests" / "base")

    def versions() -> dict[str, str]:
        found = json.loads(cluster.run_kubectl("get", "-k", base, "-o", "json"))["items"]
        return {item["metadata"]["uid"]: item["metadata"]["resourceVersion"] for item in found}

    cluster.run_kubectl("apply", "-k", base, *mode)
    before = versions()
    cluster.run_kubectl("apply", "-k", base, *mode)
    assert len(before) > 20
    assert versions() == before
