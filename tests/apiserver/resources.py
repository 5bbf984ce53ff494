"""Our kinds at an API server: paths, smallest objects, status."""

from __future__ import annotations

import time
from typing import Any

from apiserver.rest import MERGE_PATCH, Answer, Client
from kubernaut.api.crd import EXECUTION, PATTERN, WORKFLOW, Kind
from kubernaut.api.names import (
    ANALYST_ACCOUNT,
    API_VERSION,
    GROUP,
    OPERATOR_ACCOUNT,
    SYSTEM_NAMESPACE,
    VERSION,
)

Object = dict[str, Any]
_SPECS: dict[str, Object] = {
    "Workflow": {
        "serviceAccountName": "kubernaut-repair",
        "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"},
        "steps": [{"name": "tell", "action": "notify_only"}],
    },
    "WorkflowExecution": {"workflowRef": {"name": "crash-loop"}},
    "DiscoveredPattern": {},
}


def path_of(kind: Kind, namespace: str, name: str = "", subresource: str = "") -> str:
    """Return the path of a collection, an object or one of its subresources."""
    parts = [f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{kind.plural}", name, subresource]
    return "/".join(part for part in parts if part)


def smallest(kind: Kind, name: str, **spec: Any) -> Object:
    """Return an object with the required fields only, and those given."""
    return {
        "apiVersion": API_VERSION,
        "kind": kind.name,
        "metadata": {"name": name},
        "spec": _SPECS[kind.name] | spec,
    }


def create(client: Client, kind: Kind, namespace: str, thing: Object, **query: str) -> Answer:
    """Create an object, strictly."""
    return client.request("POST", path_of(kind, namespace), thing, fieldValidation="Strict", **query)


def patch(
    client: Client, kind: Kind, namespace: str, name: str, body: Object, subresource: str = ""
) -> Answer:
    """Merge-patch an object or one of its subresources, strictly."""
    where = path_of(kind, namespace, name, subresource)
    return client.request("PATCH", where, body, content_type=MERGE_PATCH, fieldValidation="Strict")


def writer_of_status(client: Client, kind: Kind) -> Client:
    """Return the one account that may write a kind's status, with all other rights besides."""
    account = ANALYST_ACCOUNT if kind is PATTERN else OPERATOR_ACCOUNT
    return client.account(SYSTEM_NAMESPACE, account, "system:masters")


def make_namespace(client: Client, name: str) -> None:
    """Create a namespace, or find it there."""
    answer = client.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    assert answer.status in (201, 409), answer


def allow(client: Client, namespace: str, user: str, role: str, kind: str = "ClusterRole") -> None:
    """Bind a role to a user within a namespace, or find it bound."""
    group = "rbac.authorization.k8s.io"
    binding = {
        "metadata": {"name": f"{user}-{role}"},
        "roleRef": {"apiGroup": group, "kind": kind, "name": role},
        "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
    }
    before = _rules(client, namespace, user)
    answer = client.request("POST", f"/apis/{group}/v1/namespaces/{namespace}/rolebindings", binding)
    assert answer.status in (201, 409), answer
    deadline = time.monotonic() + 20
    # The authorizer learns of a binding a moment after it was stored.
    while answer.status == 201 and _rules(client, namespace, user) == before:
        assert time.monotonic() < deadline, f"{role} bound to {user} in {namespace} has no effect"


def _rules(client: Client, namespace: str, user: str) -> Any:
    """Return what a user may do in a namespace, as the API server sees it now."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }
    path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    with client.acting_as(user) as asking:
        return asking.request("POST", path, review).body["status"]["resourceRules"]


def refused_by(answer: Answer, policy: str) -> bool:
    """Whether an admission policy refused a request."""
    return answer.status == 422 and f"ValidatingAdmissionPolicy '{policy}.{GROUP}'" in answer.message


__all__ = [
    "EXECUTION",
    "PATTERN",
    "WORKFLOW",
    "allow",
    "create",
    "make_namespace",
    "patch",
    "path_of",
    "refused_by",
    "smallest",
    "writer_of_status",
]
