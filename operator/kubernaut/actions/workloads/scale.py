"""``scale_deployment``, ``scale_statefulset``: set or move the number of replicas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, ClassVar, Final, Self

from pydantic import Field, model_validator

from kubernaut.actions.fencing import fence
from kubernaut.actions.objects import DEPLOYMENT, HORIZONTAL_POD_AUTOSCALER, STATEFUL_SET, group_of, rights
from kubernaut.actions.workloads.workload import WorkloadAction, WorkloadParameters
from kubernaut.api.reasons import Reason
from kubernaut.core import fields
from kubernaut.core.action import StepContext
from kubernaut.core.errors import StepError
from kubernaut.core.ports import Cluster, Manifest, ObjectRef, Right

_REPLICAS: Final = fields.parse("spec.replicas")
_RETENTION: Final = fields.parse("spec.persistentVolumeClaimRetentionPolicy.whenScaled")


class Autoscaler(StrEnum):
    """What to do where a HorizontalPodAutoscaler scales the workload."""

    REFUSE = "Refuse"
    IGNORE = "Ignore"


class ScaleWorkloadParameters(WorkloadParameters):
    """Parameters of an action that scales a workload: exactly one of ``replicas`` and ``delta``."""

    replicas: Annotated[int | None, Field(ge=0, le=10_000, description="The wanted number of replicas.")] = (
        None
    )
    delta: Annotated[
        int | None,
        Field(
            ge=-1000, le=1000, description="By how much to change the number of replicas, within the bounds."
        ),
    ] = None
    min_replicas: Annotated[
        int, Field(ge=0, le=10_000, description="With `delta`: the number is not moved below this.")
    ] = 1
    max_replicas: Annotated[
        int, Field(ge=1, le=10_000, description="With `delta`: the number is not moved above this.")
    ] = 20
    autoscaler: Annotated[
        Autoscaler,
        Field(description="Where an HPA scales the object: refuse, or leave that to `guards.gitOps`."),
    ] = Autoscaler.REFUSE

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.replicas is None) == (self.delta is None):
            raise ValueError("set exactly one of replicas and delta")
        if self.delta == 0:
            raise ValueError("delta is 0, which changes nothing")
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"minReplicas {self.min_replicas} is above maxReplicas {self.max_replicas}")
        return self


class ScaleWorkload(WorkloadAction[Sequence[Manifest]]):
    """Sets ``spec.replicas`` of the object itself, not through its ``scale`` subresource: the record of the change
    rides in the same request.
    """

    parameters = ScaleWorkloadParameters
    example: ClassVar = {"replicas": 3}
    outputs: ClassVar[Mapping[str, str]] = {
        "before": "The number of replicas before.",
        "replicas": "The number of replicas asked for now.",
    }

    def rights(self, target: ObjectRef | None, parameters: WorkloadParameters) -> tuple[Right, ...]:
        own = super().rights(target, parameters)
        ignored = getattr(parameters, "autoscaler", None) is Autoscaler.IGNORE
        return own if ignored else (*own, *rights(("list",), *HORIZONTAL_POD_AUTOSCALER, ()))

    async def look(
        self, cluster: Cluster, context: StepContext, parameters: ScaleWorkloadParameters, seen: Manifest
    ) -> Sequence[Manifest]:
        if parameters.autoscaler is Autoscaler.IGNORE:
            return ()
        return await cluster.list(*HORIZONTAL_POD_AUTOSCALER, seen["metadata"]["namespace"])

    def plan(
        self,
        seen: Manifest,
        evidence: Sequence[Manifest],
        parameters: ScaleWorkloadParameters,
        context: StepContext,
    ) -> fence.Change:
        ref = ObjectRef.of(seen)
        for autoscaler in evidence:
            if scales(autoscaler, ref):
                raise StepError(
                    f"HorizontalPodAutoscaler {autoscaler['metadata']['name']} scales {ref} and would put its own "
                    "number back; change its bounds, or set autoscaler: Ignore and guards.gitOps: Act",
                    reason=Reason.PRECONDITION_FAILED,
                )
        before = seen["spec"].get("replicas", 1)
        wanted = _wanted(before, parameters)
        outputs = {"before": before, "replicas": wanted}
        if wanted == before:
            bound = "" if parameters.delta is None else ", which is its bound"
            return fence.nothing(f"{ref} has {before} replicas already{bound}", outputs)
        desired = fields.put(seen, _REPLICAS, wanted)
        return fence.change(seen, desired, f"scaled from {before} to {wanted} replicas", outputs)


class ScaleDeployment(ScaleWorkload):
    """Sets `spec.replicas` of the Deployment itself, not through its `scale` subresource, so that the record of the
    change rides in the same request. Refused where a HorizontalPodAutoscaler scales the Deployment, which would
    put its own number back; `autoscaler: Ignore` leaves that to [`guards.gitOps`](../gitops.md).
    """

    name: ClassVar = "scale_deployment"
    summary: ClassVar = "Set the number of replicas of a Deployment, or move it within bounds"
    workload: ClassVar = DEPLOYMENT


class ScaleStatefulSet(ScaleWorkload):
    """Sets `spec.replicas` of the StatefulSet itself, not through its `scale` subresource, so that the record of the
    change rides in the same request. Pods come and go in order of their numbers, and the volumes of those that go
    stay, unless `persistentVolumeClaimRetentionPolicy.whenScaled` is `Delete`: then a smaller number is refused,
    because undo could not bring the data back. Refused too where a HorizontalPodAutoscaler scales the StatefulSet;
    `autoscaler: Ignore` leaves that to [`guards.gitOps`](../gitops.md).
    """

    name: ClassVar = "scale_statefulset"
    summary: ClassVar = "Set the number of replicas of a StatefulSet, or move it within bounds"
    workload: ClassVar = STATEFUL_SET

    def plan(
        self,
        seen: Manifest,
        evidence: Sequence[Manifest],
        parameters: ScaleWorkloadParameters,
        context: StepContext,
    ) -> fence.Change:
        change = super().plan(seen, evidence, parameters, context)
        fewer = change.desired is not None and change.desired["spec"]["replicas"] < seen["spec"].get(
            "replicas", 1
        )
        if fewer and fields.get(seen, _RETENTION) == "Delete":
            raise StepError(
                f"{ObjectRef.of(seen)} deletes the volumes of pods that it scales away "
                "(persistentVolumeClaimRetentionPolicy.whenScaled), and undo could not bring the data back; "
                "set it to Retain first",
                reason=Reason.PRECONDITION_FAILED,
            )
        return change


def _wanted(before: int, parameters: ScaleWorkloadParameters) -> int:
    if parameters.replicas is not None:
        return parameters.replicas
    delta = parameters.delta or 0
    if delta > 0:
        return max(before, min(before + delta, parameters.max_replicas))
    return min(before, max(before + delta, parameters.min_replicas))


def scales(autoscaler: Manifest, ref: ObjectRef) -> bool:
    """Whether a HorizontalPodAutoscaler scales an object."""
    target = autoscaler["spec"].get("scaleTargetRef") or {}
    group = group_of(target.get("apiVersion", ""))
    return (group, target.get("kind"), target.get("name")) == (group_of(ref.api_version), ref.kind, ref.name)
