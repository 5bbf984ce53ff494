"""``update_hpa``: move the bounds of a HorizontalPodAutoscaler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import Field, model_validator

from kubernaut.actions import pods
from kubernaut.actions.fencing import fence
from kubernaut.actions.fencing.marked import MarkedAction
from kubernaut.actions.objects import HORIZONTAL_POD_AUTOSCALER, known_name, named, rights
from kubernaut.api.base import DnsName, Flag
from kubernaut.api.reasons import Reason
from kubernaut.core import fields
from kubernaut.core.action import ActionParameters, StepContext
from kubernaut.core.errors import StepError
from kubernaut.core.ports import Cluster, Manifest, ObjectRef, Right
from kubernaut.core.probing import Answer, Probed, Said, Sight

_MIN: Final = fields.parse("spec.minReplicas")
_MAX: Final = fields.parse("spec.maxReplicas")
_LIMITED_BY_MAX: Final = "TooManyReplicas"

Number = Annotated[int | None, Field(ge=1, le=10_000)]
Delta = Annotated[int | None, Field(ge=-1000, le=1000)]


class UpdateHpaParameters(ActionParameters):
    """Parameters of ``update_hpa``: for the minimum, the maximum, or both, a number or by how much to move it."""

    name: Annotated[
        DnsName | None,
        Field(description="The HorizontalPodAutoscaler; by default the run's target, where that is one."),
    ] = None
    min_replicas: Annotated[Number, Field(description="The wanted minimum.")] = None
    min_delta: Annotated[Delta, Field(description="By how much to move the minimum, within the bounds.")] = (
        None
    )
    max_replicas: Annotated[Number, Field(description="The wanted maximum.")] = None
    max_delta: Annotated[Delta, Field(description="By how much to move the maximum, within the bounds.")] = (
        None
    )
    floor: Annotated[
        int, Field(ge=1, le=10_000, description="Neither minimum nor maximum is set below this.")
    ] = 1
    ceiling: Annotated[
        int, Field(ge=1, le=10_000, description="Neither minimum nor maximum is set above this.")
    ] = 20
    only_if_limited: Annotated[
        Flag,
        Field(
            description="Do nothing unless the autoscaler is at its maximum and says (condition `ScalingLimited`) "
            "that it would go beyond it."
        ),
    ] = False

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.floor > self.ceiling:
            raise ValueError(f"floor {self.floor} is above ceiling {self.ceiling}")
        for bound in ("min", "max"):
            number, delta = getattr(self, f"{bound}_replicas"), getattr(self, f"{bound}_delta")
            if number is not None and delta is not None:
                raise ValueError(f"set at most one of {bound}Replicas and {bound}Delta")
            if delta == 0:
                raise ValueError(f"{bound}Delta is 0, which changes nothing")
            if number is not None and not self.floor <= number <= self.ceiling:
                raise ValueError(f"{bound}Replicas {number} is not between {self.floor} and {self.ceiling}")
        if (self.min_replicas or 0) > (self.max_replicas or self.ceiling):
            raise ValueError(f"minReplicas {self.min_replicas} is above maxReplicas {self.max_replicas}")
        if not any((self.min_replicas, self.min_delta, self.max_replicas, self.max_delta)):
            raise ValueError("set at least one of minReplicas, minDelta, maxReplicas and maxDelta")
        return self

    def moved(self, before: int, number: int | None, delta: int | None) -> int:
        """Return a bound as it is wanted; one that is out of floor and ceiling already is not moved further out."""
        if number is not None:
            return number
        if delta is None:
            return before
        if delta > 0:
            return max(before, min(before + delta, self.ceiling))
        return min(before, max(before + delta, self.floor))


class UpdateHpa(MarkedAction[UpdateHpaParameters, None]):
    """Sets `spec.minReplicas` and `spec.maxReplicas` of a HorizontalPodAutoscaler (autoscaling/v2), which then scales
    within them as its metrics say. A number is set as it is, or refused where it is out of `floor` and `ceiling`; a
    delta moves a bound as far as these let it.

    With `onlyIfLimited: true` it acts only where the autoscaler is held back by its maximum:
    `status.currentReplicas` has reached `spec.maxReplicas`, and the condition `ScalingLimited` is true for the reason
    `TooManyReplicas`. The autoscaler looks every 15 s by default, so that its status may be that old.

    Refused where the minimum would be above the maximum, and where the autoscaler is made by another object (as by a
    ScaledObject of KEDA), which would put its own bounds back.
    """

    name: ClassVar = "update_hpa"
    summary: ClassVar = "Set or move the bounds of a HorizontalPodAutoscaler, up to a cap"
    parameters = UpdateHpaParameters
    workload: ClassVar = HORIZONTAL_POD_AUTOSCALER
    example: ClassVar = {"maxDelta": 3, "onlyIfLimited": True}
    outputs: ClassVar[Mapping[str, str]] = {
        "before": "Minimum and maximum before, as `min` and `max`.",
        "now": "Minimum and maximum now.",
        "limited": "Whether its maximum held the autoscaler back.",
    }

    def ref(self, namespace: str, target: ObjectRef, parameters: UpdateHpaParameters) -> ObjectRef:
        return named(namespace, target, *HORIZONTAL_POD_AUTOSCALER, parameters.name)

    def rights(self, target: ObjectRef | None, parameters: UpdateHpaParameters) -> tuple[Right, ...]:
        names = known_name(target, HORIZONTAL_POD_AUTOSCALER[1], parameters.name)
        return rights(("get", "patch"), *HORIZONTAL_POD_AUTOSCALER, names)

    async def look(
        self, cluster: Cluster, context: StepContext, parameters: UpdateHpaParameters, seen: Manifest
    ) -> None:
        return None

    def plan(
        self, seen: Manifest, evidence: None, parameters: UpdateHpaParameters, context: StepContext
    ) -> fence.Change:
        ref = ObjectRef.of(seen)
        maker = pods.controller_of(seen)
        if maker is not None:
            raise StepError(
                f"{ref} is made by {maker['kind']} {maker['name']}, which would put its own bounds back; "
                "change the bounds there",
                reason=Reason.PRECONDITION_FAILED,
            )
        before: dict[str, Any] = {
            "min": int(seen["spec"].get("minReplicas", 1)),
            "max": int(seen["spec"]["maxReplicas"]),
        }
        limited = _limited(seen)
        unchanged: dict[str, Any] = {"before": before, "now": before, "limited": limited}
        if parameters.only_if_limited and not limited:
            there = (seen.get("status") or {}).get("currentReplicas", 0)
            return fence.nothing(
                f"{ref} is not held back by its maximum of {before['max']}: it has {there} replicas",
                unchanged,
            )
        now = {
            "min": parameters.moved(before["min"], parameters.min_replicas, parameters.min_delta),
            "max": parameters.moved(before["max"], parameters.max_replicas, parameters.max_delta),
        }
        if now == before:
            return fence.nothing(f"{ref} has these bounds already: {_range(before)}", unchanged)
        if now["min"] > now["max"]:
            raise StepError(
                f"{ref} would have a minimum of {now['min']} above its maximum of {now['max']}; move both",
                reason=Reason.PRECONDITION_FAILED,
            )
        desired = fields.put(fields.put(seen, _MIN, now["min"]), _MAX, now["max"])
        why = ", which held it back" if limited else ""
        message = f"{ref} scales within {_range(now)} instead of {_range(before)}{why}"
        return fence.change(seen, desired, message, unchanged | {"now": now})

    def probe(self, sight: Sight, context: StepContext, parameters: UpdateHpaParameters) -> Probed:
        """It happened where the autoscaler carries the step's signed mark and was not put back. It helped where the
        autoscaler can scale by its conditions, and its maximum does not hold it back.
        """
        return super().probe(sight, context, parameters)

    def helped(
        self, sight: Sight, seen: Manifest, context: StepContext, parameters: UpdateHpaParameters
    ) -> Said:
        if _limited(seen):
            return Said(Answer.NO, "condition ScalingLimited: its maximum holds it back")
        return super().helped(sight, seen, context, parameters)


def _limited(seen: Manifest) -> bool:
    """Whether its maximum, as it is now, keeps the autoscaler from adding replicas."""
    condition, current = (
        pods.condition(seen, "ScalingLimited"),
        (seen.get("status") or {}).get("currentReplicas"),
    )
    limited = (condition.get("status"), condition.get("reason")) == ("True", _LIMITED_BY_MAX)
    return limited and current is not None and current >= seen["spec"]["maxReplicas"]


def _range(bounds: Mapping[str, int]) -> str:
    return f"{bounds['min']} to {bounds['max']}"
