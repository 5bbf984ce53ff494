"""The rights of the operator, the analyst, a Workflow's account and people; nothing here is granted unused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from kubernaut.api.names import (
    ANALYST_ACCOUNT,
    GROUP,
    LABEL_PART_OF,
    LABEL_WORKFLOW,
    OPERATOR_ACCOUNT,
    SIGNING_SECRET,
    SWITCH_CONFIGMAP,
    SYSTEM_NAMESPACE,
)
from kubernaut.api.policies import policy_names

REPAIR_ACCOUNT: Final = "kubernaut-repair"
REMEMBER_ROLE: Final = "kubernaut-remember"
IMPERSONATE_ROLE: Final = "kubernaut-impersonate"
BEFORE_IMAGE_ROLE: Final = "kubernaut-before-images"
APPROVER_ROLE: Final = "kubernaut-approver"

_RBAC: Final = "rbac.authorization.k8s.io"
_WORKFLOWS: Final = "workflows"
_RUNS: Final = "workflowexecutions"
_PATTERNS: Final = "discoveredpatterns"
_READ: Final = ("get", "list", "watch")

Rule = dict[str, Any]
Manifest = dict[str, Any]


def _rule(group: str, resources: Sequence[str], verbs: Sequence[str], names: Sequence[str] = ()) -> Rule:
    rule: Rule = {"apiGroups": [group], "resources": list(resources)}
    return rule | ({"resourceNames": list(names)} if names else {}) | {"verbs": list(verbs)}


# In all namespaces, or in each of those that it is told to work in.
OPERATOR_RULES: Final = (
    _rule(GROUP, [_WORKFLOWS], _READ),
    # create starts the runs that alerts ask for, patch holds and lets go of the finalizer, delete ends a run's time
    # to live.
    _rule(GROUP, [_RUNS], [*_READ, "create", "patch", "delete"]),
    _rule(GROUP, [f"{_WORKFLOWS}/status", f"{_RUNS}/status"], ["patch"]),
    # Asked for by the admission policy that guards the finalizer.
    _rule(GROUP, [f"{_RUNS}/finalizers"], ["update"]),
    # Snapshots of Workflows.
    _rule("apps", ["controllerrevisions"], ["get", "list", "create", "delete"]),
    # Which revisions were ever seen available.
    _rule("apps", ["replicasets"], ["list", "watch"]),
    _rule("", ["serviceaccounts"], ["get"]),
    # Whether Workflows of a namespace may act beyond it; read for those that want to, and no others.
    _rule("", ["namespaces"], ["get"]),
    _rule("events.k8s.io", ["events"], ["create"]),
)
# What is in no namespace.
OPERATOR_POLICY_RULES: Final = (
    _rule(
        "admissionregistration.k8s.io",
        ["validatingadmissionpolicies", "validatingadmissionpolicybindings"],
        ["get"],
        policy_names(),
    ),
)
OPERATOR_CLUSTER_RULES: Final = (*OPERATOR_RULES, *OPERATOR_POLICY_RULES)
OPERATOR_SYSTEM_RULES: Final = (
    # Which replica works on what, and who holds units of scarce resources. A dead one's lease is deleted by those
    # that take over. watch: whether watches bring what is written is told by the own one.
    _rule("coordination.k8s.io", ["leases"], ["list", "watch", "create", "patch", "delete"]),
    _rule("", ["configmaps"], ["get", "patch"], [SWITCH_CONFIGMAP]),
    _rule("", ["secrets"], ["get", "patch"], [SIGNING_SECRET]),
)
ANALYST_RULES: Final = (
    _rule(GROUP, [_PATTERNS], ["list", "create"]),
    _rule(GROUP, [f"{_PATTERNS}/status"], ["patch"]),
    # Whether discovery is switched off.
    _rule("", ["configmaps"], ["get"], [SWITCH_CONFIGMAP]),
)
# Only where objects are to be remembered: a role can't be narrowed to those with the label.
REMEMBER_RULES: Final = (
    _rule("", ["configmaps", "services"], ["list", "watch"]),
    _rule("apps", ["deployments", "statefulsets", "daemonsets"], ["list", "watch"]),
    _rule("autoscaling", ["horizontalpodautoscalers"], ["list", "watch"]),
    _rule("networking.k8s.io", ["ingresses", "networkpolicies"], ["list", "watch"]),
)
# What the actions of the catalogue need, each in the namespace of its Workflow only.
REPAIR_RULES: Final = (
    _rule("", ["pods"], [*_READ, "delete"]),
    _rule("", ["pods/log"], ["get"]),
    _rule("", ["pods/eviction"], ["create"]),
    _rule("", ["events"], ["list"]),
    _rule("apps", ["deployments", "statefulsets", "daemonsets"], [*_READ, "patch"]),
    # get: to whom a pod belongs that an alert is about.
    _rule("apps", ["replicasets"], ["get", "list"]),
    _rule("apps", ["controllerrevisions"], ["list"]),
    _rule("autoscaling", ["horizontalpodautoscalers"], ["list"]),
    # Starting runs of other Workflows, finding them again, following and cancelling them.
    _rule(GROUP, [_RUNS], [*_READ, "create", "patch"]),
)
# Only while the chart is uninstalled: the operator is stopped, runs are let go of that nobody else will let go of any
# more, and leases are deleted that nobody will renew.
RELEASE_RULES: Final = (
    _rule(GROUP, [_RUNS], ["list", "patch"]),
    _rule(GROUP, [f"{_RUNS}/finalizers"], ["update"]),
)
RELEASE_SYSTEM_RULES: Final = (
    _rule("coordination.k8s.io", ["leases"], ["list", "delete"]),
    _rule("apps", ["statefulsets"], ["get", "patch"], [OPERATOR_ACCOUNT]),
    _rule("", ["pods"], ["list"]),
)
# Only where steps change what is large or may be secret: a role can't be narrowed to the Secrets of runs.
BEFORE_IMAGE_RULES: Final = (_rule("", ["secrets"], ["create", "get"]),)
VIEW_RULES: Final = (_rule(GROUP, [_WORKFLOWS, _RUNS, _PATTERNS], _READ),)
EDIT_RULES: Final = (
    _rule(GROUP, [_WORKFLOWS, _RUNS], ["create", "update", "patch", "delete", "deletecollection"]),
    # Pinning, muting and noting; patterns are made by the analyst.
    _rule(GROUP, [_PATTERNS], ["update", "patch"]),
)
ADMIN_RULES: Final = (
    _rule(GROUP, [_PATTERNS], ["delete", "deletecollection"]),
    # An administrator of a namespace may approve there, and so may let others do so.
    _rule(GROUP, [_RUNS], ["approve"]),
)
APPROVER_RULES: Final = (_rule(GROUP, [_RUNS], [*_READ, "update", "patch", "approve"]),)
# For those who may run `kubernaut stop` and `kubernaut start`.
SWITCH_RULES: Final = (_rule("", ["configmaps"], ["get", "patch"], [SWITCH_CONFIGMAP]),)


def _metadata(name: str, namespace: str = "", **labels: str) -> dict[str, Any]:
    return (
        {"name": name}
        | ({"namespace": namespace} if namespace else {})
        | {"labels": {LABEL_PART_OF: "kubernaut"} | labels}
    )


def _account(name: str, namespace: str) -> Manifest:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _metadata(name, namespace)}


def _role(kind: str, name: str, rules: Sequence[Rule], namespace: str = "", aggregate: str = "") -> Manifest:
    labels = {f"{_RBAC}/aggregate-to-{aggregate}": "true"} if aggregate else {}
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": kind,
        "metadata": _metadata(name, namespace, **labels),
        "rules": list(rules),
    }


def _subject(account: str, namespace: str) -> dict[str, str]:
    subject = {"kind": "ServiceAccount", "name": account}
    return subject | ({"namespace": namespace} if namespace else {})


def _binding(kind: str, role: str, subject: dict[str, str], namespace: str = "") -> Manifest:
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": f"{kind}Binding",
        "metadata": _metadata(role, namespace),
        "roleRef": {"apiGroup": _RBAC, "kind": kind, "name": role},
        "subjects": [subject],
    }


def system_manifests(namespace: str = SYSTEM_NAMESPACE) -> list[Manifest]:
    """Return accounts, roles and bindings of the operator and the analyst, and the roles for people."""
    operator = _subject(OPERATOR_ACCOUNT, namespace)
    analyst = _subject(ANALYST_ACCOUNT, namespace)
    return [
        _account(OPERATOR_ACCOUNT, namespace),
        _account(ANALYST_ACCOUNT, namespace),
        _role("ClusterRole", OPERATOR_ACCOUNT, OPERATOR_CLUSTER_RULES),
        _binding("ClusterRole", OPERATOR_ACCOUNT, operator),
        _role("Role", OPERATOR_ACCOUNT, OPERATOR_SYSTEM_RULES, namespace),
        _binding("Role", OPERATOR_ACCOUNT, operator, namespace),
        _role("Role", ANALYST_ACCOUNT, ANALYST_RULES, namespace),
        _binding("Role", ANALYST_ACCOUNT, analyst, namespace),
        _role("ClusterRole", "kubernaut-view", VIEW_RULES, aggregate="view"),
        _role("ClusterRole", "kubernaut-edit", EDIT_RULES, aggregate="edit"),
        _role("ClusterRole", "kubernaut-admin", ADMIN_RULES, aggregate="admin"),
        _role("ClusterRole", APPROVER_ROLE, APPROVER_RULES),
        _role("Role", "kubernaut-switch", SWITCH_RULES, namespace),
    ]


def remember_manifests(namespace: str = SYSTEM_NAMESPACE) -> list[Manifest]:
    """Return what lets the operator remember what objects are like while they are well."""
    return [
        _role("ClusterRole", REMEMBER_ROLE, REMEMBER_RULES),
        _binding("ClusterRole", REMEMBER_ROLE, _subject(OPERATOR_ACCOUNT, namespace)),
    ]


def tenant_manifests(
    namespace: str = "", account: str = REPAIR_ACCOUNT, system_namespace: str = SYSTEM_NAMESPACE
) -> list[Manifest]:
    """Return what a namespace needs before Workflows can act in it.

    An account with the rights of the action catalogue, and leave for the operator to act as that account and no
    other. With an empty namespace it is left out everywhere, for kustomize to fill in.
    """
    impersonate = _rule("", ["serviceaccounts"], ["impersonate"], [account])
    return [
        _account(account, namespace),
        _role("Role", account, REPAIR_RULES, namespace),
        _binding("Role", account, _subject(account, namespace), namespace),
        _role("Role", IMPERSONATE_ROLE, [impersonate], namespace),
        _binding("Role", IMPERSONATE_ROLE, _subject(OPERATOR_ACCOUNT, system_namespace), namespace),
    ]


def before_image_manifests(namespace: str = "", account: str = REPAIR_ACCOUNT) -> list[Manifest]:
    """Return what lets an account keep before-images in Secrets; leave it out where no step needs that."""
    return [
        _role("Role", BEFORE_IMAGE_ROLE, BEFORE_IMAGE_RULES, namespace),
        _binding("Role", BEFORE_IMAGE_ROLE, _subject(account, namespace), namespace),
    ]


def workflow_manifests(
    workflow: str,
    namespace: str,
    account: str,
    rules: Sequence[Rule],
    cluster_rules: Sequence[Rule] = (),
    elsewhere: Mapping[str, Sequence[Rule]] | None = None,
) -> list[Manifest]:
    """Return the Role that gives an account what a Workflow needs, and its binding; ClusterRole and binding too
    where it needs something that is in no namespace, and a Role in each other namespace where it needs something.
    """
    subject = _subject(account, namespace)
    # Colons are allowed in names of RBAC and in none of namespaces and Workflows: no two can be meant by one.
    found: list[Manifest] = []
    for kind, name, where, given in (
        ("Role", f"kubernaut:{workflow}", namespace, rules),
        ("ClusterRole", f"kubernaut:{namespace}:{workflow}", "", cluster_rules),
        *(
            ("Role", f"kubernaut:{namespace}:{workflow}", other, more)
            for other, more in (elsewhere or {}).items()
        ),
    ):
        if given:
            found += [_role(kind, name, given, where), _binding(kind, name, subject, where)]
    for manifest in found:
        manifest["metadata"]["labels"][LABEL_WORKFLOW] = workflow
    return found
