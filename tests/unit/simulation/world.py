"""Small clusters, and Workflows that are simulated in them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from kubernaut.actions.registry import ActionRegistry
from kubernaut.api.workflow import WorkflowSpec
from kubernaut.core.compiling import compile_plan
from kubernaut.core.parameters import parse_parameters
from kubernaut.core.ports import Manifest
from kubernaut.simulation.driver import Wanted
from kubernaut.simulation.report import Result
from kubernaut.simulation.shadow import Shadow
from kubernaut.simulation.simulating import shadow_of, simulate

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def meta(kind: str, name: str, namespace: str = "shop", **more: Any) -> dict[str, Any]:
    where = {"namespace": namespace} if namespace else {}
    uid = f"uid-{kind.lower()}-{name}"
    return {"name": name, **where, "uid": uid, "resourceVersion": "7", "generation": 1, **more}


def node(name: str = "node-1", cpu: str = "4", **spec: Any) -> Manifest:
    allocatable = {"cpu": cpu, "memory": "8Gi", "pods": "110"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": meta("Node", name, "", labels={"kubernetes.io/hostname": name}),
        "spec": spec,
        "status": {"allocatable": allocatable},
    }


def rolled_out(replicas: int = 2, cpu: str = "1", on: str = "node-1", **spec: Any) -> list[Manifest]:
    """Return Deployment api with its ReplicaSet and its pods, all well."""
    container: dict[str, Any] = {
        "name": "app",
        "image": "shop/api:1",
        "resources": {"requests": {"cpu": cpu}},
    }
    template: dict[str, Any] = {"metadata": {"labels": {"app": "api"}}, "spec": {"containers": [container]}}
    selector = {"matchLabels": {"app": "api"}}
    owner = {"apiVersion": "apps/v1", "controller": True}
    of_set: dict[str, Any] = {
        **template,
        "metadata": {"labels": {"app": "api", "pod-template-hash": "1"}},
    }
    found: list[Manifest] = [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": meta("Deployment", "api"),
            "spec": {"replicas": replicas, "selector": selector, "template": template, **spec},
            "status": {
                "observedGeneration": 1,
                **dict.fromkeys(
                    ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), replicas
                ),
            },
        },
        {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": meta(
                "ReplicaSet",
                "api-1",
                labels={"app": "api", "pod-template-hash": "1"},
                annotations={"deployment.kubernetes.io/revision": "1"},
                ownerReferences=[{**owner, "kind": "Deployment", "name": "api", "uid": "uid-deployment-api"}],
            ),
            "spec": {"replicas": replicas, "selector": selector, "template": of_set},
        },
    ]
    for at in range(replicas):
        reference = {**owner, "kind": "ReplicaSet", "name": "api-1", "uid": "uid-replicaset-api-1"}
        found.append(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": meta(
                    "Pod",
                    f"api-1-{at}",
                    labels={"app": "api", "pod-template-hash": "1"},
                    ownerReferences=[reference],
                ),
                "spec": {**of_set["spec"], "nodeName": on},
                "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
            }
        )
    return found


def ill(image: str = "shop/api:bad") -> list[Manifest]:
    """Return Deployment api as it is after its image was set to one that can't be pulled."""
    found = rolled_out()
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    for one in found:
        pod = one["spec"] if one["kind"] == "Pod" else one["spec"]["template"]["spec"]
        pod["containers"] = [{**pod["containers"][0], "image": image}]
        if one["kind"] == "Pod":
            told = {"name": "app", "image": image, "ready": False, "restartCount": 0, "state": waiting}
            conditions = [{"type": "Ready", "status": "False"}]
            one["status"] = {"phase": "Pending", "conditions": conditions, "containerStatuses": [told]}
        if one["kind"] == "Deployment":
            one["status"] |= {"readyReplicas": 0, "availableReplicas": 0, "unavailableReplicas": 2}
            one["status"]["conditions"] = [{"type": "Available", "status": "False"}]
    return found


def workflow(*steps: dict[str, Any], **more: Any) -> WorkflowSpec:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "api"}
    return WorkflowSpec.from_wire(
        {"serviceAccountName": "repair", "target": target, "steps": list(steps), **more}
    )


def wanted(spec: WorkflowSpec, **params: str) -> Wanted:
    plan = compile_plan(spec, ActionRegistry(installed=False))
    return Wanted("flow", "shop", plan, parse_parameters(spec, params))


async def simulated(spec: WorkflowSpec, objects: list[Manifest], **params: str) -> tuple[Result, Shadow]:
    shadow = shadow_of(NOW, objects=objects)
    return await simulate(wanted(spec, **params), shadow), shadow


def there(shadow: Shadow, kind: str) -> list[Manifest]:
    return [one for one in shadow.state.objects.values() if one is not None and one["kind"] == kind]
