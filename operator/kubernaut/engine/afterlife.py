"""What becomes of a finished run: stored in the history, told once, let go on deletion, expired."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

from pydantic import ValidationError

from kubernaut.api.execution import WorkflowExecution
from kubernaut.api.names import FINALIZER
from kubernaut.api.workflow import WorkflowSpec
from kubernaut.cluster.snapshots import Snapshots
from kubernaut.core.content import content_hash
from kubernaut.core.errors import ClusterError, Conflict, NotFound, OfLaterVersion
from kubernaut.core.features import Feature
from kubernaut.core.ports import ObjectRef
from kubernaut.engine.backoff import AWAY
from kubernaut.engine.finished import FinishedRun
from kubernaut.engine.ports import OperatorCluster
from kubernaut.history.facts import content_of
from kubernaut.history.records import RunKey as HistoryKey
from kubernaut.history.records import RunRecord, record_of
from kubernaut.metrics import EXPIRED, SPOOLED, WRITES

log = logging.getLogger(__name__)


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

    def expirable(self, run: FinishedRun) -> bool:
        """Whether a run may be deleted once its time is over: it is stored, or there is no history to store it."""
        return self._enabled(Feature.EXPIRY) and (run.mirrored or self._outbox is None)

    async def expire(self, run: FinishedRun) -> None:
        """Delete a run, with our finalizer taken off first: that is one request less than the other way round.

        Raises:
            ClusterError: the API server refused or is away.
        """
        await self._let_go(run)
        try:
            await self._cluster.delete(self._ref(run), uid=run.uid)
        except (NotFound, Conflict):
            return
        EXPIRED.inc()

    async def _unmirrored(self, run: FinishedRun) -> float | None:
        assert self._outbox is not None
        key = HistoryKey(run.uid, run.key.namespace, run.key.name, fresh=run.fresh)
        run.offered = self._outbox.offer(key)
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
        self._contents: dict[str, Mapping[str, Any] | None] = {}
        self._slots = asyncio.Semaphore(16)

    async def __call__(self, keys: Sequence[HistoryKey]) -> list[RunRecord | None]:
        """Return the record of each key in order; None where the object is gone, or can't be read.

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
            try:
                run = WorkflowExecution.model_validate(manifest)
                spec = await self._spec(run)
            except (ValidationError, OfLaterVersion) as error:
                # It is offered again when it is listed again; until then it holds up no other.
                log.error(
                    "a finished run can't be read and is not stored: it may be of a later version of Kubernaut, then "
                    "upgrade the operator",
                    extra={"run": f"{key.namespace}/{key.name}", "error": str(error)},
                )
                return None
            return record_of(run, spec, self._content(run, spec))

    def _content(self, run: WorkflowExecution, spec: WorkflowSpec | None) -> Mapping[str, Any] | None:
        """Return the content of a run's Workflow as it is kept, made once for each; only what the run claimed."""
        if spec is None or run.status is None or run.status.workflow is None:
            return None
        digest = run.status.workflow.content_hash
        if digest not in self._contents:
            if len(self._contents) > 1000:
                self._contents.clear()
            self._contents[digest] = content_of(spec) if content_hash(spec) == digest else None
        return self._contents[digest]

    async def _spec(self, run: WorkflowExecution) -> WorkflowSpec | None:
        claim = run.status.workflow if run.status else None
        if claim is None:
            return None
        if claim.content_hash not in self._specs:
            try:
                spec = await self._snapshots.get(run.metadata.namespace, claim.snapshot)
            except (*AWAY, OfLaterVersion):
                # Stored without it, the record would lack the names of its actions for good.
                raise
            except ClusterError:
                return None
            if len(self._specs) > 1000:
                self._specs.clear()
            self._specs[claim.content_hash] = spec
        return self._specs[claim.content_hash]
