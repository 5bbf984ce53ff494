"""References, rights and resource names that all actions share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from kubernaut.api.reasons import Reason
from kubernaut.core.candidates import UNKNOWN
from kubernaut.core.errors import StepError
from kubernaut.core.gitops.owners import AUTOSCALER, names_replicas
from kubernaut.core.kinds import group_of as group_of
from kubernaut.core.kinds import resource_of as resource_of
from kubernaut.core.ports import ObjectRef, Right

DEPLOYMENT: Final = ("apps/v1", "Deployment")
STATEFUL_SET: Final = ("apps/v1", "StatefulSet")
DAEMON_SET: Final = ("apps/v1", "DaemonSet")
POD_METRICS: Final = ("metrics.k8s.io/v1beta1", "PodMetrics")
HORIZONTAL_POD_AUTOSCALER: Final = AUTOSCALER
NODE: Final = ("v1", "Node")
_SCALED: Final = frozenset(
    {("apps", "Deployment"), ("apps", "StatefulSet"), ("apps", "ReplicaSet"), ("", "ReplicationController")}
)


def named(namespace: str, target: ObjectRef, api_version: str, kind: str, name: str | None) -> ObjectRef:
    """Return the object a step acts on: the one named, else the run's target; the target's UID is kept.

    Raises:
        StepError: InvalidParameters, where none is named and the target is of another kind.
    """
    alike = (group_of(target.api_version), target.kind) == (group_of(api_version), kind)
    if name is None and not alike:
        raise StepError(
            f"the run's target is {target}, not a {kind}; name the {kind} under with.name",
            reason=Reason.INVALID_PARAMETERS,
        )
    if alike and name in (None, target.name):
        return ObjectRef(api_version, kind, namespace, target.name, target.uid)
    return ObjectRef(api_version, kind, namespace, name or "")


def known_name(target: ObjectRef | None, kind: str, name: str | None) -> tuple[str, ...]:
    """Return the name for RBAC's resourceNames as far as it is known; empty means any."""
    if name is not None:
        return (name,)
    return (target.name,) if target is not None and target.kind == kind else ()


def rights(verbs: Iterable[str], api_version: str, kind: str, names: tuple[str, ...]) -> tuple[Right, ...]:
    """Return rights on objects of one kind."""
    group, resource = group_of(api_version), resource_of(kind)
    return tuple(Right(verb, group, resource, names) for verb in verbs)


#: what tells who keeps replicas
_AUTOSCALERS: Final = rights(("list",), *HORIZONTAL_POD_AUTOSCALER, ())


def scaling_rights(api_version: str, kind: str, given: Any) -> tuple[Right, ...]:
    """Return list on autoscalers, which tells who keeps replicas, where fields that are to be written may name them.

    Args:
        given: the fields; UNKNOWN, or with an unknown ``spec``, where that shows only in a run.
    """
    spec = given.get("spec") if isinstance(given, Mapping) else given
    return _AUTOSCALERS if names_replicas(given) or (spec == UNKNOWN and may_scale(api_version, kind)) else ()


def kind_scaling_rights(kinds: Iterable[tuple[str, str]]) -> tuple[Right, ...]:
    """Return the same where any fields of objects of these kinds (API version and kind) may be written."""
    return _AUTOSCALERS if any(may_scale(*one) for one in kinds) else ()


def may_scale(api_version: str, kind: str) -> bool:
    """Whether objects of a kind have ``spec.replicas``, or may have: of kinds that are not built in nobody knows."""
    group = group_of(api_version)
    built_in = "." not in group or group.endswith(".k8s.io")
    return (group, kind) in _SCALED if built_in else True
