"""The audit policy: who changed what, in full, but never a secret value.

Tests count writes, prove that an effect happened once, and prove that every granted right is used, all from this log.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

Level = Literal["full", "metadata", "none"]
LEVELS: tuple[str, ...] = get_args(Level)

MUTATING = ["create", "update", "patch", "delete", "deletecollection"]
OPERATOR_NAMESPACE = "kubernaut-system"
GROUP = "kubernaut.io"
SWITCH = "kubernaut-switch"

#: what the cluster does all the time to stay alive; nothing a test asks about
_SYSTEM_USERS = ["system:apiserver", "system:kube-scheduler", "system:kube-controller-manager", "kwok"]
_SYSTEM_GROUPS = ["system:nodes", "system:serviceaccounts:kube-system"]
_LEASES = {"group": "coordination.k8s.io", "resources": ["leases"]}
_EVENTS = [{"group": "", "resources": ["events"]}, {"group": "events.k8s.io", "resources": ["events"]}]
_NODE_STATUS = {"group": "", "resources": ["nodes", "nodes/status"]}

#: bodies that hold, or may hold, credentials
_CONFIDENTIAL = [
    {"group": "", "resources": ["secrets", "configmaps", "serviceaccounts/token"]},
    {"group": "authentication.k8s.io"},
    {"group": "certificates.k8s.io"},
]
_QUESTIONS = {"group": "authorization.k8s.io"}


def policy(level: Level) -> dict[str, Any]:
    """The policy document of ``level``; the first rule that fits decides.

    ``full``: bodies of everything that changes an object. ``metadata``: the same requests without bodies (cheaper).
    """
    written = "RequestResponse" if level == "full" else "Metadata"
    chatter = [_LEASES, *_EVENTS, _NODE_STATUS, _QUESTIONS, {"group": "authentication.k8s.io"}]
    rules: list[dict[str, Any]] = [
        {"level": "None", "users": _SYSTEM_USERS, "resources": chatter},
        {"level": "None", "userGroups": _SYSTEM_GROUPS, "resources": chatter},
        {"level": "Metadata", "verbs": MUTATING, "resources": [*_CONFIDENTIAL, _QUESTIONS]},
        {"level": written, "verbs": [*MUTATING, "get"], "resources": [{"group": GROUP}]},
        # whole lists would only repeat what the writes say, at the price of megabytes
        {"level": "Metadata", "verbs": ["list", "watch"], "resources": [{"group": GROUP}]},
        {"level": written, "verbs": MUTATING},
        {"level": "Metadata", "userGroups": [f"system:serviceaccounts:{OPERATOR_NAMESPACE}"]},
        # who may look at the stop switch is a role of its own
        {
            "level": "Metadata",
            "resources": [{"group": "", "resources": ["configmaps"], "resourceNames": [SWITCH]}],
        },
        {"level": "None"},
    ]
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "omitManagedFields": True,
        "rules": rules,
    }
