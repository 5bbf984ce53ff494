"""Each admission policy refuses what it is there for, and lets its allowed twin pass."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from apiserver.resources import (
    EXECUTION,
    PATTERN,
    WORKFLOW,
    allow,
    create,
    patch,
    path_of,
    refused_by,
    smallest,
    writer_of_status,
)
from apiserver.rest import Client
from kubernaut.api.crd import KINDS, Kind
from kubernaut.api.execution import MAX_ANSWERS
from kubernaut.api.names import (
    ANALYST_ACCOUNT,
    FINALIZER,
    OPERATOR_ACCOUNT,
    SYSTEM_NAMESPACE,
)
from kubernaut.api.policies import policy_problems, required_policies
from kubernaut.api.rbac import tenant_manifests
from localcluster import Cluster

ADMISSION = "/apis/admissionregistration.k8s.io/v1"


@pytest.fixture
def ada(admin: Client, namespace: str) -> Iterator[Client]:
    """May edit our objects and nothing else."""
    allow(admin, namespace, "ada", "kubernaut-edit")
    with admin.acting_as("ada") as ada:
        yield ada


@pytest.fixture
def grace(admin: Client, namespace: str) -> Iterator[Client]:
    """May approve runs."""
    allow(admin, namespace, "grace", "kubernaut-approver")
    with admin.acting_as("grace") as grace:
        yield grace


@pytest.fixture
def operator(admin: Client) -> Iterator[Client]:
    with admin.account(SYSTEM_NAMESPACE, OPERATOR_ACCOUNT) as operator:
        yield operator


@pytest.fixture
def analyst(admin: Client) -> Iterator[Client]:
    with admin.account(SYSTEM_NAMESPACE, ANALYST_ACCOUNT) as analyst:
        yield analyst


def let_impersonate(admin: Client, namespace: str, user: str, account: str) -> None:
    role = {
        "metadata": {"name": f"as-{account}"},
        "rules": [
            {
                "apiGroups": [""],
                "resources": ["serviceaccounts"],
                "resourceNames": [account],
                "verbs": ["impersonate"],
            }
        ],
    }
    answer = admin.request("POST", f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/roles", role)
    assert answer.ok, answer
    allow(admin, namespace, user, f"as-{account}", "Role")


def approval(step: str, by: str, decision: str = "Approve") -> dict[str, str]:
    return {"step": step, "decision": decision, "by": by}


def approve(client: Client, namespace: str, *records: dict[str, str]) -> Any:
    return patch(client, EXECUTION, namespace, "run", {"spec": {"control": {"approvals": list(records)}}})


def remedy(step: str, by: str, attempt: int = 1) -> dict[str, Any]:
    return {"step": step, "attempt": attempt, "remedy": "Skip", "by": by}


def intervene(client: Client, namespace: str, *records: dict[str, Any]) -> Any:
    control = {"interventions": list(records)}
    return patch(client, EXECUTION, namespace, "run", {"spec": {"control": control}})


class TestWorkflowAccount:
    def test_who_may_not_act_as_the_account_may_not_write_a_workflow_for_it(
        self, ada: Client, namespace: str
    ) -> None:
        answer = create(ada, WORKFLOW, namespace, smallest(WORKFLOW, "one"))
        assert refused_by(answer, "workflow-account")
        assert "needs the verb impersonate" in answer.message
        assert "kubernaut-repair" in answer.message

    def test_who_may_act_as_the_account_may(self, admin: Client, ada: Client, namespace: str) -> None:
        let_impersonate(admin, namespace, "ada", "kubernaut-repair")
        assert create(ada, WORKFLOW, namespace, smallest(WORKFLOW, "one")).ok
        assert patch(ada, WORKFLOW, namespace, "one", {"spec": {"parallelism": 2}}).ok

    def test_one_account_is_not_another(self, admin: Client, ada: Client, namespace: str) -> None:
        let_impersonate(admin, namespace, "ada", "kubernaut-repair")
        assert create(ada, WORKFLOW, namespace, smallest(WORKFLOW, "one")).ok
        answer = patch(ada, WORKFLOW, namespace, "one", {"spec": {"serviceAccountName": "root"}})
        assert refused_by(answer, "workflow-account")

    def test_somebody_elses_workflow_can_be_labelled_but_not_rewritten(
        self, admin: Client, ada: Client, namespace: str
    ) -> None:
        assert create(admin, WORKFLOW, namespace, smallest(WORKFLOW, "one")).ok
        assert patch(ada, WORKFLOW, namespace, "one", {"metadata": {"labels": {"team": "shop"}}}).ok
        rewritten = {"spec": {"steps": [{"name": "other", "action": "restart_pod", "with": {"a": 1}}]}}
        assert refused_by(patch(ada, WORKFLOW, namespace, "one", rewritten), "workflow-account")
        assert ada.request("DELETE", path_of(WORKFLOW, namespace, "one")).ok

    def test_what_an_action_is_given_counts_as_rewriting(
        self, admin: Client, ada: Client, namespace: str
    ) -> None:
        step = {"name": "more", "action": "scale_deployment", "with": {"deep": {"replicas": 1}}}
        assert create(admin, WORKFLOW, namespace, smallest(WORKFLOW, "one", steps=[step])).ok
        changed = step | {"with": {"deep": {"replicas": 100}}}
        answer = patch(ada, WORKFLOW, namespace, "one", {"spec": {"steps": [changed]}})
        assert refused_by(answer, "workflow-account")

    def test_the_right_in_another_namespace_does_not_count(
        self, admin: Client, ada: Client, namespace: str
    ) -> None:
        let_impersonate(admin, "probe", "ada", f"account-of-{namespace}")
        one = smallest(WORKFLOW, "one", serviceAccountName=f"account-of-{namespace}")
        assert refused_by(create(ada, WORKFLOW, namespace, one), "workflow-account")

    def test_an_editor_of_the_namespace_may(self, admin: Client, namespace: str) -> None:
        allow(admin, namespace, "editor", "edit")
        with admin.acting_as("editor") as editor:
            assert create(editor, WORKFLOW, namespace, smallest(WORKFLOW, "one")).ok


class TestApprovals:
    def test_a_run_is_not_created_approved(self, grace: Client, admin: Client, namespace: str) -> None:
        control = {"approvals": [approval("ask", "admin")]}
        answer = create(admin, EXECUTION, namespace, smallest(EXECUTION, "run", control=control))
        assert refused_by(answer, "run-approval")
        assert create(admin, EXECUTION, namespace, smallest(EXECUTION, "run", control={"approvals": []})).ok

    def test_an_approver_approves_in_their_own_name(
        self, admin: Client, grace: Client, namespace: str
    ) -> None:
        assert create(admin, EXECUTION, namespace, smallest(EXECUTION, "run")).ok
        assert approve(grace, namespace, approval("ask", "grace")).ok

    def test_and_in_nobody_elses(self, admin: Client, grace: Client, namespace: str) -> None:
        assert create(admin, EXECUTION, namespace, smallest(EXECUTION, "run")).ok
        answer = approve(grace, namespace, approval("ask", "ada"))
        assert refused_by(answer, "run-approval")
        assert "set by to grace" in answer.message
        assert refused_by(
            approve(grace, namespace, approval("a", "grace"), approval("b", "ada")), "run-approval"
        )

    def test_who_may_edit_a_run_may_not_approve_it(self, admin: Client, ada: Client, namespace: str) -> None:
        assert create(admin, EXECUTION, namespace, smallest(EXECUTION, "run")).ok
        answer = approve(ada, namespace, approval("ask", "ada"))
        assert refused_by(answer, "run-approval")
        assert "kubernaut-approver" in answer.message
        assert patch(ada, EXECUTION, namespace, "run", {"spec": {"control": {"paused": True}}}).ok

    def test_approvals_are_only_added_to(self, admin: Client, grace: Client, namespace: str) -> None:
        assert create(admin, EXECUTION, namespace, smallest(EXECUTION, "run")).ok
        given = approval("ask", "grace")
        assert approve(grace, namespace, given).ok
        denied = approval("ask", "grace", "Deny")
        for records in ([], [denied], [approval("other", "grace")], [given | {"reason": "later"}]):
            answer = approve(grace, namespace, *records)
            assert refused_by(answer, "run-approval"), records
            assert "can not be changed or taken back" in answer.message
        gone = patch(grace, EXECUTION, namespace, "run", {"spec": {"control": None}})
        assert refused_by(gone, "run-approval")
        assert approve(grace, namespace, approval("more", "grace"), given).ok

    def test_who_may_not_approve_can_still_cancel_an_approved_run(
        self, admin: Client, ada: Client, grace: Client, namespace: str
    ) -> None:
        assert create(admin, EXECUTION, namespace, smallest(EXECUTION, "run")).ok
        assert approve(grace, namespace, approval("ask", "grace")).ok
        assert patch(ada, EXECUTION, namespace, "run", {"spec": {"control": {"cancel": True}}}).ok

    def test_an_administrator_of_the_namespace_may_approve(self, admin: Client, namespace: str) -> None:
        assert create(admin, EXECUTION, namespace, smallest(EXECUTION, "run")).ok
        allow(admin, namespace, "head", "admin")
        with admin.acting_as("head") as head:
            assert approve(head, namespace, approval("ask", "head")).ok

    def test_the_most_approvals_stay_within_the_cost_of_a_policy(
        self, admin: Client, grace: Client, namespace: str
    ) -> None:
        assert create(admin, EXECUTION, namespace, smallest(EXECUTION, "run")).ok
        records = [approval(f"ask{n}", "grace") | {"reason": "x" * 1024} for n in range(MAX_ANSWERS)]
        assert approve(grace, namespace, *records[:-1]).ok
        assert approve(grace, namespace, *records).ok


class TestInterventions:
    """What is said to a step that failed with onFailure: Manual is guarded as approvals are."""

    def test_a_run_is_not_created_with_its_remedies(self, admin: Client, namespace: str) -> None:
        control = {"interventions": [remedy("restart", "admin")]}
        answer = create(admin, EXECUTION, namespace, smallest(EXECUTION, "run", control=control))
        assert refused_by(answer, "run-approval")
        assert "without approvals and interventions" in answer.message
        assert create(
            admin, EXECUTION, namespace, smallest(EXECUTION, "run", control={"interventions": []})
        ).ok

    def test_an_approver_intervenes_in_their_own_name(
        self, admin: Client, grace: Client, namespace: str
    ) -> None:
        assert create(admin, EXECUTION, namespace, smallest(EXECUTION, "run")).ok
        assert intervene(grace, namespace, remedy("restart", "grace")).ok

    def test_and_in_nobody_elses(self, admin: Client, grace: Client, namespace: str) -> None:
        assert create(admin, EXECUTION, namespace, smallest(EXECUTION, "run")).ok
        answer = intervene(grace, namespace, remedy("restart", "ada"))
        assert refused_by(answer, "run-approval")
        assert "set by to grace" in answer.message
        both = (remedy("restart", "grace"), remedy("other", "ada"))
        assert refused_by(intervene(grace, namespace, *both), "run-approval")

    def test_who_may_edit_a_run_may_not_intervene(self, admin: Client, ada: Client, namespace: str) -> None:
        assert create(admin, EXECUTION, namespace, smallest(EXECUTION, "run")).ok
        answer = intervene(ada, namespace, remedy("restart", "ada"))
        assert refused_by(answer, "run-approval")
        assert "intervening needs the verb approve" in answer.message
        assert patch(ada, EXECUTION, namespace, "run", {"spec": {"control": {"migrateTo": "other"}}}).ok

    def test_interventions_are_only_added_to(self, admin: Client, grace: Client, namespace: str) -> None:
        assert create(admin, EXECUTION, namespace, smallest(EXECUTION, "run")).ok
        given = remedy("restart", "grace")
        assert intervene(grace, namespace, given).ok
        for records in (
            [],
            [given | {"remedy": "Fail"}],
            [given | {"attempt": 2}],
            [given | {"step": "other"}],
            [given | {"reason": "later"}],
            [given | {"by": "ada"}],
        ):
            answer = intervene(grace, namespace, *records)
            assert refused_by(answer, "run-approval"), records
            assert "can not be changed or taken back" in answer.message
        gone = patch(grace, EXECUTION, namespace, "run", {"spec": {"control": None}})
        assert refused_by(gone, "run-approval")
        assert intervene(grace, namespace, given | {"attempt": 2}, given).ok

    def test_an_approval_does_not_make_room_for_anothers_intervention(
        self, admin: Client, grace: Client, namespace: str
    ) -> None:
        assert create(admin, EXECUTION, namespace, smallest(EXECUTION, "run")).ok
        mine, forged = approval("ask", "grace"), remedy("restart", "ada")
        both = {"spec": {"control": {"approvals": [mine], "interventions": [forged]}}}
        assert refused_by(patch(grace, EXECUTION, namespace, "run", both), "run-approval")
        both["spec"]["control"]["interventions"] = [remedy("restart", "grace")]
        assert patch(grace, EXECUTION, namespace, "run", both).ok

    def test_who_may_not_intervene_can_still_cancel_the_run(
        self, admin: Client, ada: Client, grace: Client, namespace: str
    ) -> None:
        assert create(admin, EXECUTION, namespace, smallest(EXECUTION, "run")).ok
        assert intervene(grace, namespace, remedy("restart", "grace")).ok
        assert patch(ada, EXECUTION, namespace, "run", {"spec": {"control": {"cancel": True}}}).ok

    def test_all_that_may_be_said_stays_within_the_cost_of_a_policy(
        self, admin: Client, grace: Client, namespace: str
    ) -> None:
        assert create(admin, EXECUTION, namespace, smallest(EXECUTION, "run")).ok
        values = [{"name": f"p{n}", "value": "x" * 32} for n in range(32)]
        said: dict[str, Any] = {
            "approvals": [
                approval(f"ask{n}", "grace") | {"reason": "x" * 1024, "parameters": values}
                for n in range(MAX_ANSWERS)
            ],
            "interventions": [
                remedy(f"step{n}", "grace") | {"reason": "x" * 1024} for n in range(MAX_ANSWERS)
            ],
        }
        nearly = said | {"interventions": said["interventions"][1:]}
        for control in (nearly, said):
            answer = patch(grace, EXECUTION, namespace, "run", {"spec": {"control": control}})
            assert answer.ok, answer.message


class TestFinalizer:
    def test_who_may_edit_a_run_may_not_take_it_out_of_the_history(
        self, admin: Client, ada: Client, namespace: str
    ) -> None:
        held(admin, namespace)
        answer = patch(ada, EXECUTION, namespace, "run", {"metadata": {"finalizers": None}})
        assert refused_by(answer, "run-finalizer")
        assert "workflowexecutions/finalizers" in answer.message
        other = {"metadata": {"finalizers": [FINALIZER, "example.org/other"]}}
        assert patch(ada, EXECUTION, namespace, "run", other).ok

    @pytest.mark.parametrize("deleted", [False, True], ids=["living", "deleted"])
    def test_the_operator_lets_go_of_runs(
        self, deleted: bool, admin: Client, operator: Client, namespace: str
    ) -> None:
        held(admin, namespace)
        if deleted:
            assert admin.request("DELETE", path_of(EXECUTION, namespace, "run")).ok
        assert patch(operator, EXECUTION, namespace, "run", {"metadata": {"finalizers": None}}).ok

    def test_so_does_the_administrator_of_the_cluster(self, admin: Client, namespace: str) -> None:
        held(admin, namespace)
        assert patch(admin, EXECUTION, namespace, "run", {"metadata": {"finalizers": None}}).ok


def held(admin: Client, namespace: str) -> None:
    run = smallest(EXECUTION, "run")
    run["metadata"]["finalizers"] = [FINALIZER]
    assert create(admin, EXECUTION, namespace, run).ok


class TestStatus:
    @pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
    def test_not_even_the_administrator_writes_status(
        self, kind: Kind, admin: Client, namespace: str
    ) -> None:
        assert create(admin, kind, namespace, smallest(kind, "one")).ok
        answer = patch(admin, kind, namespace, "one", {"status": {"observedGeneration": 1}}, "status")
        policy = "pattern-status" if kind is PATTERN else "run-status"
        assert refused_by(answer, policy)
        assert "not by" in answer.message

    def test_the_operator_writes_that_of_workflows_and_runs_only(
        self, admin: Client, operator: Client, namespace: str
    ) -> None:
        status = {"status": {"observedGeneration": 1}}
        for kind in (WORKFLOW, EXECUTION, PATTERN):
            assert create(admin, kind, namespace, smallest(kind, "one")).ok
        assert patch(operator, WORKFLOW, namespace, "one", status, "status").ok
        assert patch(operator, EXECUTION, namespace, "one", status, "status").ok
        assert patch(operator, PATTERN, namespace, "one", status, "status").status == 403

    def test_the_analyst_writes_that_of_patterns_only(
        self, admin: Client, analyst: Client, namespace: str
    ) -> None:
        name, status = f"one-{namespace}", {"status": {"observedGeneration": 1}}
        assert create(analyst, PATTERN, SYSTEM_NAMESPACE, smallest(PATTERN, name)).ok
        assert patch(analyst, PATTERN, SYSTEM_NAMESPACE, name, status, "status").ok
        assert admin.request("DELETE", path_of(PATTERN, SYSTEM_NAMESPACE, name)).ok
        assert create(admin, EXECUTION, namespace, smallest(EXECUTION, "one")).ok
        assert patch(analyst, EXECUTION, namespace, "one", status, "status").status == 403
        with writer_of_status(admin, PATTERN) as almighty_analyst:
            answer = patch(almighty_analyst, EXECUTION, namespace, "one", status, "status")
        assert refused_by(answer, "run-status")


def test_an_account_of_another_namespace_with_the_operators_name_is_not_the_operator(
    admin: Client, namespace: str
) -> None:
    assert create(admin, EXECUTION, namespace, smallest(EXECUTION, "one")).ok
    with admin.account(namespace, OPERATOR_ACCOUNT, "system:masters") as pretender:
        answer = patch(pretender, EXECUTION, namespace, "one", {"status": {}}, "status")
    assert refused_by(answer, "run-status")


class TestReadBack:
    def found(self, client: Client) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        policies: list[dict[str, Any]] = []
        bindings: list[dict[str, Any]] = []
        for policy, _ in required_policies():
            name = policy["metadata"]["name"]
            for resource, into in (
                ("validatingadmissionpolicies", policies),
                ("validatingadmissionpolicybindings", bindings),
            ):
                answer = client.request("GET", f"{ADMISSION}/{resource}/{name}")
                assert answer.ok, answer
                into.append(answer.body)
        return policies, bindings

    def test_the_operator_finds_the_policies_as_shipped(self, operator: Client) -> None:
        assert policy_problems(*self.found(operator)) == []

    @pytest.mark.parametrize(
        ("resource", "change"),
        [
            ("validatingadmissionpolicies", {"failurePolicy": "Ignore"}),
            ("validatingadmissionpolicies", {"matchConditions": [{"name": "x", "expression": "false"}]}),
            (
                "validatingadmissionpolicies",
                {"matchConstraints": {"namespaceSelector": {"matchLabels": {"a": "b"}}}},
            ),
            ("validatingadmissionpolicybindings", {"validationActions": ["Warn"]}),
            (
                "validatingadmissionpolicybindings",
                {"matchResources": {"namespaceSelector": {"matchLabels": {"a": "b"}}}},
            ),
        ],
        ids=str,
    )
    def test_a_policy_that_somebody_weakened_is_seen(
        self, resource: str, change: dict[str, Any], admin: Client, operator: Client
    ) -> None:
        policies, bindings = self.found(operator)
        things = policies if resource == "validatingadmissionpolicies" else bindings
        weakened = admin.request(
            "PATCH",
            f"{ADMISSION}/{resource}/{things[0]['metadata']['name']}",
            {"spec": change},
            content_type="application/merge-patch+json",
            dryRun="All",
        )
        assert weakened.ok, weakened
        things[0] = copy.deepcopy(weakened.body)
        (problem,) = policy_problems(policies, bindings)
        assert next(iter(change)) in problem


def test_the_operator_may_act_as_the_accounts_it_was_given_and_as_no_other(
    admin: Client, operator: Client, namespace: str
) -> None:
    for manifest in tenant_manifests(namespace):
        group = "api" if "/" not in manifest["apiVersion"] else "apis"
        resource = f"{manifest['kind'].lower()}s"
        where = f"/{group}/{manifest['apiVersion']}/namespaces/{namespace}/{resource}"
        assert admin.request("POST", where, manifest).ok

    def may(**attributes: str) -> bool:
        body = {"spec": {"resourceAttributes": attributes | {"namespace": namespace}}}
        answer = operator.request("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body)
        return bool(answer.body["status"]["allowed"])

    assert may(verb="impersonate", resource="serviceaccounts", name="kubernaut-repair")
    assert not may(verb="impersonate", resource="serviceaccounts", name="default")
    assert not may(verb="patch", group="apps", resource="deployments", name="shop")
    assert not may(verb="get", resource="secrets", name="any")
    with admin.account(namespace, "kubernaut-repair") as repair:
        assert repair.request("GET", f"/apis/apps/v1/namespaces/{namespace}/deployments").ok
        assert repair.request("GET", f"/api/v1/namespaces/{namespace}/secrets").status == 403


def test_the_tenant_folder_is_the_same_for_any_namespace(cluster: Cluster, tmp_path: Path) -> None:
    folder = Path(__file__).resolve().parents[2] / "manifests" / "tenant"
    overlay = {"namespace": "shop", "resources": [os.path.relpath(folder, tmp_path.resolve())]}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    built = list(yaml.safe_load_all(cluster.run_kubectl("kustomize", str(tmp_path))))

    def by_name(manifest: dict[str, Any]) -> tuple[str, str]:
        return manifest["kind"], manifest["metadata"]["name"]

    assert sorted(built, key=by_name) == sorted(tenant_manifests("shop"), key=by_name)
