"""PodDisruptionBudgets: whether the Eviction API lets a pod go. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from kubernaut.core.errors import ClusterError, TooManyRequests
from kubernaut.core.ports import Manifest
from kubernaut.core.selectors import matches
from kubernaut.simulation.state import State


def demand(state: State, pod: Manifest) -> None:
    """Let a pod be evicted.

    Raises:
        TooManyRequests: a budget does not allow it now. ClusterError: several budgets cover the pod.
    """
    if (pod.get("status") or {}).get("phase") in ("Pending", "Succeeded", "Failed"):
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
    expected = max((budget.get("status") or {}).get("expectedPods", 0), len(pods))
    if "minAvailable" in spec:
        return expected, healthy, _amount(spec["minAvailable"], expected)
    return expected, healthy, expected - _amount(spec.get("maxUnavailable", 0), expected)


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


def _amount(value: Any, of: int) -> int:
    if isinstance(value, str) and value.endswith("%"):
        return math.ceil(of * int(value[:-1]) / 100)
    return int(value)
