"""A finished run as long as its object exists: only what is needed to look after it, for there are many."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from kubernaut.api.execution import RunPhase
from kubernaut.api.names import ANNOTATION_ALERTS, FINALIZER
from kubernaut.core.incidents import over_at
from kubernaut.core.ports import Manifest
from kubernaut.engine.homes import home_of, stored_home
from kubernaut.engine.keys import RunKey
from kubernaut.engine.live import LiveRun
from kubernaut.engine.views import newer

_DEFAULT_TTL: Final = 86_400
# Nearly all runs have just this one, so they share it.
_OURS: Final = (FINALIZER,)


@dataclass(slots=True)
class FinishedRun:
    """A finished run (about 1 KB).

    Attributes:
        workflow: name of its Workflow.
        succeeded: whether it ended well; failed and cancelled ones did not.
        ttl: seconds it stays after its end.
        limit: how many runs of its Workflow with its outcome may stay; None for any number.
        claimed: whether ``limit`` says anything; a run that was refused knows nothing of its Workflow.
        snapshot: the ControllerRevision that it needs.
        home: key of what it belongs to (``engine.homes``).
        mirrored: whether the history has it.
        fresh: whether it ended here, so that nobody can have stored it before.
        parent: UID and step of the run that started it, or None.
        kept_until: when the incident it stands for will be over, as far as is known; None for other runs.
    """

    key: RunKey
    uid: str
    resource_version: str
    finalizers: tuple[str, ...]
    deleted_at: datetime | None
    finished_at: datetime | None
    workflow: str
    succeeded: bool
    ttl: int
    limit: int | None
    claimed: bool
    snapshot: str | None
    home: str
    mirrored: bool = False
    offered: bool = False
    fresh: bool = False
    parent: tuple[str, str] | None = None
    kept_until: datetime | None = None

    @property
    def expires_at(self) -> datetime | None:
        """When its time is over."""
        return None if self.finished_at is None else self.finished_at + timedelta(seconds=self.ttl)

    @classmethod
    def of(cls, manifest: Manifest, mirrored: bool = False) -> FinishedRun:
        """Take up a finished run as read."""
        meta, status = manifest["metadata"], manifest.get("status") or {}
        claim: Mapping[str, Any] = status.get("workflow") or {}
        succeeded = status.get("phase") == RunPhase.SUCCEEDED.value
        parent = manifest["spec"].get("parent")
        return cls(
            RunKey(sys.intern(meta["namespace"]), meta["name"]),
            meta["uid"],
            meta["resourceVersion"],
            _shared(meta.get("finalizers") or ()),
            _time(meta.get("deletionTimestamp")),
            _time(status.get("finishedAt")),
            sys.intern(manifest["spec"]["workflowRef"]["name"]),
            succeeded,
            int(claim.get("ttlSecondsAfterFinished", _DEFAULT_TTL)),
            claim.get("successfulRunsHistoryLimit" if succeeded else "failedRunsHistoryLimit"),
            bool(claim),
            sys.intern(claim["snapshot"]) if claim else None,
            sys.intern(home_of(manifest, lambda _: None)),
            mirrored,
            parent=(parent["uid"], sys.intern(parent["step"])) if parent else None,
            kept_until=kept_until(meta.get("annotations")),
        )

    @classmethod
    def of_live(cls, live: LiveRun) -> FinishedRun:
        """Take up a run that has just finished."""
        meta, spec, status = live.execution.metadata, live.execution.spec, live.stored
        claim = status.workflow
        succeeded = status.phase is RunPhase.SUCCEEDED
        limit = None
        if claim is not None:
            limit = claim.successful_runs_history_limit if succeeded else claim.failed_runs_history_limit
        return cls(
            live.key,
            live.uid,
            live.resource_version,
            _shared(meta.finalizers),
            meta.deletion_timestamp,
            status.finished_at,
            sys.intern(spec.workflow_ref.name),
            succeeded,
            claim.ttl_seconds_after_finished if claim else _DEFAULT_TTL,
            limit,
            claim is not None,
            sys.intern(claim.snapshot) if claim else None,
            sys.intern(stored_home(live.key.namespace, spec.workflow_ref.name, status)),
            fresh=True,
            parent=(spec.parent.uid, sys.intern(spec.parent.step)) if spec.parent is not None else None,
            kept_until=kept_until(meta.annotations),
        )

    def observe(self, manifest: Manifest) -> bool:
        """Take note of the object as read; an older view changes nothing. Return whether it was a newer one."""
        if not newer(manifest, self.resource_version):
            return False
        meta = manifest["metadata"]
        self.resource_version = meta["resourceVersion"]
        self.finalizers = _shared(meta.get("finalizers") or ())
        self.deleted_at = _time(meta.get("deletionTimestamp"))
        self.kept_until = kept_until(meta.get("annotations"))
        return True


def kept_until(annotations: Mapping[str, str] | None) -> datetime | None:
    """Return when the incident that a run stands for will be over; None where it stands for none."""
    text = (annotations or {}).get(ANNOTATION_ALERTS)
    return over_at(text) if text else None


def _shared(finalizers: Any) -> tuple[str, ...]:
    found = tuple(finalizers)
    return _OURS if found == _OURS else found


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
