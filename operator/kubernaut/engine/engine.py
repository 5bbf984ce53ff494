"""The engine: takes what watches bring, wakes keys, and lets workers reconcile them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime

from kubernaut.api.names import API_VERSION
from kubernaut.config import Settings
from kubernaut.core.errors import ClusterError
from kubernaut.core.features import Feature
from kubernaut.core.ports import Manifest
from kubernaut.engine.afterlife import Afterlife, FinishedRun
from kubernaut.engine.events import finished_event
from kubernaut.engine.evidence import AvailabilityEvidence
from kubernaut.engine.holds import Gate
from kubernaut.engine.keys import Heartbeat, RunKey, WorkflowKey
from kubernaut.engine.live import LiveRun, newer
from kubernaut.engine.locks import TargetLocks
from kubernaut.engine.ports import OperatorCluster
from kubernaut.engine.queue import KeyedQueue
from kubernaut.engine.runs import RunReconciler
from kubernaut.engine.store import parse_status
from kubernaut.engine.sweep import Snapshot, SnapshotSweep
from kubernaut.engine.workflows import WorkflowReconciler
from kubernaut.metrics import (
    HEARTBEAT,
    LOCKS,
    QUEUE_DELAYED,
    QUEUE_DEPTH,
    RECONCILE_SECONDS,
    RECONCILES,
    RUN_SECONDS,
    RUNS_FINISHED,
    RUNS_LIVE,
    WRITES,
)

log = logging.getLogger(__name__)
Key = RunKey | WorkflowKey | Heartbeat
HEARTBEAT_SECONDS = 2.0
MAX_BACKOFF = 60.0
_LIVE = "status.phase!=Succeeded,status.phase!=Failed,status.phase!=Cancelled"


@dataclass(frozen=True, slots=True)
class Parts:
    """What an engine is put together from."""

    settings: Settings
    cluster: OperatorCluster
    runs: RunReconciler
    workflows: WorkflowReconciler
    afterlife: Afterlife
    evidence: AvailabilityEvidence
    gate: Gate
    locks: TargetLocks
    check_policies: Callable[[], Awaitable[list[str]]]
    sweep: SnapshotSweep
    clock: Callable[[], datetime]
    instance: str


class Engine:
    """One replica's running loop."""

    def __init__(self, parts: Parts, queue: KeyedQueue[Key]) -> None:
        self._parts = parts
        self._queue = queue
        self._live: dict[RunKey, LiveRun] = {}
        self._finished: dict[RunKey, FinishedRun] = {}
        self._uids: dict[str, RunKey] = {}
        self._workflows: dict[WorkflowKey, Manifest] = {}
        self._failures: dict[Key, int] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._workers: list[asyncio.Task[None]] = []
        self._beat_at = time.monotonic()
        self._look = parts.gate.watcher(self.wake_all)

    # What watches bring

    def on_run(self, event: str | None, manifest: Manifest) -> None:
        """Take note of a WorkflowExecution; never blocks, never raises for a well-formed object."""
        key = RunKey(manifest["metadata"]["namespace"], manifest["metadata"]["name"])
        uid = manifest["metadata"]["uid"]
        known = self._live.get(key) or self._finished.get(key)
        if event == "DELETED" or (known is not None and known.uid != uid):
            self._forget(key)
            if event == "DELETED":
                return
        live, finished = self._live.get(key), self._finished.get(key)
        if live is not None:
            live.observe(manifest)
            live.waiting.set()
        elif finished is not None:
            finished.observe(manifest)
        else:
            self._take_up(key, manifest)
        self._queue.add(key)

    def on_workflow(self, event: str | None, manifest: Manifest) -> None:
        """Take note of a Workflow."""
        key = WorkflowKey(manifest["metadata"]["namespace"], manifest["metadata"]["name"])
        if event == "DELETED":
            self._workflows.pop(key, None)
            return
        self._workflows[key] = manifest
        self._queue.add(key)

    def on_replicaset(self, event: str | None, manifest: Manifest) -> None:
        """Take note of a ReplicaSet that may be available."""
        if event != "DELETED":
            self._parts.evidence.observe(manifest)

    def on_mirrored(self, uids: list[str]) -> None:
        """Take note that runs are stored in the history."""
        for uid in uids:
            key = self._uids.get(uid)
            finished = self._finished.get(key) if key else None
            if finished is not None and key is not None:
                finished.mirrored = True
                self._queue.add(key)

    def on_switch(self) -> None:
        """Look at whether acting is allowed; wake every run where that changed."""
        self._look()

    def wake_all(self) -> None:
        """Have every live run looked at."""
        for key, live in self._live.items():
            live.waiting.set()
            self._queue.add(key)

    # Life

    async def start(self) -> None:
        """Take up the live runs, then let workers begin.

        Raises:
            ClusterError: the runs can't be listed; the operator can't work at all.
        """
        await self._patiently(self._recover)
        parts = self._parts
        await self._patiently(self._check_policies)
        self._look()
        self._workers = [asyncio.create_task(self._work()) for _ in range(parts.settings.workers)]
        self._tasks = [asyncio.create_task(loop) for loop in self._loops()]

    async def stop(self) -> None:
        """Begin nothing new, let effects under way end, then go."""
        for task in self._tasks:
            task.cancel()
        self._queue.close()
        grace = self._parts.settings.shutdown_grace.total_seconds()
        if self._workers:
            _, late = await asyncio.wait(self._workers, timeout=grace)
            for task in late:
                task.cancel()
        for live in self._live.values():
            self._parts.runs.let_go(live)
        await asyncio.gather(*self._tasks, *self._workers, return_exceptions=True)

    def finished(self, run_uid: str) -> bool:
        """Whether a run is known to be over, so that its marker on an object is needed no more.

        A run that is not known is one: every live run is loaded before any worker begins, and a new one is taken
        up before it acts.
        """
        key = self._uids.get(run_uid)
        return key is None or key not in self._live

    @property
    def seconds_since_progress(self) -> float:
        """How long ago a worker last proved that it works."""
        return time.monotonic() - self._beat_at

    async def _patiently(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do what the start needs; wait for an API server that is away or not ready yet."""
        pause = 0.25
        while True:
            try:
                await work()
                return
            except ClusterError as error:
                if not error.transient:
                    raise
                log.warning("waiting for the API server", extra={"error": str(error)})
            # Waiting for it is all there is to do: a restart would mend nothing.
            self._beat_at = time.monotonic()
            await asyncio.sleep(pause)
            pause = min(pause * 2, 10.0)

    async def _check_policies(self) -> None:
        self._parts.gate.policies(await self._parts.check_policies())

    async def _recover(self) -> None:
        """Load every live run before any worker begins, so that locks on targets are known."""
        pages = self._parts.cluster.list_pages(API_VERSION, "WorkflowExecution", field_selector=_LIVE)
        async for page in pages:
            for manifest in page:
                self.on_run(None, manifest)
            await asyncio.sleep(0)
        for key, live in self._live.items():
            if live.status.target is not None:
                self._parts.locks.take(live.status.target.uid, key)
        log.info("took up live runs", extra={"runs": len(self._live)})

    def _take_up(self, key: RunKey, manifest: Manifest) -> None:
        if parse_status(manifest).phase.final:
            self._finished[key] = FinishedRun.of(manifest)
        else:
            self._live[key] = LiveRun.of(manifest)
        self._uids[manifest["metadata"]["uid"]] = key
        RUNS_LIVE.set(len(self._live))

    def _forget(self, key: RunKey) -> None:
        live, finished = self._live.pop(key, None), self._finished.pop(key, None)
        if live is not None:
            live.gone = True
            live.waiting.set()
            self._parts.runs.let_go(live)
        for run in (live, finished):
            if run is not None:
                self._uids.pop(run.uid, None)
        self._failures.pop(key, None)
        RUNS_LIVE.set(len(self._live))

    # Work

    async def _work(self) -> None:
        while (key := await self._queue.get()) is not None:
            kind = type(key).__name__.removesuffix("Key")
            began = time.monotonic()
            delay: float | None = None
            try:
                delay = await self._reconcile(key)
                self._failures.pop(key, None)
                RECONCILES.labels(kind, "success").inc()
            except asyncio.CancelledError:
                raise
            except Exception as error:
                failures = self._failures[key] = self._failures.get(key, 0) + 1
                delay = min(0.5 * 2 ** min(failures, 10), MAX_BACKOFF)
                RECONCILES.labels(kind, "error").inc()
                expected = isinstance(error, ClusterError)
                log.warning(
                    "reconciliation failed; trying again later",
                    exc_info=None if expected else error,
                    extra={"kind": kind, "key": str(key), "error": str(error), "seconds": delay},
                )
            finally:
                self._queue.done(key)
                RECONCILE_SECONDS.labels(kind).observe(time.monotonic() - began)
            if delay is not None:
                self._queue.add_after(key, delay)

    async def _reconcile(self, key: Key) -> float | None:
        if isinstance(key, Heartbeat):
            self._beat_at = time.monotonic()
            HEARTBEAT.set(time.time())
            return None
        if isinstance(key, WorkflowKey):
            workflow = self._workflows.get(key)
            if workflow is not None:
                await self._parts.workflows.reconcile(workflow)
            return None
        live = self._live.get(key)
        if live is not None:
            delay = await self._parts.runs.reconcile(live)
            if not live.gone and not live.stored.phase.final:
                return delay
            await self._end(key, live)
        finished = self._finished.get(key)
        return await self._parts.afterlife.reconcile(finished) if finished is not None else None

    async def _end(self, key: RunKey, live: LiveRun) -> None:
        """Move a run from the living to the finished, and say so once."""
        if self._live.get(key) is not live:
            return
        del self._live[key]
        RUNS_LIVE.set(len(self._live))
        if live.gone:
            self._uids.pop(live.uid, None)
            return
        self._finished[key] = FinishedRun.of_live(live)
        status = live.stored
        verdict = status.verdict.value if status.verdict else "None"
        RUNS_FINISHED.labels(status.phase.value, verdict).inc()
        if status.started_at and status.finished_at:
            RUN_SECONDS.labels(verdict).observe((status.finished_at - status.started_at).total_seconds())
        log.info(
            "run finished",
            extra={"run": str(key), "uid": live.uid, "phase": status.phase.value, "verdict": verdict},
        )
        if not self._parts.gate.on(Feature.EVENTS):
            return
        try:
            WRITES.labels("event").inc()
            event = finished_event(live, self._parts.clock(), self._parts.instance)
            await self._parts.cluster.create_event(event)
        except ClusterError as error:
            log.warning("the Event could not be written", extra={"run": str(key), "error": str(error)})

    # Loops

    async def _beat(self) -> None:
        number = 0
        while True:
            self._queue.add(Heartbeat(number))
            number += 1
            QUEUE_DEPTH.set(len(self._queue))
            QUEUE_DELAYED.set(self._queue.delayed)
            LOCKS.set(len(self._parts.locks))
            await asyncio.sleep(HEARTBEAT_SECONDS)

    async def _check(self) -> None:
        while True:
            # An unhealthy answer is looked at again soon: people are waiting for it to be mended.
            every = self._parts.settings.policy_check.total_seconds()
            await asyncio.sleep(every if self._parts.gate.hold() is None else min(every, 2.0))
            try:
                await self._check_policies()
            except ClusterError as error:
                log.warning("the admission policies could not be checked", extra={"error": str(error)})
            self._look()

    def _loops(self) -> tuple[Coroutine[None, None, None], ...]:
        return self._beat(), self._check(), self._relist(), self._resync()

    async def _relist(self) -> None:
        """List what is live again and again: what a dead watch does not bring is found all the same."""
        while True:
            await asyncio.sleep(self._parts.settings.relist.total_seconds())
            try:
                found = await self.relist()
            except ClusterError as error:
                log.warning("listing live runs failed; it is tried again", extra={"error": str(error)})
            else:
                if found:
                    log.info("listing found what no watch had brought yet", extra={"objects": found})

    async def relist(self) -> int:
        """List live runs and Workflows; take up what is newer than known, and return how many that were.

        Raises:
            ClusterError: they can't be listed.
        """
        found = 0
        cluster = self._parts.cluster
        async for page in cluster.list_pages(API_VERSION, "WorkflowExecution", field_selector=_LIVE):
            for manifest in page:
                key = RunKey(manifest["metadata"]["namespace"], manifest["metadata"]["name"])
                known = self._live.get(key) or self._finished.get(key)
                if known is None or newer(manifest, known.resource_version):
                    self.on_run(None, manifest)
                    found += 1
        async for page in cluster.list_pages(API_VERSION, "Workflow"):
            for manifest in page:
                where = WorkflowKey(manifest["metadata"]["namespace"], manifest["metadata"]["name"])
                seen = self._workflows.get(where)
                if seen is None or newer(manifest, seen["metadata"]["resourceVersion"]):
                    self.on_workflow(None, manifest)
                    found += 1
        return found

    async def _resync(self) -> None:
        """List everything again now and then: a deletion that a watch missed is never repeated."""
        while True:
            await asyncio.sleep(self._parts.settings.resync.total_seconds())
            try:
                await self.resync()
                await self._parts.sweep(self._used_snapshots)
            except ClusterError as error:
                log.warning("listing again failed; it is tried later", extra={"error": str(error)})

    def _used_snapshots(self) -> set[Snapshot]:
        used: set[Snapshot] = set()
        for key, live in self._live.items():
            if live.status.workflow is not None:
                used.add((key.namespace, live.status.workflow.snapshot))
        for key, finished in self._finished.items():
            if finished.snapshot is not None:
                used.add((key.namespace, finished.snapshot))
        for workflow, manifest in self._workflows.items():
            snapshot = (manifest.get("status") or {}).get("snapshot")
            if snapshot:
                used.add((workflow.namespace, snapshot))
        return used

    async def resync(self) -> None:
        """List all runs again, take up what was missed, forget what is gone.

        Raises:
            ClusterError: the runs can't be listed.
        """
        before = set(self._live) | set(self._finished)
        listed: set[RunKey] = set()
        async for page in self._parts.cluster.list_pages(API_VERSION, "WorkflowExecution"):
            for manifest in page:
                self.on_run(None, manifest)
                listed.add(RunKey(manifest["metadata"]["namespace"], manifest["metadata"]["name"]))
            await asyncio.sleep(0)
        for key in before - listed:
            self._forget(key)
