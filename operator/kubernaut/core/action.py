"""What a remediation action is: parameters, rights, plan, perform, undo, probe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, ClassVar, Generic, Protocol, TypeVar, runtime_checkable

from pydantic import BaseModel, ConfigDict, JsonValue
from pydantic.alias_generators import to_camel
from pydantic.json_schema import GenerateJsonSchema

from kubernaut.api.duration import format_duration
from kubernaut.core.keeping import NO_HISTORY, Keeper
from kubernaut.core.marker import Signer
from kubernaut.core.memory import Memory, NoMemory
from kubernaut.core.ports import Cluster, NoWeb, ObjectRef, RevisionEvidence, Right, Web
from kubernaut.core.probing import Look, Probed, Sight
from kubernaut.core.recent import Recent


class Risk(StrEnum):
    """How much can go wrong: nothing is changed; little, and it is undone by us; much, or it is not undone by us."""

    NONE = "None"
    LOW = "Low"
    HIGH = "High"


class Idempotency(StrEnum):
    """How an effect happens exactly once.

    ``READ_ONLY`` changes nothing; ``MARKED`` carries its marker in the same patch; ``PINNED`` names the
    object's UID in the request, which is stored as the step's intent first; ``NAMED`` creates an object of a name
    that is derived from the step's key, so that AlreadyExists means done. ``INTENT`` sends what can't be fenced: that
    it is about to be sent is stored first, and where its outcome is not known the step's ``onUnknown`` decides.
    """

    READ_ONLY = "ReadOnly"
    MARKED = "Marked"
    PINNED = "Pinned"
    NAMED = "Named"
    INTENT = "Intent"


class _Schema(GenerateJsonSchema):
    """Writes defaults as people write them."""

    def encode_default(self, dft: Any) -> Any:
        return format_duration(dft) if isinstance(dft, timedelta) else super().encode_default(dft)


class ActionParameters(BaseModel):
    """Base of all actions' parameters: camelCase on the wire, unknown names refused."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)

    @classmethod
    def model_json_schema(  # type: ignore[override]
        cls, by_alias: bool = True, schema_generator: type[GenerateJsonSchema] = _Schema, **more: Any
    ) -> dict[str, Any]:
        """Return the JSON schema; durations in it are such as ``1m30s``."""
        return super().model_json_schema(by_alias, schema_generator=schema_generator, **more)


P = TypeVar("P", bound=ActionParameters)


@dataclass(frozen=True, slots=True)
class Done:
    """What an action did.

    Attributes:
        acted: whether an object was changed by this step (by this call or by an earlier one that was fenced).
        outputs: small values for later steps, JSON.
        changed: one sentence for each changed field: object, field, before, after; at most 16.
        message: one sentence for people.
        awaits: the object, UID included, in which the effect goes on; the action (``Awaits``) is performed again
            once that has ended.
    """

    acted: bool
    message: str = ""
    outputs: Mapping[str, JsonValue] = field(default_factory=dict)
    changed: tuple[str, ...] = ()
    awaits: ObjectRef | None = None


@dataclass(frozen=True, slots=True)
class StepContext:
    """All that an action may know of the step it performs.

    Attributes:
        run_uid: identity of the run; with ``step`` the key under which the effect happens once.
        attempt: 1 for the first; rises only after the outcome of the last attempt is known.
        target: the run's pinned target, UID included.
        now: when the step began, for what an action writes (never for a decision).
        intent: what ``prepare`` returned, as stored before this call; None where it returned None.
        signer: signs markers.
        account: name of the ServiceAccount that the step acts as.
        deadline: when the step's time is over, or None where that is not known.
        memory: what is remembered of objects while they are well.
        keeper: keeps what is too large for the status.
        evidence: what was seen of ReplicaSets.
        web: sends HTTP requests to others than the API server.
        recent: objects as this run has just read or written them; a patch that rests on one of these needs no read.
        done: what the step is recorded to have done, for ``probe`` and ``undo``; None where that is not known.
        beyond_fence: whether the step was begun after other steps of the run were fenced off, if any were.
    """

    run_uid: str
    run_name: str
    namespace: str
    step: str
    attempt: int
    target: ObjectRef
    now: datetime
    signer: Signer
    evidence: RevisionEvidence
    intent: Mapping[str, JsonValue] | None = None
    recent: Recent = field(default_factory=Recent)
    account: str = ""
    deadline: datetime | None = None
    memory: Memory = field(default_factory=NoMemory)
    keeper: Keeper = NO_HISTORY
    web: Web = field(default_factory=NoWeb)
    done: Done | None = None
    beyond_fence: bool = False


class Action(Protocol, Generic[P]):
    """One kind of remediation. Stateless; one instance serves all runs.

    ``perform`` and ``undo`` raise ``core.errors.StepError``; called twice they have the effect of once.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    risk: ClassVar[Risk]
    idempotency: ClassVar[Idempotency]
    parameters: type[P]
    outputs: ClassVar[Mapping[str, str]]

    def rights(self, target: ObjectRef | None, parameters: P) -> tuple[Right, ...]:
        """Return the rights that the Workflow's ServiceAccount needs."""
        ...

    async def prepare(
        self, cluster: Cluster, context: StepContext, parameters: P
    ) -> Mapping[str, JsonValue] | None:
        """Read only: pin what will be acted on, where the effect itself can't carry a marker; else None."""
        ...

    async def perform(self, cluster: Cluster, context: StepContext, parameters: P) -> Done:
        """Do it, once."""
        ...

    async def undo(self, cluster: Cluster, context: StepContext, parameters: P) -> Done:
        """Put back exactly what ``perform`` changed; refuse (ChangedSince) where someone changed it since."""
        ...

    def looks_at(self, context: StepContext, parameters: P) -> tuple[Look, ...]:
        """Return what ``probe`` has to see: covered by ``rights``, but for the run's target. Raises StepError."""
        ...

    def probe(self, sight: Sight, context: StepContext, parameters: P) -> Probed:
        """Say of a step whether its effect is there, and whether it helped. Pure.

        Raises:
            StepError: that can't be told.
        """
        ...


@runtime_checkable
class Recalls(Protocol):
    """An action that can tell from an object whether a step was done, without doing it."""

    async def recall(self, cluster: Cluster, context: StepContext, parameters: Any) -> Done | None:
        """Return what the step did, or None where there is no mark of it. Reads only; raises ClusterError."""
        ...


@runtime_checkable
class Fences(Protocol):
    """An action that can make sure that no request of an earlier owner of the run still has its effect."""

    async def fence(self, cluster: Cluster, context: StepContext, parameters: Any) -> Done:
        """Return what the step did, or ``acted=False`` once it can't do it any more. Raises StepError."""
        ...


@runtime_checkable
class Awaits(Protocol):
    """A named action whose effect goes on by itself in the object that it created."""

    def ended(self, manifest: Mapping[str, Any]) -> bool:
        """Return whether that object, as seen, has come to its end. Pure."""
        ...


@runtime_checkable
class MayKeep(Protocol):
    """An action that may have to keep before-images apart from the object, which shows only when it sees that."""

    def may_keep(self, target: ObjectRef | None, parameters: Any) -> tuple[Right, ...]:
        """Return the rights that it needs then, beside those it always needs."""
        ...


@runtime_checkable
class Halts(Protocol):
    """An action that may be left half done, and must not be: where its step ends without it being done, it is undone.

    That is so whatever the Workflow's ``onFailure`` says: a step that is cut short by its timeout, or because its run
    is cancelled or given up, is put back by ``undo`` first. An action that gives up by itself puts back by itself.
    """

    halts: ClassVar[bool]
