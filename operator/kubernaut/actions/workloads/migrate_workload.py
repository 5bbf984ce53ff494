"""``migrate_workload``: move the pods of a workload off a node, or onto nodes with some labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import Field, JsonValue, StringConstraints, model_validator

from kubernaut.actions import pods
from kubernaut.actions.fencing import fence
from kubernaut.actions.objects import rights
from kubernaut.actions.workloads import placement
from kubernaut.actions.workloads.any_workload import AnyWorkloadAction, AnyWorkloadParameters, reach
from kubernaut.actions.workloads.named import WorkloadKind
from kubernaut.actions.workloads.workload import WorkloadParameters, require_rolling
from kubernaut.api.base import DnsName
from kubernaut.api.reasons import Reason
from kubernaut.core import fields
from kubernaut.core.action import StepContext
from kubernaut.core.errors import StepError
from kubernaut.core.ports import Cluster, Manifest, ObjectRef, Right
from kubernaut.core.selectors import selector_text

_SPEC: Final = fields.parse("spec.template.spec")
_BOUND: Final = ("persistentVolumeClaim", "ephemeral")
_TOLD: Final = 5
_LABEL: Final = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"

LabelKey = Annotated[str, StringConstraints(pattern=_LABEL, max_length=317)]
LabelValue = Annotated[
    str, StringConstraints(pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$", max_length=63)
]


class Volumes(StrEnum):
    """What to do where the pods have volumes of their own, which may not be usable on other nodes."""

    REFUSE = "Refuse"
    IGNORE = "Ignore"


class MigrateWorkloadParameters(AnyWorkloadParameters):
    """Parameters of ``migrate_workload``: exactly one of ``awayFromNode`` and ``nodeSelector``."""

    away_from_node: Annotated[
        DnsName | None, Field(description="The node on which no pod of the workload shall run any more.")
    ] = None
    node_selector: Annotated[
        dict[LabelKey, LabelValue] | None,
        Field(
            min_length=1,
            max_length=8,
            description="Labels of the nodes on which alone its pods shall run, such as "
            "`topology.kubernetes.io/zone`; added to what the template asks for.",
        ),
    ] = None
    volumes: Annotated[
        Volumes,
        Field(
            description="Where the pods have PersistentVolumeClaims: refuse, or do not mind (a volume that is bound "
            "to a node or a zone then keeps its pod Pending)."
        ),
    ] = Volumes.REFUSE

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.away_from_node is None) == (self.node_selector is None):
            raise ValueError("set exactly one of awayFromNode and nodeSelector")
        if self.kind is WorkloadKind.DAEMON_SET:
            raise ValueError("kind: a DaemonSet has a pod on each node and can't be moved; cordon the node")
        return self


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The nodes there are, and the workload's pods on them."""

    nodes: Sequence[Manifest]
    pods: Sequence[Manifest]


class MigrateWorkload(AnyWorkloadAction[Surroundings]):
    """Changes where the pods of a Deployment or StatefulSet may run, in the pod template; the controller then
    replaces the pods by its own strategy, and the scheduler puts them where they may be.

    `awayFromNode` adds to the required node affinity that the node's name is not this one, in each of its terms;
    `nodeSelector` adds labels to the node selector. Undo takes away exactly what was added, and the pods are replaced
    once more; they may come back.

    It acts only where there is something to move: a pod on that node, or on a node without these labels. Refused
    where no other node could take the pods: one that is ready, not cordoned, whose taints the pods tolerate, and that
    fits node selector and node affinity with the change. Whether there is room on it, and what pods want of each
    other, is not looked at: where there is none, the new pods stay Pending, and a Deployment's old ones stay as far
    as its strategy keeps them.

    Refused too for a DaemonSet; where the pods have PersistentVolumeClaims, unless `volumes: Ignore`; while a
    Deployment is paused; and where the update strategy is `OnDelete`. Nodes belong to the whole cluster, so the
    account needs a ClusterRole to list them.
    """

    name: ClassVar = "migrate_workload"
    summary: ClassVar = (
        "Move the pods of a Deployment or StatefulSet off a node, or onto nodes with some labels"
    )
    parameters = MigrateWorkloadParameters
    example: ClassVar = {"awayFromNode": "worker-3"}
    outputs: ClassVar[Mapping[str, str]] = {
        "moving": "How many pods are where they shall not be.",
        "nodes": "Up to 5 names of nodes that could take them.",
        "fitting": "How many nodes could take them.",
    }

    def rights(self, target: ObjectRef | None, parameters: WorkloadParameters) -> tuple[Right, ...]:
        own = super().rights(target, parameters)
        return (*own, *rights(("list",), "v1", "Pod", ()), *rights(("list",), "v1", "Node", ()))

    async def look(
        self, cluster: Cluster, context: StepContext, parameters: WorkloadParameters, seen: Manifest
    ) -> Surroundings:
        selector = selector_text(seen["spec"].get("selector"))
        there = await cluster.list("v1", "Pod", seen["metadata"]["namespace"], label_selector=selector)
        return Surroundings(await cluster.list("v1", "Node", ""), there)

    def plan(
        self,
        seen: Manifest,
        evidence: Surroundings,
        parameters: MigrateWorkloadParameters,
        context: StepContext,
    ) -> fence.Change:
        require_rolling(seen)
        _require_movable(seen, parameters)
        ref, spec = ObjectRef.of(seen), fields.get(seen, _SPEC)
        moving = _misplaced(evidence, parameters)
        wanted = _wanted(spec, parameters)
        obstacles = {node["metadata"]["name"]: placement.obstacle(node, wanted) for node in evidence.nodes}
        fitting = sorted(name for name, why in obstacles.items() if why is None)
        nodes: list[JsonValue] = [*fitting[:_TOLD]]
        outputs: dict[str, JsonValue] = {"moving": len(moving), "nodes": nodes, "fitting": len(fitting)}
        if not moving:
            return fence.nothing(f"no pod of {ref} is {_where(parameters)}", outputs)
        if not fitting:
            raise StepError(
                f"no node could take the pods of {ref} that are {_where(parameters)}: {_why(obstacles)}; "
                "nothing was done",
                reason=Reason.PRECONDITION_FAILED,
            )
        message = (
            f"{ref}: its pods that are {_where(parameters)} ({len(moving)}) may move to {_names(fitting)}"
        )
        return fence.change(seen, fields.put(seen, _SPEC, wanted), message + reach(seen), outputs)


def _require_movable(seen: Manifest, parameters: MigrateWorkloadParameters) -> None:
    """Refuse a workload whose pods can't be moved, or perhaps can't.

    Raises:
        StepError: PreconditionFailed.
    """
    told = ""
    volumes = fields.get(seen, (*_SPEC, "volumes")) or ()
    claims = seen["spec"].get("volumeClaimTemplates") or [
        one for one in volumes if any(part in one for part in _BOUND)
    ]
    if seen["kind"] == WorkloadKind.DAEMON_SET:
        told = "has a pod on each node and can't be moved; cordon the node, or taint it"
    elif claims and parameters.volumes is Volumes.REFUSE:
        told = "has volumes, which may be bound to a node or a zone; where they are not, set volumes: Ignore"
    if told:
        raise StepError(f"{ObjectRef.of(seen)} {told}", reason=Reason.PRECONDITION_FAILED)


def _wanted(spec: Mapping[str, Any], parameters: MigrateWorkloadParameters) -> dict[str, Any]:
    if parameters.away_from_node is not None:
        return placement.away_from(spec, parameters.away_from_node)
    there = spec.get("nodeSelector") or {}
    return {**spec, "nodeSelector": {**there, **(parameters.node_selector or {})}}


def _misplaced(evidence: Surroundings, parameters: MigrateWorkloadParameters) -> list[Manifest]:
    """Return the pods that are where they shall not be; one that has no node yet is nowhere."""
    wrong = {
        node["metadata"]["name"]
        for node in evidence.nodes
        if not (parameters.node_selector or {}).items() <= (node["metadata"].get("labels") or {}).items()
    }
    if parameters.away_from_node is not None:
        wrong = {parameters.away_from_node}
    placed = (pod for pod in evidence.pods if not pods.leaving(pod))
    return [pod for pod in placed if pod["spec"].get("nodeName") in wrong]


def _where(parameters: MigrateWorkloadParameters) -> str:
    if parameters.away_from_node is not None:
        return f"on node {parameters.away_from_node}"
    labels = ", ".join(f"{key}={value}" for key, value in sorted((parameters.node_selector or {}).items()))
    return f"on a node without {labels}"


def _why(obstacles: Mapping[str, str | None]) -> str:
    told = [f"{name}: {why}" for name, why in sorted(obstacles.items())]
    return "; ".join(told[:_TOLD]) + (f"; and {len(told) - _TOLD} more" if len(told) > _TOLD else "")


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
    return f"{', '.join(names[:_TOLD])}{more}"
