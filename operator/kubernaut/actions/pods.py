"""How pods fare: which belong to a target, which of them is the worst, what can be read from their containers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kubernaut.core.ports import Manifest
from kubernaut.core.selectors import selector_text

_STARTING: Final = frozenset({"ContainerCreating", "PodInitializing"})


@dataclass(frozen=True, slots=True)
class ContainerView:
    """One container of a pod: what its status says, in one place.

    Attributes:
        waiting: why it waits, or empty.
        exit_code: of the last ended run of it; None where none ended.
        exit_reason: as the kubelet gave it, such as OOMKilled, Error, Completed.
    """

    name: str
    init: bool
    ready: bool
    running_since: str
    restarts: int
    waiting: str
    exit_code: int | None
    exit_reason: str
    exit_message: str
    ended_at: str

    @property
    def troubled(self) -> bool:
        """Whether it waits for anything but its start, or ended when it should not have."""
        if self.waiting:
            return self.waiting not in _STARTING
        return (
            not self.running_since and self.exit_code is not None and (not self.init or self.exit_code != 0)
        )


def selector_of(target: Manifest) -> str | None:
    """Return the label selector of a target's pods; None where its kind selects none.

    Deployments and their like have a LabelSelector, Services and ReplicationControllers a plain map.
    """
    selector = (target.get("spec") or {}).get("selector")
    if not isinstance(selector, Mapping) or not selector:
        return None
    if selector.keys() <= {"matchLabels", "matchExpressions"}:
        return selector_text(selector) or None
    return selector_text({"matchLabels": selector})


def containers(pod: Mapping[str, Any]) -> Iterator[ContainerView]:
    """Yield the containers of a pod, init containers first."""
    status = pod.get("status") or {}
    for field, init in (("initContainerStatuses", True), ("containerStatuses", False)):
        for one in status.get(field) or ():
            state, last = one.get("state") or {}, one.get("lastState") or {}
            ended = state.get("terminated") or last.get("terminated") or {}
            yield ContainerView(
                name=one["name"],
                init=init,
                ready=bool(one.get("ready")),
                running_since=(state.get("running") or {}).get("startedAt") or "",
                restarts=int(one.get("restartCount") or 0),
                waiting=(state.get("waiting") or {}).get("reason") or "",
                exit_code=ended.get("exitCode"),
                exit_reason=ended.get("reason") or "",
                exit_message=ended.get("message") or "",
                ended_at=ended.get("finishedAt") or "",
            )


def condition(manifest: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """Return a condition of an object's status; an empty one where there is none."""
    found = (manifest.get("status") or {}).get("conditions") or ()
    return next((one for one in found if one.get("type") == kind), {})


def ready(pod: Mapping[str, Any]) -> bool:
    """Return whether a pod's Ready condition holds."""
    return bool(condition(pod, "Ready").get("status") == "True")


def restarts(pod: Mapping[str, Any]) -> int:
    """Return how often the containers of a pod were restarted, altogether."""
    return sum(container.restarts for container in containers(pod))


def leaving(pod: Mapping[str, Any]) -> bool:
    """Return whether a pod is being deleted or has done its work: it says nothing of the target's health."""
    return (
        bool(pod["metadata"].get("deletionTimestamp"))
        or (pod.get("status") or {}).get("phase") == "Succeeded"
    )


def badness(pod: Mapping[str, Any]) -> tuple[bool, bool, int]:
    """Return how bad a pod fares; greater is worse."""
    return any(one.troubled for one in containers(pod)), not ready(pod), restarts(pod)


def healthy(pod: Mapping[str, Any]) -> bool:
    """Return whether a pod is ready and none of its containers fails."""
    failing, unready, _ = badness(pod)
    return not failing and not unready


def worst_first(pods: Sequence[Manifest]) -> list[Manifest]:
    """Return the pods that say something of the target's health, the worst first, then by name."""
    staying = sorted((pod for pod in pods if not leaving(pod)), key=lambda pod: str(pod["metadata"]["name"]))
    return sorted(staying, key=badness, reverse=True)


def is_static(pod: Manifest) -> bool:
    """Whether a kubelet runs the pod from a file: the API server has a mirror only, whose deletion ends nothing."""
    return "kubernetes.io/config.mirror" in (pod["metadata"].get("annotations") or {})


def controller_of(manifest: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the owner reference of the object's controller, or None."""
    owners = manifest["metadata"].get("ownerReferences") or ()
    return next((owner for owner in owners if owner.get("controller")), None)
