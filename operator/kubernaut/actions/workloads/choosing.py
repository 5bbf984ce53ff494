"""Which pod an action takes: the one named, or the worst of the run's target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Self

from pydantic import Field, JsonValue, model_validator

from kubernaut.actions import pods
from kubernaut.actions.objects import group_of, named, resource_of, rights
from kubernaut.api.base import DnsName, Flag
from kubernaut.api.reasons import Reason
from kubernaut.core.action import ActionParameters, StepContext
from kubernaut.core.errors import StepError
from kubernaut.core.ports import Cluster, Manifest, ObjectRef, Right

#: kinds whose pods have them as their controller
_OWNING: Final = frozenset({"StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job"})
#: what is stored as a step's intent where no pod is unhealthy
NONE: Final[Mapping[str, JsonValue]] = {"name": "", "uid": ""}


class PodParameters(ActionParameters):
    """Parameters that choose a pod: a name, or the worst pod of the run's target."""

    name: Annotated[
        DnsName | None, Field(description="The pod; by default the run's target, where that is a pod.")
    ] = None
    unhealthy: Annotated[
        Flag, Field(description="Choose the worst pod of the run's target; do nothing where all are healthy.")
    ] = False

    @model_validator(mode="after")
    def _one_pod(self) -> Self:
        if self.name is not None and self.unhealthy:
            raise ValueError("set at most one of name and unhealthy")
        return self


def known_pod(target: ObjectRef | None, parameters: PodParameters) -> tuple[str, ...]:
    """Return the pod's name for RBAC's resourceNames as far as it is known; empty means any."""
    fixed = parameters.name or (target.name if target is not None and target.kind == "Pod" else None)
    return (fixed,) if fixed and not parameters.unhealthy else ()


def choice_rights(target: ObjectRef | None, parameters: PodParameters) -> tuple[Right, ...]:
    """Return the rights that the choice of the worst pod needs."""
    if not parameters.unhealthy:
        return ()
    found = rights(("list",), "v1", "Pod", ())
    if target is None:
        return found
    return (*found, Right("get", group_of(target.api_version), resource_of(target.kind), (target.name,)))


async def choose(cluster: Cluster, context: StepContext, parameters: PodParameters) -> Manifest | None:
    """Return the pod that is to be acted on; None where the worst one was asked for and all are healthy.

    Raises:
        StepError: TargetReplaced, where the run's target is a pod that was made anew; InvalidParameters, where there
            is nothing to choose from.
        ClusterError: as the API server answers.
    """
    if parameters.unhealthy:
        return await _worst(cluster, context)
    ref = named(context.namespace, context.target, "v1", "Pod", parameters.name)
    pod = await cluster.get(ref)
    if ref.uid and pod["metadata"]["uid"] != ref.uid:
        raise StepError(f"{ref} was deleted and made anew", reason=Reason.TARGET_REPLACED)
    return pod


def pinned(context: StepContext) -> ObjectRef | None:
    """Return the pod that was stored as the step's intent; None where none was to be acted on."""
    intent = context.intent or NONE
    name, uid = str(intent.get("name", "")), str(intent.get("uid", ""))
    return ObjectRef("v1", "Pod", context.namespace, name, uid) if name else None


async def _worst(cluster: Cluster, context: StepContext) -> Manifest | None:
    """Return the worst pod of the run's target; None where all are healthy."""
    ref = context.target
    target = await cluster.get(ref)
    if target["metadata"]["uid"] != ref.uid:
        raise StepError(f"{ref} was deleted and made anew", reason=Reason.TARGET_REPLACED)
    if ref.kind == "Pod":
        found = [target]
    else:
        selector = pods.selector_of(target)
        if selector is None:
            raise StepError(
                f"{ref} selects no pods; name one under with.name",
                reason=Reason.INVALID_PARAMETERS,
            )
        there = await cluster.list("v1", "Pod", context.namespace, label_selector=selector)
        found = [pod for pod in there if _is_of(pod, ref) and not _replaced(pod)]
    worst = next(iter(pods.worst_first(found)), None)
    return None if worst is None or pods.healthy(worst) else worst


def _is_of(pod: Manifest, target: ObjectRef) -> bool:
    """Whether a pod that a target selects is of that target, as far as the pod tells.

    Another workload's pods may have its labels, too: those of a canary beside a Deployment, for one.
    """
    owner = pods.controller_of(pod)
    if target.kind in _OWNING and group_of(target.api_version) in ("", "apps", "batch"):
        return owner is not None and owner["uid"] == target.uid
    if (group_of(target.api_version), target.kind) != ("apps", "Deployment") or owner is None:
        return True
    # Between them is a ReplicaSet, which a Deployment names after itself; one that it has adopted has any name.
    end = "-" + ((pod["metadata"].get("labels") or {}).get("pod-template-hash") or "")
    named_after = str(owner["name"]).removesuffix(end) if end != "-" else ""
    return owner["kind"] == "ReplicaSet" and named_after in ("", owner["name"], target.name)


def _replaced(pod: Manifest) -> bool:
    """Whether a pod has failed for good, as one that was evicted: its ReplicaSet has made another in its place."""
    owner = pods.controller_of(pod)
    failed = (pod.get("status") or {}).get("phase") == "Failed"
    return failed and owner is not None and owner["kind"] in ("ReplicaSet", "ReplicationController")
