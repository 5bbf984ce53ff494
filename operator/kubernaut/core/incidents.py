"""Incidents: which alerts belong to one trouble of one object, and when that is over.

An incident is a Workflow, the object it repairs (by UID) and an alertname. An episode of it lasts from its first
alert until a cooldown after all its alerts were resolved, and has one run, whose name follows from it. What is known
of the alerts of an episode is kept on its run. When an episode is over is told by the times that its alerts carry, so
only the clock of what evaluates their rules counts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from kubernaut.api.base import format_time
from kubernaut.core.selectors import LABEL

#: an episode of which nothing was heard for so long is over; Alertmanager repeats itself every 4 h by default
SILENCE: Final = timedelta(hours=24)
#: how old the last word on an episode has to be before a new one is worth a write
WORTH_TELLING: Final = timedelta(minutes=30)
#: alerts of one episode that are known one by one; what fires beyond them joins the episode all the same
MOST_ALERTS: Final = 256
_DIGITS: Final = 16
#: alerts may carry any time; what is beyond these counts as these, for zones and cooldowns lead out of the calendar
EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(9000, 1, 1, tzinfo=UTC)
_NEVER: Final = datetime.min.replace(tzinfo=UTC)
_FOREVER: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alert of an incident; ``ends_at`` is None while it fires."""

    fingerprint: str
    starts_at: datetime
    ends_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one alert: since when it fires, and until when it did."""

    starts_at: datetime
    ends_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Episode:
    """What is known of an episode.

    Attributes:
        number: 1 for the first.
        cooldown: how long after its end alerts still belong to it.
        alerts: by fingerprint.
        seen_at: when it was last heard that an alert of it fires or was resolved.
        more: whether alerts that fired are not among these, for there were too many.
    """

    number: int
    cooldown: timedelta = timedelta(0)
    alerts: Mapping[str, Known] = field(default_factory=dict)
    seen_at: datetime = _NEVER
    more: bool = False

    @property
    def firing(self) -> frozenset[str]:
        """The fingerprints of the alerts that fire."""
        return frozenset(name for name, one in self.alerts.items() if one.ends_at is None)

    @property
    def resolved_at(self) -> datetime | None:
        """When the last of its alerts was resolved; None while one fires."""
        ends = [one.ends_at for one in self.alerts.values()]
        return None if not ends or None in ends else max(end for end in ends if end is not None)

    @property
    def over_at(self) -> datetime:
        """From when on an alert that begins opens another episode."""
        ended = self.resolved_at or self.seen_at + SILENCE
        # Alerts may carry any time.
        return min(ended, _FOREVER - self.cooldown) + self.cooldown

    def fold(self, alarms: Iterable[Alarm], now: datetime) -> Episode:
        """Return it with these alarms, which belong to it."""
        alerts = dict(self.alerts)
        for alarm in alarms:
            known = alerts.get(alarm.fingerprint)
            if alarm.ends_at is not None:
                if known is not None and alarm.starts_at <= known.starts_at:
                    if known.ends_at is None and alarm.starts_at == known.starts_at:
                        alerts[alarm.fingerprint] = replace(known, ends_at=alarm.ends_at)
                elif alarm.starts_at <= self.over_at:
                    # That it fired was not heard, or was forgotten; the episode lasted as long as it did.
                    alerts[alarm.fingerprint] = Known(alarm.starts_at, alarm.ends_at)
            elif known is None or alarm.starts_at > known.starts_at:
                alerts[alarm.fingerprint] = Known(alarm.starts_at)
        changed = alerts != self.alerts
        seen = now if changed or now - self.seen_at >= WORTH_TELLING else self.seen_at
        return _bounded(replace(self, alerts=alerts, seen_at=seen))

    def written(self) -> str:
        """Return it as the text that is kept on its run."""
        alerts = {
            name: [format_time(one.starts_at), *([format_time(one.ends_at)] if one.ends_at else [])]
            for name, one in sorted(self.alerts.items())
        }
        told = {
            "seenAt": format_time(self.seen_at),
            "overAt": format_time(self.over_at),
            "cooldownSeconds": self.cooldown.total_seconds(),
            **({"more": True} if self.more else {}),
            "alerts": alerts,
        }
        return json.dumps(told, separators=(",", ":"))

    def merged(self, other: Episode) -> Episode:
        """Return both views of the same episode: of each alert what is known of it last."""
        alerts = dict(other.alerts)
        for name, one in self.alerts.items():
            known = alerts.get(name)
            if known is None or _order(one) > _order(known):
                alerts[name] = one
        seen = max(self.seen_at, other.seen_at)
        return _bounded(replace(self, alerts=alerts, seen_at=seen, more=self.more or other.more))


def _order(known: Known) -> tuple[datetime, bool]:
    return known.starts_at, known.ends_at is not None


def read_episode(number: int, text: str, created: datetime) -> Episode:
    """Return what was kept on the run of an episode; one that can't be read knows nothing but when its run began."""
    try:
        found: Any = json.loads(text)
        cooldown = timedelta(seconds=float(found["cooldownSeconds"]))
        if not timedelta(0) <= cooldown <= _FOREVER - LATEST:
            raise ValueError("no cooldown lasts so long")
        alerts = {str(name): Known(*map(_moment, times[:2])) for name, times in found["alerts"].items()}
        seen = min(_moment(found["seenAt"]), LATEST)
        episode = Episode(number, cooldown, alerts, seen, bool(found.get("more")))
        _ = episode.over_at
        return _bounded(episode)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return Episode(number, seen_at=created)


def _moment(text: str) -> datetime:
    """Read a time. Raises ValueError, also where its zone is not told: it could not be compared with others."""
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(f"{text} has no zone")
    return found.astimezone(UTC)


def over_at(text: str) -> datetime | None:
    """Return when the episode that was kept as this text will be over; None where it can't be read."""
    try:
        return _moment(json.loads(text)["overAt"])
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None


@dataclass(frozen=True, slots=True)
class Opens:
    """The alarms open an episode, which needs a run."""

    episode: Episode


@dataclass(frozen=True, slots=True)
class Joins:
    """The alarms belong to the episode there is; ``changed`` where there is something to write."""

    episode: Episode
    changed: bool


def decide(
    last: Episode | None, alarms: Iterable[Alarm], now: datetime, cooldown: timedelta
) -> Opens | Joins | None:
    """Return what these alarms of one incident are to it, given its last episode; None where they say nothing.

    Told twice, late or in another order, alarms open no second episode: one opens where an alert began after the last
    was over, and all other alarms belong to the last.
    """
    told = list(alarms)
    firing = [alarm for alarm in told if alarm.ends_at is None]
    if last is None:
        return Opens(Episode(1, cooldown).fold(firing, now)) if firing else None
    last = replace(last, cooldown=cooldown)
    over = _closed(last, firing).over_at
    fresh = [alarm for alarm in firing if not _stale(last, alarm)]
    if fresh and all(alarm.starts_at > over for alarm in fresh):
        return Opens(Episode(last.number + 1, cooldown).fold(fresh, now))
    episode = last.fold(told, now)
    return Joins(episode, episode != last)


def _closed(last: Episode, firing: Iterable[Alarm]) -> Episode:
    """Return the episode without alerts that must have been resolved unseen, for they fire anew since later."""
    alerts = dict(last.alerts)
    for alarm in firing:
        known = alerts.get(alarm.fingerprint)
        if known is not None and known.ends_at is None and alarm.starts_at > known.starts_at:
            end = min(max(last.seen_at, known.starts_at), alarm.starts_at)
            alerts[alarm.fingerprint] = replace(known, ends_at=end)
    return replace(last, alerts=alerts)


def _stale(last: Episode, alarm: Alarm) -> bool:
    """Whether it is known already that this firing of the alert is over."""
    known = last.alerts.get(alarm.fingerprint)
    return known is not None and known.ends_at is not None and alarm.starts_at <= known.starts_at


def _bounded(episode: Episode) -> Episode:
    """Return it with no more alerts than are kept: those that fire, then those that ended last."""
    alerts = episode.alerts
    if len(alerts) <= MOST_ALERTS:
        return episode
    ordered = sorted(alerts.items(), key=lambda one: (one[1].ends_at or _FOREVER, one[0]), reverse=True)
    lost = any(known.ends_at is None for _, known in ordered[MOST_ALERTS:])
    return replace(episode, alerts=dict(ordered[:MOST_ALERTS]), more=episode.more or lost)


def alert_label(alertname: str) -> str:
    """Return an alertname as a label's value: itself where it can be one, else a hash of it."""
    if LABEL.fullmatch(alertname):
        return alertname
    return hashlib.sha256(alertname.encode()).hexdigest()[:32]


def incident_key(workflow_uid: str, target_uid: str, alertname: str) -> str:
    """Return what tells an incident apart: 32 hexadecimal digits, fit for a label."""
    text = "\n".join((workflow_uid, target_uid, alertname))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def run_name(workflow: str, incident: str, number: int) -> str:
    """Return the name of the run of an episode: WORKFLOW-HASH."""
    digest = hashlib.sha256(f"{incident}\n{number}".encode()).hexdigest()[:_DIGITS]
    return f"{workflow[: 252 - _DIGITS].rstrip('-.')}-{digest}"
