"""``expand_pvc``: ask for a larger volume."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, ClassVar, Final, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from kubernaut.actions.fencing import fence
from kubernaut.actions.fencing.marked import MarkedAction
from kubernaut.actions.objects import known_name, named, rights
from kubernaut.api.base import DnsName
from kubernaut.api.reasons import Reason
from kubernaut.core import fields
from kubernaut.core.action import ActionParameters, Done, Risk, StepContext
from kubernaut.core.errors import Forbidden, NotFound, StepError
from kubernaut.core.ports import Cluster, Manifest, ObjectRef, Right
from kubernaut.core.probing import Answer, Probed, Said, Sight
from kubernaut.core.quantity import Form, Quantity

_CLAIM: Final = ("v1", "PersistentVolumeClaim")
_REQUEST: Final = fields.parse("spec.resources.requests.storage")
_CAPACITY: Final = fields.parse("status.capacity.storage")
_MI, _GI = 2**20, 2**30
_RESIZING: Final = {
    "FileSystemResizePending": "its file system grows when a node mounts it for a pod; restart the pod that uses it",
    "Resizing": "its storage driver is growing it",
    "ControllerResizeError": "its storage driver could not grow it",
    "NodeResizeError": "a node could not grow its file system",
}


def _amount(text: str) -> str:
    if Quantity.parse(text).value < 1:
        raise ValueError(f"{text!r} is less than a byte")
    return text


Amount = Annotated[str, StringConstraints(max_length=32), AfterValidator(_amount)]


class ExpandPvcParameters(ActionParameters):
    """Parameters of ``expand_pvc``: exactly one of ``size`` and ``factor``."""

    name: Annotated[
        DnsName | None,
        Field(description="The PersistentVolumeClaim; by default the run's target, where that is one."),
    ] = None
    size: Annotated[Amount | None, Field(description="The size to ask for, such as 20Gi.")] = None
    factor: Annotated[
        Decimal | None,
        Field(gt=1, le=10, decimal_places=3, description="Multiply the size asked for by this."),
    ] = None
    max_size: Annotated[Amount, Field(description="No more than this is asked for.")] = "100Gi"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.size is None) == (self.factor is None):
            raise ValueError("set exactly one of size and factor")
        if self.size is not None and Quantity.parse(self.size).value > Quantity.parse(self.max_size).value:
            raise ValueError(f"size {self.size} is above maxSize {self.max_size}")
        return self


class ExpandPvc(MarkedAction[ExpandPvcParameters, Manifest | None]):
    """Raises `spec.resources.requests.storage` of a PersistentVolumeClaim; never lowers it. With `factor` the result
    is rounded up to whole GiB (below one GiB, to whole MiB).

    Refused where the claim is not bound, where an earlier expansion is not finished (the condition of it is told),
    and where the cap leaves no room. Whether the volume can grow is for its StorageClass to say
    (`allowVolumeExpansion`): it is read where the account may `get` it, which needs a ClusterRole and is optional;
    where it may not, the API server refuses the change itself, and its words are told.

    The step ends when the larger size is asked for. That it is there, and usable, shows in `status.capacity` of the
    claim: let a step `wait` for it, or verify it. Some drivers grow the file system only when a pod mounts the volume
    anew: the claim then has the condition `FileSystemResizePending`, which the action tells where it comes again.

    The claims of a StatefulSet are expanded one by one; its `volumeClaimTemplates` can't be changed, so pods that it
    adds later get claims of the former size.
    """

    name: ClassVar = "expand_pvc"
    summary: ClassVar = "Ask for a larger volume, up to a cap"
    risk: ClassVar = Risk.HIGH
    workload: ClassVar = _CLAIM
    parameters = ExpandPvcParameters
    example: ClassVar = {"factor": 1.5, "maxSize": "50Gi"}
    outputs: ClassVar[Mapping[str, str]] = {
        "before": "The size asked for before.",
        "size": "The size asked for now.",
        "capacity": "The size that the volume had then.",
    }

    def ref(self, namespace: str, target: ObjectRef, parameters: ExpandPvcParameters) -> ObjectRef:
        return named(namespace, target, *_CLAIM, parameters.name)

    def rights(self, target: ObjectRef | None, parameters: ExpandPvcParameters) -> tuple[Right, ...]:
        return rights(("get", "patch"), *_CLAIM, known_name(target, _CLAIM[1], parameters.name))

    async def look(
        self, cluster: Cluster, context: StepContext, parameters: ExpandPvcParameters, seen: Manifest
    ) -> Manifest | None:
        """Return the claim's StorageClass; None where it has none, or the account may not read it."""
        name = seen["spec"].get("storageClassName")
        if not name:
            return None
        try:
            return await cluster.get(ObjectRef("storage.k8s.io/v1", "StorageClass", "", name))
        except (Forbidden, NotFound):
            return None

    def plan(
        self,
        seen: Manifest,
        evidence: Manifest | None,
        parameters: ExpandPvcParameters,
        context: StepContext,
    ) -> fence.Change:
        ref = ObjectRef.of(seen)
        phase = (seen.get("status") or {}).get("phase", "Pending")
        if phase != "Bound":
            raise _refused(f"{ref} is {phase}, not Bound; only a bound claim can be expanded")
        before = Quantity.parse(str(fields.get(seen, _REQUEST)))
        capacity = Quantity.parse(str(fields.get(seen, _CAPACITY) or before))
        wanted = _wanted(before, parameters)
        outputs = {"before": str(before), "size": str(wanted), "capacity": str(capacity)}
        underway = _underway(seen, before, capacity)
        if wanted.value <= before.value and parameters.size is not None:
            outputs["size"] = str(before)
            return fence.nothing(f"{ref} asks for {before} already{underway}", outputs)
        if wanted.value <= before.value:
            cap = parameters.max_size
            raise _refused(f"{ref} asks for {before} already, and may be expanded to {cap} at most")
        if underway:
            raise _refused(f"{ref} was not expanded to {wanted}: it asks for {before} already{underway}")
        if evidence is not None and not evidence.get("allowVolumeExpansion"):
            name = evidence["metadata"]["name"]
            raise _refused(
                f"{ref} can't be expanded: its StorageClass {name} does not allow it; set allowVolumeExpansion: true "
                "there, if its driver can"
            )
        desired = fields.put(seen, _REQUEST, str(wanted))
        return fence.change(seen, desired, f"{ref} asks for {wanted} instead of {before}", outputs)

    def probe(self, sight: Sight, context: StepContext, parameters: ExpandPvcParameters) -> Probed:
        """It happened where the claim carries the step's signed mark. It helped where `status.capacity` has reached
        the size that is asked for and no resize is pending; until then not.
        """
        return super().probe(sight, context, parameters)

    def helped(
        self, sight: Sight, seen: Manifest, context: StepContext, parameters: ExpandPvcParameters
    ) -> Said:
        request = Quantity.parse(str(fields.get(seen, _REQUEST)))
        capacity = Quantity.parse(str(fields.get(seen, _CAPACITY) or "0"))
        if told := _underway(seen, request, capacity):
            return Said(Answer.NO, f"{request} is asked for{told}")
        return Said(Answer.YES, f"status.capacity.storage is {capacity}")

    async def undo(self, cluster: Cluster, context: StepContext, parameters: ExpandPvcParameters) -> Done:
        """Nothing is put back: a volume can't be made smaller."""
        return Done(False, "a volume can't be made smaller again; nothing is put back")


def _wanted(before: Quantity, parameters: ExpandPvcParameters) -> Quantity:
    """Return the size to ask for, within the cap."""
    if parameters.size is not None:
        return Quantity.parse(parameters.size).rounded_up(1)
    exact = Quantity(before.value * Fraction(parameters.factor or 1), Form.BINARY)
    grown = exact.rounded_up(_GI if exact.value >= _GI else _MI)
    return min(grown, Quantity.parse(parameters.max_size), key=lambda size: size.value)


def _underway(seen: Manifest, request: Quantity, capacity: Quantity) -> str:
    """Tell of an expansion that is not finished; empty where none is under way."""
    conditions = (seen.get("status") or {}).get("conditions") or ()
    found = [
        f"{one['type']}: {_RESIZING[one['type']]}"
        for one in conditions
        if one.get("status") == "True" and one.get("type") in _RESIZING
    ]
    if not found and capacity.value >= request.value:
        return ""
    told = "; ".join(found) or "its storage driver has not said anything about it yet"
    return f", of which it has {capacity} ({told})"


def _refused(message: str) -> StepError:
    return StepError(message, reason=Reason.PRECONDITION_FAILED)
