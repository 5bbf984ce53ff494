"""What an audit log says of rights is folded, and compared with what is shipped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from localcluster import uses
from rights.granted import Right, families, lacking, never_acted, shipped, used

Event = dict[str, Any]
OPERATOR, ANALYST = f"{uses.OWN}kubernaut-operator", f"{uses.OWN}kubernaut-analyst"

ACTED: Event = {"impersonatedUser": {"username": "system:serviceaccount:shop:kubernaut-repair"}}


def event(
    verb: str, resource: str, role: str, *, by: str = OPERATOR, kind: str = "Role", **more: Any
) -> Event:
    reason = f'RBAC: allowed by RoleBinding "x/y" of {kind} "{role}" to ServiceAccount "a/b"'
    ref = {"resource": resource, "apiGroup": more.pop("group", ""), "name": more.pop("name", "")}
    ref |= {"subresource": more.pop("subresource", "")}
    return {
        "stage": "ResponseComplete",
        "verb": verb,
        "user": {"username": by},
        "objectRef": ref,
        "responseStatus": {"code": more.pop("code", 200), "message": more.pop("message", "")},
        "annotations": {"authorization.k8s.io/reason": reason},
        "requestURI": "/",
        **more,
    }


def rights(*events: Event) -> set[Right]:
    return used([uses.folded(iter(events))])


def test_a_request_uses_the_right_of_the_role_that_allowed_it() -> None:
    found = rights(event("get", "secrets", "kubernaut-operator", name="kubernaut-signing"))
    assert found & shipped() == {Right("kubernaut-operator", "get", "", "secrets", "kubernaut-signing")}
    found = rights(event("get", "secrets", "kubernaut-before-images", name="any", **ACTED))
    assert Right("kubernaut-before-images", "get", "", "secrets") in found
    found = rights(
        event("patch", "workflows", "kubernaut-operator", kind="ClusterRole", subresource="status")
    )
    assert found == {Right("kubernaut-operator", "patch", "", "workflows/status")}


@pytest.mark.parametrize(
    "more",
    [
        {"code": 404},
        {"code": 409},
        {"requestURI": "/?dryRun=All"},
        {"requestObject": {"dryRun": ["All"]}},
        {"by": "admin"},
        {"by": ANALYST},
        {"stage": "ResponseStarted"},
    ],
    ids=str,
)
def test_what_failed_or_was_a_dry_run_or_was_somebody_elses_uses_nothing(more: Event) -> None:
    assert rights(event("delete", "leases", "kubernaut-operator", **more)) == set()


def test_what_is_done_as_an_account_uses_its_role_and_the_leave_to_act_as_it() -> None:
    assert rights(event("get", "pods", "kubernaut-repair", **ACTED)) == {
        Right("kubernaut-repair", "get", "", "pods"),
        Right("kubernaut-impersonate", "impersonate", "", "serviceaccounts"),
    }


def test_people_use_ours_also_by_the_roles_that_these_are_aggregated_to() -> None:
    found = rights(event("approve", "workflowexecutions", "admin", by="ada", group="kubernaut.io"))
    assert Right("kubernaut-admin", "approve", "kubernaut.io", "workflowexecutions") in found
    assert rights(event("get", "pods", "kubernaut-repair", by="ada")) == set()


def test_what_only_a_policy_asks_about_is_used_by_writing_the_object() -> None:
    run = {"group": "kubernaut.io", "kind": "ClusterRole"}
    asked = Right("kubernaut-approver", "approve", "kubernaut.io", "workflowexecutions")
    assert asked in rights(event("patch", "workflowexecutions", "kubernaut-approver", by="grace", **run))
    assert asked not in rights(event("get", "workflowexecutions", "kubernaut-approver", by="grace", **run))


def test_every_right_that_is_not_used_shows() -> None:
    everything = shipped()
    assert Right("kubernaut-operator", "impersonate", "", "serviceaccounts") not in everything
    assert len(everything) > 100
    assert everything - used([]) == everything


def test_a_refusal_for_want_of_a_right_shows_and_no_other() -> None:
    lacks = event("get", "nodes", "", code=403)
    held = event("get", "serviceaccounts", "", code=403)
    acting = event(
        "get",
        "pods",
        "",
        code=403,
        message='serviceaccounts "x" is forbidden: User "o" cannot impersonate resource "serviceaccounts"',
    )
    of_account = event("get", "nodes", "", code=403, impersonatedUser={"username": "x"})
    people = event("get", "nodes", "", code=403, by="ada")
    others = event("get", "nodes", "", code=403, by=f"{uses.OWN}default")
    summary = uses.folded(iter((lacks, held, acting, of_account, people, others)))
    assert lacking([summary]) == {"kubernaut-operator: get nodes": 1}


def test_a_cluster_that_goes_down_leaves_its_uses_where_that_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, folder = tmp_path / "audit.log", tmp_path / "uses"
    whole = json.dumps(event("get", "secrets", "kubernaut-operator", name="kubernaut-signing"))
    log.write_text(f'{whole}\n{{"cut')
    monkeypatch.delenv(uses.VARIABLE, raising=False)
    uses.leave(log, "test")
    assert not folder.exists()
    monkeypatch.setenv(uses.VARIABLE, str(folder))
    uses.leave(None, "test")
    uses.leave(log, "test")
    (left,) = folder.glob("test-*.json")
    (one,) = json.loads(left.read_text())["used"]
    assert (one["role"], one["times"]) == ("kubernaut-operator", 1)


def test_what_is_done_as_an_account_uses_the_rights_of_families_by_whichever_role() -> None:
    patched = event("patch", "deployments", "repair-1", group="apps", by=f"{uses.OWN}test-actor", **ACTED)
    right = Right("kubernaut-actions-workloads", "patch", "apps", "deployments")
    assert right in families()
    assert families() - never_acted([uses.folded(iter([patched]))]) >= {right}
    others = {"responseStatus": {"code": 403}}, {"requestURI": "/?dryRun=All"}, {"impersonatedUser": None}
    for other in others:
        assert right in never_acted([uses.folded(iter([{**patched, **other}]))])
