"""What actions on Deployments share: the object named, its templates, its ReplicaSets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

from pydantic import Field

from kubernaut.actions.marked import E, MarkedAction
from kubernaut.actions.objects import DEPLOYMENT, known_name, named, rights
from kubernaut.api.base import DnsName
from kubernaut.api.reasons import Reason
from kubernaut.core import fields
from kubernaut.core.action import ActionParameters
from kubernaut.core.errors import StepError
from kubernaut.core.ports import Manifest, ObjectRef, Right

REVISION: Final = "deployment.kubernetes.io/revision"
_HASH_LABEL: Final = "pod-template-hash"


class DeploymentParameters(ActionParameters):
    """Parameters of an action on one Deployment."""

    name: Annotated[
        DnsName | None, Field(description="The Deployment; by default the run's target, which has to be one.")
    ] = None


class DeploymentAction(MarkedAction[Any, E]):
    """An action that changes one Deployment of the run's namespace."""

    def ref(self, namespace: str, target: ObjectRef, parameters: DeploymentParameters) -> ObjectRef:
        return named(namespace, target, *DEPLOYMENT, parameters.name)

    def rights(self, target: ObjectRef | None, parameters: DeploymentParameters) -> tuple[Right, ...]:
        names = known_name(target, "Deployment", parameters.name)
        return rights(("get", "patch"), *DEPLOYMENT, names)


def require_rolling(seen: Manifest) -> None:
    """Refuse a Deployment that is paused: a changed template would not be rolled out.

    Raises:
        StepError: PreconditionFailed.
    """
    if seen["spec"].get("paused"):
        raise StepError(
            f"{ObjectRef.of(seen)} is paused, so the change would not be rolled out; "
            "resume it (kubectl rollout resume) first",
            reason=Reason.PRECONDITION_FAILED,
        )


def template_of(owner: Manifest) -> dict[str, Any]:
    """Return a Deployment's or ReplicaSet's pod template without the controller's hash label."""
    template = fields.without_nulls(owner["spec"]["template"])
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


def selector_text(selector: Mapping[str, Any] | None) -> str:
    """Write a LabelSelector as the query of a list request; an absent one is empty and selects everything."""
    selector = selector or {}
    parts = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for one in selector.get("matchExpressions") or ():
        key, values = one["key"], ",".join(one.get("values") or ())
        match one["operator"]:
            case "In":
                parts.append(f"{key} in ({values})")
            case "NotIn":
                parts.append(f"{key} notin ({values})")
            case "Exists":
                parts.append(key)
            case "DoesNotExist":
                parts.append(f"!{key}")
    return ",".join(parts)
