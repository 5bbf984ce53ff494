"""What the tests of an installation give to Helm and to the cluster."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import yaml

import chart_overlays as chart
from image import KINDS
from localcluster.images import REGISTRY

Manifest = dict[str, Any]
TARGETS = ("a", "b", "c", "d")
STEPS = 15
LET_GO = "has(target.metadata.labels) && 'let' in target.metadata.labels"
numbers = itertools.count(1)


def image(kind: str) -> Manifest:
    """Return where the chart finds an image that was built here."""
    return {"repository": KINDS[kind].reference.removeprefix(f"{REGISTRY}/").rpartition(":")[0]}


def values(*namespaces: str, **more: Any) -> list[str]:
    given = {
        "image": {"registry": REGISTRY, "pullPolicy": "Never"},
        "operator.image": image("operator"),
        "operator.replicas": 2,
        "operator.settings.policyCheck": "1s",
        "tenants": [{"namespace": namespace} for namespace in namespaces],
        **more,
    }
    return [part for key, value in given.items() for part in ("--set-json", f"{key}={json.dumps(value)}")]


def with_history(password: str, **embedded: Any) -> Manifest:
    """Return values for a Postgres of the chart's own, on a volume, and an analyst content with two runs."""
    given = {"image": image("postgres"), "password": password, "persistent": True, **embedded}
    two = {"name": "KUBERNAUT_ANALYST_MIN_CLUSTER_SIZE", "value": "2"}
    return {
        "postgres": {"mode": "embedded", "embedded": given},
        "analyst": {"enabled": True, "image": image("analyst"), "interval": "1s", "extraEnv": [two]},
    }


def volume(folder: Path) -> Manifest:
    """Return a volume on the node, which nothing here would make of a claim by itself."""
    node = {"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"volume-{next(numbers)}"},
        "spec": {
            "capacity": {"storage": "2Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "local": {"path": str(folder)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [node]}]}},
        },
    }


def deployment(namespace: str, name: str, image: str, replicas: int = 0) -> Manifest:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "app", "image": image}]},
            },
        },
    }


def long_workflow(namespace: str) -> Manifest:
    """Return a Workflow of steps that each leave a trace, with pauses in which much may happen.

    Before the last step it waits until its target is labelled ``let: go``, however long all that takes.
    """
    steps: list[Manifest] = []
    for at in range(STEPS):
        patch = {"metadata": {"annotations": {f"did-{at}": "=run.name"}}}
        act = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "name": "=params.deployment",
            "patch": patch,
        }
        after = [f"pause-{at - 1}"] if at else []
        pause = {"duration": "4s"} if at < STEPS - 2 else {"until": LET_GO}
        steps.append({"name": f"step-{at}", "action": "patch_resource", "with": act, "dependsOn": after})
        if at < STEPS - 1:
            steps.append({"name": f"pause-{at}", "wait": pause, "dependsOn": [f"step-{at}"]})
    parameters = [{"name": "deployment", "required": True}]
    return _workflow(namespace, "long", "=params.deployment", parameters=parameters, steps=steps)


def measured_workflow(namespace: str, target: str) -> Manifest:
    """Return a Workflow with what only today's version has: a trigger, and a metric that nobody is asked for."""
    metric = {"name": "up", "query": "up", "expect": "value > 0.0"}
    return _workflow(
        namespace,
        "measured",
        target,
        triggers=[{"alert": {"matchLabels": {"alertname": "Measured"}}}],
        steps=[{"name": "look", "action": "collect_diagnostics"}],
        verify={"expect": ["has(target.metadata.name)"], "metrics": [metric]},
    )


def _workflow(namespace: str, name: str, deployment: str, **spec: Any) -> Manifest:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment}
    return {
        "apiVersion": "kubernaut.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"serviceAccountName": "kubernaut-repair", "target": target, **spec},
    }


def sample(workflow: str, namespace: str) -> Manifest:
    found: Manifest = yaml.safe_load((chart.ROOT / "manifests" / "samples" / f"{workflow}.yaml").read_text())
    found["metadata"]["namespace"] = namespace
    return found
