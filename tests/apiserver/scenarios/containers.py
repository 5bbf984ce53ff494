"""Faults of what a pod template says of its containers.

A simulated node runs no containers: where a container has to fail, another actor writes the pod's status, and the
events, as the node's kubelet would.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from apiserver.acting import Place, await_true
from apiserver.scenarios.scenario import Scenario
from apiserver.scenarios.workloads import (
    BAD,
    GOOD,
    RESOURCES,
    made,
    rolled_out,
    runs,
    settled,
    staying,
    where,
    write_status,
)
from kubernaut.core.ports import Manifest

_ENOUGH: Final = {"limits": {"memory": "256Mi"}, "requests": {"memory": "128Mi"}}
_TOO_LITTLE: Final = {"limits": {"memory": "64Mi"}, "requests": {"memory": "32Mi"}}
_PATIENT: Final = {"httpGet": {"path": "/", "port": 80}, "timeoutSeconds": 5, "failureThreshold": 6}
_HASTY: Final = {**_PATIENT, "timeoutSeconds": 1, "failureThreshold": 1}


def told_by_kubelet(pod: Manifest, *, ready: bool, restarts: int, **last: Any) -> Manifest:
    """Return the status of a container that runs again after it ended so."""
    now = pod["status"]["startTime"]
    ended = {"terminated": {"startedAt": now, "finishedAt": now, **last}} if last else {}
    container = {
        "name": "app",
        "image": pod["spec"]["containers"][0]["image"],
        "imageID": "",
        "ready": ready,
        "restartCount": restarts,
        "state": {"running": {"startedAt": now}},
        "lastState": ended,
    }
    return {"containerStatuses": [container]}


def out_of_memory(kind: str) -> Callable[[Place], None]:
    """Another actor lowers the limit, and the containers are killed for what they use."""
    lower = rolled_out(kind, resources=_TOO_LITTLE)

    def fault(place: Place) -> None:
        lower(place)
        for pod in staying(place):
            ended = told_by_kubelet(pod, ready=True, restarts=3, exitCode=137, reason="OOMKilled")
            write_status(place, pod, ended)

    return fault


def killed(place: Place) -> bool:
    """Whether a container was killed for its memory and still has no more."""
    statuses = [one for pod in staying(place) for one in pod["status"].get("containerStatuses", ())]
    ends = [(one.get("lastState") or {}).get("terminated") or {} for one in statuses]
    return any(end.get("reason") == "OOMKilled" for end in ends)


def probe_of(probe: str, timings: Manifest) -> Manifest:
    return {f"{probe}Probe": timings}


def probed(kind: str, probe: str) -> Callable[[Place], None]:
    """Another actor has a probe ask too hastily, and the kubelets see it fail."""
    hasten = rolled_out(kind, **probe_of(probe, _HASTY))

    def fault(place: Place) -> None:
        hasten(place)
        for pod in staying(place):
            if probe == "readiness":
                write_status(place, pod, told_by_kubelet(pod, ready=False, restarts=0))
            else:
                write_status(place, pod, told_by_kubelet(pod, ready=True, restarts=2, exitCode=137))
            place.create("v1", "events", unhealthy(place, pod, probe))

    return fault


def unhealthy(place: Place, pod: Manifest, probe: str) -> Manifest:
    """Return the event that the kubelet writes where a probe fails."""
    meta = pod["metadata"]
    return {
        "metadata": {"name": f"{meta['name']}.1"},
        "type": "Warning",
        "reason": "Unhealthy",
        "message": f"{probe.capitalize()} probe failed: context deadline exceeded",
        "count": 3,
        "firstTimestamp": pod["status"]["startTime"],
        "lastTimestamp": pod["status"]["startTime"],
        "source": {"component": "kubelet", "host": pod["spec"]["nodeName"]},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Pod",
            "namespace": place.namespace,
            "name": meta["name"],
            "uid": meta["uid"],
            "fieldPath": "spec.containers{app}",
        },
    }


def suffers(place: Place) -> bool:
    """Whether a container of a pod that is to stay is not ready, or was restarted."""
    statuses = [one for pod in staying(place) for one in pod["status"].get("containerStatuses", ())]
    return any(not one["ready"] or one["restartCount"] > 0 for one in statuses)


def mended(kind: str, **container: Any) -> Callable[[Place], None]:
    """Another actor rolls the good template out again, and waits until no pod of the bad one is left."""
    roll = rolled_out(kind, **container)

    def mend(place: Place) -> None:
        roll(place)
        await_true(lambda: len(place.items("v1", "pods")) == len(staying(place)), "pods are still leaving")
        assert settled(place, kind)

    return mend


SCENARIOS: Final = (
    *(
        Scenario(
            "set_image",
            {"container": "app", "image": GOOD, "expect": BAD},
            healthy=made(kind),
            fault=rolled_out(kind, BAD),
            symptom=runs(BAD),
            changes=where(kind),
            mended=rolled_out(kind),
            told=kind,
        )
        for kind in RESOURCES
    ),
    *(
        Scenario(
            "increase_resources",
            {"memory": "256Mi"},
            healthy=made(kind, resources=_ENOUGH),
            fault=out_of_memory(kind),
            symptom=killed,
            changes=where(kind),
            mended=mended(kind, resources=_ENOUGH),
            told=kind,
        )
        for kind in ("StatefulSet", "DaemonSet")
    ),
    *(
        Scenario(
            "fix_probe",
            {"probe": probe, "timeoutSeconds": 5, "failureThreshold": 6},
            healthy=made(kind, **probe_of(probe, _PATIENT)),
            fault=probed(kind, probe),
            symptom=suffers,
            changes=where(kind),
            mended=mended(kind, **probe_of(probe, _PATIENT)),
            told=f"{probe} {kind}",
        )
        for probe, kind in (
            ("liveness", "Deployment"),
            ("readiness", "StatefulSet"),
            ("startup", "DaemonSet"),
        )
    ),
)
