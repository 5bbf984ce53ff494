"""Faults of volumes and of what takes room.

A storage driver is played by the test: whoever looks at the claim sees it grown to what is asked for, as the
external resizer of a CSI driver would have it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from apiserver.acting import Place, await_true
from apiserver.rest import MERGE_PATCH
from apiserver.scenarios.scenario import Scenario, Where
from kubernaut.core.ports import Manifest
from kubernaut.core.probing import Answer
from kubernaut.core.quantity import Quantity

USED: Final = "example.com/used"
LONG_AGO: Final = "2020-01-01T00:00:00Z"
_STORAGE: Final = "storage.k8s.io/v1"


def bound(place: Place, *, growing: bool = True) -> Manifest:
    """Return a claim of 1Gi that is bound; its class and volume go with the namespace."""
    owner = place.get("v1", "namespaces", place.namespace)["metadata"]
    name = f"{place.namespace}-disk"
    meta = {
        "name": name,
        "ownerReferences": [
            {"apiVersion": "v1", "kind": "Namespace", "name": owner["name"], "uid": owner["uid"]}
        ],
    }
    storage = {"metadata": meta, "provisioner": "disk.example.com", "allowVolumeExpansion": growing}
    place.create(_STORAGE, "storageclasses", storage)
    common: dict[str, Any] = {"accessModes": ["ReadWriteOnce"], "storageClassName": name}
    volume = {
        "capacity": {"storage": "1Gi"},
        "csi": {"driver": "disk.example.com", "volumeHandle": name},
        "claimRef": {"namespace": place.namespace, "name": "data"},
    }
    place.create("v1", "persistentvolumes", {"metadata": meta, "spec": common | volume})
    claim = {"resources": {"requests": {"storage": "1Gi"}}}
    place.create("v1", "persistentvolumeclaims", {"metadata": {"name": "data"}, "spec": common | claim})
    await_true(lambda: _claim(place)["status"].get("phase") == "Bound", "claim data was not bound")
    return _claim(place)


def _claim(place: Place) -> Manifest:
    return place.get("v1", "persistentvolumeclaims", "data")


def write_status(place: Place, base: str, resource: str, name: str, status: Manifest) -> None:
    path = place.path(base, resource, name) + "/status"
    answer = place.admin.request("PATCH", path, {"status": status}, content_type=MERGE_PATCH)
    assert answer.ok, answer


def filled(place: Place) -> None:
    place.patch("v1", "persistentvolumeclaims", "data", {"metadata": {"annotations": {USED: "1000Mi"}}})


def nearly_full(place: Place) -> bool:
    claim = _claim(place)
    asked = claim["spec"]["resources"]["requests"]["storage"]
    if claim["status"]["capacity"]["storage"] != asked:
        write_status(place, "v1", "persistentvolumeclaims", "data", {"capacity": {"storage": asked}})
    used = (claim["metadata"].get("annotations") or {}).get(USED, "0")
    return Quantity.parse(used).value > Quantity.parse(asked).value * 9 / 10


def asked_for_more(place: Place) -> None:
    spec = {"resources": {"requests": {"storage": "2Gi"}}}
    place.patch("v1", "persistentvolumeclaims", "data", {"spec": spec})


def pod(name: str) -> Manifest:
    container = {"name": "app", "image": "kubernaut.local/pause:1"}
    return {
        "metadata": {"name": name},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
    }


def running(place: Place) -> Manifest:
    place.create("v1", "pods", pod("busy"))
    await_true(lambda: _phase(place, "busy") == "Running", "pod busy does not run")
    return place.get("v1", "pods", "busy")


def _phase(place: Place, name: str) -> str:
    return str(place.get("v1", "pods", name)["status"].get("phase"))


def evicted(place: Place) -> None:
    """A pod runs, and is evicted, as the kubelet of a full node writes it."""
    place.create("v1", "pods", pod("old"))
    await_true(lambda: _phase(place, "old") == "Running", "pod old does not run")
    conditions = [
        {**one, "status": "False", "lastTransitionTime": LONG_AGO}
        for one in place.get("v1", "pods", "old")["status"]["conditions"]
    ]
    status = {"phase": "Failed", "reason": "Evicted", "conditions": conditions, "containerStatuses": []}
    write_status(place, "v1", "pods", "old", status)


def dead_pods(place: Place) -> bool:
    return any(one["status"].get("phase") == "Failed" for one in place.items("v1", "pods"))


def timed_out(place: Place) -> None:
    """A Job that the job controller itself gives up."""
    template = {"spec": {**pod("old")["spec"], "restartPolicy": "Never"}}
    spec = {"template": template, "activeDeadlineSeconds": 1, "backoffLimit": 0}
    place.create("batch/v1", "jobs", {"metadata": {"name": "old"}, "spec": spec})


def over(place: Place) -> bool:
    return any(
        one["type"] in ("Failed", "Complete")
        for job in place.items("batch/v1", "jobs")
        for one in job.get("status", {}).get("conditions") or ()
    )


def deleted(base: str, resource: str) -> Callable[[Place], None]:
    def happen(place: Place) -> None:
        path = place.path(base, resource, "old")
        assert place.admin.request("DELETE", path, {"propagationPolicy": "Background"}).ok

    return happen


SCENARIOS: Final = (
    Scenario(
        "expand_pvc",
        {"size": "2Gi"},
        healthy=bound,
        fault=filled,
        symptom=nearly_full,
        changes=(Where("v1", "persistentvolumeclaims", "data"),),
        undoes=False,
        mended=asked_for_more,
    ),
    Scenario(
        "cleanup_storage",
        {"what": ["FinishedPods"], "olderThan": "1h"},
        healthy=running,
        fault=evicted,
        symptom=dead_pods,
        changes=(Where("v1", "pods", "busy"),),
        undoes=False,
        mended=deleted("v1", "pods"),
        told="of pods",
        helped=Answer.UNKNOWN,
    ),
    Scenario(
        "cleanup_storage",
        {"what": ["FinishedJobs"], "olderThan": "0s"},
        healthy=running,
        fault=timed_out,
        symptom=over,
        changes=(Where("v1", "pods", "busy"),),
        undoes=False,
        mended=deleted("batch/v1", "jobs"),
        told="of jobs",
        helped=Answer.UNKNOWN,
    ),
)
