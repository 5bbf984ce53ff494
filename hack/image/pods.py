"""Pods of the images as they are meant to be run: no root, nothing to write to but /tmp, no capabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from image.kinds import KINDS, SCRATCH

Manifest = dict[str, Any]
NAMESPACE = "kubernaut-system"


def _probe(path: str, **more: int) -> Manifest:
    return {"httpGet": {"path": path, "port": "http"}, "timeoutSeconds": 5, **more}


#: To start, the endpoint has to answer; liveness begins after that. Ready is who has its watches and shards.
PROBES: Manifest = {
    "startupProbe": _probe("/healthz", periodSeconds=1, failureThreshold=60),
    "livenessProbe": _probe("/healthz", periodSeconds=10, failureThreshold=3),
    "readinessProbe": _probe("/readyz", periodSeconds=1, failureThreshold=3),
}


def spec(
    kind: str,
    *,
    env: Mapping[str, str] | None = None,
    arguments: Sequence[str] = (),
    command: Sequence[str] = (),
) -> Manifest:
    """Return the spec of a pod that the Pod Security level ``restricted`` lets in."""
    container: Manifest = {
        "name": kind,
        "image": KINDS[kind].reference,
        "imagePullPolicy": "Never",
        "env": [{"name": name, "value": value} for name, value in (env or {}).items()],
        "ports": [{"name": "http", "containerPort": 8080}],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "scratch", "mountPath": SCRATCH}],
    }
    if command:
        container["command"] = list(command)
    if arguments:
        container["args"] = list(arguments)
    if kind == "operator" and not command and not arguments:
        container |= PROBES
    return {
        "serviceAccountName": f"kubernaut-{kind}",
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "scratch", "emptyDir": {}}],
        "terminationGracePeriodSeconds": 15,
    }


def pod(name: str, pod_spec: Manifest) -> Manifest:
    """Return a pod that is started once."""
    meta = {"name": name, "namespace": NAMESPACE, "labels": {"app.kubernetes.io/part-of": "kubernaut"}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta,
        "spec": {**pod_spec, "restartPolicy": "Never"},
    }


def deployment(kind: str, pod_spec: Manifest) -> Manifest:
    """Return a Deployment of one replica."""
    labels = {"app.kubernetes.io/name": f"kubernaut-{kind}", "app.kubernetes.io/part-of": "kubernaut"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": f"kubernaut-{kind}", "namespace": NAMESPACE, "labels": labels},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app.kubernetes.io/name": f"kubernaut-{kind}"}},
            "template": {"metadata": {"labels": labels}, "spec": pod_spec},
        },
    }
