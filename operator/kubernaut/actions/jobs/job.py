"""How Jobs fare, as their status tells. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kubernaut.actions import pods
from kubernaut.actions.workloads.workload import owned_by
from kubernaut.core.ports import Manifest

JOB: Final = ("batch/v1", "Job")
CRON_JOB: Final = ("batch/v1", "CronJob")
POD: Final = ("v1", "Pod")


def failed(job: Manifest) -> bool:
    """Whether it has failed for good."""
    return bool(pods.condition(job, "Failed").get("status") == "True")


def finished(job: Manifest) -> bool:
    """Whether it has completed or failed: none of its pods runs any more."""
    return failed(job) or bool(pods.condition(job, "Complete").get("status") == "True")


def ended_at(job: Manifest) -> str:
    """Return when it completed or failed; empty where it goes on."""
    ends = (pods.condition(job, kind) for kind in ("Complete", "Failed"))
    return next((str(one.get("lastTransitionTime", "")) for one in ends if one.get("status") == "True"), "")


def stuck(job: Manifest, all_pods: Sequence[Manifest]) -> bool:
    """Whether it goes on and a pod of it can't start, can't be scheduled, or fails."""
    if finished(job) or (job["spec"].get("suspend") or False):
        return False
    return any(_troubled(pod) for pod in owned_by(job, all_pods) if not pods.leaving(pod))


def _troubled(pod: Manifest) -> bool:
    unscheduled = pods.condition(pod, "PodScheduled").get("status") == "False"
    gone_wrong = (pod.get("status") or {}).get("phase") == "Failed"
    return unscheduled or gone_wrong or pods.badness(pod)[0]


def worst_first(jobs: Sequence[Manifest], all_pods: Sequence[Manifest]) -> list[Manifest]:
    """Return the Jobs that failed or are stuck: stuck ones first, which hold others up; then who began first."""
    bad = [
        (failed(job), (job.get("status") or {}).get("startTime") or "", job["metadata"]["name"], job)
        for job in jobs
        if not job["metadata"].get("deletionTimestamp") and (failed(job) or stuck(job, all_pods))
    ]
    return [job for *_, job in sorted(bad, key=lambda one: one[:3])]


def owner_run(job: Manifest) -> str:
    """Return the name of the run whose step made the Job; empty where none did."""
    owners = job["metadata"].get("ownerReferences") or ()
    return next((str(one["name"]) for one in owners if one["kind"] == "WorkflowExecution"), "")
