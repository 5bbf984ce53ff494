"""People do all that the shipped roles give, and nothing is given that nobody could want."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from apiserver.resources import EXECUTION, PATTERN, WORKFLOW, allow, create, patch, path_of, smallest
from apiserver.rest import MERGE_PATCH, Answer, Client
from kubernaut.api.crd import KINDS, Kind
from kubernaut.api.names import SWITCH_CONFIGMAP, SYSTEM_NAMESPACE

LABEL = {"metadata": {"labels": {"team": "shop"}}}
SWITCH = f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/configmaps/{SWITCH_CONFIGMAP}"
_SPEC: dict[Kind, dict[str, Any]] = {
    WORKFLOW: {"description": "another"},
    EXECUTION: {"control": {"paused": True}},
    PATTERN: {"muted": True},
}


def ok(answer: Answer) -> None:
    assert answer.ok, answer.message


def read(client: Client, kind: Kind, namespace: str) -> None:
    """Get, list and watch; the watch ends by itself."""
    ok(client.request("GET", path_of(kind, namespace, "one")))
    listed = client.request("GET", path_of(kind, namespace))
    ok(listed)
    version = listed.body["metadata"]["resourceVersion"]
    query = {"watch": "true", "timeoutSeconds": "1", "resourceVersion": version}
    ok(client.request("GET", path_of(kind, namespace), **query))


def update(admin: Client, client: Client, kind: Kind, namespace: str) -> None:
    seen = admin.request("GET", path_of(kind, namespace, "one")).body
    whole = {**seen, "spec": {**seen["spec"], **_SPEC[kind]}}
    ok(client.request("PUT", path_of(kind, namespace, "one"), whole))


def let_impersonate(admin: Client, namespace: str, user: str) -> None:
    rule = {
        "apiGroups": [""],
        "resources": ["serviceaccounts"],
        "verbs": ["impersonate"],
        "resourceNames": ["kubernaut-repair"],
    }
    role = {"metadata": {"name": "acting"}, "rules": [rule]}
    ok(admin.request("POST", f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/roles", role))
    allow(admin, namespace, user, "acting", "Role")


def viewing(admin: Client, namespace: str) -> None:
    allow(admin, namespace, "vera", "kubernaut-view")
    with admin.acting_as("vera") as vera:
        for kind in KINDS:
            ok(create(admin, kind, namespace, smallest(kind, "one")))
            read(vera, kind, namespace)
            assert patch(vera, kind, namespace, "one", LABEL).status == 403


def editing(admin: Client, namespace: str) -> None:
    allow(admin, namespace, "ada", "kubernaut-edit")
    let_impersonate(admin, namespace, "ada")
    with admin.acting_as("ada") as ada:
        for kind in (WORKFLOW, EXECUTION):
            for name in ("one", "two"):
                ok(create(ada, kind, namespace, smallest(kind, name)))
            update(admin, ada, kind, namespace)
            ok(patch(ada, kind, namespace, "one", LABEL))
            ok(ada.request("DELETE", path_of(kind, namespace, "one")))
            ok(ada.request("DELETE", path_of(kind, namespace)))
        ok(create(admin, PATTERN, namespace, smallest(PATTERN, "one")))
        update(admin, ada, PATTERN, namespace)
        ok(patch(ada, PATTERN, namespace, "one", LABEL))
        assert ada.request("DELETE", path_of(PATTERN, namespace, "one")).status == 403


def administering(admin: Client, namespace: str) -> None:
    allow(admin, namespace, "head", "kubernaut-admin")
    with admin.acting_as("head") as head:
        for name in ("one", "two"):
            ok(create(admin, PATTERN, namespace, smallest(PATTERN, name)))
        ok(head.request("DELETE", path_of(PATTERN, namespace, "one")))
        ok(head.request("DELETE", path_of(PATTERN, namespace)))


def approving(admin: Client, namespace: str) -> None:
    allow(admin, namespace, "grace", "kubernaut-approver")
    ok(create(admin, EXECUTION, namespace, smallest(EXECUTION, "one")))
    given = {"approvals": [{"step": "ask", "decision": "Approve", "by": "grace"}]}
    with admin.acting_as("grace") as grace:
        read(grace, EXECUTION, namespace)
        update(admin, grace, EXECUTION, namespace)
        ok(patch(grace, EXECUTION, namespace, "one", {"spec": {"control": given}}))
        assert grace.request("DELETE", path_of(EXECUTION, namespace, "one")).status == 403


def switching(admin: Client, namespace: str) -> None:
    allow(admin, SYSTEM_NAMESPACE, "keeper", "kubernaut-switch", "Role")
    with admin.acting_as("keeper") as keeper:
        ok(keeper.request("GET", SWITCH))
        ok(keeper.request("PATCH", SWITCH, LABEL, content_type=MERGE_PATCH))
        assert keeper.request("DELETE", SWITCH).status == 403


ROLES: dict[str, Callable[[Client, str], None]] = {
    "kubernaut-view": viewing,
    "kubernaut-edit": editing,
    "kubernaut-admin": administering,
    "kubernaut-approver": approving,
    "kubernaut-switch": switching,
}


@pytest.mark.parametrize("role", ROLES)
def test_a_role_for_people_is_used_for_all_that_it_gives(admin: Client, namespace: str, role: str) -> None:
    ROLES[role](admin, namespace)


@pytest.mark.parametrize("ours", ["view", "edit", "admin"])
def test_kubernetes_own_roles_hold_ours(admin: Client, ours: str) -> None:

    path = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
    theirs = admin.request("GET", f"{path}/{ours}").body["rules"]
    shipped = admin.request("GET", f"{path}/kubernaut-{ours}").body["rules"]
    assert [rule for rule in shipped if rule not in theirs] == []
