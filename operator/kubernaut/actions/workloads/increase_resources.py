"""``increase_resources``: give a container of a workload more memory or processor time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from kubernaut.actions.fencing import fence
from kubernaut.actions.workloads.any_workload import (
    AnyWorkloadAction,
    ContainerParameters,
    container_of,
    reach,
)
from kubernaut.actions.workloads.workload import WorkloadParameters, require_rolling
from kubernaut.api.reasons import Reason
from kubernaut.core import fields
from kubernaut.core.action import StepContext
from kubernaut.core.errors import StepError
from kubernaut.core.ports import Cluster, Manifest, ObjectRef
from kubernaut.core.quantity import Form, Quantity

# Results of a multiplication are rounded up to these: whole MiB, whole thousandths of a processor.
UNITS: Final = {"memory": Fraction(2**20), "cpu": Fraction(1, 1000)}
# The API server itself rounds resources up to this.
FINEST: Final = Fraction(1, 1000)


def _quantity(text: str) -> str:
    if Quantity.parse(text).value <= 0:
        raise ValueError(f"{text!r} is not above zero")
    return text


Amount = Annotated[str, StringConstraints(max_length=32), AfterValidator(_quantity)]
Factor = Annotated[Decimal, Field(gt=1, le=10, decimal_places=3)]


class IncreaseResourcesParameters(ContainerParameters):
    """Parameters of ``increase_resources``: for memory, processor time, or both, a factor or an amount."""

    memory_factor: Annotated[Factor | None, Field(description="Multiply memory by this.")] = None
    memory: Annotated[Amount | None, Field(description="Raise memory to this, such as 512Mi.")] = None
    max_memory: Annotated[Amount, Field(description="Memory is not raised above this.")] = "4Gi"
    cpu_factor: Annotated[Factor | None, Field(description="Multiply processor time by this.")] = None
    cpu: Annotated[Amount | None, Field(description="Raise processor time to this, such as 500m or 2.")] = (
        None
    )
    max_cpu: Annotated[Amount, Field(description="Processor time is not raised above this.")] = "4"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for resource in ("memory", "cpu"):
            factor, amount = getattr(self, f"{resource}_factor"), getattr(self, resource)
            if factor is not None and amount is not None:
                raise ValueError(f"set at most one of {resource} and {resource}Factor")
            cap = getattr(self, f"max_{resource}")
            if amount is not None and Quantity.parse(amount).value > Quantity.parse(cap).value:
                raise ValueError(f"{resource} {amount} is above max{resource.capitalize()} {cap}")
        if not any((self.memory_factor, self.memory, self.cpu_factor, self.cpu)):
            raise ValueError("set at least one of memory, memoryFactor, cpu and cpuFactor")
        return self

    def wishes(self) -> Iterator[_Wish]:
        """Yield what is wanted of each resource."""
        if self.memory or self.memory_factor:
            yield _Wish("memory", self.memory_factor, self.memory, self.max_memory)
        if self.cpu or self.cpu_factor:
            yield _Wish("cpu", self.cpu_factor, self.cpu, self.max_cpu)


@dataclass(frozen=True, slots=True)
class _Wish:
    resource: str
    factor: Decimal | None
    amount: str | None
    cap: str


class IncreaseResources(AnyWorkloadAction[None]):
    """Raises a container's limit, and its request by the same ratio; never lowers either, and never sets a limit
    where there is none. With a factor, results are rounded up to whole MiB or thousandths of a processor. Where only
    a request is set, that is raised. Refused where the caps leave no room, where there is nothing to multiply, while
    a Deployment is paused, and where the update strategy is `OnDelete`. The controller of the Deployment, StatefulSet
    or DaemonSet replaces the pods by its own strategy.

    A StatefulSet with `podManagementPolicy: OrderedReady` waits for a pod that is not ready, and does not replace it
    whatever the template says by then: let `restart_pod` follow for each such pod.
    """

    name: ClassVar = "increase_resources"
    summary: ClassVar = "Raise a container's memory or processor limit and request, up to a cap"
    parameters = IncreaseResourcesParameters
    example: ClassVar = {"memoryFactor": 2}
    outputs: ClassVar[Mapping[str, str]] = {
        "container": "The container that was changed.",
        "resources": "Its resources now: limits and requests.",
    }

    async def look(
        self, cluster: Cluster, context: StepContext, parameters: WorkloadParameters, seen: Manifest
    ) -> None:
        return None

    def plan(
        self, seen: Manifest, evidence: None, parameters: IncreaseResourcesParameters, context: StepContext
    ) -> fence.Change:
        require_rolling(seen)
        base, container = container_of(seen, parameters.container)
        resources: dict[str, Any] = container.get("resources") or {}
        where = f"container {container['name']} of {ObjectRef.of(seen)}"
        for wish in parameters.wishes():
            resources = _raised(resources, wish, where)
        message = f"the resources of {where} are {fence.short(resources)}{reach(seen)}"
        outputs = {"container": container["name"], "resources": resources}
        return fence.change(seen, fields.put(seen, (*base, "resources"), resources), message, outputs)


def _raised(resources: Mapping[str, Any], wish: _Wish, where: str) -> dict[str, Any]:
    """Return resources with one of them raised.

    Raises:
        StepError: PreconditionFailed, where there is nothing to multiply or no room below the cap.
    """
    limit, request = (
        Quantity.parse(str(text)) if text is not None else None
        for text in (fields.get(resources, (part, wish.resource)) for part in ("limits", "requests"))
    )
    base = limit or request
    if base is None or base.value == 0:
        raise StepError(
            f"{where} has neither a {wish.resource} limit nor a request, so there is nothing to raise",
            reason=Reason.PRECONDITION_FAILED,
        )
    cap = Quantity.parse(wish.cap)
    if base.value >= cap.value:
        raise StepError(
            f"{wish.resource} of {where} is {base} already, and may be raised to {cap} at most",
            reason=Reason.PRECONDITION_FAILED,
        )
    wanted = _wanted(base, wish)
    top = min(wanted, cap, key=lambda quantity: quantity.value)
    if top.value <= base.value:
        return dict(resources)
    result: dict[str, Any] = dict(resources)
    if limit is not None:
        result = fields.put(result, ("limits", wish.resource), str(top))
    if request is not None:
        grown = top if request.value == base.value else _scaled(request, top.value / base.value, wish)
        kept = min(grown, top, key=lambda quantity: quantity.value)
        result = fields.put(result, ("requests", wish.resource), str(kept))
    return result


def _wanted(base: Quantity, wish: _Wish) -> Quantity:
    if wish.factor is not None:
        return _scaled(base, Fraction(wish.factor), wish)
    return Quantity.parse(wish.amount or "").rounded_up(FINEST)


def _scaled(quantity: Quantity, ratio: Fraction, wish: _Wish) -> Quantity:
    form = Form.BINARY if wish.resource == "memory" else quantity.form
    unit = UNITS[wish.resource]
    exact = Quantity(quantity.value * ratio, form)
    return exact.rounded_up(unit if exact.value >= unit else FINEST)
