"""``optimize_resources``: have a container ask for what it is seen to use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import Field, JsonValue, model_validator

from kubernaut.actions.fencing import fence
from kubernaut.actions.objects import HORIZONTAL_POD_AUTOSCALER, POD_METRICS, rights
from kubernaut.actions.workloads.any_workload import (
    AnyWorkloadAction,
    ContainerParameters,
    container_of,
    reach,
)
from kubernaut.actions.workloads.increase_resources import FINEST, UNITS, Amount
from kubernaut.actions.workloads.scale import Autoscaler, scales
from kubernaut.actions.workloads.usage import RESOURCES, Usage, usage_of
from kubernaut.actions.workloads.workload import WorkloadParameters, require_rolling
from kubernaut.api.base import Flag
from kubernaut.api.reasons import Reason
from kubernaut.core import fields
from kubernaut.core.action import StepContext
from kubernaut.core.errors import NotFound, StepError
from kubernaut.core.ports import Cluster, Manifest, ObjectRef, Right
from kubernaut.core.quantity import Form, Quantity
from kubernaut.core.selectors import selector_text

_RELATIVE: Final = {"Resource": "resource", "ContainerResource": "containerResource"}

Part = Annotated[Decimal, Field(ge=0, le=1, decimal_places=3)]


class OptimizeResourcesParameters(ContainerParameters):
    """Parameters of ``optimize_resources``."""

    memory: Annotated[Flag, Field(description="Set the request for memory.")] = True
    cpu: Annotated[Flag, Field(description="Set the request for processor time.")] = True
    margin: Annotated[
        Decimal,
        Field(ge=1, le=5, decimal_places=3, description="Ask for the greatest use seen, times this."),
    ] = Decimal("1.2")
    min_memory: Annotated[Amount, Field(description="The request for memory is not set below this.")] = "32Mi"
    max_memory: Annotated[Amount, Field(description="The request for memory is not set above this.")] = "4Gi"
    min_cpu: Annotated[Amount, Field(description="The request for processor time is not set below this.")] = (
        "10m"
    )
    max_cpu: Annotated[Amount, Field(description="The request for processor time is not set above this.")] = (
        "4"
    )
    max_reduction: Annotated[
        Part, Field(description="By how much of itself a request may be lowered in one step; 0 is never.")
    ] = Decimal("0.5")
    tolerance: Annotated[
        Part, Field(description="A request that is off by no more than this part of itself is left as it is.")
    ] = Decimal("0.1")
    min_pods: Annotated[int, Field(ge=1, le=1000, description="Refused where fewer pods were measured.")] = 2
    min_age_seconds: Annotated[
        int,
        Field(ge=0, le=604_800, description="A pod that was measured sooner after its start does not count."),
    ] = 600
    autoscaler: Annotated[
        Autoscaler,
        Field(
            description="Where an HPA scales the object by use relative to the request: refuse, or do not look."
        ),
    ] = Autoscaler.REFUSE

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not self.wanted():
            raise ValueError("set at least one of memory and cpu to true")
        for resource in RESOURCES:
            low, high = self.bounds(resource)
            if low.value > high.value:
                name = resource.capitalize()
                raise ValueError(f"min{name} {low} is above max{name} {high}")
        return self

    def wanted(self) -> list[str]:
        """Return the resources whose requests are to be set."""
        return [resource for resource in RESOURCES if getattr(self, resource)]

    def bounds(self, resource: str) -> tuple[Quantity, Quantity]:
        """Return the least and the most that may be asked for."""
        return Quantity.parse(getattr(self, f"min_{resource}")), Quantity.parse(
            getattr(self, f"max_{resource}")
        )


@dataclass(frozen=True, slots=True)
class Observed:
    """What was read beside the workload."""

    usage: Usage
    autoscalers: Sequence[Manifest]


class OptimizeResources(AnyWorkloadAction[Observed]):
    """Sets a container's requests for memory and processor time to the greatest use that the metrics API shows among
    the workload's pods, times a margin and within bounds. Limits stay as they are, and a request is never set above
    the limit. A request is not lowered below the greatest use seen, nor by more than `maxReduction` in one step.
    The controller of the Deployment, StatefulSet or DaemonSet replaces the pods by its own strategy.

    It is one look, and says so: metrics-server tells the use of the last 15 to 60 s, not the peak of the day, of a
    batch at night, or of the container's start. A request that is too low costs when it matters: on a node that is
    full the pod gets less processor time, and is evicted sooner. So run it at a time of usual load, and again later;
    keep the margin wide for what rises in bursts; and set limits apart from it.

    Counted are pods that are ready, run the template's image of the container, and were measured `minAgeSeconds` or
    more after their start. Refused where the cluster serves no metrics, where fewer than `minPods` pods or less than
    half of those that are ready were so measured, while a Deployment is paused, and where the update strategy is
    `OnDelete`. Refused too where a HorizontalPodAutoscaler scales the workload by its use relative to the request:
    that number would mean something else; `autoscaler: Ignore` skips that look, and the right it needs.

    Pods whose requests equal their limits are evicted last (quality of service `Guaranteed`); the message says where
    a lower request takes that from them. A VerticalPodAutoscaler is not looked for: it would set its own requests.
    """

    name: ClassVar = "optimize_resources"
    summary: ClassVar = "Set a container's requests to the use that the metrics API shows, with a margin"
    parameters = OptimizeResourcesParameters
    example: ClassVar = {"container": "app", "margin": 1.5, "maxMemory": "1Gi"}
    outputs: ClassVar[Mapping[str, str]] = {
        "container": "The container that was changed.",
        "pods": "In how many pods it was measured.",
        "usage": "The greatest use seen, as `memory` and `cpu`.",
        "resources": "Its resources now: limits and requests.",
    }

    def rights(self, target: ObjectRef | None, parameters: WorkloadParameters) -> tuple[Right, ...]:
        own = super().rights(target, parameters)
        looks = (*rights(("list",), "v1", "Pod", ()), *rights(("list",), *POD_METRICS, ()))
        ignored = getattr(parameters, "autoscaler", None) is Autoscaler.IGNORE
        return (
            (*own, *looks) if ignored else (*own, *looks, *rights(("list",), *HORIZONTAL_POD_AUTOSCALER, ()))
        )

    async def look(
        self, cluster: Cluster, context: StepContext, parameters: OptimizeResourcesParameters, seen: Manifest
    ) -> Observed:
        namespace, selector = seen["metadata"]["namespace"], selector_text(seen["spec"].get("selector"))
        _, container = container_of(seen, parameters.container)
        there = await cluster.list("v1", "Pod", namespace, label_selector=selector)
        try:
            metrics = await cluster.list(*POD_METRICS, namespace, label_selector=selector)
        except NotFound as error:
            raise StepError(
                "the cluster serves no metrics of pods (metrics.k8s.io), so what they use is not known; "
                "install metrics-server",
                reason=Reason.PRECONDITION_FAILED,
            ) from error
        autoscalers: Sequence[Manifest] = ()
        if parameters.autoscaler is not Autoscaler.IGNORE:
            autoscalers = await cluster.list(*HORIZONTAL_POD_AUTOSCALER, namespace)
        min_age = timedelta(seconds=parameters.min_age_seconds)
        return Observed(usage_of(container, there, metrics, min_age), autoscalers)

    def plan(
        self,
        seen: Manifest,
        evidence: Observed,
        parameters: OptimizeResourcesParameters,
        context: StepContext,
    ) -> fence.Change:
        require_rolling(seen)
        base, container = container_of(seen, parameters.container)
        where, usage = f"container {container['name']} of {ObjectRef.of(seen)}", evidence.usage
        _require_observed(where, usage, parameters.min_pods)
        _require_no_autoscaler(seen, evidence.autoscalers, parameters.wanted())
        former: Mapping[str, Any] = container.get("resources") or {}
        resources = dict(former)
        for resource in parameters.wanted():
            request = _request(resource, usage.most[resource], former, parameters)
            if request is not None:
                resources = fields.put(resources, ("requests", resource), str(request))
        used = {resource: str(_scaled(resource, usage.most[resource], Decimal(1))) for resource in RESOURCES}
        outputs: dict[str, JsonValue] = {
            "container": container["name"],
            "pods": usage.observed,
            "usage": {**used},
            "resources": resources,
        }
        told = f"{where} was seen to use up to {used['memory']} and {used['cpu']} of a processor"
        told += f" in {usage.observed} of {usage.ready} ready pods, at one time"
        if resources == former:
            return fence.nothing(f"{told}; its requests fit that", outputs)
        end = (
            "; its pods are Guaranteed no more" if _guaranteed(former) and not _guaranteed(resources) else ""
        )
        desired = fields.put(seen, (*base, "resources"), resources)
        message = f"{told}; it asks for {fence.short(resources['requests'])} now{end}{reach(seen)}"
        return fence.change(seen, desired, message, outputs)


def _require_observed(where: str, usage: Usage, least: int) -> None:
    """Refuse where too little was seen.

    Raises:
        StepError: PreconditionFailed.
    """
    if usage.observed < least or usage.observed * 2 < usage.ready:
        raise StepError(
            f"{where} was measured long enough in {usage.observed} of {usage.ready} ready pods; {least}, and half of "
            "them, are needed: wait, or lower minPods or minAgeSeconds",
            reason=Reason.PRECONDITION_FAILED,
        )


def _require_no_autoscaler(seen: Manifest, autoscalers: Sequence[Manifest], wanted: Sequence[str]) -> None:
    """Refuse where an autoscaler reckons with the requests that would change.

    Raises:
        StepError: PreconditionFailed.
    """
    ref = ObjectRef.of(seen)
    for one in autoscalers:
        if scales(one, ref) and any(_relative(metric, wanted) for metric in one["spec"].get("metrics") or ()):
            raise StepError(
                f"HorizontalPodAutoscaler {one['metadata']['name']} scales {ref} by its use relative to the request, "
                "and would scale otherwise after the change; change both by hand, or set autoscaler: Ignore",
                reason=Reason.PRECONDITION_FAILED,
            )


def _relative(metric: Mapping[str, Any], wanted: Sequence[str]) -> bool:
    source = metric.get(_RELATIVE.get(metric["type"], "")) or {}
    return source.get("name") in wanted and (source.get("target") or {}).get("type") == "Utilization"


def _request(
    resource: str, used: Quantity, former: Mapping[str, Any], parameters: OptimizeResourcesParameters
) -> Quantity | None:
    """Return what is to be asked for; None where what is asked for fits."""
    limit, before = (
        Quantity.parse(str(text)) if text is not None else None
        for text in (fields.get(former, (part, resource)) for part in ("limits", "requests"))
    )
    # A template that names only a limit asks for as much.
    before = before or limit
    low, high = parameters.bounds(resource)
    wanted = min(max(_scaled(resource, used, parameters.margin), low, key=_value), high, key=_value)
    if before is not None and wanted.value < before.value:
        least = max(Fraction(1) - Fraction(parameters.max_reduction), Fraction(0)) * before.value
        floor = max(_rounded(resource, least), _scaled(resource, used, Decimal(1)), key=_value)
        wanted = min(max(wanted, floor, key=_value), before, key=_value)
    if limit is not None:
        wanted = min(wanted, limit, key=_value)
    off = abs(wanted.value - before.value) if before is not None else None
    if off is not None and before is not None and off <= before.value * Fraction(parameters.tolerance):
        return None
    return wanted


def _value(quantity: Quantity) -> Fraction:
    return quantity.value


def _scaled(resource: str, used: Quantity, factor: Decimal) -> Quantity:
    return _rounded(resource, used.value * Fraction(factor))


def _rounded(resource: str, value: Fraction) -> Quantity:
    form = Form.BINARY if resource == "memory" else Form.DECIMAL
    return Quantity(value, form).rounded_up(UNITS[resource] if value >= UNITS[resource] else FINEST)


def _guaranteed(resources: Mapping[str, Any]) -> bool:
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    return all(resource in limits and limits[resource] == requests.get(resource) for resource in RESOURCES)
