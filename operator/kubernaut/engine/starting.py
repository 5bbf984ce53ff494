"""Starting a run: its finalizer, its claim, its place at the target; and taking it up again after a restart."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from kubernaut.api.execution import RunPhase, Verdict
from kubernaut.api.names import FINALIZER
from kubernaut.api.reasons import GUARD_REASONS, Reason
from kubernaut.core import conditions
from kubernaut.core.errors import (
    Conflict,
    Forbidden,
    NotFound,
    OfLaterVersion,
    StepError,
    UnknownOutcome,
)
from kubernaut.core.features import Feature
from kubernaut.core.limits import message as short
from kubernaut.core.limits import sentence
from kubernaut.core.run import Hold
from kubernaut.core.storing import worth_telling
from kubernaut.engine.alerting import healed
from kubernaut.engine.backoff import AWAY
from kubernaut.engine.claims import Claim, Claims, OperatorMayNot
from kubernaut.engine.concurrency import Concurrency, ConcurrentRun, Parent, disowned
from kubernaut.engine.guarding import Guarding, Wait
from kubernaut.engine.homes import target_home
from kubernaut.engine.keys import RunKey
from kubernaut.engine.live import LiveRun
from kubernaut.engine.locks import TargetLocks
from kubernaut.engine.ports import OperatorCluster
from kubernaut.engine.store import StatusStore
from kubernaut.metrics import WRITES

MAX_DEPTH: Final = 8


class Starter:
    """Brings runs to where their steps can begin."""

    def __init__(
        self,
        own: OperatorCluster,
        claims: Claims,
        locks: TargetLocks,
        store: StatusStore,
        hold: Callable[[], Hold | None],
        clock: Callable[[], datetime],
        off: Callable[[], frozenset[Feature]] = frozenset,
        guards: Guarding | None = None,
    ) -> None:
        self._guards = guards
        self._own = own
        self._claims = claims
        self._locks = locks
        self._store = store
        self._hold = hold
        self._clock = clock
        self.find: Callable[[RunKey], LiveRun | None] = lambda key: None
        self._concurrency = Concurrency(own, locks, lambda key: self.find(key), off)

    async def has_finalizer(self, live: LiveRun) -> bool:
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

    async def claim(self, live: LiveRun) -> bool:
        """Pin everything the run needs. False where the run can't start now, or not at all."""
        live.look_after = None
        try:
            return await self._claim(live)
        except AWAY:
            raise
        except Exception:
            # What is wrong with this one may stay so, and nobody overtakes who waits.
            self._give_way(live)
            raise

    async def _claim(self, live: LiveRun) -> bool:
        if live.view().control.cancel:
            view = live.view()
            reason = Reason.REPLACED if view.cancelled_for else Reason.CANCELLED
            await self.refuse(live, reason, view.cancelled_for or "The run was cancelled before it began.")
            return False
        if over := healed(live):
            await self.refuse(live, Reason.ALERT_RESOLVED, over)
            return False
        parent = live.execution.spec.parent
        if parent is not None and parent.depth > MAX_DEPTH:
            message = f"{parent.depth} runs above this one started each other; at most {MAX_DEPTH} may."
            await self.refuse(live, Reason.SUBFLOW_TOO_DEEP, message)
            return False
        hold = self._hold()
        if hold is not None and not hold.binds(dry_run=live.execution.spec.dry_run):
            hold = None
        if hold is None and live.view().control.paused:
            hold = Hold(Reason.PAUSED, "The run is paused by a person.")
        if hold is not None:
            self._give_way(live)
            await self._wait_for(live, hold)
            return False
        owner = await self._concurrency.parent(live)
        if told := disowned(live, owner):
            await self.refuse(live, Reason.CANCELLED, told)
            return False
        try:
            claim = await self._claims.make(live)
        except AWAY:
            raise
        except OperatorMayNot as error:
            await self._wait_for(live, Hold(error.reason, sentence(error)))
            raise
        except StepError as error:
            await self.refuse(live, error.reason, sentence(error))
            return False
        target = claim.status.target
        assert target is not None
        home = target_home(live.key.namespace, target.api_version, target.kind, target.name)
        if live.gone or not live.at_home(home):
            return False
        if not await self._placed(live, claim, owner):
            return False
        live.plan, live.params, live.status = claim.plan, claim.params, claim.status
        if self._guards is not None:
            self._guards.past.learn(live)
        return True

    async def _placed(self, live: LiveRun, claim: Claim, owner: Parent | None) -> bool:
        """Let a run pass its guards and take its target; where it can't, it waits, or ends, and says why."""
        target = claim.status.target
        assert target is not None
        # Who may not begin takes nobody's place at the target either.
        if self._guards is not None and await self._kept(
            live, await self._guards.start(live, claim.plan, claim.target)
        ):
            return False
        if not live.execution.spec.dry_run:
            above = await self._concurrency.above(live, owner)
            if live.gone:
                # What it held is given up already; nobody would release what it takes now.
                return False
            try:
                holder = await self._concurrency.take(live, target.uid, claim.plan.spec, above)
            except ConcurrentRun as error:
                await self.refuse(live, error.reason, sentence(error))
                return False
            if holder is not None:
                message = f"{target.kind} {target.name} is being repaired by run {holder}."
                await self._wait_for(live, Hold(Reason.TARGET_BUSY, message))
                return False
        # Once more, now that no other run can begin on the target; nothing happens until this one's begin is noted.
        if self._guards is not None and (wait := self._guards.check(live, claim.plan, claim.target)):
            await self._kept(live, wait)
            return False
        return True

    async def _kept(self, live: LiveRun, wait: Wait | None) -> bool:
        """Have a run wait for its guards, or end it, and say why; False where they keep it from nothing."""
        if wait is None:
            return False
        self._give_way(live)
        live.look_after = wait.seconds
        found = wait.refusal
        if found is not None and wait.over:
            await self.refuse(live, found.reason, found.message)
        elif found is not None:
            await self._wait_for(live, Hold(found.reason, found.message))
        return True

    def _give_way(self, live: LiveRun) -> None:
        """Let those have the target who wait for it: they must not wait for this one's turn."""
        if not live.left:
            self._locks.release(live.key)

    async def _wait_for(self, live: LiveRun, hold: Hold) -> None:
        """Say in the run's conditions why it does not begin."""
        generation = live.execution.metadata.generation
        told = conditions.of_run(live.status, hold, self._clock(), generation)
        live.status = live.status.replace(conditions=told, observed_generation=generation)
        if worth_telling(live.stored, live.status):
            await self._store.store(live)

    async def refuse(self, live: LiveRun, reason: Reason, message: str) -> None:
        """End a run that can't start."""
        now = self._clock()
        cancelled = reason in (Reason.CANCELLED, Reason.REPLACED, Reason.ALERT_RESOLVED)
        declined = cancelled or reason is Reason.CONCURRENT_RUN or reason in GUARD_REASONS
        status = live.status.replace(
            phase=RunPhase.CANCELLED if cancelled else RunPhase.FAILED,
            verdict=_verdict(reason, declined),
            reason=reason.value,
            message=short(message),
            started_at=live.status.started_at or now,
            finished_at=now,
            observed_generation=live.execution.metadata.generation,
        )
        told = conditions.of_run(status, None, now, live.execution.metadata.generation)
        live.status = status.replace(conditions=told)
        await self._store.store(live)

    async def take_up(self, live: LiveRun) -> bool:
        """Take up a claimed run after a restart: plan from its snapshot, lock on its target.

        Raises:
            ClusterError: the snapshot can't be read now, or not by this version; try again later.
        """
        assert live.status.target is not None
        if live.gone:
            return False
        if not live.execution.spec.dry_run:
            self._locks.hold(live.status.target.uid, live.key)
        try:
            live.plan, live.params = await self._claims.again(live)
        except NotFound as error:
            message = sentence(f"The run's snapshot is gone: {error}")
            await self.refuse(live, Reason.WORKFLOW_NOT_FOUND, message)
            return False
        except (*AWAY, Forbidden, OfLaterVersion):
            # It is the operator that can't or may not read it, which says nothing of the run.
            raise
        except StepError as error:
            await self.refuse(live, error.reason, sentence(error))
            return False
        return True

    async def migrate(self, live: LiveRun) -> None:
        """Have a paused run follow the revision that a person named, where what was begun allows it."""
        control, claimed = live.execution.spec.control, live.status.workflow
        live.refusal = ""
        if not control.paused or control.migrate_to is None or claimed is None or live.tasks:
            return
        if control.migrate_to == claimed.snapshot or live.plan is None:
            return
        try:
            plan, params, resolved = await self._claims.migrated(live, control.migrate_to)
        except AWAY:
            raise
        except StepError as error:
            live.refusal = f"The run is paused and stays on its revision: {error}."
            return
        live.status = live.status.replace(workflow=resolved)
        if await self._store.store(live):
            live.plan, live.params = plan, params


def _verdict(reason: Reason, declined: bool) -> Verdict:
    if reason is Reason.ALERT_RESOLVED:
        return Verdict.SELF_HEALED
    return Verdict.DECLINED if declined else Verdict.NOT_FIXED
