"""The engine: takes what watches bring, wakes keys, and lets workers reconcile them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from typing import Any

from kubernaut.core.errors import ClusterError, NotFound
from kubernaut.core.features import Feature
from kubernaut.core.ports import Manifest
from kubernaut.engine import gauges
from kubernaut.engine.about import about
from kubernaut.engine.backoff import Backoff
from kubernaut.engine.endings import final, lacked_a_right, watch_endings
from kubernaut.engine.expiry import Expiry
from kubernaut.engine.farewell import Farewell
from kubernaut.engine.finished import FinishedRun
from kubernaut.engine.keys import Departure, Heartbeat, RunKey, WorkflowKey
from kubernaut.engine.known import Known
from kubernaut.engine.listing import Listing
from kubernaut.engine.live import LiveRun, Unreadable
from kubernaut.engine.ownership import Shards
from kubernaut.engine.parts import Parts
from kubernaut.engine.queue import KeyedQueue
from kubernaut.engine.sharding import GLOBAL
from kubernaut.engine.standing import RunStanding
from kubernaut.engine.tenure import Tenure
from kubernaut.engine.unending import patiently, unending, uninterrupted
from kubernaut.metrics import HEARTBEAT, RECONCILE_SECONDS, RECONCILES, WORKERS
from kubernaut.speaking import speak_of

log = logging.getLogger(__name__)
Key = RunKey | WorkflowKey | Departure | Heartbeat
HEARTBEAT_SECONDS = 2.0
# Effects under way may take so long before their shard is given away.
LEAVE_SECONDS = 3.0


class Engine:
    """One replica's running loop."""

    def __init__(self, parts: Parts, queue: KeyedQueue[Key]) -> None:
        self._parts = parts
        self._guards = parts.guards
        self._queue = queue
        self._known = known = Known(parts.shards, parts.target_key)
        parts.runs.starter.find = known.live.get
        parts.workflows.fights.workflow = known.workflows.get
        if parts.guards is not None:
            parts.guards.workflow = known.workflows.get
        self._standing = standing = RunStanding(known, parts.gate.off)
        queue.rank = standing.rank
        self._permissions = parts.workflows.permissions
        if self._permissions is not None:
            self._permissions.active = lambda: self._tenure.is_global
        if parts.capacities is not None:
            parts.capacities.standing, parts.capacities.wake = standing, self._wake
        self._listing = Listing(parts.cluster, known, self, parts.hearing)
        self._expiry = Expiry(known.finished.values, self._expirable, self._expire, parts.clock)
        self._tenure = Tenure(
            known,
            parts.shards,
            parts.locks,
            self._listing.load,
            parts.runs.let_go,
            self._wake_shards,
            lambda live: self._busy[live.key][1] if self._with(live) else None,
            LEAVE_SECONDS,
        )
        # Which run a worker is with, and a future that ends with that.
        self._busy: dict[RunKey, tuple[LiveRun, asyncio.Future[None]]] = {}
        self._backoff: Backoff[Key] = Backoff()
        self._farewell = Farewell(
            parts.cluster, parts.gate, parts.clock, parts.instance, parts.settings.event_rate
        )
        self._off: frozenset[Feature] = frozenset()
        self._tasks: list[asyncio.Task[None]] = []
        self._workers: list[asyncio.Task[None]] = []
        self._beat_at = time.monotonic()
        self._look = parts.gate.watcher(self.wake_all)
        parts.shards.listen(self._tenure)
        if parts.pauses is not None:
            parts.pauses.over, parts.pauses.active = known.over, lambda: self._tenure.is_global

    # What watches bring

    def on_run(self, event: str | None, manifest: Manifest) -> None:
        """Take note of a WorkflowExecution; never blocks, never raises for what the API server brings."""
        key = RunKey(manifest["metadata"]["namespace"], manifest["metadata"]["name"])
        uid = manifest["metadata"]["uid"]
        try:
            self._see(event, key, uid, manifest)
        except ValueError as error:
            # A field of a later version, say. It must not keep all other runs from being driven.
            if event == "DELETED":
                self._departed(key, uid)
            else:
                self._set_apart(key, manifest, error.why if isinstance(error, Unreadable) else error)

    def _set_apart(self, key: RunKey, manifest: Manifest, error: ValueError) -> None:
        """Leave a run alone that can't be read, also where it could be until now."""
        if key in self._known.live:
            self.forget(key)
        self._known.set_apart(key, manifest, error)

    def _see(self, event: str | None, key: RunKey, uid: str, manifest: Manifest) -> None:
        seen = self._known.version(key)
        if self._guards is not None:
            self._guards.past.see(manifest)
        if (fight := self._parts.workflows.fights.see(manifest)) is not None:
            self._queue.add(fight)
        if event == "DELETED":
            self._departed(key, uid)
            return
        live = self._known.live.get(key)
        ended = live is not None and final(manifest) and not live.status.phase.final
        if ended or (seen is not None and seen[0] != uid):
            self.forget(key)
        live, finished = self._known.live.get(key), self._known.finished.get(key)
        if live is not None:
            live.observe(manifest)
            live.waiting.set()
        elif finished is not None:
            if not finished.observe(manifest) and finished.mirrored:
                return
        elif not self._known.take_up(key, manifest):
            return
        self._queue.add(key)

    def on_ended(self, event: str, manifest: Manifest) -> None:
        """Take note of what happened to a finished run."""
        if event != "DELETED":
            self.on_run(event, manifest)
            if self._permissions is not None and lacked_a_right(manifest):
                workflow = manifest["spec"]["workflowRef"]["name"]
                self._permissions.refused(WorkflowKey(manifest["metadata"]["namespace"], workflow))
            return
        key = RunKey(manifest["metadata"]["namespace"], manifest["metadata"]["name"])
        seen = self._known.version(key)
        if seen is not None and seen[0] == manifest["metadata"]["uid"]:
            self.forget(key)

    def on_all_listed(self) -> None:
        """Take note that every run that exists was seen."""
        if self._guards is not None:
            self._guards.past.complete = True

    def on_gap(self) -> None:
        """List all runs soon: events of finished ones may have been missed."""
        self._listing.ask()

    def _departed(self, key: RunKey, uid: str) -> None:
        """Take note that a run is not among the live ones any more: it has ended, or it is gone."""
        live, other = self._known.live.get(key), self._known.others.get(key)
        if live is not None and live.uid == uid:
            # Where its end is just being written here, that tells what became of it.
            if not live.status.phase.final:
                self._queue.add(Departure(*key, uid))
        elif other is not None and other.uid == uid:
            self.forget(key)

    async def _find_out(self, departure: Departure) -> None:
        """Look what became of a live run that is not among the live ones any more."""
        key = RunKey(departure.namespace, departure.name)
        live = self._known.live.get(key)
        if live is None or live.uid != departure.uid:
            return
        try:
            manifest = await self._parts.cluster.get(live.ref)
        except NotFound:
            if self._known.live.get(key) is live:
                self.forget(key)
            return
        self.on_run(None, manifest)

    def workflows(self) -> Collection[Manifest]:
        """Return all Workflows, as last seen."""
        return self._known.workflows.values()

    @property
    def known(self) -> Known:
        """What this replica knows of runs; for others to look at."""
        return self._known

    def on_workflow(self, event: str | None, manifest: Manifest) -> None:
        """Take note of a Workflow."""
        key = WorkflowKey(manifest["metadata"]["namespace"], manifest["metadata"]["name"])
        if event == "DELETED":
            self._known.workflows.pop(key, None)
            gauges.hide_workflow(str(key))
            if self._permissions is not None:
                self._permissions.forget(key)
            return
        before = self._known.workflows.get(key)
        self._known.workflows[key] = manifest
        gauges.show_workflow(str(key))
        self._queue.add(key)
        if before is None or before["metadata"].get("generation") != manifest["metadata"].get("generation"):
            # Whose its unclaimed runs are hangs on what it says.
            for run, seen in self._known.awaiting(key):
                if self._known.take_up(run, seen):
                    self._queue.add(run)

    def on_replicaset(self, event: str | None, manifest: Manifest) -> None:
        """Take note of a ReplicaSet that may be available."""
        if event != "DELETED":
            self._parts.evidence.observe(manifest)

    def on_mirrored(self, uids: list[str]) -> None:
        """Take note that runs are stored in the history."""
        for uid in uids:
            key = self._known.key_of(uid)
            finished = self._known.finished.get(key) if key else None
            if finished is not None and key is not None:
                finished.mirrored = True
                self._queue.add(key)

    def on_switch(self) -> None:
        """Look at whether acting is allowed; wake every run where that changed."""
        self._look()

    def wake_all(self) -> None:
        """Have every live run looked at."""
        for key, live in self._known.live.items():
            live.waiting.set()
            self._queue.add(key)
        if self._parts.capacities is not None:
            self._parts.capacities.look()
        off = self._parts.gate.off()
        # While the switch can't be read this is called again and again; flags change seldom.
        if off != self._off:
            self._off = off
            for workflow in self._known.workflows:
                self._queue.add(workflow)

    def _wake(self, key: RunKey) -> None:
        """Have a live run looked at, also by a worker that is with it."""
        live = self._known.live.get(key)
        if live is not None:
            live.waiting.set()
            self._queue.add(key)

    def _wake_shards(self, shards: Shards) -> None:
        """Have everything looked at that belongs to shards which were taken up."""
        for key, live in self._known.live.items():
            if live.shard in shards:
                self._queue.add(key)
        for key, finished in self._known.finished.items():
            if self._known.looked_after(finished):
                self._queue.add(key)
        if GLOBAL in shards:
            for workflow in self._known.workflows:
                self._queue.add(workflow)

    # Life

    async def start(self) -> None:
        """Take shards and their live runs, then let workers begin.

        Raises:
            ClusterError: the runs can't be listed; the operator can't work at all.
        """
        parts = self._parts
        await patiently(parts.shards.begin, self._prove)
        # Renewals begin before what may take longer than a lease lasts.
        self._tasks = [asyncio.create_task(parts.shards.run())]
        await patiently(self._tenure.begin, self._prove)
        await patiently(self._check_policies, self._prove)
        self._look()
        WORKERS.set(parts.settings.workers)
        self._workers = [asyncio.create_task(self._work()) for _ in range(parts.settings.workers)]
        self._tasks += [asyncio.create_task(unending(*loop)) for loop in self._loops()]

    async def stop(self) -> None:
        """Begin nothing new, let effects under way end, then let the shards go, and go."""
        # What keeps the shards goes on until nothing is under way any more.
        keeping, self._tasks = self._tasks[:1], self._tasks[1:]
        for task in self._tasks:
            task.cancel()
        self._tenure.stop()
        self._queue.close()
        self._parts.runs.begin_no_more()
        for live in self._known.live.values():
            live.waiting.set()
        grace = self._parts.settings.shutdown_grace.total_seconds()
        under_way = [task for live in self._known.live.values() for task in live.tasks.values()]
        waits: set[asyncio.Task[Any]] = {*self._workers, *under_way}
        if waits:
            _, late = await asyncio.wait(waits, timeout=grace)
            for one in late:
                one.cancel()
        for live in self._known.live.values():
            self._parts.runs.let_go(live)
        for task in keeping:
            task.cancel()
        await asyncio.gather(*keeping, *self._tasks, *self._workers, return_exceptions=True)
        self._tasks, self._workers = [], []
        await self._parts.shards.stop()

    def finished(self, run_uid: str) -> bool:
        """Whether a run is certainly over, so that its marker on an object is needed no more."""
        return self._known.over(run_uid)

    def forget(self, key: RunKey) -> None:
        """Forget a run whose object is gone."""
        seen = self._known.version(key)
        if self._guards is not None and seen is not None:
            self._guards.past.lost(seen[0])
        live = self._known.forget(key)
        if live is not None:
            live.gone = True
            live.waiting.set()
            self._parts.runs.let_go(live)
        self._backoff.succeeded(key)

    @property
    def seconds_since_progress(self) -> float:
        """How long ago a worker last proved that it works."""
        return time.monotonic() - self._beat_at

    def _prove(self) -> None:
        self._beat_at = time.monotonic()
        HEARTBEAT.set(time.time())

    async def _check_policies(self) -> None:
        self._parts.gate.policies(await self._parts.check_policies())

    # Work

    async def _work(self) -> None:
        while (key := await self._queue.get()) is not None:
            kind = type(key).__name__.removesuffix("Key")
            began = time.monotonic()
            delay: float | None = None
            speak_of(about(key, self._known))
            try:
                delay = await uninterrupted(self._reconcile(key))
                self._backoff.succeeded(key)
                RECONCILES.labels(kind, "success").inc()
            except Exception as error:
                delay = self._backoff.failed(key, error)
                RECONCILES.labels(kind, "error").inc()
                expected = isinstance(error, ClusterError)
                log.warning(
                    "reconciliation failed; trying again later",
                    exc_info=None if expected else error,
                    extra={"key": str(key), "error": str(error), "seconds": delay},
                )
            finally:
                self._queue.done(key)
                RECONCILE_SECONDS.labels(kind).observe(time.monotonic() - began)
            if delay is not None:
                self._queue.add_after(key, delay)
            # Where nothing had to be waited for, the next key would be taken without letting anybody else go on.
            await asyncio.sleep(0)

    async def _reconcile(self, key: Key) -> float | None:
        if isinstance(key, Heartbeat):
            self._prove()
            return None
        if isinstance(key, Departure):
            await self._find_out(key)
            return None
        if isinstance(key, WorkflowKey):
            return await self._workflow(key)
        live = self._known.live.get(key)
        if live is not None and live.shard in self._known.active:
            delay = await self._drive(key, live)
            if not live.gone and not live.stored.phase.final:
                return delay
            await self._end(key, live)
        finished = self._known.finished.get(key)
        if finished is None:
            return None
        if not self._known.looked_after(finished):
            return self._known.lapsed(self._parts.shards.shard_of(finished.home))
        return await self._parts.afterlife.reconcile(finished)

    async def _workflow(self, key: WorkflowKey) -> float | None:
        workflow, left = self._known.workflows.get(key), self._parts.workflows.fights.left
        if workflow is None:
            return left(key)
        if not self._tenure.is_global:
            return self._known.lapsed(GLOBAL) or left(key)
        await self._parts.workflows.reconcile(workflow)
        return left(key)

    async def _drive(self, key: RunKey, live: LiveRun) -> float | None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._busy[key] = (live, done)
        try:
            return await self._parts.runs.reconcile(live)
        except Unreadable as error:
            # It may be another run of the Workflow that this one looked at.
            meta = error.manifest["metadata"]
            self._set_apart(RunKey(meta["namespace"], meta["name"]), error.manifest, error.why)
            return 0.0
        finally:
            del self._busy[key]
            done.set_result(None)

    def _with(self, live: LiveRun) -> bool:
        """Whether a worker is with this life of a run."""
        return live.key in self._busy and self._busy[live.key][0] is live

    async def _end(self, key: RunKey, live: LiveRun) -> None:
        """Move a run from the living to the finished, and say so once."""
        if self._known.live.get(key) is not live:
            return
        self._known.end(key, live)
        if live.gone:
            if self._guards is not None:
                # Nobody tells of it again: the watch's word that it is gone finds nothing known any more.
                self._guards.past.lost(live.uid)
            return
        if self._guards is not None:
            self._guards.past.learn(live)
        await self._farewell.say(live)

    # Loops

    async def _beat(self) -> None:
        number = told = 0
        while True:
            self._queue.add(Heartbeat(number))
            number += 1
            told = gauges.show_queue(self._queue, told)
            gauges.show_locks(self._parts.locks)
            if number % gauges.WAITS_EVERY == 1:
                await gauges.show_waits(list(self._known.live.values()), self._parts.clock())
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

    def _loops(self) -> list[tuple[str, Callable[[], Awaitable[None]]]]:
        parts, settings, listing = self._parts, self._parts.settings, self._listing
        loops: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            ("the heartbeat", self._beat),
            ("looking at the admission policies", self._check),
            ("listing live runs", partial(listing.keep_relisting, settings)),
            ("listing all runs", partial(listing.keep_resyncing, settings, self._sweep)),
            ("watching finished runs", partial(watch_endings, parts.cluster, self)),
            ("expiry", self._expiry.run),
        ]
        if parts.capacities is not None:
            loops.append(("arranging scarce resources", parts.capacities.run))
        if self._permissions is not None:
            loops.append(("looking at rights", self._permissions.run))
        if parts.pauses is not None:
            loops.append(("letting paused syncs go on", parts.pauses.run))
        return loops

    def _expirable(self, run: FinishedRun) -> bool:
        known = self._known.finished.get(run.key) is run and self._known.looked_after(run)
        if not known or not self._parts.afterlife.expirable(run) or self._standing.awaited(run):
            return False
        needed = self._guards.needed_until(run.uid) if self._guards is not None else None
        return needed is None or needed <= self._parts.clock()

    async def _expire(self, run: FinishedRun) -> None:
        await self._parts.afterlife.expire(run)
        if self._known.finished.get(run.key) is run:
            self.forget(run.key)

    async def _sweep(self) -> None:
        if self._tenure.is_global:
            await self._parts.sweep(self._known.used_snapshots)

    async def relist(self) -> int:
        """List live runs and Workflows. Raises ClusterError where they can't be listed."""
        return await self._listing.relist()

    async def resync(self) -> None:
        """List all runs and forget what is gone. Raises ClusterError where they can't be listed."""
        await self._listing.resync()
