"""Usage of pods, served at the address and in the form of metrics-server.

What serves it is a CustomResourceDefinition of the same group and kind: a simulated node has no usage that could be
measured, so another actor writes it. Who reads it (the HorizontalPodAutoscaler's controller, an action) can't tell.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from apiserver.acting import Place, await_true
from kubernaut.core.ports import Manifest

METRICS: Final = "metrics.k8s.io/v1beta1"
_DEFINITIONS: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_DEFINITION: Final[Manifest] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {
        "name": "pods.metrics.k8s.io",
        "annotations": {"api-approved.kubernetes.io": "unapproved, stands in for metrics-server"},
    },
    "spec": {
        "group": "metrics.k8s.io",
        "scope": "Namespaced",
        "names": {
            "plural": "pods",
            "singular": "podmetrics",
            "kind": "PodMetrics",
            "listKind": "PodMetricsList",
        },
        "versions": [
            {
                "name": "v1beta1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
                },
            }
        ],
    },
}


def serve_metrics(place: Place) -> None:
    """Have the API server serve PodMetrics from now on."""
    answer = place.admin.request("POST", _DEFINITIONS, _DEFINITION)
    assert answer.ok or answer.status == 409, answer
    there = place.path(METRICS, "pods")
    await_true(lambda: place.admin.request("GET", there).ok, "PodMetrics are not served")


def no_metrics(place: Place) -> None:
    """Have the API server serve none from now on."""
    path = f"{_DEFINITIONS}/{_DEFINITION['metadata']['name']}"
    place.admin.request("DELETE", path)
    await_true(lambda: place.admin.request("GET", path).status == 404, "PodMetrics are still defined")
    there = place.path(METRICS, "pods")
    await_true(lambda: place.admin.request("GET", there).status == 404, "PodMetrics are still served")


def measure(place: Place, pod: Manifest, *, window: str = "15s", **usage: str) -> None:
    """Write what the containers of a pod use, each the same."""
    meta = pod["metadata"]
    containers = [{"name": one["name"], "usage": dict(usage)} for one in pod["spec"]["containers"]]
    metrics = {
        "apiVersion": METRICS,
        "kind": "PodMetrics",
        "metadata": {"name": meta["name"], "labels": meta["labels"]},
        "timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "window": window,
        "containers": containers,
    }
    place.create(METRICS, "pods", metrics)
