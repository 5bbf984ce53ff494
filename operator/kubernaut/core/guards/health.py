"""How much of a workload is unavailable, as its own status says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

#: kinds whose status tells of replicas
KINDS: Final = frozenset({"Deployment", "StatefulSet", "ReplicaSet", "DaemonSet", "Pod"})


def unavailable(manifest: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return how many replicas are unavailable of how many; None of a kind that has none."""
    kind, spec, status = manifest.get("kind"), manifest.get("spec") or {}, manifest.get("status") or {}
    if kind == "Pod":
        ready = any(
            one.get("type") == "Ready" and one.get("status") == "True"
            for one in status.get("conditions") or ()
        )
        return (0 if ready else 1), 1
    if kind == "DaemonSet":
        wanted, there = _count(status, "desiredNumberScheduled"), _count(status, "numberAvailable")
    elif kind in KINDS:
        wanted = spec["replicas"] if isinstance(spec.get("replicas"), int) else 1
        there = _count(status, "availableReplicas")
    else:
        return None
    return max(wanted - there, 0), wanted


def too_many(down: int, of: int, percent: int) -> bool:
    """Whether more is unavailable than this share, rounded down to whole replicas."""
    return down > of * percent // 100


def _count(status: Mapping[str, Any], field: str) -> int:
    value = status.get(field)
    return value if isinstance(value, int) else 0
