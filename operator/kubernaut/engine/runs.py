"""Reconciling one run: load, decide, perform, store, until nothing more can be done now."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from kubernaut.api.execution import RunPhase, Verdict
from kubernaut.api.names import FINALIZER
from kubernaut.api.reasons import Reason
from kubernaut.core import conditions
from kubernaut.core.errors import (
    ClusterError,
    Conflict,
    NotFound,
    StepError,
    TooManyRequests,
    Unavailable,
    UnknownOutcome,
)
from kubernaut.core.limits import message as short
from kubernaut.core.limits import sentence
from kubernaut.core.machine import advance
from kubernaut.core.ports import ObjectRef
from kubernaut.core.recalling import recalled, to_recall
from kubernaut.core.run import Decision, Facts, Hold, Outcome, OutcomeKind
from kubernaut.core.storing import worth_telling
from kubernaut.engine.claims import Claims
from kubernaut.engine.effects import Performer
from kubernaut.engine.homes import target_home
from kubernaut.engine.live import LiveRun
from kubernaut.engine.locks import TargetLocks
from kubernaut.engine.ports import Accounts, OperatorCluster
from kubernaut.engine.store import StatusStore
from kubernaut.engine.targets import TargetWatches
from kubernaut.metrics import WRITES

log = logging.getLogger(__name__)

TELL_EVERY = 1.0
AGAIN_LATER = 2.0
# What says nothing of the run, only of the API server: no run ends by it.
AWAY = (Unavailable, UnknownOutcome, TooManyRequests)


class RunReconciler:
    """Moves runs. One worker at a time handles a run; many runs at once."""

    def __init__(
        self,
        accounts: Accounts,
        claims: Claims,
        performer: Performer,
        locks: TargetLocks,
        watches: TargetWatches,
        hold: Callable[[], Hold | None],
        clock: Callable[[], datetime],
    ) -> None:
        self._own: OperatorCluster = accounts.own()
        self._accounts = accounts
        self._claims = claims
        self._performer = performer
        self._locks = locks
        self._watches = watches
        self._hold = hold
        self._clock = clock
        self._store = StatusStore(self._own)

    async def reconcile(self, live: LiveRun) -> float | None:
        """Move a run as far as it goes now; return after how many seconds to look again, or None.

        Raises:
            ClusterError: the API server refused the operator itself; nothing is lost, try again later.
        """
        live.waiting.clear()
        if live.lease() is not None:
            return AGAIN_LATER
        try:
            if live.status.phase.final:
                if not live.stored.phase.final:
                    await self._stored(live)
                return None
            if not await self._has_finalizer(live):
                return None
            if live.status.phase is RunPhase.PENDING and not await self._claim(live):
                return AGAIN_LATER if live.status.reason == Reason.UNAVAILABLE else None
            if live.plan is None:
                if not await self._take_up(live):
                    return None
                await self._recall(live)
            return await self._drive(live)
        except AWAY as error:
            log.warning("the API server is away", extra={"run": str(live.key), "error": str(error)})
            return AGAIN_LATER
        finally:
            if live.gone or live.stored.phase.final:
                self.let_go(live)

    def let_go(self, live: LiveRun) -> None:
        """Release what a run holds that is finished, deleted or another's."""
        if live.left:
            return
        live.left = True
        live.forget_watch()
        self._locks.release(live.key)
        for task in live.tasks.values():
            task.cancel()
        live.tasks.clear()

    async def _has_finalizer(self, live: LiveRun) -> bool:
        """Put the finalizer on a run that a person created; a run that is going away gets none."""
        finalizers = live.execution.metadata.finalizers
        if FINALIZER in finalizers:
            return True
        if live.deleting:
            live.gone = True
            return False
        body = {"metadata": {"finalizers": [*finalizers, FINALIZER]}}
        while True:
            try:
                WRITES.labels("finalizer").inc()
                written = await self._own.patch(live.ref, body, resource_version=live.resource_version)
            except (Conflict, UnknownOutcome):
                written = await self._own.get(live.ref)
                if written["metadata"]["uid"] != live.uid:
                    live.gone = True
                    return False
                live.observe(written)
                finalizers = live.execution.metadata.finalizers
                if FINALIZER not in finalizers:
                    body = {"metadata": {"finalizers": [*finalizers, FINALIZER]}}
                    continue
                return True
            except NotFound:
                live.gone = True
                return False
            live.observe(written)
            return True

    # Claiming

    async def _claim(self, live: LiveRun) -> bool:
        """Pin everything the run needs; store it. False where the run can't start now."""
        if live.view().control.cancel:
            await self._refuse(live, Reason.CANCELLED, "The run was cancelled before it began.")
            return False
        hold = self._hold()
        if hold is None and live.view().control.paused:
            hold = Hold(Reason.PAUSED, "The run is paused by a person.")
        if hold is not None:
            await self._wait_for(live, hold)
            return False
        try:
            claim = await self._claims.make(live)
        except AWAY:
            raise
        except StepError as error:
            await self._refuse(live, error.reason, sentence(error))
            return False
        target = claim.status.target
        assert target is not None
        home = target_home(live.key.namespace, target.api_version, target.kind, target.name)
        if live.gone or not live.at_home(home):
            return False
        holder = self._locks.take(target.uid, live.key)
        if holder is not None:
            message = f"{target.kind} {target.name} is being repaired by run {holder}."
            await self._wait_for(live, Hold(Reason.TARGET_BUSY, message))
            return False
        live.plan, live.params, live.status = claim.plan, claim.params, claim.status
        return True

    async def _wait_for(self, live: LiveRun, hold: Hold) -> None:
        """Say in the run's conditions why it does not begin."""
        told = conditions.of_run(live.status, hold, self._clock(), live.execution.metadata.generation)
        live.status = live.status.replace(conditions=told)
        if worth_telling(live.stored, live.status):
            await self._store.store(live)

    async def _refuse(self, live: LiveRun, reason: Reason, message: str) -> None:
        """End a run that can't start."""
        now = self._clock()
        cancelled = reason is Reason.CANCELLED
        status = live.status.replace(
            phase=RunPhase.CANCELLED if cancelled else RunPhase.FAILED,
            verdict=Verdict.DECLINED if cancelled else Verdict.NOT_FIXED,
            reason=reason.value,
            message=short(message),
            started_at=now,
            finished_at=now,
            observed_generation=live.execution.metadata.generation,
        )
        told = conditions.of_run(status, None, now, live.execution.metadata.generation)
        live.status = status.replace(conditions=told)
        await self._store.store(live)

    async def _take_up(self, live: LiveRun) -> bool:
        """Take up a claimed run after a restart: plan from its snapshot, lock on its target."""
        assert live.status.target is not None
        if live.gone:
            return False
        self._locks.take(live.status.target.uid, live.key)
        try:
            live.plan, live.params = await self._claims.again(live)
        except NotFound as error:
            await self._refuse(
                live, Reason.WORKFLOW_NOT_FOUND, sentence(f"The run's snapshot is gone: {error}")
            )
            return False
        except AWAY:
            raise
        except StepError as error:
            await self._refuse(live, error.reason, sentence(error))
            return False
        return True

    async def _recall(self, live: LiveRun) -> None:
        """Find what an earlier life of the operator did and did not get to store."""
        assert live.plan is not None
        plan, live.plan = live.plan, None  # until it is known, the run is not taken up
        found: dict[str, Outcome] = {}
        for act in to_recall(live.view(), plan, self._clock()):
            outcome = await self._performer.recall(live, act)
            if outcome is not None:
                found[act.step.name] = outcome
        live.status = recalled(live.view(), plan, found, self._clock()).status
        live.plan, live.recalled = plan, found

    # Driving

    async def _drive(self, live: LiveRun) -> float | None:
        outcomes, live.recalled = live.recalled, {}
        if live.unwatch is None:
            live.look_away()
        while not live.gone:
            decision = self._decide(live, outcomes)
            outcomes = {}
            live.status = decision.status
            if decision.store_first and not await self._stored(live):
                continue
            for act in decision.acts:
                live.tasks[act.step.name] = asyncio.create_task(self._performer.perform(live, act))
            if live.status.phase.final:
                if await self._stored(live):
                    return None
                continue
            if live.tasks:
                outcomes = await self._await_outcomes(live, decision)
                continue
            if decision.observe and live.seen is None and await self._look(live):
                continue
            if worth_telling(live.stored, live.status) and not await self._stored(live):
                continue
            return self._rest(live, decision)
        return None

    def _decide(self, live: LiveRun, outcomes: dict[str, Outcome]) -> Decision:
        assert live.plan is not None
        facts = Facts(outcomes, frozenset(live.tasks), live.seen, self._hold() or live.lease())
        return advance(live.view(), live.plan, facts, self._clock())

    async def _stored(self, live: LiveRun) -> bool:
        live.wrote_at = asyncio.get_running_loop().time()
        return await self._store.store(live)

    async def _await_outcomes(self, live: LiveRun, decision: Decision) -> dict[str, Outcome]:
        """Wait until an effect ends, something wakes the run, or it is time to tell or decide again."""
        loop = asyncio.get_running_loop()
        tell = live.wrote_at + TELL_EVERY if worth_telling(live.stored, live.status) else None
        timeout = self._seconds_until(decision.wake_at)
        if tell is not None:
            left = max(tell - loop.time(), 0.0)
            timeout = left if timeout is None else min(timeout, left)
        woken = asyncio.create_task(live.waiting.wait())
        try:
            waits: set[asyncio.Task[object]] = {woken, *live.tasks.values()}
            await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()
        live.waiting.clear()
        outcomes: dict[str, Outcome] = {}
        for name, task in list(live.tasks.items()):
            if task.done():
                del live.tasks[name]
                outcomes[name] = task.result()
                if outcomes[name].kind is not OutcomeKind.PREPARED:
                    live.look_away()
        if not outcomes and tell is not None and loop.time() >= tell:
            await self._stored(live)
        return outcomes

    async def _look(self, live: LiveRun) -> bool:
        """Read the target as the Workflow's account; True where it was seen (or is gone)."""
        claim, target = live.status.workflow, live.status.target
        assert claim is not None
        assert target is not None
        namespace = live.key.namespace
        cluster = self._accounts.as_account(namespace, claim.service_account_name)
        try:
            manifest = await cluster.get(ObjectRef(target.api_version, target.kind, namespace, target.name))
        except NotFound:
            live.look_at(None)
            return True
        except ClusterError as error:
            log.warning("the target can't be read", extra={"run": str(live.key), "error": str(error)})
            return False
        live.look_at(manifest)
        return True

    def _rest(self, live: LiveRun, decision: Decision) -> float | None:
        """Arrange what wakes the run again: a watch on the target, and time."""
        if decision.observe:
            self._watches.ensure(live)
        else:
            live.forget_watch()
        seconds = self._seconds_until(decision.wake_at)
        if decision.observe and live.seen is None:
            seconds = AGAIN_LATER if seconds is None else min(seconds, AGAIN_LATER)
        return seconds

    def _seconds_until(self, at: datetime | None) -> float | None:
        if at is None:
            return None
        # A little late rather than a little early: at the time itself the decision must come out.
        return max((at - self._clock() + timedelta(milliseconds=2)).total_seconds(), 0.0)
