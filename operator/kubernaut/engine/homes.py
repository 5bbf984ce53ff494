"""The key by which a run belongs to a shard: its target, as far as that is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kubernaut.api.execution import WorkflowExecutionStatus
from kubernaut.api.names import API_VERSION
from kubernaut.api.reach import namespace_of
from kubernaut.core.ports import Manifest


def target_home(namespace: str, api_version: str, kind: str, name: str) -> str:
    """Return the key of a target; one that belongs to no namespace has the same for runs of all namespaces."""
    return f"{namespace_of(api_version, kind, namespace)}/{api_version}/{kind}/{name}"


def workflow_home(namespace: str, workflow: str) -> str:
    """Return the key of runs whose target can't be known: one replica refuses them."""
    return target_home(namespace, API_VERSION, "Workflow", workflow)


def stored_home(namespace: str, workflow: str, status: WorkflowExecutionStatus) -> str:
    """Return the key of a run by what is stored of it: its claimed target, else its Workflow."""
    target = status.target
    if target is None:
        return workflow_home(namespace, workflow)
    return target_home(namespace, target.api_version, target.kind, target.name)


def home_of(manifest: Manifest, rendered: Callable[[Manifest], str | None]) -> str:
    """Return the key of a run as read.

    Args:
        rendered: returns the key of the target that a run not claimed yet will have, or None where that is not known.
    """
    namespace = manifest["metadata"]["namespace"]
    status: Mapping[str, Any] = manifest.get("status") or {}
    target = status.get("target")
    if target:
        return target_home(namespace, target["apiVersion"], target["kind"], target["name"])
    # What ended without a target was refused: what a Workflow says meanwhile is nothing to it.
    key = None if status.get("finishedAt") else rendered(manifest)
    return key or workflow_home(namespace, manifest["spec"]["workflowRef"]["name"])
