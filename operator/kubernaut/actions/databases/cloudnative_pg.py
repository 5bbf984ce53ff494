"""CloudNativePG: a ``Cluster`` whose status says who leads, and who is to.

Its operator and its instance managers follow ``status.targetPrimary``; to write that is what `kubectl cnpg promote`
does.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from kubernaut.actions.databases.members import Member, View, pod_trouble
from kubernaut.core.ports import Cluster, Manifest, ObjectRef

CLUSTER: Final = ("postgresql.cnpg.io/v1", "Cluster")
OF_CLUSTER: Final = "cnpg.io/cluster"
OF_INSTANCE: Final = "cnpg.io/instanceName"
_FENCED: Final = "cnpg.io/fencedInstances"


async def look(cluster: Cluster, namespace: str, name: str) -> tuple[View, Manifest]:
    """Return a database, and its ``Cluster`` as read.

    Raises:
        ClusterError: as the API server answers.
    """
    seen = await cluster.get(ObjectRef(*CLUSTER, namespace, name))
    found = await cluster.list("v1", "Pod", namespace, label_selector=f"{OF_CLUSTER}={name}")
    return view(seen, found), seen


def view(seen: Manifest, found: Sequence[Manifest]) -> View:
    """Return a database from its ``Cluster`` and its pods."""
    status = seen.get("status") or {}
    current, target = str(status.get("currentPrimary") or ""), str(status.get("targetPrimary") or "")
    by_name = {pod["metadata"]["name"]: pod for pod in found}
    told = status.get("instanceNames") or [
        name for name, pod in by_name.items() if OF_INSTANCE in (pod["metadata"].get("labels") or {})
    ]
    names = sorted({*told, *filter(None, (current,))})
    busy = ""
    if ((seen.get("spec") or {}).get("replica") or {}).get("enabled"):
        busy = "it is a replica cluster, led from elsewhere"
    elif target and target != current:
        busy = f"a change of the primary from {current or 'nobody'} to {target} is under way"
    return View(
        ref=ObjectRef.of(seen),
        primary=current,
        epoch=epoch(target, str(status.get("targetPrimaryTimestamp") or "")),
        busy=busy,
        members=[
            Member(name, name == current, _unfit(seen, name, by_name.get(name)), None, by_name.get(name))
            for name in names
        ],
        labels={OF_CLUSTER: seen["metadata"]["name"]},
    )


def _unfit(seen: Manifest, name: str, pod: Manifest | None) -> str:
    status = seen.get("status") or {}
    if pod is None:
        return "it has no pod"
    if name in _fenced(seen) or "*" in _fenced(seen):
        return "it is fenced off (cnpg.io/fencedInstances)"
    if name not in ((status.get("instancesStatus") or {}).get("healthy") or ()):
        return "CloudNativePG does not count it as healthy"
    told = ((status.get("instancesReportedState") or {}).get(name) or {}).get("timeLineID")
    if told is not None and status.get("timelineID") is not None and told != status["timelineID"]:
        return f"it is on timeline {told}, not {status['timelineID']}"
    return pod_trouble(pod)


def _fenced(seen: Manifest) -> Sequence[str]:
    text = (seen["metadata"].get("annotations") or {}).get(_FENCED, "[]")
    try:
        told = json.loads(text)
    except ValueError:
        return ()
    return [str(one) for one in told] if isinstance(told, list) else ()


def stamp(now: datetime) -> str:
    """Return a time as CloudNativePG writes it."""
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def epoch(target: str, at: str) -> str:
    """Return what tells one change of the lead from another."""
    return f"{target}@{at}"


def promotion(to: str, at: str) -> Manifest:
    """Return the patch of the status that asks for another primary."""
    return {
        "status": {
            "targetPrimary": to,
            "targetPrimaryTimestamp": at,
            "phase": "Switchover in progress",
            "phaseReason": f"Switching over to {to}",
        }
    }
