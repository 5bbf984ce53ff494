"""What is known of the alerts that started a run, once it has acted: told by their receiver, or asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache

from kubernaut.api.base import format_time
from kubernaut.api.execution import RunPhase
from kubernaut.api.names import ANNOTATION_ALERTS
from kubernaut.core.guards.deciding import ALERTS_FRESH, Alerts
from kubernaut.core.incidents import Episode, read_episode
from kubernaut.core.run import AlertSeen, AlertState
from kubernaut.engine.live import LiveRun
from kubernaut.engine.ports import AlertSource


def episode_of(live: LiveRun) -> Episode | None:
    """Return the episode for which a run was started; None where no alert started it."""
    cause, meta = live.execution.spec.trigger.alert, live.execution.metadata
    if cause is None or meta.creation_timestamp is None:
        return None
    return _episode(cause.episode, meta.annotations.get(ANNOTATION_ALERTS, ""), meta.creation_timestamp)


def healed(live: LiveRun) -> str:
    """Say that all alerts of the run's incident are over; nothing where one may still fire, or none started it."""
    cause, episode = live.execution.spec.trigger.alert, episode_of(live)
    if cause is None or episode is None or episode.resolved_at is None:
        return ""
    return f"Alert {cause.name} was resolved at {format_time(episode.resolved_at)}, before anything was done."


# A run that is verified is decided again and again, and what is kept of its alerts may be long.
_episode = lru_cache(maxsize=1024)(read_episode)


@dataclass(slots=True)
class AlertStates:
    """Looks at the alerts of runs that are verified.

    Attributes:
        asks: whether there is anybody to ask; else one waits for what the receiver is told.
    """

    source: AlertSource
    clock: Callable[[], datetime]
    asks: bool = True
    _last: Alerts = field(default_factory=Alerts)

    async def refresh(self, live: LiveRun) -> None:
        """Ask for alerts where a run is verified whose alerts nobody told to be resolved; else nothing happens."""
        episode = episode_of(live)
        if episode is None or episode.resolved_at is not None or live.status.phase is not RunPhase.VERIFYING:
            return
        asked = self._last.asked_at
        if asked is None or not asked <= self.clock() < asked + ALERTS_FRESH / 3:
            self._last = await self.source.look()

    def seen(self, live: LiveRun) -> AlertSeen | None:
        """Return what is known of a run's alerts; None where no alert started it, or nothing is acted upon."""
        episode = episode_of(live)
        if episode is None or live.execution.spec.dry_run:
            return None
        if not episode.alerts or episode.more:
            why = (
                "more alerts fired than are kept"
                if episode.more
                else "what was kept of its alerts can't be read"
            )
            return AlertSeen(AlertState.UNKNOWN, why, again=False)
        if episode.resolved_at is not None:
            return AlertSeen(AlertState.RESOLVED)
        last, since = self._last, live.status.verify_since
        if last.asked_at is None or since is None or last.asked_at < since:
            told = last.trouble or "nobody was asked since the last step"
            return AlertSeen(AlertState.UNKNOWN, told, again=self.asks)
        if last.asked_at + ALERTS_FRESH < self.clock():
            return AlertSeen(AlertState.UNKNOWN, "the last answer is too old")
        firing = episode.firing & last.fingerprints
        if not firing:
            return AlertSeen(AlertState.UNKNOWN, last.lacks) if last.lacks else AlertSeen(AlertState.RESOLVED)
        cause = live.execution.spec.trigger.alert
        assert cause is not None
        return AlertSeen(AlertState.FIRING, f"{cause.name} ({len(firing)} of {len(episode.alerts)} alerts)")
