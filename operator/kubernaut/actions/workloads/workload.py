"""What actions on workloads share: the object named, its pod template, what it owns."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final

from pydantic import Field

from kubernaut.actions.faring import partition as partition
from kubernaut.actions.fencing.marked import E, MarkedAction
from kubernaut.actions.objects import DEPLOYMENT, known_name, named, rights
from kubernaut.api.base import DnsName
from kubernaut.api.reasons import Reason
from kubernaut.core import fields
from kubernaut.core.action import ActionParameters
from kubernaut.core.errors import StepError
from kubernaut.core.ports import Manifest, ObjectRef, Right

REVISION: Final = "deployment.kubernetes.io/revision"
_HASH_LABEL: Final = "pod-template-hash"


class WorkloadParameters(ActionParameters):
    """Parameters of an action on one workload."""

    name: Annotated[
        DnsName | None,
        Field(description="The object; by default the run's target, which has to be of the same kind."),
    ] = None


class WorkloadAction(MarkedAction[Any, E]):
    """An action that changes one workload of the run's namespace.

    Attributes:
        workload: API version and kind of what it changes.
    """

    workload: ClassVar[tuple[str, str]] = DEPLOYMENT

    def ref(self, namespace: str, target: ObjectRef, parameters: WorkloadParameters) -> ObjectRef:
        return named(namespace, target, *self.workload, parameters.name)

    def rights(self, target: ObjectRef | None, parameters: WorkloadParameters) -> tuple[Right, ...]:
        names = known_name(target, self.workload[1], parameters.name)
        return rights(("get", "patch"), *self.workload, names)


def require_rolling(seen: Manifest) -> None:
    """Refuse a workload whose controller would not roll a changed template out.

    Raises:
        StepError: PreconditionFailed.
    """
    ref = ObjectRef.of(seen)
    if seen["spec"].get("paused"):
        raise StepError(
            f"{ref} is paused, so the change would not be rolled out; "
            "resume it (kubectl rollout resume) first",
            reason=Reason.PRECONDITION_FAILED,
        )
    if (seen["spec"].get("updateStrategy") or {}).get("type") == "OnDelete":
        raise StepError(
            f"{ref} has the update strategy OnDelete, so the change would not be rolled out; "
            "replace its pods with restart_pod, or set updateStrategy.type: RollingUpdate",
            reason=Reason.PRECONDITION_FAILED,
        )


def template_of(owner: Manifest) -> dict[str, Any]:
    """Return a workload's pod template, or a revision's of it, without what controllers add to it."""
    template = fields.without_nulls({k: v for k, v in owner["spec"]["template"].items() if k != "$patch"})
    path = fields.parse("metadata.labels")
    labels = {k: v for k, v in (fields.get(template, path) or {}).items() if k != _HASH_LABEL}
    bare: dict[str, Any] = fields.put(template, path, labels or None)
    return bare if bare.get("metadata") else {k: v for k, v in bare.items() if k != "metadata"}


def digest(template: Mapping[str, Any]) -> str:
    """Return 16 hexadecimal digits that stand for a template in a marker, which must hold no secrets."""
    text = json.dumps(template, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def owned_by(owner: Manifest, objects: Sequence[Manifest]) -> list[Manifest]:
    """Return the objects that the owner controls, by UID."""
    uid = owner["metadata"]["uid"]
    return [
        one
        for one in objects
        if any(o.get("controller") and o["uid"] == uid for o in one["metadata"].get("ownerReferences") or ())
    ]


def revision_of(owner: Manifest) -> int:
    """Return the revision that the deployment controller wrote; 0 where it wrote none yet."""
    text = (owner["metadata"].get("annotations") or {}).get(REVISION, "")
    return int(text) if text.isdecimal() else 0
