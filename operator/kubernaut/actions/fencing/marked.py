"""The base of actions that change one object by one patch with a marker in it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Generic, TypeVar

from pydantic import JsonValue

from kubernaut.actions import probing
from kubernaut.actions.fencing import fence
from kubernaut.core import fields
from kubernaut.core.action import ActionParameters, Done, Idempotency, Risk, StepContext
from kubernaut.core.marker import StepMark
from kubernaut.core.ports import Cluster, Manifest, ObjectRef, Right
from kubernaut.core.probing import Answer, Look, Probed, Said, Sight, there

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
        return await fence.restore(cluster, context, ref, put_back, alone=True)

    async def put_back(self, cluster: Cluster, seen: Manifest, mark: StepMark) -> Manifest:
        """Return the object with the former values in it; raises StepError (ChangedSince)."""
        return await fence.put_fields_back(seen, mark)

    def looks_at(self, context: StepContext, parameters: P) -> tuple[Look, ...]:
        """Return the object, and what tells whether it helped."""
        ref = self.ref(context.namespace, context.target, parameters)
        return (ref, *probing.judges(context, ref, *self.judged(context, parameters)))

    def judged(self, context: StepContext, parameters: P) -> tuple[ObjectRef, ...]:
        """Return what else was to be helped, beside the object and the run's target."""
        return ()

    def probe(self, sight: Sight, context: StepContext, parameters: P) -> Probed:
        """It happened where the object carries the step's signed mark and was not put back. It helped where the
        object itself and the run's target, as far as they are workloads, autoscalers or pods, fare well by their
        own status; where no status tells that, or a changed field was changed since, it is Unknown.
        """
        ref = self.ref(context.namespace, context.target, parameters)
        found = probing.mark_on(sight, ref, context)
        if isinstance(found, Probed):
            return found
        seen, mark = found
        told = probing.carries(ref, mark, context)
        if (path := self.changed_since(seen, mark)) is not None:
            return there(told, Said(Answer.UNKNOWN, f"{path} was changed since"))
        return there(told, self.helped(sight, seen, context, parameters))

    def helped(self, sight: Sight, seen: Manifest, context: StepContext, parameters: P) -> Said:
        """Say whether what was changed helped, of an object that is as the step left it."""
        ref = self.ref(context.namespace, context.target, parameters)
        return probing.fares(sight, probing.judges(context, ref, *self.judged(context, parameters)))

    def changed_since(self, seen: Manifest, mark: StepMark) -> str | None:
        """Return a field that is no longer as the step left it; None where all are, or none is kept here."""
        for path, after in mark.after.items():
            if not fields.same(fields.get(seen, fields.parse(path)), after):
                return path
        return None
