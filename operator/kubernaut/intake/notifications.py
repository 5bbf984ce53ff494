"""From a notification to stored incidents."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from kubernaut import tracing
from kubernaut.core.errors import StepError
from kubernaut.core.incidents import Alarm
from kubernaut.intake.episodes import Episodes
from kubernaut.intake.incidents import Incidents, Outcome
from kubernaut.intake.matching import Asked, Fit, Matching
from kubernaut.intake.payload import Notification, ToldAlert
from kubernaut.metrics import ALERTS, ALERTS_TRUNCATED

log = logging.getLogger(__name__)
#: incidents and targets that are looked at at the same time, of all notifications
AT_ONCE: Final = 16
_MOST_TOLD: Final = 20


@dataclass(slots=True)
class Taken:
    """What became of a notification.

    Attributes:
        outcomes: how many alerts, by what became of them.
        problems: why alerts start nothing, a sentence each.
        again: why it is to be sent again; nothing where it is stored.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    again: str = ""


@dataclass(slots=True)
class _Group:
    asked: Asked
    alarms: list[Alarm] = field(default_factory=list)


class Notifications:
    """Takes notifications, many at a time; each is done once all its incidents are stored."""

    def __init__(
        self, matching: Matching, episodes: Episodes, incidents: Incidents, clock: Callable[[], datetime]
    ) -> None:
        self._matching = matching
        self._episodes = episodes
        self._incidents = incidents
        self._clock = clock
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def take(self, notification: Notification) -> Taken:
        """Store what a notification tells: runs for incidents that open, and which alerts belong to them."""
        tracing.arrive()
        taken = Taken()
        ALERTS_TRUNCATED.inc(notification.truncated_alerts)
        self._matching.look()
        firing = [one for one in notification.alerts if one.firing]
        # What was resolved comes first: the next episode of the same incident may be in the same notification.
        await self._resolve([one for one in notification.alerts if not one.firing], taken)
        found = await asyncio.gather(*(self._asked(one, taken) for one in firing))
        groups: dict[str, _Group] = {}
        for one, asked in zip(firing, found, strict=True):
            for run in asked:
                group = groups.setdefault(run.incident, _Group(run))
                group.alarms.append(one.alarm(self._clock()))
        await asyncio.gather(*(self._tell(group, taken) for group in groups.values()))
        for outcome, count in (+taken.outcomes).items():
            ALERTS.labels(outcome).inc(count)
        return taken

    async def _asked(self, told: ToldAlert, taken: Taken) -> list[Asked]:
        """Return the runs that an alert asks for."""
        alert = told.alert()
        async with self._turns:
            try:
                fits = await self._matching.fits(alert)
            except StepError as error:
                self._failed(taken, "unresolved", f"alert {alert.name}", error)
                return []
            if not fits:
                taken.outcomes["unmatched"] += 1
            asked = []
            for fit in fits:
                try:
                    asked.append(await self._matching.asked(fit, alert))
                except StepError as error:
                    self._failed(taken, "unresolved", f"alert {alert.name} and {_named(fit)}", error)
            return asked

    async def _tell(self, group: _Group, taken: Taken) -> None:
        asked = group.asked
        try:
            async with self._turns:
                outcome = await self._incidents.tell(asked, group.alarms)
                if outcome is Outcome.STALE:
                    asked = await self._matching.asked(asked.fit, asked.alert, fresh=True)
                    outcome = await self._incidents.tell(asked, group.alarms)
            # Without a turn: whoever opens an incident does not wait for those who join one.
            await self._incidents.store(asked.incident)
        except StepError as error:
            what = f"alert {asked.alert.name} and {_named(asked.fit)}"
            self._failed(taken, "refused", what, error, len(group.alarms))
            return
        rest = len(group.alarms)
        if outcome is Outcome.STARTED:
            taken.outcomes[outcome.value] += 1
            outcome, rest = Outcome.JOINED, rest - 1
        if rest:
            taken.outcomes[outcome.value] += rest

    async def _resolve(self, resolved: Sequence[ToldAlert], taken: Taken) -> None:
        """Have incidents know of alerts that were resolved."""
        groups: dict[tuple[str, str, str], list[ToldAlert]] = {}
        failed: set[str] = set()
        found = await asyncio.gather(*(self._belonging(one, taken, failed) for one in resolved))
        for one, incidents in zip(resolved, found, strict=True):
            for namespace, incident in incidents:
                groups.setdefault((namespace, incident, one.alert().name), []).append(one)
        await asyncio.gather(*(self._end(where, alerts, taken, failed) for where, alerts in groups.items()))
        # Who is told again is counted once it is stored.
        taken.outcomes["resolved"] += sum(one.fingerprint not in failed for one in resolved)

    async def _belonging(self, told: ToldAlert, taken: Taken, failed: set[str]) -> set[tuple[str, str]]:
        async with self._turns:
            try:
                return await self._incidents_of(told)
            except StepError as error:
                failed.add(told.fingerprint)
                self._failed(taken, "unresolved", f"alert {told.alert().name}", error)
                return set()

    async def _end(
        self, where: tuple[str, str, str], alerts: list[ToldAlert], taken: Taken, failed: set[str]
    ) -> None:
        namespace, incident, name = where
        now = self._clock()
        async with self._turns:
            try:
                await self._incidents.resolve(namespace, incident, name, [one.alarm(now) for one in alerts])
            except StepError as error:
                failed |= {one.fingerprint for one in alerts}
                self._failed(taken, "unresolved", f"alert {name}", error, len(alerts))

    async def _incidents_of(self, told: ToldAlert) -> set[tuple[str, str]]:
        """Return the incidents, with their namespaces, to which an alert belongs that was resolved."""
        alert = told.alert()
        found: set[tuple[str, str]] = set()
        for namespace, workflow in self._matching.idle(alert):
            # A run of it may still wait for that, and nothing is started by what was resolved.
            joined = await self._episodes.of_alert(namespace, workflow, alert.name, alert.fingerprint)
            found |= {(namespace, incident) for incident in joined}
        for fit in await self._matching.fits(alert):
            joined = await self._episodes.of_alert(fit.namespace, fit.workflow, alert.name, alert.fingerprint)
            found |= {(fit.namespace, incident) for incident in joined}
            if fit.workflow not in joined.values():
                # That it fired was never heard, or was not written when an operator died.
                try:
                    found.add((fit.namespace, (await self._matching.asked(fit, alert)).incident))
                except StepError as error:
                    # Nothing that is there any more; but what can't be asked now has to be asked again.
                    if error.transient:
                        raise
        return found

    def _failed(self, taken: Taken, outcome: str, what: str, error: StepError, count: int = 1) -> None:
        told = f"{what}: {error}"
        if error.transient:
            taken.outcomes["deferred"] += count
            taken.again = taken.again or told
        else:
            taken.outcomes[outcome] += count
        log.warning(
            "an alert was not taken", extra={"alert": what, "reason": error.reason, "error": str(error)}
        )
        if len(taken.problems) < _MOST_TOLD:
            taken.problems.append(told)


def _named(fit: Fit) -> str:
    return f"Workflow {fit.namespace}/{fit.workflow}"
