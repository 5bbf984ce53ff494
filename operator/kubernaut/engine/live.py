"""A live run in memory: what was last seen of it, what is stored, what is under way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kubernaut.api.execution import Control, WorkflowExecution, WorkflowExecutionStatus
from kubernaut.core.plan import Plan
from kubernaut.core.ports import Manifest, ObjectRef
from kubernaut.core.run import Hold, Outcome, Run, Seen
from kubernaut.engine.keys import RunKey


def newer(manifest: Manifest, than: str) -> bool:
    """Whether an object as read is newer than a resource version (they are ordered integers since 1.35)."""
    version = manifest["metadata"]["resourceVersion"]
    try:
        return int(version) > int(than or 0)
    except ValueError:
        return bool(version != than)


@dataclass(slots=True)
class LiveRun:
    """One run that is not finished, as one worker at a time handles it.

    Attributes:
        stored: the status that the API server is known to hold.
        status: the status as known; may be ahead of ``stored``.
        tasks: effects under way, by step.
        recalled: what was found done when the run was taken up again, until it is decided upon.
        seen: the target since the last act; None where it must be read again.
        waiting: set when something happened that a worker on this run must notice.
        shard: where it belongs.
        lease: says why nothing may be sent for it now, or None: its shard is another replica's.
        at_home: says whether a target's key belongs to this replica; else the run is another's from then on.
        left: what it held was released; what a later life of the same run holds is not this one's to release.
    """

    key: RunKey
    uid: str
    ref: ObjectRef
    resource_version: str
    execution: WorkflowExecution
    stored: WorkflowExecutionStatus
    status: WorkflowExecutionStatus
    plan: Plan | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    tasks: dict[str, asyncio.Task[Outcome]] = field(default_factory=dict)
    recalled: dict[str, Outcome] = field(default_factory=dict)
    seen: Seen | None = None
    seen_version: str = ""
    blind: bool = True
    unwatch: Callable[[], None] | None = None
    waiting: asyncio.Event = field(default_factory=asyncio.Event)
    wrote_at: float = 0.0
    gone: bool = False
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
        )

    def observe(self, manifest: Manifest) -> None:
        """Take note of the object as read or written; an older view changes nothing."""
        if manifest["metadata"].get("uid") != self.uid or not newer(manifest, self.resource_version):
            return
        self.resource_version = manifest["metadata"]["resourceVersion"]
        slim = {k: v for k, v in manifest.items() if k != "status"}
        self.execution = WorkflowExecution.model_validate(slim)

    def look_away(self) -> None:
        """Forget the target: it must be read again, and what a watch still brings is older than that."""
        self.seen = None
        self.blind = True

    def look_at(self, manifest: Manifest | None) -> None:
        """Take note of the target as just read."""
        self.blind = False
        self.seen = Seen(manifest)
        if manifest is not None:
            self.seen_version = manifest["metadata"]["resourceVersion"]

    def watched(self, manifest: Manifest | None) -> None:
        """Take note of the target as a watch brought it; an older view than the last one changes nothing."""
        if self.blind or (manifest is not None and not newer(manifest, self.seen_version)):
            return
        self.look_at(manifest)

    @property
    def deleting(self) -> bool:
        return self.execution.metadata.deletion_timestamp is not None

    def view(self) -> Run:
        """Return the run as decisions see it; one that is being deleted counts as cancelled."""
        control: Control = self.execution.spec.control
        if self.deleting:
            control = control.replace(cancel=True)
        meta = self.execution.metadata
        return Run(
            self.uid,
            meta.namespace,
            meta.name,
            meta.generation,
            self.params,
            control,
            self.stored,
            self.status,
        )

    def forget_watch(self) -> None:
        """Stop watching the target."""
        if self.unwatch is not None:
            self.unwatch()
            self.unwatch = None
