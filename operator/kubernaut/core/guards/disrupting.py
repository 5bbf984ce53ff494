"""What one request takes down at once: of which workload, how many replicas that are available now. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any, Final

from kubernaut.core import fields, selectors
from kubernaut.core.guards import health
from kubernaut.core.guards.levels import Level

#: kinds that are scaled, rolled out, or take their pods with them
WORKLOADS: Final = health.KINDS - {"Pod"}


@dataclass(frozen=True, slots=True)
class Takes:
    """What a request takes down.

    Attributes:
        workload: whose replicas, as told to people.
        replicas: how many that are available now.
        down: how many are unavailable without it.
    """

    workload: str
    replicas: int
    down: int
    of: int


def by_change(seen: Mapping[str, Any], desired: Mapping[str, Any]) -> Takes | None:
    """Return what a change of a workload takes down; None of another kind.

    A smaller number of replicas counts as far as it falls, for their work is left to fewer. A changed pod template
    counts as many as the workload's own strategy lets its controller replace at once. Replicas that are unavailable
    are the first to be removed or replaced, so that only what goes beyond them is taken.
    """
    counted = _counted(seen)
    if counted is None:
        return None
    down, of = counted
    at_once = max(_replicas(seen) - _replicas(desired), 0)
    if not fields.same(_template(seen), _template(desired)):
        at_once = max(at_once, _rolls(desired, of))
    return Takes(_name(seen), max(min(at_once, of) - down, 0), down, of)


def by_deletion(seen: Mapping[str, Any], propagation: str) -> Takes | None:
    """Return what the deletion of a workload takes down: all of it, unless its pods are left without an owner."""
    counted = _counted(seen)
    if counted is None:
        return None
    down, of = counted
    return Takes(_name(seen), 0 if propagation == "Orphan" else max(of - down, 0), down, of)


def by_removal(pod: Mapping[str, Any], workload: Mapping[str, Any], gone: int = 0) -> Takes | None:
    """Return what it takes of a workload that one of its pods is removed from it.

    Args:
        gone: how many were removed a moment ago, of which the status may not tell yet.
    """
    counted = _counted(workload)
    if counted is None:
        return None
    down, of = counted
    unready = health.unavailable(pod) != (0, 1) or bool(pod["metadata"].get("deletionTimestamp"))
    return Takes(_name(workload), 0 if unready else 1, min(down + gone, of), of)


def selects(workload: Mapping[str, Any], pod: Mapping[str, Any]) -> bool:
    """Whether a workload's selector selects a pod of its namespace; an empty one selects nothing."""
    own, meta = workload["metadata"], pod["metadata"]
    selector = (workload.get("spec") or {}).get("selector") or {}
    return own.get("namespace") == meta.get("namespace") and selectors.selects(
        selector, meta.get("labels") or {}
    )


def refused(takes: Takes, percent: int, level: Level) -> str:
    """Say in one line why it is too much; empty where it is not, or where nothing more is taken down."""
    if not takes.replicas or not health.too_many(takes.down + takes.replicas, takes.of, percent):
        return ""
    return (
        f"maxUnavailablePercent {percent} of {level}: it would take down {takes.replicas} of {takes.of} replicas of "
        f"{takes.workload} beside {takes.down} that are unavailable, and at most {takes.of * percent // 100} may be"
    )


def _counted(seen: Mapping[str, Any]) -> tuple[int, int] | None:
    return health.unavailable(seen) if seen.get("kind") in WORKLOADS else None


def _replicas(manifest: Mapping[str, Any]) -> int:
    found = (manifest.get("spec") or {}).get("replicas")
    return found if isinstance(found, int) else 1


def _template(manifest: Mapping[str, Any]) -> Any:
    return (manifest.get("spec") or {}).get("template")


def _rolls(workload: Mapping[str, Any], of: int) -> int:
    """Return how many replicas its controller may replace at once."""
    spec, kind = workload.get("spec") or {}, workload["kind"]
    strategy = spec.get("strategy" if kind == "Deployment" else "updateStrategy") or {}
    rolling, how = strategy.get("rollingUpdate") or {}, strategy.get("type", "RollingUpdate")
    if kind == "ReplicaSet" or how == "OnDelete" or spec.get("paused"):
        return 0
    if how == "Recreate":
        return of
    if kind == "Deployment":
        return _share(rolling.get("maxUnavailable", "25%"), of, up=False)
    return _share(rolling.get("maxUnavailable", 1), of, up=True)


def _share(amount: Any, of: int, *, up: bool) -> int:
    text = str(amount)
    if not text.endswith("%"):
        return int(text)
    exact = of * int(text[:-1]) / 100
    return ceil(exact) if up else int(exact)


def _name(manifest: Mapping[str, Any]) -> str:
    return f"{manifest['kind']} {manifest['metadata']['name']}"
