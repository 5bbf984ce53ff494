"""Out of the namespace: what belongs to the cluster, protected namespaces, nodes, privileged pods."""

from __future__ import annotations

from typing import Any

from apiserver.resources import EXECUTION, WORKFLOW, smallest
from escalation.rows import (
    ADA,
    ANALYST,
    EDITH,
    FLEET,
    GRACE,
    HEAD,
    IDA,
    MALLORY,
    OPERATOR,
    POD_SECURITY,
    RBAC,
    REPAIR,
    ROOT,
    SHOP,
    SYSTEM,
    VAULT,
    Row,
    core,
    get,
    group,
    ours,
    patch,
    policy,
    post,
)
from kubernaut.api.names import LABEL_CLUSTER_SCOPED
from kubernaut.api.names import PROTECTED as LABEL_PROTECTED
from kubernaut.api.reach import CLUSTER_ACTIONS, CLUSTER_SCOPED, PROTECTED_NAMESPACES

SCOPE = "cluster-scoped targets without the label"
PROTECTED = "protected namespaces"
NODES = "nodes/proxy and ways into pods"
PRIVILEGED = "privileged pods"
Object = dict[str, Any]


def _scope() -> list[Row]:
    by, here, fleet = policy("workflow-reach"), ours("workflows", SHOP), ours("workflows", FLEET)
    found = []
    for api_group, kind in sorted(CLUSTER_SCOPED):
        target = {"apiVersion": f"{api_group}/v1" if api_group else "v1", "kind": kind, "name": "any"}
        ask = post(ROOT, here, smallest(WORKFLOW, "new", target=target))
        found.append(Row(SCOPE, f"has a {kind} as its target", ask, by, ask.at(fleet)))
    for action in CLUSTER_ACTIONS:
        steps = [{"name": "act", "action": action, "with": {"name": "n1"}}]
        ask = post(IDA, here, smallest(WORKFLOW, "new", steps=steps))
        found.append(Row(SCOPE, f"takes a step of {action}", ask, by, ask.by(ROOT).at(fleet)))
    step = {"name": "act", "action": "cordon_node", "with": {"name": "n1"}}
    hidden: dict[str, Object] = {
        "under finally": {"finally": [step]},
        "in a template": {"templates": [{"name": "deep", "steps": [step]}]},
        "behind others": {"steps": [{"name": f"s{n}", "action": "notify_only"} for n in range(50)] + [step]},
    }
    for where, spec in hidden.items():
        ask = post(IDA, here, smallest(WORKFLOW, "new", **spec))
        found.append(Row(SCOPE, f"hides such a step {where}", ask, by, ask.by(ROOT).at(fleet)))
    node = {"spec": {"target": {"apiVersion": "v1", "kind": "Node", "name": "n1"}}}
    moved = patch(IDA, ours("workflows", SHOP, "theirs"), node)
    label = patch(
        HEAD, core("namespaces", "", SHOP), {"metadata": {"labels": {LABEL_CLUSTER_SCOPED: "true"}}}
    )
    return [
        *found,
        Row(
            SCOPE,
            "moves a Workflow to a node",
            moved,
            by,
            patch(ROOT, ours("workflows", FLEET, "theirs"), node),
        ),
        Row(SCOPE, "gives itself the label", label, RBAC, label.by(ROOT)),
        Row(SCOPE, "gives itself the label as an editor", label.by(EDITH), RBAC, label.by(ROOT)),
        Row(SCOPE, "gives its namespace the label", label.by(REPAIR), RBAC, label.by(ROOT)),
    ]


def _protected() -> list[Row]:
    by = policy("namespace-protected")
    workflow, run = smallest(WORKFLOW, "new"), smallest(EXECUTION, "new")
    found = []
    for namespace in (*PROTECTED_NAMESPACES, SYSTEM, VAULT):
        ask, start = (
            post(ROOT, ours("workflows", namespace), workflow),
            post(ROOT, ours("workflowexecutions", namespace), run),
        )
        found += [
            Row(PROTECTED, f"writes a Workflow into {namespace}", ask, by, ask.at(ours("workflows", SHOP))),
            Row(
                PROTECTED,
                f"starts a run in {namespace}",
                start,
                by,
                start.at(ours("workflowexecutions", SHOP)),
            ),
        ]
    old = ours("workflows", VAULT, "old")
    lifted = patch(
        MALLORY, core("namespaces", "", VAULT), {"metadata": {"labels": {LABEL_PROTECTED: "false"}}}
    )
    owner = post(HEAD, ours("workflows", VAULT), workflow)
    return [
        *found,
        Row(
            PROTECTED,
            "rewrites a Workflow that was there before",
            patch(ROOT, old, {"spec": {"priority": 9}}),
            by,
            patch(ROOT, old, {"metadata": {"labels": {"a": "b"}}}),
        ),
        Row(
            PROTECTED,
            "writes a Workflow as the namespace's administrator",
            owner,
            by,
            owner.at(ours("workflows", SHOP)),
        ),
        Row(PROTECTED, "lifts the protection", lifted.by(HEAD), RBAC, lifted.by(ROOT)),
        Row(PROTECTED, "lifts the protection", lifted.by(OPERATOR), RBAC, lifted.by(ROOT)),
    ]


def _nodes() -> list[Row]:
    proxy, pods = core("nodes", "", "n1", "proxy"), core("pods", SHOP)
    pod = core("pods", SHOP, "any")
    listed = get(REPAIR, pods)
    container: Object = {
        "spec": {"ephemeralContainers": [{"name": "in", "image": "kubernaut.local/pause:1"}]}
    }
    return [
        *(
            Row(NODES, "reads a node's kubelet", get(who, proxy), RBAC, get(ROOT, core("nodes")))
            for who in (OPERATOR, ANALYST, REPAIR, ADA, GRACE, HEAD, MALLORY)
        ),
        Row(
            NODES, "runs a command by a node's kubelet", post(REPAIR, f"{proxy}/run/x/y/z", {}), RBAC, listed
        ),
        Row(NODES, "runs a command in a pod", post(REPAIR, f"{pod}/exec", {}), RBAC, listed),
        Row(NODES, "runs a command in a pod", post(OPERATOR, f"{pod}/exec", {}), RBAC, listed),
        Row(NODES, "attaches to a pod", post(REPAIR, f"{pod}/attach", {}), RBAC, listed),
        Row(NODES, "opens a port of a pod", post(REPAIR, f"{pod}/portforward", {}), RBAC, listed),
        Row(NODES, "asks a pod by the API server", get(REPAIR, f"{pod}/proxy"), RBAC, listed),
        Row(
            NODES,
            "asks a Service by the API server",
            get(REPAIR, core("services", SHOP, "any", "proxy")),
            RBAC,
            listed,
        ),
        Row(
            NODES,
            "puts a container into a pod",
            patch(REPAIR, f"{pod}/ephemeralcontainers", container),
            RBAC,
            listed,
        ),
        Row(NODES, "reads nodes", get(REPAIR, core("nodes")), RBAC, listed),
        Row(
            NODES,
            "cordons a node",
            patch(REPAIR, core("nodes", "", "n1"), {"spec": {"unschedulable": True}}),
            RBAC,
            listed,
        ),
        Row(
            NODES,
            "cordons a node",
            patch(HEAD, core("nodes", "", "n1"), {"spec": {"unschedulable": True}}),
            RBAC,
            get(HEAD, pods),
        ),
        Row(NODES, "reads pods of all namespaces", get(REPAIR, core("pods")), RBAC, listed),
        Row(
            NODES,
            "evicts a pod of another namespace",
            post(
                REPAIR,
                core("pods", SYSTEM, "any", "eviction"),
                {
                    "apiVersion": "policy/v1",
                    "kind": "Eviction",
                    "metadata": {"name": "any", "namespace": SYSTEM},
                },
            ),
            RBAC,
            listed,
        ),
    ]


def _pod(pod: Object | None = None, container: Object | None = None) -> Object:
    """Return a pod that the standard ``restricted`` admits, but for what is given."""
    context = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    inner = container or {}
    first = {
        "name": "app",
        "image": "kubernaut.local/pause:1",
        **inner,
        "securityContext": {**context, **inner.get("securityContext", {})},
    }
    return {
        "metadata": {"name": "new"},
        "spec": {"automountServiceAccountToken": False, "containers": [first], **(pod or {})},
    }


def _context(**fields: Any) -> Object:
    return {"securityContext": fields}


PODS: dict[str, Object] = {
    "a privileged pod": _pod(container=_context(privileged=True, allowPrivilegeEscalation=True)),
    "a pod of root": _pod(container=_context(runAsNonRoot=False, runAsUser=0)),
    "a pod that may escalate": _pod(container=_context(allowPrivilegeEscalation=True)),
    "a pod with a capability": _pod(container=_context(capabilities={"drop": ["ALL"], "add": ["SYS_ADMIN"]})),
    "a pod without seccomp": _pod(container=_context(seccompProfile={"type": "Unconfined"})),
    "a pod in the host's network": _pod({"hostNetwork": True}),
    "a pod among the host's processes": _pod({"hostPID": True}),
    "a pod with the host's disk": _pod({"volumes": [{"name": "host", "hostPath": {"path": "/"}}]}),
    "a pod with a port of the host": _pod(container={"ports": [{"containerPort": 80, "hostPort": 80}]}),
    "a pod with a SELinux type of its own": _pod(container=_context(seLinuxOptions={"type": "spc_t"})),
    "a pod that sets a sysctl": _pod(
        {"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}}
    ),
}


def _privileged() -> list[Row]:
    where, fine = core("pods", SYSTEM), _pod()
    ask = post(ROOT, where, fine)
    job = {
        "metadata": {"name": "new"},
        "spec": {
            "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "b"}]}}
        },
    }
    jobs, here = group("batch/v1", "jobs", SHOP), core("pods", SHOP)
    return [
        *(
            Row(PRIVILEGED, f"puts {told} beside the operator", ask.saying(pod), POD_SECURITY, ask)
            for told, pod in PODS.items()
        ),
        Row(PRIVILEGED, "creates a pod", post(REPAIR, here, fine), RBAC, get(REPAIR, here)),
        Row(
            PRIVILEGED,
            "creates a Job without the right",
            post(REPAIR, jobs, job),
            RBAC,
            post(HEAD, jobs, job),
        ),
        Row(PRIVILEGED, "creates a pod", post(OPERATOR, here, fine), RBAC, post(HEAD, here, fine)),
        Row(PRIVILEGED, "creates a Job", post(OPERATOR, jobs, job), RBAC, post(HEAD, jobs, job)),
        Row(
            PRIVILEGED,
            "creates a Job beside the operator",
            post(MALLORY, group("batch/v1", "jobs", SYSTEM), job),
            RBAC,
            post(HEAD, jobs, job),
        ),
        Row(
            PRIVILEGED,
            "creates a Deployment",
            post(REPAIR, group("apps/v1", "deployments", SHOP), {"metadata": {"name": "new"}}),
            RBAC,
            get(REPAIR, group("apps/v1", "deployments", SHOP)),
        ),
    ]


ROWS = [*_scope(), *_protected(), *_nodes(), *_privileged()]
