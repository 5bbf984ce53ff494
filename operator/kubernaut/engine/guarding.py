"""Guards at work: gathers what they look at, and asks core whether a run may begin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from pydantic import ValidationError

from kubernaut.api.guards import Guards
from kubernaut.api.reach import namespace_of
from kubernaut.api.workflow import WorkflowSpec
from kubernaut.core.guards import counting
from kubernaut.core.guards.counting import Past
from kubernaut.core.guards.deciding import (
    ALERTS_FRESH,
    Alerts,
    Known,
    Subject,
    asks_alerts,
    backing_off,
    refusal,
)
from kubernaut.core.guards.facts import Guarded, guarded
from kubernaut.core.guards.levels import (
    Level,
    Reach,
    Refusal,
    breakers,
    lookback,
    protects,
    span,
    wait_at_most,
)
from kubernaut.core.plan import Plan
from kubernaut.core.ports import Manifest
from kubernaut.engine.keys import WorkflowKey
from kubernaut.engine.live import LiveRun
from kubernaut.engine.past import PastRuns
from kubernaut.engine.ports import AlertSource, WiderGuards

#: a run that waits for its guards is looked at again at least this often: its Workflow may have been edited
LONGEST_PAUSE: Final = timedelta(minutes=5)
LOOK_AGAIN: Final = timedelta(seconds=10)
SOON: Final = timedelta(seconds=0.5)
MOST_DECLARED: Final = 10_000


class NoGuards:
    """Neither the cluster nor any namespace has guards."""

    def levels(self, namespace: str) -> tuple[Level, ...]:
        return ()


class NoAlerts:
    """There is nobody to ask for alerts."""

    async def look(self) -> Alerts:
        return Alerts(trouble="no alert source is set; set KUBERNAUT_ALERTMANAGER_URL")


@dataclass(frozen=True, slots=True)
class Wait:
    """A run does not begin now.

    Attributes:
        seconds: when to look again.
        refusal: why; None where that is not known yet, and not worth telling, for it soon will be.
        over: whether it does not begin at all.
    """

    refusal: Refusal | None
    seconds: float
    over: bool = False


@dataclass(slots=True)
class Guarding:
    """What runs are asked by the engine: at their beginning, and before each of their steps."""

    past: PastRuns
    clock: Callable[[], datetime]
    wider: WiderGuards = field(default_factory=NoGuards)
    source: AlertSource = field(default_factory=NoAlerts)
    workflow: Callable[[WorkflowKey], Manifest | None] = lambda key: None
    _alerts: Alerts = field(default_factory=Alerts)
    _declared: dict[WorkflowKey, tuple[object, Level | None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.past.needed = self._needs

    def levels(self, namespace: str, workflow: str, spec: WorkflowSpec) -> tuple[Level, ...]:
        """Return the levels that have guards, the Workflow's own first."""
        return self.levels_with(namespace, workflow, spec.guards)

    def levels_with(self, namespace: str, workflow: str, guards: Guards | None) -> tuple[Level, ...]:
        """Return the same of a Workflow of which only its guards are known."""
        wider = self.wider.levels(namespace)
        return wider if guards is None else (Level(Reach.WORKFLOW, workflow, guards), *wider)

    # At the beginning

    async def start(self, live: LiveRun, plan: Plan, target: Manifest) -> Wait | None:
        """Return why a run can't begin now, after asking who has to be asked; None where nothing keeps it."""
        if asks_alerts(self._levels(live, plan)) and not live.execution.spec.dry_run:
            self._alerts = await self.source.look()
        return self.check(live, plan, target)

    def check(self, live: LiveRun, plan: Plan, target: Manifest) -> Wait | None:
        """Return the same from what is known; nothing happens between this and what follows from it."""
        levels = self._levels(live, plan)
        if live.execution.spec.dry_run:
            return None
        alerted = live.execution.spec.trigger.alert is not None
        if not self.past.complete and (plan.high or lookback(levels) or alerted):
            return Wait(None, SOON.total_seconds())
        if not levels and not alerted:
            return None
        meta = target["metadata"]
        subject = Subject(
            live.uid,
            live.key.namespace,
            live.execution.spec.workflow_ref.name,
            meta["uid"],
            f"{target['kind']} {meta['name']}",
            meta.get("namespace", ""),
            meta.get("labels") or {},
        )
        now = self.clock()
        known = self._known(subject, levels, now)
        found = refusal(subject, levels, known, now)
        if found is None and alerted:
            found = backing_off(subject, known.on_target, now)
        return None if found is None else self._wait(live, levels, found, now)

    def _wait(self, live: LiveRun, levels: tuple[Level, ...], found: Refusal, now: datetime) -> Wait:
        if found.final:
            return Wait(found, 0.0, over=True)
        most = wait_at_most(levels)
        end = (live.execution.metadata.creation_timestamp or now) + most
        if now >= end:
            told = f"{found.message} It waited for {span(most)}, as long as waitAtMost allows."
            return Wait(Refusal(found.reason, told, final=True), 0.0, over=True)
        due = found.until if found.until is not None else now + LOOK_AGAIN
        due = min(due, end, now + LONGEST_PAUSE)
        return Wait(found, max((due - now).total_seconds(), 0.0) + 0.005)

    # Before steps

    async def refresh(self, live: LiveRun) -> None:
        """Ask for alerts where a run has to know of them and the last answer is old; else nothing happens."""
        if live.plan is None or live.execution.spec.dry_run or not asks_alerts(self._levels(live, live.plan)):
            return
        asked = self._alerts.asked_at
        # An answer of later than now is from before the clock was set back, nobody knows how long before.
        if asked is None or not asked <= self.clock() < asked + ALERTS_FRESH / 2:
            self._alerts = await self.source.look()

    def facts(self, live: LiveRun) -> Guarded | None:
        """Return what guards say of a run that has begun; None where it has none."""
        plan = live.plan
        if plan is None or live.execution.spec.dry_run:
            return None
        levels = self._levels(live, plan)
        pinned = live.status.target
        if (not levels and not plan.high) or pinned is None:
            return None
        now, name = self.clock(), live.execution.spec.workflow_ref.name
        found: Refusal | None = None
        if levels:
            seen = live.seen
            labels = None
            if seen is not None and seen.manifest is not None and seen.uid == pinned.uid:
                labels = (seen.manifest.get("metadata") or {}).get("labels") or {}
            where = namespace_of(pinned.api_version, pinned.kind, live.key.namespace)
            subject = Subject(
                live.uid, live.key.namespace, name, pinned.uid, f"{pinned.kind} {pinned.name}", where, labels
            )
            known = before(live.status.started_at or now, self._known(subject, levels, now))
            found = refusal(subject, levels, known, now)
        return guarded(levels, found, live.key.namespace, name, self.past.bad(plan.high), now)

    def levels_of(self, live: LiveRun) -> tuple[Level, ...]:
        """Return the levels that have guards for a run, its Workflow's own first."""
        return self._levels(live, live.plan) if live.plan is not None else ()

    def protecting(self, live: LiveRun) -> tuple[Level, ...]:
        """Return the levels that protect objects from what a run does; none where no level protects any."""
        levels = self.levels_of(live)
        return levels if protects(levels) else ()

    def _levels(self, live: LiveRun, plan: Plan) -> tuple[Level, ...]:
        return self.levels(live.key.namespace, live.execution.spec.workflow_ref.name, plan.spec)

    def _known(self, subject: Subject, levels: tuple[Level, ...], now: datetime) -> Known:
        storms = [level.guards.storm for level in levels if level.guards.storm is not None]
        back = max((storm.within + storm.cooldown for storm in storms), default=None)
        return Known(
            self.past.on_target(subject.target, subject.uid),
            self.past.since(now - back, subject.uid) if back is not None else (),
            self._alerts,
        )

    # How long runs are needed

    def needed_until(self, uid: str) -> datetime | None:
        """Return until when a finished run counts for guards; None where it does not."""
        run = self.past.get(uid)
        return None if run is None else self._until(run)

    def _needs(self, run: Past) -> bool:
        until = self._until(run)
        return until is not None and until > self.clock()

    def _until(self, run: Past) -> datetime | None:
        if run.ended is None or not run.counts:
            return None
        levels = self.wider.levels(run.namespace)
        own = self._level_of(WorkflowKey(run.namespace, run.workflow))
        if own is not None:
            levels = (own, *levels)
        keep = lookback(levels)
        if run.bad:
            # Runs that alerts start wait after those that did not help.
            keep = max(keep, counting.LONGEST_PAUSE)
        if run.bad and run.risky:
            keep = max(keep, *(one.within for _, one in breakers(levels, run.namespace)))
        return run.ended + keep if keep else None

    def _level_of(self, key: WorkflowKey) -> Level | None:
        """Return the guards of a Workflow as it is known, read once for each of its generations."""
        manifest = self.workflow(key)
        if manifest is None:
            return None
        version = (manifest["metadata"].get("uid"), manifest["metadata"].get("generation"))
        known = self._declared.get(key)
        if known is None or known[0] != version:
            if len(self._declared) >= MOST_DECLARED:
                self._declared.clear()
            known = self._declared[key] = (version, _own_level(key, manifest["spec"].get("guards")))
        return known[1]


def _own_level(key: WorkflowKey, declared: object) -> Level | None:
    if declared is None:
        return None
    try:
        return Level(Reach.WORKFLOW, key.name, Guards.model_validate(declared))
    except ValidationError:
        # The Workflow is not ready then, and no run of it begins.
        return None


def before(began: datetime, known: Known) -> Known:
    """Return what is known but for runs that began later: those waited for this one, not it for them."""
    return replace(
        known,
        on_target=[run for run in known.on_target if run.started <= began],
        recent=[run for run in known.recent if run.started <= began],
    )
