"""A live run in memory: what was last seen of it, what is stored, what is under way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from kubernaut.api.execution import Control, WorkflowExecution, WorkflowExecutionStatus
from kubernaut.api.names import ANNOTATION_REPLACED_BY
from kubernaut.core.answered import answered
from kubernaut.core.fields import without_nulls
from kubernaut.core.plan import Plan
from kubernaut.core.ports import Manifest, ObjectRef
from kubernaut.core.recent import Recent
from kubernaut.core.run import Hold, MetricSeen, Outcome, Run, Seen, Watched
from kubernaut.engine.keys import RunKey
from kubernaut.engine.views import Views, newer


class Unreadable(ValueError):
    """What is stored of a live run can't be read any more, which a later version may have written.

    Attributes:
        manifest: the run as it is stored.
        why: what pydantic has against it.
    """

    def __init__(self, manifest: Manifest, why: ValidationError) -> None:
        super().__init__(str(why))
        self.manifest = manifest
        self.why = why


@dataclass(slots=True, weakref_slot=True)
class LiveRun:
    """One run that is not finished, as one worker at a time handles it.

    Attributes:
        stored: the status that the API server is known to hold.
        status: the status as known; may be ahead of ``stored``.
        sent: the last status that was sent to be stored, whether or not an answer has come.
        moved: a status that somebody else has stored, until it is taken up.
        tasks: effects under way, by step.
        recalled: what was found done when the run was taken up again, until it is decided upon.
        views: the target and other objects, as seen since the last act.
        answers: by query, the last answers of Prometheus; facts, so a restart asks again.
        asking: by query, what is being asked of it.
        granted: steps that hold the scarce resources they want.
        unfenced: steps that an earlier owner may have begun, a request of theirs being on its way still.
        waiting: set when something happened that a worker on this run must notice.
        recent: objects as the run has just read or written them; forgotten once it rests.
        look_after: seconds after which a run that could not begin is looked at again, or None.
        refusal: why it could not move to another revision while paused, or nothing.
        shard: where it belongs.
        lease: says why nothing may be sent for it now, or None: its shard is another replica's.
        at_home: says whether a target's key belongs to this replica; else the run is another's from then on.
        answered: since when, at the latest, answers of people are there, by step.
        left: what it held was released; what a later life of the same run holds is not this one's to release.
    """

    key: RunKey
    uid: str
    ref: ObjectRef
    resource_version: str
    execution: WorkflowExecution
    stored: WorkflowExecutionStatus
    status: WorkflowExecutionStatus
    sent: WorkflowExecutionStatus | None = None
    moved: WorkflowExecutionStatus | None = None
    plan: Plan | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    tasks: dict[str, asyncio.Task[Outcome]] = field(default_factory=dict)
    recalled: dict[str, Outcome] = field(default_factory=dict)
    views: Views = field(default_factory=Views)
    answers: dict[str, MetricSeen] = field(default_factory=dict)
    asking: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    granted: frozenset[str] = frozenset()
    unfenced: frozenset[str] = frozenset()
    waiting: asyncio.Event = field(default_factory=asyncio.Event)
    wrote_at: float = 0.0
    gone: bool = False
    look_after: float | None = None
    refusal: str = ""
    recent: Recent = field(default_factory=Recent)
    answered: Mapping[str, datetime] = field(default_factory=dict)
    left: bool = False
    shard: int = 0
    lease: Callable[[], Hold | None] = lambda: None
    at_home: Callable[[str], bool] = lambda _: True

    @classmethod
    def of(cls, manifest: Manifest) -> LiveRun:
        """Take up a run as read. Raises pydantic.ValidationError where the schema let through too much."""
        execution = WorkflowExecution.model_validate(manifest)
        status = execution.status or WorkflowExecutionStatus()
        meta = execution.metadata
        return cls(
            RunKey(meta.namespace, meta.name),
            meta.uid,
            ObjectRef.of(manifest),
            meta.resource_version,
            execution,
            status,
            status,
            answered=answered(manifest),
        )

    @property
    def service_account(self) -> str:
        """The name of the ServiceAccount that a claimed run acts as."""
        claim = self.status.workflow
        assert claim is not None
        return claim.service_account_name

    def observe(self, manifest: Manifest, *, own: bool = False) -> None:
        """Take note of the object as read or written; an older view changes nothing. Raises Unreadable.

        Args:
            own: it is the answer to a write of the status, so nobody else's status can be in it.
        """
        if manifest["metadata"].get("uid") != self.uid or not newer(manifest, self.resource_version):
            return
        if not own:
            self._compare(parse_status(manifest))
        self.resource_version = manifest["metadata"]["resourceVersion"]
        if not self._changed(manifest["metadata"]):
            return
        slim = {k: v for k, v in manifest.items() if k != "status"}
        try:
            self.execution = WorkflowExecution.model_validate(slim)
        except ValidationError as error:
            raise Unreadable(manifest, error) from error
        self.answered = answered(manifest)

    def _compare(self, status: WorkflowExecutionStatus) -> None:
        """Find out whether a status that is newer than all that is known is somebody else's."""
        if self.sent is not None and alike(status, self.sent):
            # A watch was quicker than the answer, or the answer was lost.
            self.stored, self.moved = self.sent, None
        else:
            self.moved = None if alike(status, self.stored) else status

    def take_over(self, status: WorkflowExecutionStatus) -> None:
        """Go on from what somebody else has stored: what was decided here is void, so it is taken up again."""
        self.stored = self.status = status
        self.sent = self.moved = self.plan = None

    def _changed(self, meta: Mapping[str, Any]) -> bool:
        """Whether anything but the status differs: spec and deletion raise the generation."""
        known = self.execution.metadata
        return (
            meta.get("generation") != known.generation
            or (meta.get("finalizers") or []) != known.finalizers
            or (meta.get("annotations") or {}) != known.annotations
            or bool(meta.get("deletionTimestamp")) != (known.deletion_timestamp is not None)
        )

    @property
    def target(self) -> Watched | None:
        """The run's target, where it is claimed."""
        target = self.status.target
        return Watched(target.api_version, target.kind, target.name) if target is not None else None

    @property
    def seen(self) -> Seen | None:
        """The target as seen since the last act; None where it must be read again."""
        return self.views.seen(self.target) if self.target is not None else None

    @property
    def deleting(self) -> bool:
        return self.execution.metadata.deletion_timestamp is not None

    def view(self) -> Run:
        """Return the run as decisions see it; one that is being deleted counts as cancelled."""
        control: Control = self.execution.spec.control
        if self.deleting:
            control = control.replace(cancel=True)
        meta, parent = self.execution.metadata, self.execution.spec.parent
        return Run(
            self.uid,
            meta.namespace,
            meta.name,
            meta.generation,
            self.params,
            control,
            self.stored,
            self.status,
            dry_run=self.execution.spec.dry_run,
            depth=parent.depth if parent is not None else 0,
            cancelled_for="" if not self.replaced_by else f"Run {self.replaced_by} took its place.",
            paused_for=self.refusal,
            answered=self.answered,
        )

    @property
    def replaced_by(self) -> str:
        """The newer run of the same Workflow for which this one was cancelled, or nothing."""
        return self.execution.metadata.annotations.get(ANNOTATION_REPLACED_BY, "")


def alike(read: WorkflowExecutionStatus, known: WorkflowExecutionStatus) -> bool:
    """Whether a status as read is one that is known; what is written loses nulls, and parts of a second."""
    return read == known or without_nulls(read.wire()) == without_nulls(known.wire())


def parse_status(manifest: Manifest) -> WorkflowExecutionStatus:
    """Return the status of a run as read. Raises Unreadable, which a later version may have written."""
    try:
        return WorkflowExecutionStatus.model_validate(manifest.get("status") or {})
    except ValidationError as error:
        raise Unreadable(manifest, error) from error
