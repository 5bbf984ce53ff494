"""What becomes of a run whose target is held: it waits, gives way, or takes the place of an older one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Final

from pydantic import ValidationError

from kubernaut.api.execution import (
    ParentRef,
    StepPhase,
    StepStatus,
    WorkflowExecution,
    WorkflowExecutionStatus,
)
from kubernaut.api.names import ANNOTATION_REPLACED_BY, API_VERSION
from kubernaut.api.reasons import Reason
from kubernaut.api.workflow import ConcurrencyPolicy, WorkflowSpec
from kubernaut.core.errors import Conflict, NotFound, StepError, UnknownOutcome
from kubernaut.core.features import Feature
from kubernaut.core.naming import child_run
from kubernaut.core.ports import ObjectRef
from kubernaut.engine.keys import RunKey
from kubernaut.engine.live import LiveRun
from kubernaut.engine.locks import TargetLocks
from kubernaut.engine.ports import OperatorCluster
from kubernaut.metrics import WRITES

log = logging.getLogger(__name__)
_MOST_ABOVE: Final = 16
_TRIES: Final = 5
_UNKNOWN: Final = datetime.min.replace(tzinfo=UTC)
#: a run as far as its own record goes
Parent = tuple[WorkflowExecution, WorkflowExecutionStatus]


class ConcurrentRun(StepError):
    """The target is held, and the Workflow of the new run forbids that it waits."""

    reason = Reason.CONCURRENT_RUN


class Concurrency:
    """Takes locks on targets for runs, as their Workflow's ``concurrencyPolicy`` says.

    Args:
        find: returns a live run that this replica drives, or None.
    """

    def __init__(
        self,
        own: OperatorCluster,
        locks: TargetLocks,
        find: Callable[[RunKey], LiveRun | None],
        off: Callable[[], frozenset[Feature]],
    ) -> None:
        self._own = own
        self._locks = locks
        self._find = find
        self._off = off

    async def parent(self, live: LiveRun) -> Parent | None:
        """Return the run that started this one, as it says itself; None where there is none, or it is gone.

        Raises:
            ClusterError: it can't be read.
        """
        parent = live.execution.spec.parent
        return (
            None if parent is None else await self._look(RunKey(live.key.namespace, parent.name), parent.uid)
        )

    async def take(
        self, live: LiveRun, target_uid: str, spec: WorkflowSpec, above: Collection[RunKey] = ()
    ) -> RunKey | None:
        """Take the target for a run that is not claimed yet; return None, or the run that it waits for.

        Nothing is waited for before it is taken, or has its place among those who wait.

        Args:
            above: what ``above`` returned for it.

        Raises:
            ConcurrentRun: the Workflow forbids a second run.
            ClusterError: a run that is to be replaced could not be cancelled.
        """
        holder = self._locks.take(
            target_uid,
            live.key,
            sharing_with=above,
            priority=0 if Feature.PRIORITIES in self._off() else spec.priority,
            created=live.execution.metadata.creation_timestamp,
        )
        if holder is None:
            return None
        if spec.concurrency_policy is ConcurrencyPolicy.FORBID:
            self._locks.release(live.key)
            message = f"run {holder} holds the target, and concurrencyPolicy of the Workflow is Forbid"
            raise ConcurrentRun(message)
        if spec.concurrency_policy is ConcurrencyPolicy.REPLACE:
            for key in self._replaceable(live):
                old = self._find(key)
                if old is not None and self._of_same_workflow(live, old):
                    await self._replace(old, live)
        return holder

    def _replaceable(self, live: LiveRun) -> list[RunKey]:
        """Return the run that holds the target, and older ones that wait for it."""
        holder, created = self._locks.holder(live.key), live.execution.metadata.creation_timestamp
        found = self._locks.older(live.key)
        old = self._find(holder) if holder is not None else None
        if old is not None and (old.execution.metadata.creation_timestamp or _UNKNOWN) <= (
            created or _UNKNOWN
        ):
            found.insert(0, old.key)
        return found

    @staticmethod
    def _of_same_workflow(live: LiveRun, old: LiveRun) -> bool:
        alike = old.execution.spec.workflow_ref == live.execution.spec.workflow_ref
        return alike and old.key.namespace == live.key.namespace

    async def _replace(self, old: LiveRun, new: LiveRun) -> None:
        """Cancel a run, and say in the same patch which run took its place."""
        body = {
            "metadata": {"annotations": {ANNOTATION_REPLACED_BY: new.key.name}},
            "spec": {"control": {"cancel": True}},
        }
        for _ in range(_TRIES):
            if old.gone or old.deleting or old.execution.spec.control.cancel:
                return
            try:
                WRITES.labels("replace").inc()
                written = await self._own.patch(old.ref, body, resource_version=old.resource_version)
            except NotFound:
                return
            except (Conflict, UnknownOutcome):
                written = await self._own.get(old.ref)
                if written["metadata"]["uid"] != old.uid:
                    return
            else:
                log.info("run replaced", extra={"run": str(old.key), "by": str(new.key)})
            old.observe(written)
            old.waiting.set()
            self._locks.wake(old.key)
        if not old.execution.spec.control.cancel:
            raise Conflict(f"{old.ref} keeps being changed by others; it is replaced later", status=409)

    async def above(self, live: LiveRun, seen: Parent | None) -> list[RunKey]:
        """Return the runs that started this one, and each other: as far as their own records say so.

        What a run says of its parent itself proves nothing: anybody may write it. One that another replica drives is
        read, which costs a request.

        Args:
            seen: what ``parent`` returned for it.

        Raises:
            ClusterError: it can't be read.
        """
        found: list[RunKey] = []
        name, uid, execution = live.key.name, live.uid, live.execution
        while (parent := execution.spec.parent) is not None and len(found) < _MOST_ABOVE:
            key = RunKey(live.key.namespace, parent.name)
            if found:
                seen = await self._look(key, parent.uid)
            if seen is None:
                break
            execution, status = seen
            record = next((one for one in status.steps if one.name == parent.step), None)
            if record is None or not _started(key, parent, record, name, uid):
                break
            found.append(key)
            name, uid = key.name, parent.uid
        return found

    async def _look(self, key: RunKey, uid: str) -> Parent | None:
        live = self._find(key)
        # What is known of a run that another replica may drive by now may be old.
        if live is not None and live.uid == uid and live.lease() is None:
            return live.execution, live.status
        try:
            manifest = await self._own.get(
                ObjectRef(API_VERSION, "WorkflowExecution", key.namespace, key.name)
            )
            execution = WorkflowExecution.model_validate(manifest)
        except (NotFound, ValidationError):
            return None
        return (
            (execution, execution.status or WorkflowExecutionStatus())
            if execution.metadata.uid == uid
            else None
        )


def disowned(live: LiveRun, parent: Parent | None) -> str:
    """Return why nobody waits for a run that another one is said to have started; empty where somebody may.

    Such a run was created by a request that came late, after the one that sent it had been given up.
    """
    ref = live.execution.spec.parent
    if ref is None:
        return ""
    if parent is None:
        return f"Run {ref.name} (UID {ref.uid}), which started it, is gone."
    status = parent[1]
    record = next((one for one in status.steps if one.name == ref.step), None)
    if status.phase.final:
        return f"Run {ref.name}, which started it, had ended before it began."
    if record is not None and record.phase.final:
        return f"Step {ref.step} of run {ref.name}, which started it, had ended before it began."
    if record is not None and (record.intent or {}).get("uid", live.uid) != live.uid:
        return f"Step {ref.step} of run {ref.name}, which is said to have started it, waits for another run."
    return ""


def _started(key: RunKey, parent: ParentRef, record: StepStatus, name: str, uid: str) -> bool:
    """Whether a step's record says that it started this run: by UID, or by name while the start is under way."""
    if record.phase.final:
        return False
    if record.intent is not None:
        return record.intent.get("uid") == uid
    begun = record.phase is StepPhase.RUNNING
    return begun and child_run(key.name, parent.uid, parent.step, record.attempt) == name
