"""Steps that shapes are made of, and the effects of each.

They show when they happen twice: memory is doubled, replicas are added, pods go.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from faults.shapes.model import Effects, Manifest


def step(name: str, action: str, /, *needs: str, **parameters: Any) -> Manifest:
    return {"name": name, "action": action, "dependsOn": list(needs), "with": parameters}


def grow(*needs: str) -> Manifest:
    return step("grow", "increase_resources", *needs, name="=params.deployment", memoryFactor=2)


def scale(*needs: str, name: str = "scale", by: int = 1) -> Manifest:
    return step(name, "scale_deployment", *needs, name="=params.deployment", delta=by)


def restart(*needs: str) -> Manifest:
    return step("restart", "restart_deployment", *needs, name="=params.deployment")


def note(name: str, /, *needs: str, value: str = "done", **more: Any) -> Manifest:
    patch = {"metadata": {"annotations": {f"faults/{name}": value}}}
    what = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "=params.deployment"}
    return step(name, "patch_resource", *needs, **what, patch=patch, **more)


def pod(name: str, parameter: str, method: str, *needs: str) -> Manifest:
    return step(name, "restart_pod", *needs, name=f"=params.{parameter}", method=method)


def gate(name: str, *needs: str, label: str = "go", **more: Any) -> Manifest:
    holds = f"has(target.metadata.labels) && '{label}' in target.metadata.labels"
    return {"name": name, "dependsOn": list(needs), "wait": {"until": holds}, "timeout": "5m", **more}


def once(*steps: str, undone: tuple[str, ...] = ()) -> Effects:
    return Counter([*((step, "do") for step in steps), *((step, "undo") for step in undone)])


def impossible(name: str, *needs: str) -> Manifest:
    return note(name, *needs, expect={"metadata.labels.never": "yes"})
