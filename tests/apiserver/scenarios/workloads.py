"""Faults of workloads."""

from __future__ import annotations

from typing import Any, Final

from apiserver.acting import Place, await_true
from apiserver.rest import MERGE_PATCH
from apiserver.scenarios.scenario import Lost, Scenario, Where, delete, deleted, made_anew
from kubernaut.actions import pods
from kubernaut.api.reasons import Reason
from kubernaut.core.ports import Manifest

GOOD, BAD = "kubernaut.local/pause:1", "kubernaut.local/pause:bad"
RESOURCES: Final = {"Deployment": "deployments", "StatefulSet": "statefulsets", "DaemonSet": "daemonsets"}
_SCALED: Final = ("Deployment", "StatefulSet")


def workload(kind: str, image: str = GOOD, **container: Any) -> Manifest:
    """Return a Deployment, StatefulSet or DaemonSet named db."""
    containers = [{"name": "app", "image": image, **container}]
    template = {
        "metadata": {"labels": {"app": "db"}},
        "spec": {"containers": containers, "terminationGracePeriodSeconds": 0},
    }
    spec: dict[str, Any] = {"selector": {"matchLabels": {"app": "db"}}, "template": template}
    if kind != "DaemonSet":
        spec["replicas"] = 2
    if kind == "StatefulSet":
        spec |= {"serviceName": "db", "podManagementPolicy": "Parallel"}
    return {"metadata": {"name": "db"}, "spec": spec}


def settled(place: Place, kind: str) -> bool:
    """Whether the controller has rolled the newest generation out."""
    found = place.get("apps/v1", RESOURCES[kind], "db")
    status = found.get("status", {})
    if status.get("observedGeneration") != found["metadata"]["generation"]:
        return False
    if kind != "DaemonSet":
        counts = [status.get(name, 0) for name in ("replicas", "readyReplicas", "updatedReplicas")]
        return counts == [found["spec"]["replicas"]] * 3
    wanted = status.get("desiredNumberScheduled", 0)
    return (
        wanted > 0
        and [status.get(name, 0) for name in ("numberReady", "updatedNumberScheduled")] == [wanted] * 2
    )


def made(kind: str, **container: Any) -> Any:
    def healthy(place: Place) -> Manifest:
        place.create("apps/v1", RESOURCES[kind], workload(kind, **container))
        await_true(lambda: settled(place, kind), f"{kind} db was not rolled out")
        return place.get("apps/v1", RESOURCES[kind], "db")

    return healthy


def rolled_out(kind: str, image: str = GOOD, **container: Any) -> Any:
    def fault(place: Place) -> None:
        template = workload(kind, image, **container)["spec"]["template"]
        place.patch("apps/v1", RESOURCES[kind], "db", {"spec": {"template": template}})
        await_true(lambda: settled(place, kind), f"{kind} db was not rolled out")

    return fault


def staying(place: Place) -> list[Manifest]:
    """Return the pods that are not being deleted."""
    return [pod for pod in place.items("v1", "pods") if "deletionTimestamp" not in pod["metadata"]]


def write_status(place: Place, pod: Manifest, status: Manifest) -> None:
    """Write a pod's status as its kubelet would: a simulated node runs no containers that could fail."""
    path = place.path("v1", "pods", pod["metadata"]["name"]) + "/status"
    answer = place.admin.request("PATCH", path, {"status": status}, content_type=MERGE_PATCH)
    assert answer.ok, answer


def runs(image: str) -> Any:
    """Return whether any pod that is to stay runs an image."""

    def symptom(place: Place) -> bool:
        return any(pod["spec"]["containers"][0]["image"] == image for pod in staying(place))

    return symptom


def wedged(place: Place) -> None:
    """All pods are no longer ready, and nothing will make them so."""
    for pod in place.items("v1", "pods"):
        conditions = [
            {**one, "status": "False"} if one["type"] == "Ready" else one
            for one in pod["status"]["conditions"]
        ]
        write_status(place, pod, {"conditions": conditions})


def not_ready(place: Place) -> bool:
    return any(not pods.ready(pod) for pod in place.items("v1", "pods"))


def scaled(kind: str, replicas: int) -> Any:
    def fault(place: Place) -> None:
        place.patch("apps/v1", RESOURCES[kind], "db", {"spec": {"replicas": replicas}})

    return fault


def too_few(kind: str) -> Any:
    def symptom(place: Place) -> bool:
        return int(place.get("apps/v1", RESOURCES[kind], "db").get("status", {}).get("readyReplicas", 0)) < 2

    return symptom


def without_the_former_revision(kind: str) -> Lost:
    """Another actor deletes what holds the good template: there is nothing left to go back to."""
    resource = "replicasets" if kind == "Deployment" else "controllerrevisions"

    def holds_good(one: Manifest) -> bool:
        template = one.get("data", one)["spec"]["template"]
        return bool(template["spec"]["containers"][0]["image"] == GOOD)

    def take(place: Place) -> None:
        (former,) = [one for one in place.items("apps/v1", resource) if holds_good(one)]
        delete(place, Where("apps/v1", resource, former["metadata"]["name"]))

    return Lost(take, Reason.NOTHING_TO_ROLL_BACK_TO)


def where(kind: str) -> tuple[Where, ...]:
    return (Where("apps/v1", RESOURCES[kind], "db"),)


SCENARIOS: Final = (
    *(
        Scenario(
            f"rollback_{kind.lower()}",
            {},
            healthy=made(kind),
            fault=rolled_out(kind, BAD),
            symptom=runs(BAD),
            changes=where(kind),
            lost={
                "the former revision": without_the_former_revision(kind),
                "the workload that was meant": made_anew(*where(kind)),
            },
        )
        for kind in RESOURCES
    ),
    *(
        Scenario(
            f"restart_{kind.lower()}",
            {},
            healthy=made(kind),
            fault=wedged,
            symptom=not_ready,
            changes=where(kind),
            undoes=False,
            lost={
                "the workload": deleted(*where(kind)),
                "the workload that was meant": made_anew(*where(kind)),
            },
        )
        for kind in RESOURCES
    ),
    *(
        Scenario(
            f"scale_{kind.lower()}",
            {"replicas": 2},
            healthy=made(kind),
            fault=scaled(kind, 0),
            symptom=too_few(kind),
            changes=where(kind),
            mended=scaled(kind, 2),
        )
        for kind in _SCALED
    ),
)
