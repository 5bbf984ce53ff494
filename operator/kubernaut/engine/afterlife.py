"""What becomes of a finished run: stored in the history, told once, let go on deletion, expired."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from kubernaut.api.execution import WorkflowExecution
from kubernaut.api.names import FINALIZER
from kubernaut.api.workflow import WorkflowSpec
from kubernaut.cluster.snapshots import Snapshots
from kubernaut.core.errors import ClusterError, Conflict, NotFound
from kubernaut.core.features import Feature
from kubernaut.core.ports import Manifest, ObjectRef
from kubernaut.engine.homes import stored_home
from kubernaut.engine.keys import RunKey
from kubernaut.engine.live import LiveRun
from kubernaut.engine.ports import OperatorCluster
from kubernaut.engine.views import newer
from kubernaut.history.records import RunKey as HistoryKey
from kubernaut.history.records import RunRecord, record_of
from kubernaut.metrics import EXPIRED, SPOOLED, WRITES

log = logging.getLogger(__name__)
_DEFAULT_TTL = timedelta(days=1)
# Seconds after which a run that may not be deleted yet is looked at again.
_LOOK_AGAIN = 10.0


class Outbox(Protocol):
    """Where finished runs wait for the history."""

    def offer(self, key: HistoryKey) -> bool:
        """Have a run stored; False where there is no room (it is offered again later)."""
        ...


class Spool(Protocol):
    """Where runs go that can't wait for the history."""

    async def keep(self, record: RunRecord) -> bool:
        """Keep a record on disk; False where there is no room."""
        ...


@dataclass(slots=True)
class FinishedRun:
    """A finished run as long as its object exists."""

    key: RunKey
    uid: str
    resource_version: str
    finalizers: tuple[str, ...]
    deleted_at: datetime | None
    expires_at: datetime | None
    snapshot: str | None
    home: str
    mirrored: bool = False
    offered: bool = False

    @classmethod
    def of(cls, manifest: Manifest, mirrored: bool = False) -> FinishedRun:
        """Take up a finished run as read."""
        run = cls.of_live(LiveRun.of(manifest))
        run.mirrored = mirrored
        return run

    @classmethod
    def of_live(cls, live: LiveRun) -> FinishedRun:
        """Take up a run that has just finished."""
        meta, status = live.execution.metadata, live.stored
        ttl = _DEFAULT_TTL
        if status.workflow is not None:
            ttl = timedelta(seconds=status.workflow.ttl_seconds_after_finished)
        return cls(
            live.key,
            live.uid,
            live.resource_version,
            tuple(meta.finalizers),
            meta.deletion_timestamp,
            status.finished_at + ttl if status.finished_at else None,
            status.workflow.snapshot if status.workflow else None,
            stored_home(live.key.namespace, live.execution.spec.workflow_ref.name, status),
        )

    def observe(self, manifest: Manifest) -> None:
        """Take note of the object as read; an older view changes nothing."""
        if newer(manifest, self.resource_version):
            fresh = FinishedRun.of(manifest, self.mirrored)
            self.resource_version = fresh.resource_version
            self.finalizers = fresh.finalizers
            self.deleted_at = fresh.deleted_at


class Afterlife:
    """Looks after finished runs. Nothing is deleted before it is stored in the history, or on disk."""

    def __init__(
        self,
        cluster: OperatorCluster,
        outbox: Outbox | None,
        spool: Spool | None,
        load: Callable[[Sequence[HistoryKey]], Awaitable[list[RunRecord | None]]],
        delete_grace: timedelta,
        clock: Callable[[], datetime],
        *,
        enabled: Callable[[Feature], bool] = lambda feature: True,
    ) -> None:
        self._enabled = enabled
        self._cluster = cluster
        self._outbox = outbox
        self._spool = spool
        self._load = load
        self._grace = delete_grace
        self._clock = clock

    async def reconcile(self, run: FinishedRun) -> float | None:
        """Move a finished run on; return after how many seconds to look again, or None.

        Raises:
            ClusterError: the API server refused or is away; try again later.
        """
        if self._outbox is not None and not run.mirrored:
            return await self._unmirrored(run)
        if run.deleted_at is not None:
            await self._let_go(run)
            return None
        if run.expires_at is None:
            return None
        left = (run.expires_at - self._clock()).total_seconds()
        if left > 0:
            return left
        if not self._enabled(Feature.EXPIRY):
            return _LOOK_AGAIN
        await self._expire(run)
        return None

    async def _unmirrored(self, run: FinishedRun) -> float | None:
        assert self._outbox is not None
        run.offered = self._outbox.offer(HistoryKey(run.uid, run.key.namespace, run.key.name))
        if run.deleted_at is None:
            return None if run.offered else 60.0
        left = (run.deleted_at + self._grace - self._clock()).total_seconds()
        if left > 0:
            return left
        if FINALIZER in run.finalizers:
            await self._keep_on_disk(run)
            await self._let_go(run)
        return None

    async def _keep_on_disk(self, run: FinishedRun) -> None:
        """Keep the record on disk, so that a deletion is not held hostage by the history."""
        (record,) = await self._load([HistoryKey(run.uid, run.key.namespace, run.key.name)])
        if record is None:
            return
        if self._spool is not None and await self._spool.keep(record):
            SPOOLED.inc()
            log.warning("the history is away; the run was kept on disk", extra={"run": str(run.key)})
        else:
            log.error(
                "the history is away and the spool is full; the run is lost", extra={"run": str(run.key)}
            )

    async def _let_go(self, run: FinishedRun) -> None:
        """Take our finalizer off, so that the deletion can go on."""
        ref = self._ref(run)
        while FINALIZER in run.finalizers:
            rest = [name for name in run.finalizers if name != FINALIZER]
            body = {"metadata": {"finalizers": rest or None}}
            try:
                WRITES.labels("finalizer").inc()
                await self._cluster.patch(ref, body, resource_version=run.resource_version)
                run.finalizers = tuple(rest)
            except Conflict:
                fresh = await self._cluster.get(ref)
                if fresh["metadata"]["uid"] != run.uid:
                    return
                run.observe(fresh)
            except NotFound:
                return

    async def _expire(self, run: FinishedRun) -> None:
        try:
            await self._cluster.delete(self._ref(run), uid=run.uid)
            EXPIRED.inc()
        except (NotFound, Conflict):
            return

    def _ref(self, run: FinishedRun) -> ObjectRef:
        return ObjectRef(
            "kubernaut.io/v1alpha1", "WorkflowExecution", run.key.namespace, run.key.name, run.uid
        )


class RecordLoader:
    """Reads finished runs as records: the object itself, and its snapshot for the names of the actions."""

    def __init__(self, cluster: OperatorCluster) -> None:
        self._cluster = cluster
        self._snapshots = Snapshots(cluster)
        self._specs: dict[str, WorkflowSpec] = {}
        self._slots = asyncio.Semaphore(16)

    async def __call__(self, keys: Sequence[HistoryKey]) -> list[RunRecord | None]:
        """Return the record of each key in order; None where the object is gone.

        Raises:
            ClusterError: the API server is away.
        """
        return list(await asyncio.gather(*(self._one(key) for key in keys)))

    async def _one(self, key: HistoryKey) -> RunRecord | None:
        ref = ObjectRef("kubernaut.io/v1alpha1", "WorkflowExecution", key.namespace, key.name)
        async with self._slots:
            try:
                manifest = await self._cluster.get(ref)
            except NotFound:
                return None
            if manifest["metadata"]["uid"] != key.uid:
                return None
            run = WorkflowExecution.model_validate(manifest)
            return record_of(run, await self._spec(run))

    async def _spec(self, run: WorkflowExecution) -> WorkflowSpec | None:
        claim = run.status.workflow if run.status else None
        if claim is None:
            return None
        if claim.content_hash not in self._specs:
            try:
                spec = await self._snapshots.get(run.metadata.namespace, claim.snapshot)
            except ClusterError:
                return None
            if len(self._specs) > 1000:
                self._specs.clear()
            self._specs[claim.content_hash] = spec
        return self._specs[claim.content_hash]
