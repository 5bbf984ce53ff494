"""Opening episodes and keeping their alerts, for all replicas: the API server decides who creates a run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from datetime import datetime
from enum import StrEnum
from typing import Final

from kubernaut.api.reasons import Reason
from kubernaut.core.errors import StepError, Unavailable
from kubernaut.core.incidents import Alarm, Opens, decide
from kubernaut.intake.episodes import Episodes
from kubernaut.intake.matching import Asked
from kubernaut.intake.runs import run_of

log = logging.getLogger(__name__)
#: writes of what joined that are under way at a time: a storm leaves the API server to the runs
WRITES_AT_ONCE: Final = 4
#: seconds in which what joined is written, or told again: Alertmanager waits no less than 10 s for an answer
WRITTEN_WITHIN: Final = 8.0
#: seconds between attempts to write what nobody waits for any more
WRITE_EVERY: Final = 5.0
_ATTEMPTS: Final = 10
_MOST_LOCKS: Final = 20_000


class Outcome(StrEnum):
    """What became of the alerts of one incident."""

    STARTED = "started"
    JOINED = "joined"
    IGNORED = "ignored"
    #: the target has to be read anew before a run is started for it
    STALE = "stale"


class Incidents:
    """Tells incidents of alerts."""

    def __init__(self, episodes: Episodes, clock: Callable[[], datetime]) -> None:
        self._episodes = episodes
        self._clock = clock
        self._locks: dict[str, asyncio.Lock] = {}
        self._writes = asyncio.Semaphore(WRITES_AT_ONCE)

    async def tell(self, asked: Asked, alarms: Iterable[Alarm]) -> Outcome:
        """Have an incident know of alerts that ask for the same run; start its run where they open an episode.

        Returns once the run exists, and tells that something fires. Which more alerts joined is known, and written by
        ``store``.

        Raises:
            StepError: the run can't be created; transient where the API server is away.
        """
        told = list(alarms)
        cooldown = asked.fit.trigger.cooldown
        async with self._lock(asked.incident):
            for _ in range(_ATTEMPTS):
                record = await self._episodes.latest(asked.fit.namespace, asked.incident)
                decision = decide(record.episode if record else None, told, self._clock(), cooldown)
                if decision is None:
                    return Outcome.IGNORED
                if isinstance(decision, Opens):
                    if not asked.fresh:
                        return Outcome.STALE
                    if await self._episodes.create(run_of(asked, decision.episode)):
                        return Outcome.STARTED
                    continue
                assert record is not None
                reopened = record.episode.resolved_at is not None and decision.episode.resolved_at is None
                if decision.changed:
                    self._episodes.note(record, decision.episode, asked.alert.name)
                if not reopened or await self._episodes.write(record):
                    return Outcome.JOINED
        raise _busy(asked.incident)

    async def store(self, incident: str) -> None:
        """Write which alerts have joined an incident, those of all who wait for it with one write.

        Raises:
            StepError: the API server refused, is away or takes too long; it is tried again later, and whoever told of
                them has to tell them again.
        """
        record = self._episodes.known(incident)
        if record is None or not record.dirty:
            return
        try:
            async with asyncio.timeout(WRITTEN_WITHIN), self._writes, self._lock(incident):
                for _ in range(_ATTEMPTS):
                    record = self._episodes.known(incident)
                    if record is None or not record.dirty or await self._episodes.write(record):
                        return
        except TimeoutError:
            told = f"which alerts joined incident {incident} was not written within {WRITTEN_WITHIN:.0f} s"
            raise Unavailable(f"{told}; tell them again") from None
        raise _busy(incident)

    async def resolve(self, namespace: str, incident: str, alertname: str, alarms: Iterable[Alarm]) -> None:
        """Take note of alerts of an incident that were resolved; nothing is started for them.

        Returns once it is written, for Alertmanager does not tell it twice.

        Raises:
            StepError: the API server refused or is away.
        """
        told = list(alarms)
        async with self._lock(incident):
            for _ in range(_ATTEMPTS):
                record = await self._episodes.latest(namespace, incident)
                if record is None:
                    return
                episode = record.episode.fold(told, self._clock())
                if episode != record.episode:
                    self._episodes.note(record, episode, alertname)
                if not record.dirty or await self._episodes.write(record):
                    return
        raise _busy(incident)

    async def run(self) -> None:
        """Write what joined and is not written, again and again, until cancelled."""
        while True:
            await asyncio.sleep(WRITE_EVERY)
            await self.flush()

    async def flush(self) -> None:
        """Write what joined and is not written; what can't be written now is written later."""
        for incident in self._episodes.dirty():
            try:
                await self.store(incident)
            except StepError as error:
                log.info("alerts of an incident are written later", extra={"error": str(error)})
                if error.transient:
                    return

    def _lock(self, incident: str) -> asyncio.Lock:
        if incident not in self._locks:
            if len(self._locks) >= _MOST_LOCKS:
                self._locks = {name: lock for name, lock in self._locks.items() if lock.locked()}
            self._locks[incident] = asyncio.Lock()
        return self._locks[incident]


def _busy(incident: str) -> StepError:
    told = f"incident {incident} changes faster than it can be read; tell the alert again"
    return StepError(told, reason=Reason.CONFLICT)
