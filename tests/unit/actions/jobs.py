"""Jobs and CronJobs as the API server would return them."""

from __future__ import annotations

from typing import Any

from kubernaut.core.ports import Manifest
from unit.actions.builders import container, pod


def cron_job(
    name: str = "report", *, suspend: bool = False, active: tuple[str, ...] = (), **spec: Any
) -> Manifest:
    template = {"spec": {"template": {"spec": {"containers": [container()], "restartPolicy": "Never"}}}}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": name, "namespace": "shop", "uid": f"uid-cronjob-{name}"},
        "spec": {"schedule": "0 3 * * *", "suspend": suspend, "jobTemplate": template, **spec},
        "status": {"active": [{"kind": "Job", "name": one} for one in active]},
    }


def job(
    name: str = "report-1",
    state: str = "",
    *,
    at: str = "2026-03-01T10:00:00Z",
    owner: Manifest | None = None,
    **labels: str,
) -> Manifest:
    """Return a Job that goes on or, with a state, is Complete or Failed since some time."""
    conditions = [{"type": state, "status": "True", "lastTransitionTime": at}] if state else []
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": "shop",
            "uid": f"uid-job-{name}",
            "labels": labels,
            **({"ownerReferences": [owned(owner)]} if owner else {}),
        },
        "spec": {"template": {"spec": {"containers": [container()]}}},
        "status": {"startTime": at, "conditions": conditions},
    }


def pod_of(owner: Manifest, name: str = "", **fields: Any) -> Manifest:
    """Return a pod of a Job."""
    found = pod(name or f"{owner['metadata']['name']}-x", controlled=False, **fields)
    found["metadata"]["ownerReferences"] = [owned(owner)]
    return found


def owned(owner: Manifest) -> dict[str, Any]:
    meta = owner["metadata"]
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": meta["name"],
        "uid": meta["uid"],
        "controller": True,
    }
