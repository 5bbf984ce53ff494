"""Which resource of the API a kind is: a table of the well-known ones, discovery for the rest."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from kubernaut.api.names import API_VERSION
from kubernaut.core.errors import Invalid

_NAME: Final = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_.:]*")


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind and where the API server keeps it, e.g. Deployment at ``/apis/apps/v1/.../deployments``."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def group(self) -> str:
        """The API group; empty for the core group."""
        group, _, version = self.api_version.partition("/")
        return group if version else ""

    @property
    def rbac_name(self) -> str:
        """The name as RBAC messages spell it, e.g. ``deployments.apps``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Return the URL path of a collection or, with a name, of an object.

        Raises:
            Invalid: a name that can't be one; it is refused before it could reach another path.
        """
        parts = [group_path(self.api_version)]
        if self.namespaced and namespace:
            parts += ["namespaces", checked(namespace, "namespace")]
        parts.append(self.plural)
        if name:
            parts.append(checked(name, self.kind))
        if subresource:
            parts.append(subresource)
        return "/".join(parts)


def checked(name: str, what: str) -> str:
    """Return a name that is safe as one segment of a path.

    Raises:
        Invalid: it is not.
    """
    if not _NAME.fullmatch(name) or len(name) > 253:
        raise Invalid(f"{name[:80]!r} can't be the name of a {what}; names are letters, digits, '-' and '.'")
    return name


def group_path(api_version: str) -> str:
    """Return the root of a group and version: ``/api/v1`` or ``/apis/apps/v1``."""
    group, _, version = api_version.partition("/")
    if version:
        return f"/apis/{checked(group, 'API group')}/{checked(version, 'API version')}"
    return f"/api/{checked(group, 'API version')}"


def _table() -> dict[tuple[str, str], Resource]:
    namespaced = {
        "v1": {
            "Pod": "pods",
            "ConfigMap": "configmaps",
            "Secret": "secrets",
            "Service": "services",
            "ServiceAccount": "serviceaccounts",
            "PersistentVolumeClaim": "persistentvolumeclaims",
            "ReplicationController": "replicationcontrollers",
            "ResourceQuota": "resourcequotas",
            "LimitRange": "limitranges",
            "Endpoints": "endpoints",
            "Event": "events",
        },
        "apps/v1": {
            "Deployment": "deployments",
            "ReplicaSet": "replicasets",
            "StatefulSet": "statefulsets",
            "DaemonSet": "daemonsets",
            "ControllerRevision": "controllerrevisions",
        },
        "batch/v1": {"Job": "jobs", "CronJob": "cronjobs"},
        "autoscaling/v2": {"HorizontalPodAutoscaler": "horizontalpodautoscalers"},
        "metrics.k8s.io/v1beta1": {"PodMetrics": "pods"},
        "policy/v1": {"PodDisruptionBudget": "poddisruptionbudgets"},
        "networking.k8s.io/v1": {"Ingress": "ingresses", "NetworkPolicy": "networkpolicies"},
        "coordination.k8s.io/v1": {"Lease": "leases"},
        "discovery.k8s.io/v1": {"EndpointSlice": "endpointslices"},
        "events.k8s.io/v1": {"Event": "events"},
        "rbac.authorization.k8s.io/v1": {"Role": "roles", "RoleBinding": "rolebindings"},
        API_VERSION: {
            "Workflow": "workflows",
            "WorkflowExecution": "workflowexecutions",
            "DiscoveredPattern": "discoveredpatterns",
        },
    }
    cluster_wide = {
        "v1": {"Node": "nodes", "Namespace": "namespaces", "PersistentVolume": "persistentvolumes"},
        "apiextensions.k8s.io/v1": {"CustomResourceDefinition": "customresourcedefinitions"},
        "admissionregistration.k8s.io/v1": {
            "ValidatingAdmissionPolicy": "validatingadmissionpolicies",
            "ValidatingAdmissionPolicyBinding": "validatingadmissionpolicybindings",
        },
        "rbac.authorization.k8s.io/v1": {
            "ClusterRole": "clusterroles",
            "ClusterRoleBinding": "clusterrolebindings",
        },
        "storage.k8s.io/v1": {"StorageClass": "storageclasses"},
        "scheduling.k8s.io/v1": {"PriorityClass": "priorityclasses"},
    }
    return {
        (version, kind): Resource(version, kind, plural, is_namespaced)
        for is_namespaced, groups in ((True, namespaced), (False, cluster_wide))
        for version, kinds in groups.items()
        for kind, plural in kinds.items()
    }


WELL_KNOWN: Final = _table()
# They answer at once and store nothing: the creates that need no name.
SELF_REVIEW: Final = Resource("authentication.k8s.io/v1", "SelfSubjectReview", "selfsubjectreviews", False)
_AUTHORIZATION: Final = "authorization.k8s.io/v1"
RULES_REVIEW: Final = Resource(_AUTHORIZATION, "SelfSubjectRulesReview", "selfsubjectrulesreviews", False)
ACCESS_REVIEW: Final = Resource(_AUTHORIZATION, "SelfSubjectAccessReview", "selfsubjectaccessreviews", False)
REVIEWS: Final = (SELF_REVIEW, RULES_REVIEW, ACCESS_REVIEW)
