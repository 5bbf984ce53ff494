"""Whether a run may begin to change something now: every guard of every level, and one line for a refusal."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from kubernaut.api.guards import AlertMatch
from kubernaut.api.reasons import Reason
from kubernaut.core.guards import counting, windows
from kubernaut.core.guards.counting import Past
from kubernaut.core.guards.levels import (
    Level,
    Reach,
    Refusal,
    moment,
    protected_labels,
    protected_namespace,
    span,
)

#: an answer about alerts that is older says nothing
ALERTS_FRESH: Final = timedelta(seconds=15)


@dataclass(frozen=True, slots=True)
class Subject:
    """The run that wants to begin.

    Attributes:
        where: the namespace of its target; empty where that belongs to none.
        labels: those of its target; None where it was not looked at.
    """

    uid: str
    namespace: str
    workflow: str
    target: str
    target_told: str
    where: str = ""
    labels: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Alerts:
    """What an alert source answered; ``trouble`` says why there is no answer.

    Attributes:
        firing: labels of those that fire and are not silenced.
        fingerprints: of all that fire, silenced or not.
        lacks: why alerts that fire may be missing among these; empty where none is known to.
    """

    firing: tuple[Mapping[str, str], ...] = ()
    trouble: str = ""
    asked_at: datetime | None = None
    fingerprints: frozenset[str] = frozenset()
    lacks: str = ""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known around a run.

    Attributes:
        on_target: other runs on the same target, dry runs apart.
        recent: all other runs that began of late, in order, for storms.
    """

    on_target: Sequence[Past] = ()
    recent: Sequence[Past] = ()
    alerts: Alerts = Alerts()


def refusal(subject: Subject, levels: Sequence[Level], known: Known, now: datetime) -> Refusal | None:
    """Return why the run may not begin now, what can't be waited for first; None where it may."""
    for level in levels:
        if level.problem:
            message = f"The guards of {level} can't be understood: {level.problem}."
            return Refusal(Reason.GUARDS_INVALID, message)
    protected = protected_namespace(levels, subject.namespace)
    if subject.where and not protected:
        protected = protected_namespace(levels, subject.where)
    if not protected and subject.labels is not None:
        found = protected_labels(levels, subject.labels)
        protected = f"{subject.target_told}: {found}" if found else ""
    if protected:
        return Refusal(Reason.PROTECTED, f"{_capital(protected)}: nothing is changed there.", final=True)
    for level in levels:
        found_one = (
            _window(level, now)
            or _alert(level, known.alerts, now)
            or _cooldown(subject, level, known.on_target, now)
            or _crowd(subject, level, known.on_target, now)
            or _storm(subject, level, known.recent, now)
        )
        if found_one is not None:
            return found_one
    return None


def backing_off(subject: Subject, on_target: Sequence[Past], now: datetime) -> Refusal | None:
    """Return why a run that an alert started may not begin yet: runs of its Workflow on its target did not help."""
    same = [
        run for run in on_target if (run.namespace, run.workflow) == (subject.namespace, subject.workflow)
    ]
    found = counting.ineffective(same, now)
    if found is None:
        return None
    last, row, until = found
    told = "The last run" if row == 1 else f"Each of the last {row} runs"
    message = (
        f"{told} of Workflow {subject.workflow} on {subject.target_told} did not help (run {last.name} ended at "
        f"{moment(last.ended or until)}); the next that an alert starts waits until {moment(until)}."
    )
    return Refusal(Reason.BACKING_OFF, message, until)


def asks_alerts(levels: Sequence[Level]) -> bool:
    """Whether any level wants to know of alerts."""
    return any(level.guards.stop_while_firing for level in levels)


def _window(level: Level, now: datetime) -> Refusal | None:
    declared = level.guards.change_windows
    if not declared or windows.allowed(declared, now):
        return None
    until = windows.next_allowed(declared, now)
    when = f"until {moment(until)}" if until is not None else "for weeks"
    message = f"No changes by changeWindows of {level}: {windows.told(declared, now)}; {when}."
    return Refusal(Reason.OUTSIDE_CHANGE_WINDOW, message, until)


def _alert(level: Level, alerts: Alerts, now: datetime) -> Refusal | None:
    wanted = level.guards.stop_while_firing
    if not wanted:
        return None
    trouble = alerts.trouble
    if not trouble and (alerts.asked_at is None or alerts.asked_at + ALERTS_FRESH <= now):
        trouble = "it has not answered yet"
    # What was heard counts only where it is fresh; what was not heard of also where none is missing.
    for one in () if trouble else wanted:
        if any(matches(one, labels) for labels in alerts.firing):
            more = "".join(f", {key}={value}" for key, value in sorted(one.match_labels.items()))
            message = f"Alert {one.alert}{more} fires (stopWhileFiring of {level}); until it is silent."
            return Refusal(Reason.ALERT_FIRING, message)
    unknown = trouble or alerts.lacks
    if unknown:
        names = ", ".join(one.alert for one in wanted)
        message = f"Whether {names} fires (stopWhileFiring of {level}) is not known: {unknown}."
        return Refusal(Reason.ALERTS_UNKNOWN, message)
    return None


def matches(wanted: AlertMatch, labels: Mapping[str, str]) -> bool:
    """Whether an alert with these labels is the one meant."""
    if labels.get("alertname") != wanted.alert:
        return False
    return all(labels.get(key) == value for key, value in wanted.match_labels.items())


def _own(subject: Subject, level: Level, runs: Collection[Past]) -> list[Past]:
    """Return the runs that a level counts."""
    if level.reach is Reach.CLUSTER:
        return list(runs)
    own = [run for run in runs if run.namespace == subject.namespace]
    if level.reach is Reach.WORKFLOW:
        own = [run for run in own if run.workflow == subject.workflow]
    return own


def _cooldown(subject: Subject, level: Level, runs: Sequence[Past], now: datetime) -> Refusal | None:
    pause = level.guards.cooldown
    last = counting.cooling(_own(subject, level, runs), pause, now) if pause is not None else None
    if last is None or last.ended is None or pause is None:
        return None
    until = last.ended + pause
    message = (
        f"Cooldown {span(pause)} of {level}: run {last.namespace}/{last.name} on {subject.target_told} ended at "
        f"{moment(last.ended)}; until {moment(until)}."
    )
    return Refusal(Reason.COOLDOWN, message, until)


def _crowd(subject: Subject, level: Level, runs: Sequence[Past], now: datetime) -> Refusal | None:
    most = level.guards.max_per_hour
    until = counting.crowded(_own(subject, level, runs), most, now) if most is not None else None
    if until is None:
        return None
    message = (
        f"maxPerHour {most} of {level}: as many runs on {subject.target_told} began within the last hour; "
        f"until {moment(until)}."
    )
    return Refusal(Reason.TOO_MANY_RUNS, message, until)


def _storm(subject: Subject, level: Level, runs: Sequence[Past], now: datetime) -> Refusal | None:
    storm = level.guards.storm
    if storm is None:
        return None
    begun = [run.started for run in _own(subject, level, runs) if run.counts]
    until = counting.storming(begun, storm, now)
    if until is None:
        return None
    message = (
        f"Storm in {level}: {storm.runs} runs began within {span(storm.within)}, so no more begin for "
        f"{span(storm.cooldown)}; until {moment(until)}."
    )
    return Refusal(Reason.STORM, message, until)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
