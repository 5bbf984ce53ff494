"""What reaches beyond a namespace, and which namespaces may: those that the cluster's administrators labelled.

Labels of a namespace can be written by those alone who may write the namespace itself, which its own
administrators may not; so the label is where the leave is kept (docs/adr/0027).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kubernaut.api.names import LABEL_CLUSTER_SCOPED

#: kinds without a namespace that a run can have as its target, by group
CLUSTER_SCOPED: Final = frozenset(
    {
        ("", "Namespace"),
        ("", "Node"),
        ("", "PersistentVolume"),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding"),
        ("apiextensions.k8s.io", "CustomResourceDefinition"),
        ("rbac.authorization.k8s.io", "ClusterRole"),
        ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
        ("scheduling.k8s.io", "PriorityClass"),
        ("storage.k8s.io", "StorageClass"),
    }
)
#: actions that change what belongs to no namespace, or to others
CLUSTER_ACTIONS: Final = ("cordon_node", "drain_node", "taint_node", "uncordon_node", "untaint_node")

#: namespaces in which no Workflow may be written, unless their label says otherwise; Kubernaut's own is another
PROTECTED_NAMESPACES: Final = ("kube-node-lease", "kube-public", "kube-system")


def namespace_of(api_version: str, kind: str, namespace: str) -> str:
    """Return the namespace in which a run of this namespace finds an object; empty where its kind has none."""
    group, _, version = api_version.rpartition("/")
    return "" if version and (group, kind) in CLUSTER_SCOPED else namespace


def reaches_beyond(namespace: Mapping[str, Any]) -> bool:
    """Whether Workflows of a namespace, as read, may act beyond it."""
    return bool((namespace["metadata"].get("labels") or {}).get(LABEL_CLUSTER_SCOPED) == "true")
