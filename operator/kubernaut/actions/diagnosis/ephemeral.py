"""Ephemeral containers: put into a pinned pod once, under a name that is the step's key.

What an ephemeral container does needs no fence of its own: the API server knows it by its name, nobody can change or
remove it, and the kubelet starts it once and never again. That is what an exec can't offer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field, StringConstraints

from kubernaut.actions import pods, probing
from kubernaut.actions.objects import rights
from kubernaut.actions.workloads.choosing import PodParameters, choice_rights, known_pod, pinned
from kubernaut.api.base import UNQUOTED, DnsLabel
from kubernaut.api.reasons import Reason
from kubernaut.core.action import StepContext
from kubernaut.core.errors import Conflict, NotFound, StepError, UnknownOutcome
from kubernaut.core.ports import Cluster, Manifest, ObjectRef, Right
from kubernaut.core.probing import Look, Probed, Said, Sight, not_there, there

SUBRESOURCE: Final = "ephemeralcontainers"
_ROUNDS: Final = 8
_NOBODY: Final = 65532
#: why a container that waits will not start by itself
_HOPELESS: Final = frozenset(
    {
        *("InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError"),
        *("CreateContainerError", "RunContainerError", "StartError"),
    }
)


def _told_version(image: str) -> str:
    """Refuse an image of which nobody knows which one it will be."""
    name, _, digest = image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    if not digest and tag in ("", "latest"):
        raise ValueError(
            f"{image}: name a tag other than latest, or a digest, so that it is known what will run"
        )
    return image


Image = Annotated[
    str,
    StringConstraints(pattern=r"^[a-zA-Z0-9][-a-zA-Z0-9._:/@]*$", max_length=512),
    AfterValidator(_told_version),
]


class EphemeralParameters(PodParameters):
    """Parameters that choose a container of a pod, and what runs beside it."""

    container: Annotated[
        DnsLabel | None,
        Field(description="The container to look into; by default the first one of the pod."),
    ] = None
    image: Annotated[
        Image, Field(description="Image of the ephemeral container: a tag (not latest) or a digest.")
    ]
    run_as_user: Annotated[
        int | None,
        Field(
            ge=1,
            le=2**31 - 1,
            description="Its user ID; by default that which the pod declares for the container (only the same user "
            "sees into its processes), else 65532.",
        ),
        UNQUOTED,
    ] = None


def needed_rights(target: ObjectRef | None, parameters: EphemeralParameters) -> tuple[Right, ...]:
    """Return get on the pod, patch on its ephemeral containers, and what choosing it needs."""
    names = known_pod(target, parameters)
    return (
        *rights(("get",), "v1", "Pod", names),
        Right("patch", "", f"pods/{SUBRESOURCE}", names),
        *choice_rights(target, parameters),
    )


@dataclass(frozen=True, slots=True)
class State:
    """How an ephemeral container fares.

    Attributes:
        waiting: why it waits, or empty.
        exit_code: None as long as it has not ended.
        told: in what words it ended, or can't start.
    """

    running: bool
    waiting: str
    exit_code: int | None
    told: str

    @property
    def hopeless(self) -> bool:
        """Whether it waits for what will not come."""
        return self.waiting in _HOPELESS


def container_name(context: StepContext, pod_uid: str, what: str) -> str:
    """Return the name, which nobody can lay ready: a signature over run, step, attempt and pod."""
    text = "\n".join((what, context.run_uid, context.step, str(context.attempt), pod_uid))
    return f"{what}-{context.signer.sign(text)[:16]}"


def chosen(pod: Mapping[str, Any], parameters: EphemeralParameters) -> Mapping[str, Any]:
    """Return the declared container that is to be looked into.

    Raises:
        StepError: PreconditionFailed, where the pod has none of this name.
    """
    declared = pod["spec"]["containers"]
    found = next((one for one in declared if parameters.container in (None, one["name"])), None)
    if found is None:
        names = ", ".join(one["name"] for one in declared)
        raise StepError(
            f"{ObjectRef.of(pod)} has no container {parameters.container}; it has {names}",
            reason=Reason.PRECONDITION_FAILED,
        )
    return dict(found)


def runs(pod: Mapping[str, Any], name: str) -> bool:
    """Return whether a container of the pod runs now."""
    return any(one.name == name and one.running_since for one in pods.containers(pod))


def demand_alive(pod: Mapping[str, Any]) -> None:
    """Refuse a pod in which nothing can be started.

    Raises:
        StepError: PreconditionFailed.
    """
    phase = (pod.get("status") or {}).get("phase")
    told = "is being deleted" if pod["metadata"].get("deletionTimestamp") else f"is {phase}"
    if told == "is being deleted" or phase != "Running":
        raise StepError(
            f"{ObjectRef.of(pod)} {told}; only in a running pod a container can be started",
            reason=Reason.PRECONDITION_FAILED,
        )


def user_of(pod: Mapping[str, Any], container: Mapping[str, Any], wanted: int | None) -> int:
    """Return the user to run as: as asked for, as the looked-into container is declared to, else nobody."""
    declared = (container.get("securityContext") or {}).get("runAsUser")
    of_pod = (pod["spec"].get("securityContext") or {}).get("runAsUser")
    # Root is never taken over: the Pod Security Standard `restricted` would refuse it.
    return wanted or declared or of_pod or _NOBODY


def container(
    name: str, image: str, command: list[str], *, user: int, beside: str | None, env: Mapping[str, str]
) -> Manifest:
    """Return an ephemeral container that the Pod Security Standard ``restricted`` admits.

    Args:
        beside: the container whose processes it sees; None where that one does not run.
    """
    made: Manifest = {
        "name": name,
        "image": image,
        "command": command,
        "env": [{"name": key, "value": value} for key, value in env.items()],
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "runAsUser": user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    return made if beside is None else {**made, "targetContainerName": beside}


def state(pod: Mapping[str, Any], name: str) -> State:
    """Return how an ephemeral container fares; one of which nothing is told yet waits."""
    told = (pod.get("status") or {}).get("ephemeralContainerStatuses") or ()
    now = next((one.get("state") or {} for one in told if one["name"] == name), {})
    ended, waits = now.get("terminated") or {}, now.get("waiting") or {}
    words = ended or waits
    said = ": ".join(filter(None, (words.get("reason"), (words.get("message") or "").strip())))
    return State("running" in now, waits.get("reason") or "", ended.get("exitCode"), said[:500])


def find(pod: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    """Return an ephemeral container as declared, or None."""
    declared = pod["spec"].get("ephemeralContainers") or ()
    return next((one for one in declared if one["name"] == name), None)


def looks_at(context: StepContext) -> tuple[Look, ...]:
    """Return the pinned pod."""
    ref = pinned(context)
    return () if ref is None else (ref,)


def probed(sight: Sight, context: StepContext, what: str, judge: Callable[[State], Said]) -> Probed:
    """Say whether the container is in the pinned pod, and what its state tells.

    Args:
        what: the first part of its name.
    """
    ref = pinned(context)
    if ref is None:
        return not_there("no pod was chosen")
    recorded = context.done.outputs.get("container") if context.done is not None else None
    name = str(recorded or container_name(context, ref.uid, what))
    pod = sight.of(ref)
    if pod is None or pod["metadata"]["uid"] != ref.uid:
        return probing.lacking(context, f"{ref} is gone, and its ephemeral containers")
    if find(pod, name) is None:
        return not_there(f"{ref} has no ephemeral container of step {context.step}")
    return there(f"{ref}: spec.ephemeralContainers[name={name}] is there", judge(state(pod, name)))


async def put(cluster: Cluster, ref: ObjectRef, name: str, make: Callable[[Manifest], Manifest]) -> Manifest:
    """Put an ephemeral container into a pod, once, and return the pod.

    Args:
        ref: the pod, UID included.
        make: returns the container for the pod as read, or raises StepError where it must not be there.

    Raises:
        StepError: what ``make`` raises; TargetReplaced, where the pod is gone.
        Conflict: others kept changing the pod.
        UnknownOutcome: whether it is there could not be found out.
        ClusterError: as the API server answers.
    """
    doubt: UnknownOutcome | None = None
    last: Conflict | None = None
    for _ in range(_ROUNDS):
        try:
            seen = await read(cluster, ref)
            if find(seen, name) is not None:
                return seen
            demand_alive(seen)
            there = seen["spec"].get("ephemeralContainers") or []
            body = {"spec": {"ephemeralContainers": [*there, make(seen)]}}
            version = seen["metadata"]["resourceVersion"]
            return await cluster.patch(ref, body, resource_version=version, subresource=SUBRESOURCE)
        except UnknownOutcome as error:
            doubt = error
        except Conflict as error:
            last, doubt = error, None
        except StepError as error:
            raise (doubt or error) from error
    raise doubt or Conflict(
        f"{ref} was changed by others {_ROUNDS} times between reading and patching it: {last}", status=409
    )


async def read(cluster: Cluster, ref: ObjectRef) -> Manifest:
    """Return the pinned pod.

    Raises:
        StepError: TargetReplaced, where it is gone.
        ClusterError: as the API server answers.
    """
    try:
        seen = await cluster.get(ref)
    except NotFound:
        seen = None
    if seen is None or seen["metadata"]["uid"] != ref.uid:
        raise StepError(f"{ref} is gone; nothing was done", reason=Reason.TARGET_REPLACED)
    return seen
