"""Objects as Argo CD, Flux and Helm leave them; fields as the API server writes them into managedFields."""

from __future__ import annotations

import json
from typing import Any

Manifest = dict[str, Any]
TRACKING = "argocd.argoproj.io/tracking-id"


def entry(
    manager: str, fields: Any, *, operation: str = "Apply", subresource: str = "", time: str = ""
) -> Manifest:
    found = {
        "manager": manager,
        "operation": operation,
        "time": time or "2026-03-01T10:00:00Z",
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }
    return found | ({"subresource": subresource} if subresource else {})


def spec_of(*names: str) -> Any:
    """Return an entry's fields: some of spec."""
    return {"f:spec": {f"f:{name}": {} for name in names}}


def deployment(
    *entries: Manifest,
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    replicas: int = 3,
) -> Manifest:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "web",
            "namespace": "shop",
            "labels": labels or {},
            "annotations": annotations or {},
            "managedFields": list(entries),
        },
        "spec": {"replicas": replicas, "minReadySeconds": 0, "template": {"metadata": {}}},
    }


def of_argo(
    *entries: Manifest, app: str = "shop", annotations: dict[str, str] | None = None, **more: Any
) -> Manifest:
    """Return a Deployment that an Application tracks by annotation."""
    tracking = {TRACKING: f"{app}:apps/Deployment:shop/web"}
    return deployment(*entries, annotations={**tracking, **(annotations or {})}, **more)


def of_flux(*entries: Manifest, annotations: dict[str, str] | None = None) -> Manifest:
    """Return a Deployment of a Kustomization."""
    labels = {
        "kustomize.toolkit.fluxcd.io/name": "apps",
        "kustomize.toolkit.fluxcd.io/namespace": "flux-system",
    }
    return deployment(*entries, labels=labels, annotations=annotations)


def last_applied(spec: Any) -> dict[str, str]:
    return {"kubectl.kubernetes.io/last-applied-configuration": json.dumps({"spec": spec})}


def application(**sync: Any) -> Manifest:
    """Return an Application; without more, one that self-heals."""
    automated = {"prune": True, "selfHeal": True}
    spec: Manifest = {"project": "default", "syncPolicy": {"automated": automated}, **sync}
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": "shop", "namespace": "argocd"},
        "spec": spec,
    }
