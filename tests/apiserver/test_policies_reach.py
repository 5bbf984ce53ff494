"""The admission policy on what reaches beyond a namespace: refused without the label, let through with it."""

from __future__ import annotations

from typing import Any

import pytest

from apiserver.acting import await_true
from apiserver.resources import WORKFLOW, allow, create, patch, path_of, refused_by, smallest
from apiserver.rest import MERGE_PATCH, Client
from kubernaut.api.names import LABEL_CLUSTER_SCOPED
from kubernaut.api.reach import CLUSTER_ACTIONS

NODE = {"apiVersion": "v1", "kind": "Node", "name": "n1"}
CORDON = {"name": "cordon", "action": "cordon_node", "with": {"name": "n1"}}


def label(admin: Client, namespace: str, value: str | None = "true") -> None:
    body = {"metadata": {"labels": {LABEL_CLUSTER_SCOPED: value}}}
    path = f"/api/v1/namespaces/{namespace}"
    answer = admin.request("PATCH", path, body, content_type=MERGE_PATCH)
    assert answer.ok, answer
    # Admission knows namespaces by a watch.
    probe = smallest(WORKFLOW, "probe", target=NODE)
    await_true(
        lambda: create(admin, WORKFLOW, namespace, probe, dryRun="All").ok is (value == "true"),
        "admission does not know the label",
    )


def reaching() -> dict[str, dict[str, Any]]:
    plain = {"name": "tell", "action": "notify_only", "with": {"message": "hello"}}
    switch = {
        "name": "choose",
        "switch": {"cases": [{"name": "always", "when": "true", "template": "deep"}]},
    }
    return {
        "target": smallest(WORKFLOW, "one", target=NODE),
        "step": smallest(WORKFLOW, "one", steps=[plain, CORDON]),
        "finally": smallest(WORKFLOW, "one", steps=[plain], **{"finally": [CORDON]}),
        "template": smallest(
            WORKFLOW, "one", steps=[switch], templates=[{"name": "deep", "steps": [plain, CORDON]}]
        ),
    }


@pytest.mark.parametrize("where", ["target", "step", "finally", "template"])
def test_what_acts_beyond_a_namespace_needs_the_label_that_only_the_clusters_administrator_gives(
    admin: Client, namespace: str, where: str
) -> None:
    workflow = reaching()[where]
    answer = create(admin, WORKFLOW, namespace, workflow)
    assert refused_by(answer, "workflow-reach")
    assert f"needs the label {LABEL_CLUSTER_SCOPED}: 'true' on namespace {namespace}" in answer.message
    label(admin, namespace, "yes")
    assert refused_by(create(admin, WORKFLOW, namespace, workflow), "workflow-reach")
    label(admin, namespace)
    assert create(admin, WORKFLOW, namespace, workflow).ok


@pytest.mark.parametrize("action", CLUSTER_ACTIONS)
def test_every_such_action_is_meant(admin: Client, namespace: str, action: str) -> None:
    step = CORDON | {"action": action}
    assert refused_by(
        create(admin, WORKFLOW, namespace, smallest(WORKFLOW, "one", steps=[step])), "workflow-reach"
    )


def test_a_namespaced_kind_of_the_same_name_is_not_meant(admin: Client, namespace: str) -> None:
    other = NODE | {"apiVersion": "example.com/v1"}
    assert create(admin, WORKFLOW, namespace, smallest(WORKFLOW, "one", target=other)).ok


def test_a_workflow_can_not_be_changed_into_one_that_reaches_further(admin: Client, namespace: str) -> None:
    assert create(admin, WORKFLOW, namespace, smallest(WORKFLOW, "one")).ok
    answer = patch(admin, WORKFLOW, namespace, "one", {"spec": {"target": NODE}})
    assert refused_by(answer, "workflow-reach")


def test_what_was_written_with_leave_can_be_labelled_and_deleted_without_but_not_rewritten(
    admin: Client, namespace: str
) -> None:
    label(admin, namespace)
    assert create(admin, WORKFLOW, namespace, reaching()["target"]).ok
    label(admin, namespace, None)
    assert patch(admin, WORKFLOW, namespace, "one", {"metadata": {"labels": {"team": "shop"}}}).ok
    rewritten = patch(admin, WORKFLOW, namespace, "one", {"spec": {"parallelism": 2}})
    assert refused_by(rewritten, "workflow-reach")
    assert admin.request("DELETE", path_of(WORKFLOW, namespace, "one")).ok


def test_the_administrator_of_a_namespace_can_not_give_the_leave(admin: Client, namespace: str) -> None:
    allow(admin, namespace, "owner", "admin")
    with admin.acting_as("owner") as owner:
        body = {"metadata": {"labels": {LABEL_CLUSTER_SCOPED: "true"}}}
        path = f"/api/v1/namespaces/{namespace}"
        assert owner.request("PATCH", path, body, content_type=MERGE_PATCH).status == 403


def test_the_largest_workflow_is_within_what_an_expression_may_cost(admin: Client, namespace: str) -> None:
    steps = [{"name": f"s{n}", "action": "notify_only", "with": {"message": "m"}} for n in range(1000)]
    assert create(admin, WORKFLOW, namespace, smallest(WORKFLOW, "one", steps=steps)).ok
    steps[-1] = CORDON
    assert refused_by(
        create(admin, WORKFLOW, namespace, smallest(WORKFLOW, "two", steps=steps)), "workflow-reach"
    )
