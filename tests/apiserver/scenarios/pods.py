"""Faults of single pods."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from apiserver.acting import Place, await_true
from apiserver.scenarios.scenario import Scenario, Where
from apiserver.scenarios.workloads import BAD, RESOURCES, made, staying, wedged, where, write_status
from kubernaut.actions import pods
from kubernaut.core.ports import Manifest
from kubernaut.core.probing import Answer

_SUSPECT: Final = "example.com/suspect"


@dataclass(frozen=True)
class Suspect(Where):
    """The pod that someone has noted, whatever its name."""

    def read(self, place: Place) -> Manifest:
        found = next(
            pod for pod in place.items("v1", "pods") if _SUSPECT in pod["metadata"].get("annotations", {})
        )
        return {"apiVersion": "v1", "kind": "Pod", **found}


_CHANGES: Final = (Suspect("v1", "pods", "suspect"),)


def note(place: Place, pod: Manifest) -> Manifest:
    """Note a pod; its ReplicaSet shall keep it where it has one too many."""
    marks = {_SUSPECT: "true", "controller.kubernetes.io/pod-deletion-cost": "100"}
    return place.patch("v1", "pods", pod["metadata"]["name"], {"metadata": {"annotations": marks}})


def behind_a_service(place: Place) -> Manifest:
    """Return one of two pods that a Service sends to."""
    spec = {"selector": {"app": "db"}, "ports": [{"port": 80}]}
    place.create("v1", "services", {"metadata": {"name": "db"}, "spec": spec})
    made("Deployment")(place)
    await_true(lambda: len(receiving(place)) == 2, "the Service does not send to both pods")
    return note(place, staying(place)[0])


def receiving(place: Place) -> set[str]:
    """Return the names of the pods that the Service sends to."""
    slices = place.items("discovery.k8s.io/v1", "endpointslices")
    endpoints = [one for slice_ in slices for one in slice_.get("endpoints") or ()]
    return {one["targetRef"]["name"] for one in endpoints if one["conditions"].get("ready")}


def altered(place: Place) -> None:
    """Another actor has the pod run something else than its template says, which nobody notices."""
    suspect = _CHANGES[0].read(place)
    containers = [{**one, "image": BAD} for one in suspect["spec"]["containers"]]
    place.patch("v1", "pods", suspect["metadata"]["name"], {"spec": {"containers": containers}})


def served_badly(place: Place) -> bool:
    """Whether the Service sends to a pod that runs something else, or to fewer pods than two."""
    images = {
        pod["metadata"]["name"]: pod["spec"]["containers"][0]["image"] for pod in place.items("v1", "pods")
    }
    there = receiving(place)
    return len(there) < 2 or any(images.get(name) == BAD for name in there)


def one_wedged(place: Place) -> None:
    suspect = note(place, staying(place)[0])
    # Of several pods on a node the controller keeps the oldest, and it tells ages apart by whole seconds.
    made_at = datetime.fromisoformat(suspect["metadata"]["creationTimestamp"])
    await_true(lambda: datetime.now(UTC) >= made_at + timedelta(seconds=1), "the pod does not grow older")
    wedged(place)


def lacks_a_pod(place: Place) -> bool:
    status = place.get("apps/v1", RESOURCES["DaemonSet"], "db").get("status", {})
    return bool(status.get("numberReady", 0) < status["desiredNumberScheduled"])


def ready_again(place: Place) -> None:
    for pod in staying(place):
        conditions = [{**one, "status": "True"} for one in pod["status"]["conditions"]]
        write_status(place, pod, {"conditions": conditions})


def shows_unready(place: Place) -> bool:
    return any(not pods.ready(pod) for pod in staying(place))


SCENARIOS: Final = (
    Scenario(
        "restart_pod",
        {"unhealthy": True},
        healthy=made("DaemonSet"),
        fault=one_wedged,
        symptom=shows_unready,
        changes=where("DaemonSet"),
        undoes=False,
        mended=ready_again,
    ),
    Scenario(
        "quarantine_pod",
        {"label": "example.com/quarantine"},
        healthy=behind_a_service,
        fault=altered,
        symptom=served_badly,
        changes=_CHANGES,
        told="of a ReplicaSet",
        helped=Answer.UNKNOWN,
    ),
    Scenario(
        "quarantine_pod",
        {"unhealthy": True},
        healthy=made("DaemonSet"),
        fault=one_wedged,
        symptom=lacks_a_pod,
        changes=_CHANGES,
        mended=ready_again,
        told="of a DaemonSet",
    ),
)
