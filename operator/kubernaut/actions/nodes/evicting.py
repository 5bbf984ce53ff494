"""Which pods of a node have to leave it, which must not, and what disruption budgets say. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kubernaut.actions import pods
from kubernaut.api.names import LABEL_PART_OF
from kubernaut.core.ports import Manifest
from kubernaut.core.selectors import matches


@dataclass(frozen=True, slots=True)
class Allowance:
    """What may be lost: pods that nobody makes anew, and data that goes with its pod."""

    uncontrolled: bool = False
    empty_dir: bool = False
    namespaces: frozenset[str] = frozenset()


@dataclass(slots=True)
class Load:
    """The pods of a node.

    Attributes:
        leaving: those that have to be evicted yet, in the order of their names.
        going: those that are being deleted.
        staying: how many are left alone: of DaemonSets, of the kubelet itself, or done with their work.
        refused: why others must not be evicted, one sentence each.
    """

    leaving: list[Manifest] = field(default_factory=list)
    going: list[Manifest] = field(default_factory=list)
    staying: int = 0
    refused: list[str] = field(default_factory=list)

    @property
    def left(self) -> int:
        """How many are not gone yet."""
        return len(self.leaving) + len(self.going)


def load_of(found: Iterable[Manifest], allowed: Allowance) -> Load:
    """Sort the pods of a node by what becomes of them."""
    load = Load()
    for pod in sorted(found, key=key_of):
        owner = pods.controller_of(pod) or {}
        if (
            pods.is_static(pod)
            or owner.get("kind") == "DaemonSet"
            or (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
        ):
            load.staying += 1
        elif pod["metadata"].get("deletionTimestamp"):
            load.going.append(pod)
        elif told := _refusal(pod, owner, allowed):
            load.refused.append(f"{name_of(pod)} {told}")
        else:
            load.leaving.append(pod)
    return load


def _refusal(pod: Manifest, owner: Mapping[str, Any], allowed: Allowance) -> str:
    if (pod["metadata"].get("labels") or {}).get(LABEL_PART_OF) == "kubernaut":
        return "is Kubernaut's own; have it moved by its Deployment first"
    if pod["metadata"]["namespace"] in allowed.namespaces:
        return "is in a namespace of protectedNamespaces"
    if not owner and not allowed.uncontrolled:
        return "has no controller that would make it anew (force: true evicts it for good)"
    volumes = (pod.get("spec") or {}).get("volumes") or ()
    data = [str(one["name"]) for one in volumes if "emptyDir" in one]
    if data and not allowed.empty_dir:
        return f"would lose what is in its emptyDir {', '.join(data)} (deleteEmptyDirData: true lets it)"
    return ""


def key_of(pod: Mapping[str, Any]) -> tuple[str, str]:
    """Return namespace and name."""
    return pod["metadata"]["namespace"], pod["metadata"]["name"]


def name_of(pod: Mapping[str, Any]) -> str:
    """Return a pod's name for people."""
    return "/".join(key_of(pod))


def blocked(leaving: Sequence[Manifest], budgets: Sequence[Manifest]) -> dict[tuple[str, str], str]:
    """Say of each pod that no budget lets go now which one holds it, as the Eviction API decides it."""
    found: dict[tuple[str, str], str] = {}
    for pod in leaving:
        if (pod.get("status") or {}).get("phase") == "Pending":
            continue
        told = next(filter(None, (_holds(one, pod) for one in budgets if covers(one, pod))), "")
        if told:
            found[key_of(pod)] = f"{name_of(pod)} is held by PodDisruptionBudget {told}"
    return found


def contradicted(leaving: Sequence[Manifest], budgets: Sequence[Manifest]) -> list[str]:
    """Say of each pod that more than one budget speaks of that it can't be evicted: the Eviction API knows no way."""
    found = []
    for pod in leaving:
        names = [one["metadata"]["name"] for one in budgets if covers(one, pod)]
        if len(names) > 1 and (pod.get("status") or {}).get("phase") != "Pending":
            found.append(f"{name_of(pod)} has more than one PodDisruptionBudget: {', '.join(names)}")
    return found


def covers(budget: Manifest, pod: Manifest) -> bool:
    """Whether a PodDisruptionBudget speaks of a pod."""
    same = budget["metadata"]["namespace"] == pod["metadata"]["namespace"]
    return same and matches(budget["spec"].get("selector"), pod["metadata"].get("labels") or {})


def _holds(budget: Manifest, pod: Manifest) -> str:
    """Return what a budget says against the eviction of one of its pods; empty where it lets it go."""
    name, status = budget["metadata"]["name"], budget.get("status") or {}
    healthy, desired = int(status.get("currentHealthy", 0)), int(status.get("desiredHealthy", 0))
    if not pods.ready(pod):
        always = budget["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow"
        if always or (healthy >= desired > 0):
            return ""
    allowed = int(status.get("disruptionsAllowed", 0))
    stale = int(status.get("observedGeneration", 0)) < int(budget["metadata"].get("generation", 0))
    if stale:
        return f"{name}, which its controller has not looked at yet"
    return "" if allowed else f"{name}: {healthy} pods are healthy and {desired} have to be, so none may go"
