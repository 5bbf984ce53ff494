"""What ails a workload, in few and stable words. Pure.

The words are those of Kubernetes where it has one. Two samples of the same trouble, taken at different moments of a
crash loop or of a failing pull, give the same words: ErrImagePull counts as ImagePullBackOff, and a container that
has just been started again after a failure as CrashLoopBackOff.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from kubernaut.actions import pods
from kubernaut.actions.pods import ContainerView
from kubernaut.core.ports import Manifest

MAX_SYMPTOMS: Final = 16
# A container that runs for less than this after a failed run is still in its crash loop.
_RECENT: Final = timedelta(minutes=5)
_SAME: Final = {"ErrImagePull": "ImagePullBackOff"}
_STARTING: Final = frozenset({"ContainerCreating", "PodInitializing"})
_PLAIN_ENDS: Final = frozenset({"", "Error", "Completed"})
_EVENT_SYMPTOMS: Final = {
    "FailedMount": "FailedMount",
    "FailedAttachVolume": "FailedMount",
    "FailedCreate": "FailedCreate",
    "FailedCreatePodSandBox": "FailedCreatePodSandBox",
}
_MOUNTING: Final = frozenset({"FailedMount", "FailedAttachVolume"})


@dataclass(frozen=True, slots=True)
class Sample:
    """What was read at one moment: the target, its pods without those that leave, and warnings about either."""

    target: Manifest
    pods: Sequence[Manifest]
    events: Sequence[Manifest]
    now: datetime


def symptoms(sample: Sample) -> list[str]:
    """Return the symptoms, sorted, each once, at most 16."""
    found = {*_of_target(sample.target), *_of_events(sample)}
    for pod in sample.pods:
        found.update(_of_pod(pod, sample.now))
    if not found and ready(sample) < desired(sample):
        found.add("Unavailable")
    return sorted(found)[:MAX_SYMPTOMS]


def desired(sample: Sample) -> int:
    """Return how many pods the target wants; for kinds that say nothing of it, how many there are."""
    spec, status = sample.target.get("spec") or {}, sample.target.get("status") or {}
    match sample.target["kind"]:
        case "Pod":
            return 1
        case "DaemonSet":
            return int(status.get("desiredNumberScheduled") or 0)
        case "Job":
            return int(spec.get("parallelism", 1))
        case "Deployment" | "StatefulSet" | "ReplicaSet" | "ReplicationController":
            return int(spec.get("replicas", 1))
    return len(sample.pods)


def ready(sample: Sample) -> int:
    """Return how many pods are ready."""
    return sum(map(pods.ready, sample.pods))


def _of_target(target: Manifest) -> Iterator[str]:
    spec = target.get("spec") or {}
    if spec.get("replicas") == 0:
        yield "ScaledToZero"
    if spec.get("paused"):
        yield "Paused"
    if pods.condition(target, "Progressing").get("reason") == "ProgressDeadlineExceeded":
        yield "ProgressDeadlineExceeded"
    failure = pods.condition(target, "ReplicaFailure")
    if failure.get("status") == "True":
        yield str(failure.get("reason") or "FailedCreate")
    if target["kind"] == "Job" and pods.condition(target, "Failed").get("status") == "True":
        yield str(pods.condition(target, "Failed").get("reason") or "JobFailed")


def _of_events(sample: Sample) -> Iterator[str]:
    sick = {pod["metadata"]["uid"] for pod in sample.pods if not pods.ready(pod)}
    mounted = {pod["metadata"]["uid"] for pod in sample.pods if _past_mounting(pod)}
    for event in sample.events:
        reason, about = event.get("reason", ""), event.get("involvedObject") or {}
        if about.get("kind") == "Pod" and about.get("uid") not in sick:
            continue
        if about.get("kind") != "Pod" and ready(sample) >= desired(sample):
            continue
        if reason in _EVENT_SYMPTOMS and not (reason in _MOUNTING and about.get("uid") in mounted):
            yield _EVENT_SYMPTOMS[reason]
        if reason == "Unhealthy" and str(event.get("message", "")).startswith("Liveness"):
            yield "LivenessFailing"


def _past_mounting(pod: Manifest) -> bool:
    """Whether a container got so far that all volumes are there: what a new pod had to wait for is over then."""
    return any(
        one.running_since or one.exit_code is not None or (one.waiting and one.waiting not in _STARTING)
        for one in pods.containers(pod)
    )


def _of_pod(pod: Manifest, now: datetime) -> Iterator[str]:
    status = pod.get("status") or {}
    if status.get("phase") == "Failed" and status.get("reason"):
        yield str(status["reason"])
    scheduled = pods.condition(pod, "PodScheduled")
    if scheduled.get("status") == "False" and scheduled.get("reason"):
        yield str(scheduled["reason"])
    for container in pods.containers(pod):
        yield from _of_container(pod, container, now)


def _of_container(pod: Manifest, container: ContainerView, now: datetime) -> Iterator[str]:
    waiting = _SAME.get(container.waiting, container.waiting)
    looping = _looping(container, now)
    if waiting and waiting not in _STARTING:
        yield waiting
    if looping:
        yield "CrashLoopBackOff"
    if looping or container.troubled:
        yield from _ending(container)
    elif container.running_since and not container.ready and not container.init and _probed(pod, container):
        yield "ReadinessFailing"


def _looping(container: ContainerView, now: datetime) -> bool:
    """Whether the container is somewhere in a crash loop, waiting for its next run or in one."""
    if container.waiting == "CrashLoopBackOff":
        return True
    if container.restarts == 0 or container.exit_code is None:
        return False
    if container.init:
        return container.exit_code != 0 and not container.ready
    if not container.running_since:
        return container.waiting not in _SAME and container.waiting != "ImagePullBackOff"
    return now - datetime.fromisoformat(container.running_since) < _RECENT


def _ending(container: ContainerView) -> Iterator[str]:
    if container.exit_code is None:
        return
    if container.exit_reason in _PLAIN_ENDS:
        yield f"ExitCode{container.exit_code}"
    else:
        yield container.exit_reason


def _probed(pod: Mapping[str, Any], container: ContainerView) -> bool:
    declared = (pod.get("spec") or {}).get("containers") or ()
    return any(one["name"] == container.name and one.get("readinessProbe") for one in declared)
