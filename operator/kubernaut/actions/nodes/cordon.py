"""``cordon_node``, ``uncordon_node``: keep new pods away from a node, or let them come again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Final

from pydantic import Field

from kubernaut.actions import pods
from kubernaut.actions.fencing import fence
from kubernaut.actions.nodes.node import (
    ClosingAction,
    ClosingParameters,
    NodeAction,
    NodeParameters,
    require_others,
)
from kubernaut.api.base import Flag
from kubernaut.api.reasons import Reason
from kubernaut.core import fields
from kubernaut.core.action import StepContext
from kubernaut.core.errors import StepError
from kubernaut.core.ports import Cluster, Manifest, ObjectRef

UNSCHEDULABLE: Final = fields.parse("spec.unschedulable")


class CordonNode(ClosingAction):
    """Sets `spec.unschedulable` of the node, so that the scheduler puts no new pods on it; those that run there stay.

    Refused where fewer than `minSchedulable` other nodes would be left that are ready and take new pods: not
    cordoned, and without a taint that keeps ordinary pods away. They are counted right before the change; two runs
    that cordon two nodes at the same moment may each count the other's.

    Nodes belong to no namespace: the Workflow's namespace needs the label `kubernaut.io/cluster-scoped: "true"`, and
    its account a ClusterRole.
    """

    name: ClassVar = "cordon_node"
    summary: ClassVar = "Keep new pods away from a node"
    example: ClassVar = {"minSchedulable": 2}

    def plan(
        self,
        seen: Manifest,
        evidence: Sequence[Manifest],
        parameters: ClosingParameters,
        context: StepContext,
    ) -> fence.Change:
        if fields.get(seen, UNSCHEDULABLE):
            return fence.nothing(f"{ObjectRef.of(seen)} is cordoned already")
        require_others(seen, evidence, parameters.min_schedulable)
        return fence.change(seen, fields.put(seen, UNSCHEDULABLE, True), "no new pods are put on the node")


class UncordonNodeParameters(NodeParameters):
    """Parameters of ``uncordon_node``."""

    require_ready: Annotated[
        Flag, Field(description="Refuse a node that is not ready: it would take pods and not run them.")
    ] = True


class UncordonNode(NodeAction[None]):
    """Removes `spec.unschedulable` from the node, so that the scheduler puts pods on it again. Refused while the node
    is not ready, unless `requireReady` is `false`. Taints stay as they are: see `untaint_node`.

    Nodes belong to no namespace: the Workflow's namespace needs the label `kubernaut.io/cluster-scoped: "true"`, and
    its account a ClusterRole.
    """

    name: ClassVar = "uncordon_node"
    summary: ClassVar = "Let new pods come to a node that was cordoned"
    parameters = UncordonNodeParameters
    example: ClassVar = {"requireReady": True}

    async def look(
        self, cluster: Cluster, context: StepContext, parameters: NodeParameters, seen: Manifest
    ) -> None:
        return None

    def plan(
        self, seen: Manifest, evidence: None, parameters: UncordonNodeParameters, context: StepContext
    ) -> fence.Change:
        ref = ObjectRef.of(seen)
        if not fields.get(seen, UNSCHEDULABLE):
            return fence.nothing(f"{ref} is not cordoned")
        if parameters.require_ready and not pods.ready(seen):
            told = pods.condition(seen, "Ready").get("message") or "its kubelet says nothing"
            raise StepError(
                f"{ref} is not ready ({told}), so it stays cordoned; repair it, or set requireReady: false",
                reason=Reason.PRECONDITION_FAILED,
            )
        return fence.change(seen, fields.put(seen, UNSCHEDULABLE, None), "new pods are put on the node again")
