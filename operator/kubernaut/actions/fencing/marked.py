"""The base of actions that change one object by one patch with a marker in it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Generic, TypeVar

from pydantic import JsonValue

from kubernaut.actions.fencing import fence
from kubernaut.core.action import ActionParameters, Done, Idempotency, Risk, StepContext
from kubernaut.core.marker import StepMark
from kubernaut.core.ports import Cluster, Manifest, ObjectRef, Right

P = TypeVar("P", bound=ActionParameters)
E = TypeVar("E")


class MarkedAction(ABC, Generic[P, E]):
    """An action whose effect and record are one patch; subclasses say which object, what is looked at, what changes.

    ``E`` is the evidence that the decision needs beside the object itself.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    risk: ClassVar[Risk] = Risk.LOW
    idempotency: ClassVar[Idempotency] = Idempotency.MARKED
    outputs: ClassVar[Mapping[str, str]] = {}
    parameters: type[P]

    def __init__(self, finished: fence.Finished = fence.never) -> None:
        self._finished = finished

    @abstractmethod
    def ref(self, namespace: str, target: ObjectRef, parameters: P) -> ObjectRef:
        """Return the object that is changed."""

    @abstractmethod
    def rights(self, target: ObjectRef | None, parameters: P) -> tuple[Right, ...]:
        """Return the rights that the Workflow's ServiceAccount needs."""

    @abstractmethod
    async def look(self, cluster: Cluster, context: StepContext, parameters: P, seen: Manifest) -> E:
        """Read what the decision needs beside the object."""

    @abstractmethod
    def plan(self, seen: Manifest, evidence: E, parameters: P, context: StepContext) -> fence.Change:
        """Decide purely what changes; raises StepError where it must not."""

    async def prepare(
        self, cluster: Cluster, context: StepContext, parameters: P
    ) -> Mapping[str, JsonValue] | None:
        """Return None: the marker in the patch is the record."""
        return None

    async def perform(self, cluster: Cluster, context: StepContext, parameters: P) -> Done:
        """Read, decide and patch, once."""

        async def decide(seen: Manifest) -> fence.Change:
            evidence = await self.look(cluster, context, parameters, seen)
            return self.plan(seen, evidence, parameters, context)

        ref = self.ref(context.namespace, context.target, parameters)
        return await fence.apply(cluster, context, ref, decide, finished=self._finished)

    async def recall(self, cluster: Cluster, context: StepContext, parameters: P) -> Done | None:
        """Look for the step's mark; None where there is none."""
        ref = self.ref(context.namespace, context.target, parameters)
        return await fence.recall(cluster, context, ref)

    async def fence(self, cluster: Cluster, context: StepContext, parameters: P) -> Done:
        """See to it that the step can't happen any more."""
        ref = self.ref(context.namespace, context.target, parameters)
        return await fence.fence_off(cluster, context, ref)

    async def undo(self, cluster: Cluster, context: StepContext, parameters: P) -> Done:
        """Every field that was changed gets its former value; refused where one was changed since."""

        async def put_back(seen: Manifest, mark: StepMark) -> Manifest:
            return await self.put_back(cluster, seen, mark)

        ref = self.ref(context.namespace, context.target, parameters)
        return await fence.restore(cluster, context, ref, put_back)

    async def put_back(self, cluster: Cluster, seen: Manifest, mark: StepMark) -> Manifest:
        """Return the object with the former values in it; raises StepError (ChangedSince)."""
        return await fence.put_fields_back(seen, mark)
