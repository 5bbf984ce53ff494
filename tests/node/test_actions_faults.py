"""Actions against faults that only running containers show, all of them side by side.

What holds for each is in ``scenario.py``: fault by another actor, symptom, action, symptom gone, twice is once, undo.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from apiserver.acting import Place, await_true
from apiserver.scenarios.jobs import CRON, completed, cron_job, due, remove_jobs, set_suspended
from apiserver.scenarios.scenario import Scenario
from apiserver.scenarios.workloads import RESOURCES, scaled, settled, staying, where, workload
from kubernaut.actions import pods
from kubernaut.core.ports import Manifest
from kubernaut.core.probing import Answer
from localcluster import Cluster
from node.placing import side_by_side
from node.shells import SERVES, STAYS, asking

# A process knows the settings that it was started with, and no others.
TELLS = "trap 'exit 0' TERM; while true; do echo level $LEVEL; sleep 0.2; done"
NO_IMAGE = "kubernaut.local/no-such-image:1"
_CORE, _BATCH = ("v1", "pods"), ("batch/v1", "jobs")


def made(place: Place, kind: str, image: str, script: str, **container: Any) -> Manifest:
    """Make a workload named db of shells that run a script; return it once it is rolled out."""
    thing = workload(kind, image, command=["sh", "-c", script], **container)
    # A container that has to be killed first would only take longer to go.
    thing["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 1
    place.create("apps/v1", RESOURCES[kind], thing)
    await_true(lambda: settled(place, kind), f"{kind} db was not rolled out")
    return place.get("apps/v1", RESOURCES[kind], "db")


# Processes that hold on to settings which are no longer those of the ConfigMap


def told_settings(kind: str, image: str) -> Callable[[Place], Manifest]:
    def healthy(place: Place) -> Manifest:
        place.create("v1", "configmaps", {"metadata": {"name": "settings"}, "data": {"LEVEL": "info"}})
        source = [{"configMapRef": {"name": "settings"}}]
        target = made(place, kind, image, TELLS, envFrom=source)
        await_true(lambda: not is_stale(place), "the pods do not know their settings")
        return target

    return healthy


def change_settings(place: Place) -> None:
    place.patch("v1", "configmaps", "settings", {"data": {"LEVEL": "debug"}})


def is_stale(place: Place) -> bool:
    """Whether any process says something else than the ConfigMap does, or nothing yet."""
    wanted = place.get("v1", "configmaps", "settings")["data"]["LEVEL"]
    return any(last_line(place, pod) != f"level {wanted}" for pod in staying(place))


def last_line(place: Place, pod: Manifest) -> str:
    """Return what a pod said last; something else where it does not run."""
    path = place.path(*_CORE, pod["metadata"]["name"])
    return place.admin.request("GET", f"{path}/log", tailLines="1").message.strip()


# Clients whom nobody answers


def with_client(kind: str, image: str) -> Callable[[Place], Manifest]:
    def healthy(place: Place) -> Manifest:
        ports = [{"port": 80, "targetPort": 8080}]
        service = {"metadata": {"name": "db"}, "spec": {"selector": {"app": "db"}, "ports": ports}}
        place.create("v1", "services", service)
        target = made(place, kind, image, SERVES)
        probe = asking("$DB_SERVICE_HOST", 80)
        app = {"name": "app", "image": image, "command": ["sh", "-c", STAYS], "readinessProbe": probe}
        spec = {"containers": [app], "terminationGracePeriodSeconds": 0}
        place.create(*_CORE, {"metadata": {"name": "client"}, "spec": spec})
        await_true(lambda: not unanswered(place), "the client is not answered")
        return target

    return healthy


def unanswered(place: Place) -> bool:
    """Whether a client asks the Service in vain, as its own kubelet sees it."""
    return not pods.ready(place.get(*_CORE, "client"))


# Reports that are not made


def reports(image: str) -> Callable[[Place], Manifest]:
    def healthy(place: Place) -> Manifest:
        """A CronJob whose last Job has really made its report."""
        cron = cron_job()
        cron["spec"]["jobTemplate"]["spec"] = job_spec(image, "true")
        place.create("batch/v1", "cronjobs", cron)
        due(place)
        await_true(lambda: completed(place), "no Job of CronJob report has completed")
        return place.get("batch/v1", "cronjobs", "report")

    return healthy


def job_spec(image: str, script: str) -> Manifest:
    container = {"name": "app", "image": image, "command": ["sh", "-c", script]}
    spec = {"containers": [container], "restartPolicy": "Never", "terminationGracePeriodSeconds": 1}
    return {"backoffLimit": 0, "template": {"spec": spec}}


def suspended_when_due(place: Place) -> None:
    set_suspended(True)(place)
    remove_jobs(place)
    due(place)


def no_report(place: Place) -> bool:
    return not completed(place)


def held_up(good: str, image: str, script: str, holds: Callable[[Manifest], bool]) -> Callable[[Place], None]:
    """Another actor has the CronJob start a Job that never ends, and mends the CronJob: the Job is still there."""

    def fault(place: Place) -> None:
        remove_jobs(place)
        give_template(place, job_spec(image, script))
        due(place)
        await_true(lambda: any(map(holds, place.items(*_CORE))), "the Job's pod does not get stuck")
        give_template(place, job_spec(good, "true"))
        due(place)

    return fault


def give_template(place: Place, spec: Manifest) -> None:
    place.patch("batch/v1", "cronjobs", "report", {"spec": {"jobTemplate": {"spec": spec}}})


def cannot_start(pod: Manifest) -> bool:
    return any(one.waiting in ("ErrImagePull", "ImagePullBackOff") for one in pods.containers(pod))


def runs(pod: Manifest) -> bool:
    return bool(pod["status"].get("phase") == "Running")


@dataclass(frozen=True)
class OfItsJob(Scenario):
    """One whose run is about the Job that there is by then."""

    def broken(self, place: Place) -> Manifest:
        super().broken(place)
        (job,) = place.items(*_BATCH)
        return {"apiVersion": "batch/v1", "kind": "Job", **job}


def faults(image: str) -> tuple[Scenario, ...]:
    """Return the faults, of containers of an image that has a shell."""
    deleting: dict[str, Any] = {
        "healthy": reports(image),
        "symptom": no_report,
        "changes": CRON,
        "undoes": False,
    }
    return (
        *(
            Scenario(
                f"restart_{kind.lower()}",
                {},
                healthy=told_settings(kind, image),
                fault=change_settings,
                symptom=is_stale,
                changes=where(kind),
                undoes=False,
            )
            for kind in ("StatefulSet", "DaemonSet")
        ),
        *(
            Scenario(
                f"scale_{kind.lower()}",
                {"replicas": 2},
                healthy=with_client(kind, image),
                fault=scaled(kind, 0),
                symptom=unanswered,
                changes=where(kind),
            )
            for kind in ("Deployment", "StatefulSet")
        ),
        Scenario(
            "resume_cronjob",
            {},
            healthy=reports(image),
            fault=suspended_when_due,
            symptom=no_report,
            changes=CRON,
        ),
        Scenario(
            "delete_job",
            {"failed": True},
            fault=held_up(image, NO_IMAGE, "true", cannot_start),
            told="that can't start",
            helped=Answer.UNKNOWN,
            **deleting,
        ),
        OfItsJob(
            "delete_job",
            {},
            fault=held_up(image, image, STAYS, runs),
            told="that hangs",
            helped=Answer.UNKNOWN,
            **deleting,
        ),
    )


@pytest.fixture(scope="module")
def outcomes(cluster: Cluster, acting: Path, kinds: None) -> Iterator[Mapping[str, Future[None]]]:
    # What a CronJob does next is up to nobody who deletes its Job.
    with side_by_side(
        faults(cluster.real_image("busybox")), cluster, acting, beyond=("delete_job",)
    ) as outcomes:
        yield outcomes


@pytest.mark.parametrize("fault", [str(one) for one in faults("")])
def test_it_mends_its_fault_once_and_puts_back(fault: str, outcomes: Mapping[str, Future[None]]) -> None:
    outcomes[fault].result(120)
