"""Faults of Jobs and CronJobs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from apiserver.acting import Place, await_true
from apiserver.rest import MERGE_PATCH
from apiserver.scenarios.scenario import Scenario, Where
from kubernaut.actions.jobs import job
from kubernaut.core.ports import Manifest
from kubernaut.core.probing import Answer

NOWHERE: Final = {"nodeSelector": {"kubernaut.local/no-such": "node"}}
CRON: Final = (Where("batch/v1", "cronjobs", "report"),)


def cron_job() -> Manifest:
    """Return a CronJob that is due once a year, so that nothing but ``due`` has it start a Job."""
    return {
        "metadata": {"name": "report"},
        "spec": {
            "schedule": "0 0 1 1 *",
            "concurrencyPolicy": "Forbid",
            "jobTemplate": {"spec": template()},
        },
    }


def template(**pod: Any) -> dict[str, Any]:
    container = {"name": "app", "image": "kubernaut.local/pause:1"}
    return {
        "backoffLimit": 0,
        "template": {"spec": {"containers": [container], "restartPolicy": "Never", **pod}},
    }


def due(place: Place) -> None:
    """Let two years go by since the CronJob last started a Job: its controller has one to make up for."""
    then = (datetime.now(UTC) - timedelta(days=730)).strftime("%Y-%m-%dT%H:%M:%SZ")
    path = place.path("batch/v1", "cronjobs", "report") + "/status"
    body = {"status": {"lastScheduleTime": then}}
    answer = place.admin.request("PATCH", path, body, content_type=MERGE_PATCH)
    assert answer.ok, answer


def remove_jobs(place: Place) -> None:
    for one in place.items("batch/v1", "jobs"):
        path = place.path("batch/v1", "jobs", one["metadata"]["name"])
        place.admin.request("DELETE", path, {"propagationPolicy": "Background"})
    await_true(lambda: not place.items("batch/v1", "jobs"), "the Jobs were not deleted")


def completed(place: Place) -> bool:
    return any(job.finished(one) and not job.failed(one) for one in place.items("batch/v1", "jobs"))


def failed(place: Place) -> bool:
    return any(job.failed(one) for one in place.items("batch/v1", "jobs"))


def works(place: Place) -> Manifest:
    """A CronJob whose last Job has completed."""
    place.create("batch/v1", "cronjobs", cron_job())
    due(place)
    await_true(lambda: completed(place), "no Job of CronJob report has completed")
    return place.get("batch/v1", "cronjobs", "report")


def set_suspended(suspend: bool) -> Any:
    def fault(place: Place) -> None:
        place.patch("batch/v1", "cronjobs", "report", {"spec": {"suspend": suspend}})

    return fault


def suspended_when_due(place: Place) -> None:
    set_suspended(True)(place)
    remove_jobs(place)
    due(place)


def no_run(place: Place) -> bool:
    """Whether the CronJob, though it is due, starts nothing."""
    return not place.items("batch/v1", "jobs")


def rolled_out(**job_spec: Any) -> Any:
    """Another actor changes what the Jobs do, and one is due."""

    def fault(place: Place) -> None:
        spec = {"jobTemplate": {"spec": template(**NOWHERE) | job_spec}}
        place.patch("batch/v1", "cronjobs", "report", {"spec": spec})
        remove_jobs(place)
        due(place)

    return fault


def goes_on_failing(place: Place) -> bool:
    """Whether the last Job failed, and the CronJob will start the next one all the same."""
    return failed(place) and not place.get("batch/v1", "cronjobs", "report")["spec"]["suspend"]


def stuck(place: Place) -> bool:
    pods = [pod | {"apiVersion": "v1", "kind": "Pod"} for pod in place.items("v1", "pods")]
    return any(job.stuck(one, pods) for one in place.items("batch/v1", "jobs"))


def ends(place: Place) -> Manifest:
    """A Job named migrate that has completed, beside what needs it."""
    place.create("batch/v1", "jobs", {"metadata": {"name": "migrate"}, "spec": template()})
    await_true(lambda: completed(place), "Job migrate has not completed")
    settings = place.create("v1", "configmaps", {"metadata": {"name": "settings"}})
    return settings | {"apiVersion": "v1", "kind": "ConfigMap"}


def made_anew_and_fails(place: Place) -> None:
    remove_jobs(place)
    spec = template(**NOWHERE) | {"activeDeadlineSeconds": 1}
    place.create("batch/v1", "jobs", {"metadata": {"name": "migrate"}, "spec": spec})


def unseeded(place: Place) -> None:
    """Another actor wipes what the seeding Job had done, and the Job with it."""
    remove_jobs(place)


def not_seeded(place: Place) -> bool:
    return not completed(place)


SCENARIOS: Final = (
    Scenario(
        "run_job",
        {"image": "kubernaut.local/pause:1"},
        healthy=ends,
        fault=unseeded,
        symptom=not_seeded,
        changes=(Where("v1", "configmaps", "settings"),),
        undoes=False,
        later=tuple(f"{verb} jobs.batch" for verb in ("get", "list", "watch", "delete")),
    ),
    Scenario(
        "resume_cronjob",
        {},
        healthy=works,
        fault=suspended_when_due,
        symptom=no_run,
        changes=CRON,
        mended=set_suspended(False),
    ),
    Scenario(
        "suspend_cronjob",
        {"failures": 1},
        healthy=works,
        fault=rolled_out(activeDeadlineSeconds=1),
        symptom=goes_on_failing,
        changes=CRON,
        mended=set_suspended(True),
    ),
    Scenario(
        "delete_job",
        {"failed": True},
        healthy=works,
        fault=rolled_out(),
        symptom=stuck,
        changes=CRON,
        undoes=False,
        mended=remove_jobs,
        told="that is stuck",
        helped=Answer.UNKNOWN,
    ),
    Scenario(
        "delete_job",
        {"name": "migrate", "onlyIf": "Failed"},
        healthy=ends,
        fault=made_anew_and_fails,
        symptom=failed,
        changes=(Where("batch/v1", "jobs", "migrate"),),
        undoes=False,
        told="that failed",
        helped=Answer.UNKNOWN,
    ),
)
