"""What actions share that change a pod template, be it a Deployment's, a StatefulSet's or a DaemonSet's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from kubernaut.actions.fencing.marked import E
from kubernaut.actions.objects import DEPLOYMENT, group_of, known_name, named, rights
from kubernaut.actions.workloads.named import WorkloadKind
from kubernaut.actions.workloads.workload import WorkloadAction, WorkloadParameters, partition
from kubernaut.api.base import DnsLabel, DnsName
from kubernaut.api.reasons import Reason
from kubernaut.core import fields
from kubernaut.core.errors import StepError
from kubernaut.core.ports import Manifest, ObjectRef, Right


class AnyWorkloadParameters(WorkloadParameters):
    """Parameters of an action on a workload of any of these kinds."""

    name: Annotated[
        DnsName | None,
        Field(description="The object; by default the run's target, where that is of the kind."),
    ] = None
    kind: Annotated[
        WorkloadKind | None,
        Field(
            description="Its kind; by default the kind of the run's target, and `Deployment` where that is none."
        ),
    ] = None


class ContainerParameters(AnyWorkloadParameters):
    """Parameters of an action on one container of a workload."""

    container: Annotated[
        DnsLabel | None, Field(description="The container; can be left out where there is only one.")
    ] = None


class AnyWorkloadAction(WorkloadAction[E]):
    """An action that changes the pod template of a workload, whatever its kind."""

    def ref(self, namespace: str, target: ObjectRef, parameters: WorkloadParameters) -> ObjectRef:
        return named(namespace, target, *kind_of(target, parameters), parameters.name)

    def rights(self, target: ObjectRef | None, parameters: WorkloadParameters) -> tuple[Right, ...]:
        api_version, kind = kind_of(target, parameters)
        return rights(("get", "patch"), api_version, kind, known_name(target, kind, parameters.name))


def kind_of(target: ObjectRef | None, parameters: WorkloadParameters) -> tuple[str, str]:
    """Return API version and kind of what is changed: as asked for, else as the run's target."""
    api_version, default = DEPLOYMENT
    asked = getattr(parameters, "kind", None)
    if asked is not None:
        return api_version, str(asked)
    like = target is not None and group_of(target.api_version) == group_of(api_version)
    return api_version, target.kind if target is not None and like and target.kind in set(
        WorkloadKind
    ) else default


def container_of(
    seen: Manifest, name: str | None, *, init: bool = False
) -> tuple[fields.Path, Mapping[str, Any]]:
    """Return where in a workload a container stands, and the container; without a name the only one.

    Args:
        init: whether one of the init containers may be named too.

    Raises:
        StepError: InvalidParameters, naming the containers there are.
    """
    spec = seen["spec"]["template"]["spec"]
    lists = ("containers", "initContainers") if init and name is not None else ("containers",)
    there = [(part, one) for part in lists for one in spec.get(part) or ()]
    found = [(part, one) for part, one in there if name in (None, one["name"])]
    if len(found) == 1:
        part, container = found[0]
        return (
            *fields.parse(f"spec.template.spec.{part}"),
            fields.Select("name", container["name"]),
        ), container
    names = ", ".join(str(one["name"]) for _, one in there)
    told = f"has no container {name!r}" if name else "has several containers; name one under with.container"
    raise StepError(f"{ObjectRef.of(seen)} {told}; there are: {names}", reason=Reason.INVALID_PARAMETERS)


def reach(seen: Manifest) -> str:
    """Return the end of a message that says which pods a changed template reaches, where not all of them."""
    first = partition(seen)
    return f"; only the pods from number {first} on (its partition) are replaced" if first else ""
