"""What the containers of a workload use, as far as one look at the metrics API shows. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from kubernaut.actions import pods
from kubernaut.core.ports import Manifest
from kubernaut.core.quantity import Quantity

RESOURCES = ("memory", "cpu")


@dataclass(frozen=True, slots=True)
class Usage:
    """How much one container was seen to use.

    Attributes:
        ready: how many pods are ready and run the container's image.
        observed: in how many of these it was measured, after it had run long enough.
        most: the greatest use of each resource among them.
    """

    ready: int = 0
    observed: int = 0
    most: Mapping[str, Quantity] = field(default_factory=dict)


def usage_of(
    container: Mapping[str, Any], there: Sequence[Manifest], metrics: Sequence[Manifest], min_age: timedelta
) -> Usage:
    """Return how much a container of a template uses; pods that run another image of it tell nothing."""
    measured = {one["metadata"]["name"]: one for one in metrics}
    ready = [pod for pod in there if not pods.leaving(pod) and pods.ready(pod) and _runs(pod, container)]
    found = [
        use
        for pod in ready
        if (use := _measured(pod, measured.get(pod["metadata"]["name"]), container["name"], min_age))
        is not None
    ]
    most = {
        resource: max((use[resource] for use in found), key=lambda quantity: quantity.value)
        for resource in RESOURCES
        if found
    }
    return Usage(len(ready), len(found), most)


def _runs(pod: Mapping[str, Any], container: Mapping[str, Any]) -> bool:
    wanted = (container["name"], container.get("image"))
    return any((one["name"], one.get("image")) == wanted for one in pod["spec"]["containers"])


def _measured(
    pod: Mapping[str, Any], metrics: Mapping[str, Any] | None, name: str, min_age: timedelta
) -> dict[str, Quantity] | None:
    """Return what a container of a pod used; None where it was not measured since the pod was old enough."""
    started = (pod.get("status") or {}).get("startTime")
    if metrics is None or not started:
        return None
    if _time(metrics["timestamp"]) - _time(started) < min_age:
        return None
    used: Mapping[str, Any] = next(
        (one["usage"] for one in metrics.get("containers") or () if one["name"] == name), {}
    )
    if not all(resource in used for resource in RESOURCES):
        return None
    return {resource: Quantity.parse(str(used[resource])) for resource in RESOURCES}


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
