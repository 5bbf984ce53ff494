"""How a workload or an autoscaler fares, by its own status (in the manner of kstatus). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from kubernaut.actions import pods
from kubernaut.core import fields
from kubernaut.core.ports import Manifest

WORKLOADS: Final = ("Deployment", "StatefulSet", "DaemonSet")


class Health(StrEnum):
    """How an object fares.

    ``IDLE`` says that it is meant to run no pods, which proves nothing; ``UNSEEN`` that there is nothing to tell by.
    """

    HEALTHY = "Healthy"
    UNHEALTHY = "Unhealthy"
    IDLE = "Idle"
    UNSEEN = "Unseen"


@dataclass(frozen=True, slots=True)
class Finding:
    """How an object fares, and why, in a part of a sentence."""

    health: Health
    why: str


def own(manifest: Manifest) -> Finding:
    """Say how a workload or an autoscaler fares, by its own status."""
    status, generation = manifest.get("status") or {}, manifest["metadata"].get("generation", 0)
    if int(status.get("observedGeneration") or 0) < generation:
        return Finding(Health.UNSEEN, "its controller has not looked at its newest generation yet")
    match manifest["kind"]:
        case "Deployment":
            return _deployment(manifest, status)
        case "StatefulSet":
            return _stateful_set(manifest, status)
        case "DaemonSet":
            return _daemon_set(status)
        case _:
            return _scaling(manifest)


def _deployment(manifest: Manifest, status: Mapping[str, Any]) -> Finding:
    wanted = _wanted(manifest)
    if not wanted:
        return Finding(Health.IDLE, "it is meant to have no replicas")
    failure = pods.condition(manifest, "ReplicaFailure")
    if failure.get("status") == "True":
        return Finding(Health.UNHEALTHY, f"pods can't be made ({failure.get('reason', 'ReplicaFailure')})")
    progress = pods.condition(manifest, "Progressing")
    if progress.get("status") == "False":
        return Finding(Health.UNHEALTHY, f"its rollout makes no progress ({progress.get('reason', '')})")
    counts = {
        "are of the newest revision": _count(status, "updatedReplicas"),
        "are available": _count(status, "availableReplicas"),
    }
    return _counted(counts, wanted, _count(status, "replicas"))


def _stateful_set(manifest: Manifest, status: Mapping[str, Any]) -> Finding:
    wanted = _wanted(manifest)
    if not wanted:
        return Finding(Health.IDLE, "it is meant to have no replicas")
    newest = _count(status, "updatedReplicas")
    if newest < wanted - min(partition(manifest), wanted):
        return Finding(Health.UNHEALTHY, f"{newest} of {wanted} replicas are of the newest revision")
    return _counted({"are ready": _count(status, "readyReplicas")}, wanted, _count(status, "replicas"))


def _daemon_set(status: Mapping[str, Any]) -> Finding:
    wanted = _count(status, "desiredNumberScheduled")
    if not wanted:
        return Finding(Health.IDLE, "it is meant to run on no node")
    counts = {
        "are of the newest revision": _count(status, "updatedNumberScheduled"),
        "are available": _count(status, "numberAvailable"),
    }
    return _counted(counts, wanted, wanted)


def _counted(counts: Mapping[str, int], wanted: int, there: int) -> Finding:
    for what, count in counts.items():
        if count < wanted:
            return Finding(Health.UNHEALTHY, f"{count} of {wanted} replicas {what}")
    if there > wanted:
        return Finding(Health.UNHEALTHY, f"{there - wanted} replicas of older revisions are left")
    return Finding(Health.HEALTHY, f"all of {wanted} replicas fare well")


def _scaling(manifest: Manifest) -> Finding:
    for kind in ("AbleToScale", "ScalingActive"):
        condition = pods.condition(manifest, kind)
        if not condition:
            return Finding(Health.UNSEEN, "its controller has not said anything yet")
        if condition.get("reason") == "ScalingDisabled":
            return Finding(Health.IDLE, "what it scales is meant to have no replicas")
        if condition.get("status") != "True":
            return Finding(Health.UNHEALTHY, f"{kind} does not hold ({condition.get('reason', '')})")
    return Finding(Health.HEALTHY, "it can scale")


def partition(seen: Manifest) -> int:
    """Return the number of the first pod that a StatefulSet's rollout reaches; 0 where it reaches all."""
    found = fields.get(seen, fields.parse("spec.updateStrategy.rollingUpdate.partition"))
    return int(found or 0)


def _wanted(manifest: Manifest) -> int:
    replicas = manifest["spec"].get("replicas")
    return 1 if replicas is None else int(replicas)


def _count(status: Mapping[str, Any], field: str) -> int:
    return int(status.get(field) or 0)
