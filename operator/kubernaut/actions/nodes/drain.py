"""``drain_node``: keep new pods away from a node, and have those that run there leave it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Final

from pydantic import Field

from kubernaut.actions.fencing import fence
from kubernaut.actions.nodes.cordon import UNSCHEDULABLE
from kubernaut.actions.nodes.evicting import Allowance, Load, blocked, contradicted, key_of, load_of, name_of
from kubernaut.actions.nodes.node import ClosingParameters, NodeAction, all_nodes, require_others
from kubernaut.actions.objects import NODE, rights
from kubernaut.api.base import DnsLabel, Flag
from kubernaut.api.reasons import Reason
from kubernaut.core import fields
from kubernaut.core.action import Done, Risk, StepContext
from kubernaut.core.errors import (
    ClusterError,
    Conflict,
    NotFound,
    StepError,
    TooManyRequests,
    Unfinished,
    UnknownOutcome,
)
from kubernaut.core.marker import read_marker
from kubernaut.core.ports import Cluster, Manifest, ObjectRef, Right
from kubernaut.core.probing import Answer, Listing, Look, Probed, Said, Sight
from kubernaut.core.retry import SAME_ATTEMPT

_PATH: Final = fields.render(UNSCHEDULABLE)
_BUDGETS: Final = ("policy/v1", "PodDisruptionBudget")
_TOLD: Final = 5


class DrainNodeParameters(ClosingParameters):
    """Parameters of ``drain_node``."""

    force: Annotated[
        Flag, Field(description="Also evict pods without a controller, which nobody makes anew.")
    ] = False
    delete_empty_dir_data: Annotated[
        Flag, Field(description="Also evict pods with emptyDir volumes, whose data goes with them.")
    ] = False
    wait_for_budgets: Annotated[
        Flag,
        Field(
            description="Begin though a PodDisruptionBudget holds a pod now, and wait for it; else refuse."
        ),
    ] = False
    protected_namespaces: Annotated[
        tuple[DnsLabel, ...],
        Field(max_length=32, description="Refuse a node that runs pods of these namespaces."),
    ] = ()
    parallelism: Annotated[
        int, Field(ge=1, le=50, description="How many pods may be on their way out at the same time.")
    ] = 5

    @property
    def allowance(self) -> Allowance:
        """What may be lost."""
        return Allowance(self.force, self.delete_empty_dir_data, frozenset(self.protected_namespaces))


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What was seen beside the node."""

    nodes: Sequence[Manifest]
    load: Load
    held: dict[tuple[str, str], str]


class DrainNode(NodeAction[Surroundings]):
    """Cordons the node and evicts its pods by the Eviction API, each with its UID as precondition, at most
    `parallelism` at a time. Pods of DaemonSets, static pods and pods that have done their work are left alone.

    Before anything is changed it looks at all pods of the node, and refuses where one must not go: it has no
    controller (unless `force`), it has an emptyDir volume (unless `deleteEmptyDirData`), it is Kubernaut's own or in
    one of `protectedNamespaces`, it has two PodDisruptionBudgets, or one that lets none of its pods go now (unless
    `waitForBudgets`); the message says which budget holds which pod. It refuses, too, where fewer than
    `minSchedulable` other nodes would be left that are ready and take new pods.

    Then the step goes on until no such pod is left, and tells how far it is; between two looks it takes no room.
    Give it a `timeout` that fits: the default is 5 minutes. A budget that refuses on the way is waited for. After a
    restart of the operator the pods that are left are evicted, and none twice.

    A drain that fails, runs into its timeout, or is cancelled is put back, whatever `onFailure` says: the node is
    uncordoned, unless it was cordoned before. Then it is not begun again in the same run. Undo does the same; pods
    that were evicted do not come back to the node by themselves.

    Nodes belong to no namespace: the Workflow's namespace needs the label `kubernaut.io/cluster-scoped: "true"`, and
    its account a ClusterRole, also for the pods and budgets of all namespaces.
    """

    name: ClassVar = "drain_node"
    summary: ClassVar = "Cordon a node and evict its pods, as far as their disruption budgets allow"
    # Pods that have left can't be put back.
    risk: ClassVar = Risk.HIGH
    halts: ClassVar[bool] = True
    parameters = DrainNodeParameters
    example: ClassVar = {"deleteEmptyDirData": True}
    outputs: ClassVar[Mapping[str, str]] = {
        "pods": "How many pods had to leave when the node was cordoned.",
        "staying": "How many were left alone.",
    }

    def rights(self, target: ObjectRef | None, parameters: Any) -> tuple[Right, ...]:
        """Return get and patch on the node, and what the look at all pods, budgets and nodes needs."""
        found = (
            *super().rights(target, parameters),
            Right("list", "", "pods", everywhere=True),
            Right("create", "", "pods/eviction", everywhere=True),
            Right("list", "policy", "poddisruptionbudgets", everywhere=True),
        )
        return (*found, *rights(("list",), *NODE, ())) if parameters.min_schedulable else found

    async def look(
        self, cluster: Cluster, context: StepContext, parameters: DrainNodeParameters, seen: Manifest
    ) -> Surroundings:
        load = await _load(cluster, ObjectRef.of(seen), parameters)
        budgets = await cluster.list(*_BUDGETS, "")
        load.refused += contradicted(load.leaving, budgets)
        return Surroundings(await all_nodes(cluster, parameters), load, blocked(load.leaving, budgets))

    def plan(
        self, seen: Manifest, evidence: Surroundings, parameters: DrainNodeParameters, context: StepContext
    ) -> fence.Change:
        ref, load = ObjectRef.of(seen), evidence.load
        if load.refused:
            raise _refused(ref, load.refused)
        if evidence.held and not parameters.wait_for_budgets:
            raise _refused(ref, list(evidence.held.values()))
        before = fields.get(seen, UNSCHEDULABLE)
        outputs = {"pods": load.left, "staying": load.staying}
        if before and not load.left:
            return fence.nothing(f"{ref} is cordoned already, and no pod has to leave it", outputs)
        if not before:
            require_others(seen, evidence.nodes, parameters.min_schedulable)
        # Marked also where it is cordoned already: the mark tells what undo has to put back, which is nothing then.
        desired = fields.put(seen, UNSCHEDULABLE, True)
        told = f"{load.left} pods have left the node, {load.staying} stay there"
        return fence.Change(desired, {_PATH: before}, {_PATH: True}, told, outputs)

    async def perform(self, cluster: Cluster, context: StepContext, parameters: DrainNodeParameters) -> Done:
        """Cordon, once; evict what is left of the pods, as many as may be on their way.

        Raises:
            Unfinished: some pods are not gone yet.
            StepError: it can't be done; the node was uncordoned, where this step had cordoned it.
        """
        done = await super().perform(cluster, context, parameters)
        if not done.acted:
            return done
        try:
            await self._require_cordoned(cluster, context, parameters)
            await self._evict(cluster, context, parameters, done)
        except StepError as error:
            if error.reason in SAME_ATTEMPT or error.transient:
                raise
            raise await self._given_up(cluster, context, parameters, error) from error
        total = int(str(done.outputs["pods"]))
        return replace(done, message=f"{total} pods have left the node, {done.outputs['staying']} stay there")

    def looks_at(self, context: StepContext, parameters: DrainNodeParameters) -> tuple[Look, ...]:
        """Return the node and its pods."""
        ref = self.ref(context.namespace, context.target, parameters)
        return (*super().looks_at(context, parameters), _pods_of(ref))

    def probe(self, sight: Sight, context: StepContext, parameters: Any) -> Probed:
        """It happened where the node carries the step's signed mark and was not put back. It helped where the node
        is still cordoned and no pod is there that the step would have evicted.
        """
        return super().probe(sight, context, parameters)

    def helped(self, sight: Sight, seen: Manifest, context: StepContext, parameters: Any) -> Said:
        load = load_of(sight.all_of(_pods_of(ObjectRef.of(seen))), parameters.allowance)
        left = load.left + len(load.refused)
        return Said(Answer.NO if left else Answer.YES, f"{left} pods are left that have to leave it")

    async def _require_cordoned(
        self, cluster: Cluster, context: StepContext, parameters: DrainNodeParameters
    ) -> None:
        ref = self.ref(context.namespace, context.target, parameters)
        seen = await fence.read(cluster, context, ref)
        marked = context.step in read_marker(seen, context.run_uid, context.signer).steps
        # In a dry run neither is there.
        if marked and not fields.get(seen, UNSCHEDULABLE):
            raise fence.changed_since(ref, _PATH, True, None)

    async def _evict(
        self, cluster: Cluster, context: StepContext, parameters: DrainNodeParameters, done: Done
    ) -> None:
        ref = self.ref(context.namespace, context.target, parameters)
        load = await _load(cluster, ref, parameters)
        if load.refused:
            raise _refused(ref, load.refused)
        held, spared = await _evict_some(cluster, load, parameters.parallelism)
        load = await _load(cluster, ref, parameters)
        if not load.left:
            return
        total = max(int(str(done.outputs["pods"])), load.left)
        told = [f"{total - load.left} of {total} pods have left {ref}"]
        if spared:
            told.append(spared)
        if held:
            why = blocked(held, await cluster.list(*_BUDGETS, ""))
            told.append(_some([why.get(key_of(pod)) or f"{name_of(pod)} may not go now" for pod in held]))
        elif load.going and not spared:
            told.append(f"ending: {_some([name_of(pod) for pod in load.going])}")
        raise Unfinished("; ".join(told), progress=f"{total - load.left}/{total}", changed=done.changed)

    async def _given_up(
        self, cluster: Cluster, context: StepContext, parameters: DrainNodeParameters, error: StepError
    ) -> StepError:
        """Uncordon the node where this step had cordoned it, and return what the step fails with."""
        try:
            told = (await self.undo(cluster, context, parameters)).message
        except StepError as second:
            told = f"it could not be put back: {second}"
        return type(error)(f"{error}; {told}", reason=error.reason)

    async def recall(
        self, cluster: Cluster, context: StepContext, parameters: DrainNodeParameters
    ) -> Done | None:
        """Look for the step's mark and the pods; None where it is not marked, or pods are left."""
        done = await super().recall(cluster, context, parameters)
        if done is None:
            return None
        ref = self.ref(context.namespace, context.target, parameters)
        try:
            load = await _load(cluster, ref, parameters)
        except ClusterError as error:
            if error.transient:
                raise
            return None
        return None if load.left or load.refused else done

    async def fence(self, cluster: Cluster, context: StepContext, parameters: DrainNodeParameters) -> Done:
        """See to it that the step can't happen any more; one that is half done is put back."""
        done = await self.recall(cluster, context, parameters)
        if done is not None:
            return done
        undone = await self.undo(cluster, context, parameters)
        if undone.acted:
            return replace(undone, acted=False)
        return await super().fence(cluster, context, parameters)

    async def undo(self, cluster: Cluster, context: StepContext, parameters: DrainNodeParameters) -> Done:
        """The node is uncordoned, unless it was cordoned before; pods that were evicted do not come back."""
        done = await super().undo(cluster, context, parameters)
        if not done.acted:
            return done
        return replace(done, message=f"{done.message}; pods that were evicted do not come back by themselves")


def _pods_of(ref: ObjectRef) -> Listing:
    return Listing("v1", "Pod", "", field_selector=f"spec.nodeName={ref.name}")


async def _load(cluster: Cluster, ref: ObjectRef, parameters: DrainNodeParameters) -> Load:
    found = await cluster.list("v1", "Pod", "", field_selector=_pods_of(ref).field_selector)
    return load_of(found, parameters.allowance)


async def _evict_some(cluster: Cluster, load: Load, parallelism: int) -> tuple[list[Manifest], str]:
    """Evict as many pods as may be on their way out; return those that a budget holds, and what guards say.

    A pod that a budget or a guard holds takes no room, so that the others do not wait for it.
    """
    held: list[Manifest] = []
    spared = ""
    waiting, room = list(load.leaving), parallelism - len(load.going)
    while waiting and room > 0:
        batch, waiting = waiting[:room], waiting[room:]
        answers = await asyncio.gather(*(_evict_one(cluster, pod) for pod in batch), return_exceptions=True)
        for pod, answer in zip(batch, answers, strict=True):
            if isinstance(answer, StepError) and answer.reason is Reason.TOO_FEW_HEALTHY:
                spared = str(answer)
            elif isinstance(answer, BaseException):
                raise answer
            elif answer:
                room -= 1
            else:
                held.append(pod)
    return held, spared


async def _evict_one(cluster: Cluster, pod: Manifest) -> bool:
    """Evict a pod; False where a budget holds it."""
    ref = ObjectRef.of({"apiVersion": "v1", "kind": "Pod", "metadata": pod["metadata"]})
    try:
        await cluster.evict(ref, uid=ref.uid)
    except (NotFound, Conflict, UnknownOutcome):
        # It is gone, or another has its name, or that is seen at the next look.
        return True
    except TooManyRequests as error:
        # Only a budget's 429 speaks of budgets; any other is a server that is short of breath.
        if "disruption budget" not in str(error):
            raise
        return False
    return True


def _refused(ref: ObjectRef, told: Sequence[str]) -> StepError:
    return StepError(f"{ref} is not drained: {_some(told)}", reason=Reason.PRECONDITION_FAILED)


def _some(told: Sequence[str]) -> str:
    more = f", and {len(told) - _TOLD} more" if len(told) > _TOLD else ""
    return ", ".join(told[:_TOLD]) + more
