"""A run as the decisions see it: what was asked, what is stored, what is known, what is seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

from pydantic import JsonValue

from kubernaut.api.execution import Control, StepStatus, WorkflowExecutionStatus, unbegun
from kubernaut.api.reasons import REASONS, Reason
from kubernaut.core.features import Feature
from kubernaut.core.guards.facts import Guarded
from kubernaut.core.plan import PlannedStep


@dataclass(frozen=True, slots=True)
class Run:
    """One run.

    Attributes:
        params: typed parameters as given; approvers may have overridden some.
        dry_run: whether nothing is changed, only checked.
        depth: how many runs above this one started each other.
        cancelled_for: why it was cancelled, where that was not a person's wish.
        paused_for: the same of a pause.
        answered: since when, at the latest, answers to approval steps are there, by step, as far as that is known.
        stored: the status that the API server is known to hold.
        status: the status as known; may be ahead of ``stored``.
    """

    uid: str
    namespace: str
    name: str
    generation: int
    params: Mapping[str, Any]
    control: Control
    stored: WorkflowExecutionStatus
    status: WorkflowExecutionStatus
    dry_run: bool = False
    depth: int = 0
    cancelled_for: str = ""
    paused_for: str = ""
    answered: Mapping[str, datetime] = field(default_factory=dict)

    def step(self, name: str) -> StepStatus:
        """Return a step's record; a step that never began has an empty one."""
        for record in self.status.steps:
            if record.name == name:
                return record
        return unbegun(name)

    def stored_step(self, name: str) -> StepStatus:
        """Return a step's record as the API server holds it."""
        for record in self.stored.steps:
            if record.name == name:
                return record
        return unbegun(name)


class OutcomeKind(Enum):
    """How an effect ended."""

    DONE = "done"
    PREPARED = "prepared"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came back from one effect.

    Attributes:
        kind: DONE; PREPARED (``intent`` holds what was pinned); or FAILED (``reason`` and ``message`` say why).
        acted: whether an object was changed by this step.
        attempt: the attempt it is the outcome of; 0 where that is not known.
        undo: whether it is the outcome of putting the step back.
        fence: whether it is the outcome of fencing the step off.
        awaits: apiVersion, kind, name and uid of the object in which the effect goes on, or None.
        progress: how far an unfinished one is.
    """

    kind: OutcomeKind
    message: str = ""
    reason: Reason | None = None
    acted: bool = False
    changed: tuple[str, ...] = ()
    outputs: Mapping[str, JsonValue] = field(default_factory=dict)
    intent: Mapping[str, JsonValue] | None = None
    attempt: int = 0
    undo: bool = False
    fence: bool = False
    awaits: Mapping[str, JsonValue] | None = None
    progress: str = ""

    @property
    def transient(self) -> bool:
        """Whether trying the same again later may help; a fence whose answer was lost is asked for again."""
        if self.fence and self.reason is Reason.UNKNOWN_OUTCOME:
            return True
        info = REASONS.get(self.reason) if self.reason is not None else None
        return info is not None and info.transient


@dataclass(frozen=True, slots=True)
class Seen:
    """The target as the Workflow's account saw it; ``manifest`` is None where it does not exist."""

    manifest: Mapping[str, Any] | None

    @property
    def current(self) -> bool:
        """Whether its controller has looked at the newest spec; else its status speaks of an older one."""
        if self.manifest is None:
            return True
        observed, generation = (
            self._part("status", "observedGeneration"),
            self._part("metadata", "generation"),
        )
        return not isinstance(observed, int) or not isinstance(generation, int) or observed >= generation

    def _part(self, name: str, field: str) -> Any:
        part = self.manifest.get(name) if self.manifest is not None else None
        return part.get(field) if isinstance(part, Mapping) else None

    @property
    def uid(self) -> str | None:
        return None if self.manifest is None else (self.manifest.get("metadata") or {}).get("uid")


@dataclass(frozen=True, slots=True)
class Watched:
    """An object in the run's namespace that a step waits for."""

    api_version: str
    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Want:
    """What a step needs of scarce resources before it begins: name and amount of each."""

    step: str
    uses: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Hold:
    """Why nothing may be done now, though the run is live."""

    reason: Reason
    message: str

    def binds(self, *, dry_run: bool) -> bool:
        """Whether it holds for a run, or a request, of this kind: a stop ends acting, and a dry run does not act."""
        return not (dry_run and self.reason is Reason.STOPPED)


class AlertState(Enum):
    """What is known of the alerts for which a run was started."""

    FIRING = "firing"
    RESOLVED = "resolved"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class AlertSeen:
    """The alerts of a run's incident as they are after the act.

    Attributes:
        told: what is known of them, in words.
        again: whether somebody can be asked again; else one waits to be told.
    """

    state: AlertState
    told: str = ""
    again: bool = True


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample of what a query gave: its value, and what it is the value of, in words."""

    value: float
    labels: str = ""


@dataclass(frozen=True, slots=True)
class MetricSeen:
    """The answer to a query, or why there is none.

    Attributes:
        asked_at: when it was asked.
        reason: why nothing is known, or None.
        told: the same in words.
        again: whether asking again may help.
    """

    asked_at: datetime
    samples: tuple[Sample, ...] = ()
    reason: Reason | None = None
    told: str = ""
    again: bool = True


@dataclass(frozen=True, slots=True)
class Facts:
    """What is seen from outside: any of it may be lost, doubled or late.

    Attributes:
        outcomes: by step, of effects that ended since the last decision.
        in_flight: steps whose effect is under way now.
        target: the target, or None where it was not looked at since the last act.
        hold: why nothing may be done, or None.
        objects: other objects that steps wait for, as far as they were looked at.
        granted: steps that hold all the resources they want.
        off: features that are switched off.
        unfenced: steps that an earlier owner of the run may have begun; a request of theirs may still be on its way.
        guards: what guards say of the run, or None where it has none.
        alert: the alerts that started it, or None where none did.
        metrics: by query, the last answers that were had.
        unread: why objects that a step waits for, or the target, could not be read.
        healed: that all alerts which started it are over, in words; empty where one may still fire.
    """

    outcomes: Mapping[str, Outcome] = field(default_factory=dict)
    in_flight: frozenset[str] = frozenset()
    target: Seen | None = None
    hold: Hold | None = None
    objects: Mapping[Watched, Seen] = field(default_factory=dict)
    granted: frozenset[str] = frozenset()
    off: frozenset[Feature] = frozenset()
    unfenced: frozenset[str] = frozenset()
    guards: Guarded | None = None
    alert: AlertSeen | None = None
    metrics: Mapping[str, MetricSeen] = field(default_factory=dict)
    unread: Mapping[Watched, str] = field(default_factory=dict)
    healed: str = ""


@dataclass(frozen=True, slots=True)
class Act:
    """Perform (or undo) a step's action.

    ``prepare`` asks only to pin what it will act on; ``fence`` only to see to it that no request of an earlier owner
    of the run can still have its effect. To undo a subflow is to cancel the run that it started. ``beyond_fence``:
    what was fenced off, if anything was, is known to be over, and this is begun after it.
    """

    step: PlannedStep
    attempt: int
    parameters: Mapping[str, Any]
    deadline: datetime
    undo: bool = False
    prepare: bool = False
    intent: Mapping[str, JsonValue] | None = None
    fence: bool = False
    beyond_fence: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows from run, plan, facts and time.

    Attributes:
        status: the run's status from now on.
        acts: effects to begin, once ``status`` is stored where ``store_first`` says so.
        store_first: whether a decision behind the acts could not be remade from what is stored.
        observe: whether the target must be seen (and watched) for the run to move on.
        objects: other objects that must be seen (and watched).
        wants: scarce resources that steps wait for or hold; what is not wanted any more is given back.
        wake_at: when to decide again though nothing happens, or None.
        queries: what has to be asked of Prometheus, now, for the run to move on.
    """

    status: WorkflowExecutionStatus
    acts: tuple[Act, ...] = ()
    store_first: bool = False
    observe: bool = False
    objects: frozenset[Watched] = frozenset()
    wants: tuple[Want, ...] = ()
    wake_at: datetime | None = None
    queries: frozenset[str] = frozenset()
