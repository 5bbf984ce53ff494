"""Group, version, labels, annotations and other names that other software may rely on."""

from __future__ import annotations

from typing import Final

GROUP: Final = "kubernaut.io"
VERSION: Final = "v1alpha1"
API_VERSION: Final = "kubernaut.io/v1alpha1"
CATEGORY: Final = "kubernaut"

SYSTEM_NAMESPACE: Final = "kubernaut-system"
OPERATOR_ACCOUNT: Final = "kubernaut-operator"
ANALYST_ACCOUNT: Final = "kubernaut-analyst"
MANAGER: Final = "kubernaut"

FINALIZER: Final = f"{GROUP}/mirror"
MARKER_PREFIX: Final = f"step.{GROUP}/"
CREATED_PREFIX: Final = f"created.{GROUP}/"

LABEL_WORKFLOW: Final = f"{GROUP}/workflow"
LABEL_CONTENT_HASH: Final = f"{GROUP}/content-hash"
# Written on a namespace by the cluster's administrators.
LABEL_CLUSTER_SCOPED: Final = f"{GROUP}/cluster-scoped"
# Written on an object by whoever may write it: what it is like while it is well may be remembered.
LABEL_REMEMBER: Final = f"{GROUP}/remember"
# A label or an annotation: no step removes an object that has it, and nothing is repaired in a namespace that has it.
PROTECTED: Final = f"{GROUP}/protected"
# On a run that an alert started: its incident, its alertname, and what is known of the incident's alerts.
LABEL_INCIDENT: Final = f"{GROUP}/incident"
LABEL_ALERT: Final = f"{GROUP}/alert"
ANNOTATION_ALERTS: Final = f"{GROUP}/alerts"
LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
LABEL_PART_OF: Final = "app.kubernetes.io/part-of"

ANNOTATION_AVAILABLE: Final = f"{GROUP}/available-since"
ANNOTATION_REPLACED_BY: Final = f"{GROUP}/replaced-by"

# On an Application, Kustomization or HelmRelease whose sync runs have paused: by whom, until when, what it was like.
PAUSED_ANNOTATION: Final = f"gitops.{GROUP}/paused"
# On a Lease of the operator: which sync is paused.
LABEL_PAUSE: Final = f"{GROUP}/pause"
TICKET_ANNOTATION: Final = f"{GROUP}/pause"

SWITCH_CONFIGMAP: Final = "kubernaut-switch"
SIGNING_SECRET: Final = "kubernaut-signing"


def marker_annotation(run_uid: str) -> str:
    """Return the annotation under which a run records its steps on an object it changed."""
    return MARKER_PREFIX + run_uid
