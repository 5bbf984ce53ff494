"""Reconciling one run: load, decide, perform, store, until nothing more can be done now."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from kubernaut.api.execution import Eta, RunPhase, WorkflowExecutionStatus
from kubernaut.api.reasons import Reason
from kubernaut.core import limits
from kubernaut.core.features import Feature
from kubernaut.core.machine import advance, noted
from kubernaut.core.recalling import recalled, to_recall
from kubernaut.core.run import Decision, Facts, Hold, Outcome, OutcomeKind, Want, Watched
from kubernaut.core.storing import worth_telling
from kubernaut.core.unfenced import is_unfenced, left_behind
from kubernaut.engine import measuring
from kubernaut.engine.alerting import AlertStates, healed
from kubernaut.engine.backoff import AWAY
from kubernaut.engine.claims import Claims
from kubernaut.engine.effects import Performer
from kubernaut.engine.guarding import Guarding, NoAlerts
from kubernaut.engine.keys import RunKey
from kubernaut.engine.live import LiveRun
from kubernaut.engine.locks import TargetLocks
from kubernaut.engine.measuring import Metrics, NoMetrics
from kubernaut.engine.ports import Accounts, OperatorCluster
from kubernaut.engine.starting import Starter
from kubernaut.engine.store import StatusStore
from kubernaut.engine.targets import Lookout
from kubernaut.engine.turns import turn

log = logging.getLogger(__name__)

TELL_EVERY = 1.0
# Telling takes at most this share of the time: what an API server under load is slow to write is told less often.
TELL_SHARE = 1 / 40
AGAIN_LATER = 2.0


class Capacities(Protocol):
    """Scarce resources that all runs share."""

    def arrange(self, run: RunKey, uid: str, priority: int, wants: Sequence[Want]) -> frozenset[str]:
        """Take note of what a run's steps want now, giving back what is not wanted any more.

        Returns the steps that hold all they want; the run is woken when more do.
        """
        ...

    def release(self, run: RunKey, *, over: bool = False) -> None:
        """Forget what a run wants; where it is over, give back all that it holds."""
        ...


class Unlimited:
    """There is enough of everything."""

    def arrange(self, run: RunKey, uid: str, priority: int, wants: Sequence[Want]) -> frozenset[str]:
        return frozenset(want.step for want in wants)

    def release(self, run: RunKey, *, over: bool = False) -> None:
        """Nothing is held."""


class RunReconciler:
    """Moves runs. One worker at a time handles a run; many runs at once."""

    def __init__(
        self,
        accounts: Accounts,
        claims: Claims,
        performer: Performer,
        locks: TargetLocks,
        lookout: Lookout,
        hold: Callable[[], Hold | None],
        clock: Callable[[], datetime],
        off: Callable[[], frozenset[Feature]] = frozenset,
        capacities: Capacities | None = None,
        guards: Guarding | None = None,
        alerts: AlertStates | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self._guards = guards
        self._metrics = metrics or Metrics(NoMetrics(clock), lambda _: None)
        self._alerts = alerts or AlertStates(NoAlerts(), clock, asks=False)
        self._own: OperatorCluster = accounts.own()
        self._claims = claims
        self._performer = performer
        self._locks = locks
        self._lookout = lookout
        self._hold = hold
        self._clock = clock
        self._off = off
        self._capacities = capacities or Unlimited()
        self._store = StatusStore(self._own)
        self._writing = 0.0
        self._ending = False
        self.starter = Starter(self._own, claims, locks, self._store, hold, clock, off, guards)
        # Never waits: what is known by then goes out with a status that is written anyway.
        self.estimate: Callable[[LiveRun], Eta | None] = lambda live: None

    def begin_no_more(self) -> None:
        """Begin no effect from now on; of those under way the outcomes are stored still."""
        self._ending = True

    async def reconcile(self, live: LiveRun) -> float | None:
        """Move a run as far as it goes now; return after how many seconds to look again, or None.

        Raises:
            ClusterError: the API server refused the operator itself; nothing is lost, try again later.
        """
        live.waiting.clear()
        if live.lease() is not None:
            return AGAIN_LATER
        try:
            if live.moved is not None:
                live.take_over(live.moved)
            if live.status.phase.final:
                if not live.stored.phase.final:
                    await self._stored(live)
                return None
            if not await self.starter.has_finalizer(live):
                return None
            if live.moved is not None:
                return 0.0
            if live.status.phase is RunPhase.PENDING and not await self.starter.claim(live):
                return AGAIN_LATER if live.status.reason == Reason.UNAVAILABLE else live.look_after
            if live.plan is None:
                if not await self.starter.take_up(live):
                    return None
                await self._recall(live)
            await self.starter.migrate(live)
            return await self._drive(live)
        except AWAY as error:
            log.warning("the API server is away", extra={"run": str(live.key), "error": str(error)})
            return AGAIN_LATER
        finally:
            if live.gone or live.stored.phase.final:
                self.let_go(live)

    @staticmethod
    async def _goes_on(live: LiveRun) -> bool:
        await turn()
        return not live.gone

    def let_go(self, live: LiveRun) -> None:
        """Release what a run holds that is finished, deleted or another's."""
        if live.left:
            return
        live.left = True
        live.views.keep_only(())
        live.recent.clear()
        measuring.forget(live)
        self._locks.release(live.key)
        # A run that goes on elsewhere, or after a restart, keeps what it holds.
        self._capacities.release(live.key, over=live.stored.phase.final)
        for task in live.tasks.values():
            task.cancel()
        live.tasks.clear()

    async def _recall(self, live: LiveRun) -> None:
        """Find what an earlier life of the operator did and did not get to store."""
        assert live.plan is not None
        plan, live.plan = live.plan, None  # until it is known, the run is not taken up
        found: dict[str, Outcome] = {}
        unfenced: set[str] = set()
        for act in to_recall(live.view(), plan, self._clock()):
            outcome = await self._performer.recall(live, act)
            if outcome is not None:
                found[act.step.name] = outcome
            else:
                unfenced.add(act.step.name)
        # What this life itself has sent is no earlier one's: its outcome comes, or is there.
        unfenced |= left_behind(live.view(), plan)
        live.unfenced = frozenset(unfenced - live.tasks.keys() - live.recalled.keys())
        live.status = recalled(live.view(), plan, found, self._clock()).status
        live.plan, live.recalled = plan, {**found, **live.recalled}

    async def _drive(self, live: LiveRun) -> float | None:
        outcomes, live.recalled = live.recalled, {}
        live.views.look_away_unwatched()
        while await self._goes_on(live):
            if live.moved is not None:
                live.take_over(live.moved)
            if live.plan is None:
                live.recalled = outcomes
                return 0.0
            if self._guards is not None:
                await self._guards.refresh(live)
            await self._alerts.refresh(live)
            if self._ending:
                await self._wind_up(live, outcomes)
                return None
            decision = self._decide(live, outcomes)
            live.unfenced -= {name for name, outcome in outcomes.items() if not outcome.transient}
            outcomes = {}
            live.status = await self._with_who_undid_it(live, decision.status)
            if decision.store_first and not await self._stored(live):
                continue
            if live.gone:
                # It went while something was waited for, and what it held is given up: nothing is begun or taken.
                return None
            for act in decision.acts:
                if self._ending and not is_unfenced(act.step):
                    continue
                # Of what can't be fenced it is stored that it may be sent: not to send it would leave that in doubt.
                live.tasks[act.step.name] = asyncio.create_task(self._performer.perform(live, act))
            if live.status.phase.final:
                if await self._stored(live):
                    return None
                continue
            if self._granted(live, decision):
                continue
            if live.tasks:
                outcomes = await self._await_outcomes(live, decision)
                continue
            if await self._look(live, decision):
                continue
            if worth_telling(live.stored, live.status) and not await self._stored(live):
                continue
            return self._rest(live, decision)
        return None

    async def _wind_up(self, live: LiveRun, outcomes: dict[str, Outcome]) -> None:
        """Store the outcomes of what is under way, and begin nothing: another replica goes on."""
        while not live.gone:
            if outcomes and live.plan is not None:
                live.status = noted(live.view(), live.plan, self._facts(live, outcomes), self._clock())
                # Where it can't be written, what else is under way is awaited all the same.
                with contextlib.suppress(*AWAY):
                    await self._stored(live)
            if not live.tasks:
                return
            await asyncio.wait(live.tasks.values(), return_when=asyncio.FIRST_COMPLETED)
            outcomes = self._ended(live)

    def _decide(self, live: LiveRun, outcomes: dict[str, Outcome]) -> Decision:
        assert live.plan is not None
        return advance(live.view(), live.plan, self._facts(live, outcomes), self._clock())

    def _facts(self, live: LiveRun, outcomes: dict[str, Outcome]) -> Facts:
        return Facts(
            outcomes,
            frozenset(live.tasks),
            live.seen,
            self._hold() or live.lease(),
            live.views.all_seen(),
            live.granted,
            self._off(),
            live.unfenced,
            self._guards.facts(live) if self._guards is not None else None,
            self._alerts.seen(live),
            dict(live.answers),
            live.views.all_unread(),
            healed(live),
        )

    async def _with_who_undid_it(
        self, live: LiveRun, status: WorkflowExecutionStatus
    ) -> WorkflowExecutionStatus:
        """Return a status which has just said that expectations are not met, with who has undone the changes."""
        unmet = (Reason.EXPECTATION_NOT_MET, Reason.METRIC_NOT_MET)
        if status.reason not in unmet or live.stored.reason == status.reason:
            return status
        told = await self._performer.undone(live)
        return status.replace(message=limits.message(f"{status.message} {told}")) if told else status

    def _granted(self, live: LiveRun, decision: Decision) -> bool:
        """Ask for the scarce resources that steps want, give back the others; True where more is held now."""
        assert live.plan is not None
        if not decision.wants and not live.granted:
            return False
        before = live.granted
        priority = live.plan.spec.priority
        live.granted = self._capacities.arrange(live.key, live.uid, priority, decision.wants)
        return not live.granted <= before

    async def _stored(self, live: LiveRun) -> bool:
        if live.status.eta is None and not live.status.phase.final and (eta := self.estimate(live)):
            live.status = live.status.replace(eta=eta)
        began = asyncio.get_running_loop().time()
        stored = await self._store.store(live)
        live.wrote_at = asyncio.get_running_loop().time()
        self._writing += (live.wrote_at - began - self._writing) / 16
        return stored

    async def _await_outcomes(self, live: LiveRun, decision: Decision) -> dict[str, Outcome]:
        """Wait until an effect ends, something wakes the run, or it is time to tell or decide again."""
        loop = asyncio.get_running_loop()
        pause = max(TELL_EVERY, self._writing / TELL_SHARE)
        tell = live.wrote_at + pause if worth_telling(live.stored, live.status) else None
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
        outcomes = self._ended(live)
        if not outcomes and tell is not None and loop.time() >= tell:
            await self._stored(live)
        return outcomes

    @staticmethod
    def _ended(live: LiveRun) -> dict[str, Outcome]:
        """Return the outcomes of effects that have ended, which are under way no more."""
        outcomes: dict[str, Outcome] = {}
        for name, task in list(live.tasks.items()):
            if task.done():
                del live.tasks[name]
                outcomes[name] = outcome = task.result()
                if outcome.kind is not OutcomeKind.PREPARED:
                    live.views.look_away()
        return outcomes

    def _wanted(self, live: LiveRun, decision: Decision) -> set[Watched]:
        """Return the objects that must be seen for the run to move on."""
        wanted = set(decision.objects)
        if decision.observe and live.target is not None:
            wanted.add(live.target)
        return wanted

    async def _look(self, live: LiveRun, decision: Decision) -> bool:
        """Read what must be seen and was not; True where something was seen."""
        unseen = [key for key in self._wanted(live, decision) if live.views.seen(key) is None]
        return any([await self._lookout.look(live, key) for key in unseen])

    def _rest(self, live: LiveRun, decision: Decision) -> float | None:
        """Arrange what wakes the run again: watches, and time."""
        if live.gone:
            # It went while its status was written: nobody would end a watch that is begun now.
            return None
        wanted = self._wanted(live, decision)
        live.recent.clear()
        live.views.keep_only(wanted)
        for key in wanted:
            self._lookout.ensure(live, key)
        self._metrics.ask(live, decision.queries)
        seconds = self._seconds_until(decision.wake_at)
        if any(live.views.seen(key) is None for key in wanted):
            seconds = AGAIN_LATER if seconds is None else min(seconds, AGAIN_LATER)
        return seconds

    def _seconds_until(self, at: datetime | None) -> float | None:
        if at is None:
            return None
        # A little late rather than a little early: at the time itself the decision must come out.
        return max((at - self._clock() + timedelta(milliseconds=2)).total_seconds(), 0.0)
