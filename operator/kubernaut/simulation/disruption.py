"""PodDisruptionBudgets: whether the Eviction API lets a pod go. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from kubernaut.core.errors import ClusterError, TooManyRequests
from kubernaut.core.ports import Manifest, ObjectRef
from kubernaut.core.selectors import matches
from kubernaut.simulation.state import Key, State

_SCALED: Final = ("Deployment", "ReplicaSet", "StatefulSet", "ReplicationController")


def demand(state: State, pod: Manifest) -> None:
    """Let a pod be evicted.

    Raises:
        TooManyRequests: a budget does not allow it now. ClusterError: several budgets cover the pod.
    """
    over = (pod.get("status") or {}).get("phase") in ("Pending", "Succeeded", "Failed")
    if over or "deletionTimestamp" in pod["metadata"]:
        return
    budgets = covering(state, pod)
    if len(budgets) > 1:
        raise ClusterError("This pod has more than one PodDisruptionBudget", status=500)
    for budget in budgets:
        if left(state, budget) > 0 or _unhealthy_may_go(state, budget, pod):
            continue
        raise TooManyRequests(
            "Cannot evict pod as it would violate the pod's disruption budget. "
            f"({budget['metadata']['name']})",
            status=429,
        )


def covering(state: State, pod: Mapping[str, Any]) -> list[Manifest]:
    """Return the budgets of a pod."""
    meta = pod["metadata"]
    return [
        one
        for one in state.all("policy", "PodDisruptionBudget", meta["namespace"])
        if matches(one["spec"].get("selector"), meta.get("labels") or {})
    ]


def left(state: State, budget: Mapping[str, Any]) -> int:
    """Return how many pods of a budget may go now."""
    expected, healthy, needed = _counts(state, budget)
    return max(0, healthy - needed) if expected else 0


def _counts(state: State, budget: Mapping[str, Any]) -> tuple[int, int, int]:
    """Return how many pods are expected, how many are healthy, and how many have to be."""
    meta, spec = budget["metadata"], budget["spec"]
    pods = [
        one
        for one in state.all("", "Pod", meta["namespace"])
        if matches(spec.get("selector"), one["metadata"].get("labels") or {})
        and (one.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
    ]
    healthy = sum(ready(one) and "deletionTimestamp" not in one["metadata"] for one in pods)
    if isinstance(spec.get("minAvailable"), int):
        return len(pods), healthy, spec["minAvailable"]
    expected = _scale(state, pods)
    if expected is None:
        expected = max((budget.get("status") or {}).get("expectedPods", 0), len(pods))
    if "minAvailable" in spec:
        return expected, healthy, share(spec["minAvailable"], expected)
    return expected, healthy, max(0, expected - share(spec.get("maxUnavailable", 0), expected))


def _scale(state: State, pods: list[Manifest]) -> int | None:
    """Return how many pods those who look after these want; None where one of them is not known."""
    wanted: dict[Key, int] = {}
    for pod in pods:
        owner, found = _controller(state, pod), None
        while owner is not None:
            owner, found = _controller(state, owner), owner
        if found is None or found["kind"] not in _SCALED:
            return None
        wanted[Key.at(found)] = found["spec"].get("replicas", 1)
    return sum(wanted.values())


def _controller(state: State, one: Mapping[str, Any]) -> Manifest | None:
    for owner in one["metadata"].get("ownerReferences") or ():
        if owner.get("controller"):
            namespace = one["metadata"].get("namespace", "")
            ref = ObjectRef(str(owner["apiVersion"]), str(owner["kind"]), namespace, str(owner["name"]))
            return state.objects.get(Key.of(ref))
    return None


def counted(state: State, budget: Mapping[str, Any]) -> dict[str, Any]:
    """Return a budget's status as its controller writes it."""
    expected, healthy, needed = _counts(state, budget)
    return {
        "expectedPods": expected,
        "currentHealthy": healthy,
        "desiredHealthy": needed,
        "disruptionsAllowed": max(0, healthy - needed) if expected else 0,
    }


def ready(pod: Mapping[str, Any]) -> bool:
    """Whether a pod's Ready condition is true."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)


def _unhealthy_may_go(state: State, budget: Mapping[str, Any], pod: Mapping[str, Any]) -> bool:
    if ready(pod):
        return False
    if budget["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    _, healthy, needed = _counts(state, budget)
    return healthy >= needed > 0


def share(value: Any, of: int, rounded: Callable[[float], int] = math.ceil) -> int:
    """Return a number, or so many percent of another one."""
    if isinstance(value, str) and value.endswith("%"):
        return rounded(of * int(value[:-1]) / 100)
    return int(value)
