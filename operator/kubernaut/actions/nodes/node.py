"""What actions on nodes share: the node named, which nodes take new pods, and how many have to be left."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

from pydantic import Field

from kubernaut.actions import pods
from kubernaut.actions.fencing.marked import E, MarkedAction
from kubernaut.actions.objects import NODE, known_name, named, rights
from kubernaut.api.base import DnsName
from kubernaut.api.reasons import Reason
from kubernaut.core.action import ActionParameters, StepContext
from kubernaut.core.errors import StepError
from kubernaut.core.ports import Cluster, Manifest, ObjectRef, Right
from kubernaut.core.probing import Answer, Probed, Said, Sight

#: effects of taints that keep new pods away
KEEPS_AWAY = frozenset({"NoSchedule", "NoExecute"})


class NodeParameters(ActionParameters):
    """Parameters of an action on one node."""

    name: Annotated[
        DnsName | None, Field(description="The node; by default the run's target, which has to be a Node.")
    ] = None


class ClosingParameters(NodeParameters):
    """Parameters of an action that keeps new pods away from a node."""

    min_schedulable: Annotated[
        int,
        Field(
            ge=0,
            le=10_000,
            description="How many other nodes that are ready and take new pods have to be left; 0 does not look.",
        ),
    ] = 1


class NodeAction(MarkedAction[Any, E]):
    """An action that changes one node: the run's namespace has to be allowed to act beyond itself."""

    def ref(self, namespace: str, target: ObjectRef, parameters: NodeParameters) -> ObjectRef:
        return named("", target, *NODE, parameters.name)

    def rights(self, target: ObjectRef | None, parameters: NodeParameters) -> tuple[Right, ...]:
        return rights(("get", "patch"), *NODE, known_name(target, "Node", parameters.name))

    def probe(self, sight: Sight, context: StepContext, parameters: NodeParameters) -> Probed:
        """It happened where the node carries the step's signed mark and was not put back. It helped as long as the
        field is as the step set it, for the scheduler goes by that alone.
        """
        return super().probe(sight, context, parameters)

    def helped(self, sight: Sight, seen: Manifest, context: StepContext, parameters: NodeParameters) -> Said:
        return Said(Answer.YES, "it is as the step set it")


class ClosingAction(NodeAction[Sequence[Manifest]]):
    """An action that keeps new pods away from a node; its evidence is all nodes, where it has to look at them."""

    parameters = ClosingParameters

    def rights(self, target: ObjectRef | None, parameters: ClosingParameters) -> tuple[Right, ...]:  # type: ignore[override]
        own = super().rights(target, parameters)
        return (*own, *rights(("list",), *NODE, ())) if parameters.min_schedulable else own

    async def look(
        self, cluster: Cluster, context: StepContext, parameters: ClosingParameters, seen: Manifest
    ) -> Sequence[Manifest]:
        return await all_nodes(cluster, parameters)


async def all_nodes(cluster: Cluster, parameters: ClosingParameters) -> Sequence[Manifest]:
    """Read all nodes, where it matters how many are left."""
    return await cluster.list(*NODE, "") if parameters.min_schedulable else ()


def takes_pods(node: Manifest) -> bool:
    """Whether ordinary pods may come to a node: it is ready, not cordoned, and no taint keeps them away."""
    spec = node.get("spec") or {}
    return (
        not spec.get("unschedulable")
        and not node["metadata"].get("deletionTimestamp")
        and pods.ready(node)
        and not any(taint.get("effect") in KEEPS_AWAY for taint in spec.get("taints") or ())
    )


def require_others(seen: Manifest, nodes: Iterable[Manifest], least: int) -> None:
    """Refuse to close a node where too few others would be left that take new pods.

    Raises:
        StepError: PreconditionFailed.
    """
    name = seen["metadata"]["name"]
    others = [one for one in nodes if one["metadata"]["name"] != name and takes_pods(one)]
    if len(others) < least:
        raise StepError(
            f"{ObjectRef.of(seen)} is left as it is: {len(others)} other nodes are ready and take new pods, and at "
            f"least {least} have to be left; add or repair nodes, or set minSchedulable",
            reason=Reason.PRECONDITION_FAILED,
        )
