"""Guards against adversaries: whatever levels, histories and times there are, an oracle finds no violation.

The oracle knows nothing of how guards are decided: it compares local times that have no zone, and looks at every
window of every length, where the code sorts and stops early.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from kubernaut.api.duration import format_duration
from kubernaut.api.execution import RunPhase, Verdict
from kubernaut.api.guards import ChangeWindow, Day, Guards
from kubernaut.api.reasons import Reason
from kubernaut.core.guards.counting import Past
from kubernaut.core.guards.deciding import Alerts, Known, Subject, refusal
from kubernaut.core.guards.levels import Level, Reach

BASE = datetime(2026, 3, 27, 0, 0, tzinfo=UTC)  # two days before the clocks of Europe change
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",
    "Pacific/Auckland",
    "Australia/Lord_Howe",
)
NAMESPACES, WORKFLOWS, TARGETS, ALERTS = (
    ("shop", "tools"),
    ("fix", "other"),
    ("uid-a", "uid-b"),
    ("Down", "Full"),
)

minutes = st.integers(0, 24 * 60)
# Few lengths, so that times often fall just before, upon or just after the end of one.
LENGTHS = (1, 10, 30, 60, 90)
spans = st.sampled_from(LENGTHS).map(lambda n: format_duration(timedelta(minutes=n)))
clocks = st.sampled_from(["00:00", "02:30", "06:00", "09:00", "12:15", "17:00", "22:00", "23:59"])


@st.composite
def a_window(draw: Any, name: str) -> dict[str, Any]:
    start, end = draw(
        st.tuples(clocks, st.one_of(clocks, st.just("24:00"))).filter(lambda pair: pair[0] != pair[1])
    )
    window: dict[str, Any] = {
        "name": name,
        "type": draw(st.sampled_from(["Open", "Closed"])),
        "timeZone": draw(st.sampled_from(ZONES)),
        "start": start,
        "end": end,
    }
    if draw(st.booleans()):
        window["days"] = draw(st.lists(st.sampled_from([day.value for day in Day]), min_size=1, unique=True))
    if draw(st.integers(0, 3)) == 0:
        window["firstDate"] = draw(st.sampled_from(["2026-03-26", "2026-03-28", "2026-03-29"]))
    if draw(st.integers(0, 3)) == 0:
        window["lastDate"] = draw(st.sampled_from(["2026-03-27", "2026-03-29", "2026-03-30"]))
    return window


@st.composite
def some_guards(draw: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if draw(st.booleans()):
        found["cooldown"] = draw(spans)
    if draw(st.booleans()):
        found["maxPerHour"] = draw(st.integers(1, 4))
    if draw(st.booleans()):
        found["changeWindows"] = [draw(a_window(name)) for name in draw(st.sampled_from([["a"], ["a", "b"]]))]
    if draw(st.booleans()):
        within, cooldown = sorted(draw(st.tuples(st.sampled_from(LENGTHS), st.sampled_from(LENGTHS))))
        found["storm"] = {"runs": draw(st.integers(1, 5)), "within": f"{within}m", "cooldown": f"{cooldown}m"}
    if draw(st.integers(0, 2)) == 0:
        labels = draw(st.sampled_from([{}, {"zone": "a"}]))
        found["stopWhileFiring"] = [{"alert": draw(st.sampled_from(ALERTS)), "matchLabels": labels}]
    if draw(st.integers(0, 5)) == 0:
        found["protectedNamespaces"] = [draw(st.sampled_from(["shop", "too*", "sh", "sh*"]))]
    if draw(st.integers(0, 5)) == 0:
        value = draw(st.sampled_from([None, "gold", "lead"]))
        found["protectedLabels"] = [{"key": "tier", **({"value": value} if value else {})}]
    return found


@st.composite
def a_past(draw: Any, number: int) -> Past:
    # Some come together, so that there are storms.
    started = BASE + timedelta(minutes=draw(st.one_of(minutes, st.integers(600, 640))))
    ended = None if draw(st.integers(0, 4)) == 0 else started + timedelta(minutes=draw(st.integers(0, 60)))
    verdict = draw(st.sampled_from([None, *Verdict])) if ended else None
    return Past(
        f"run-{number}",
        draw(st.sampled_from(NAMESPACES)),
        f"run-{number}",
        draw(st.sampled_from(WORKFLOWS)),
        draw(st.sampled_from(TARGETS)),
        started,
        ended,
        RunPhase.FAILED if ended else None,
        verdict,
    )


@st.composite
def a_world(draw: Any) -> tuple[Subject, list[Level], list[Past], Alerts, datetime]:
    subject = Subject(
        "me",
        "shop",
        "fix",
        "uid-a",
        "Deployment a",
        draw(st.sampled_from(["shop", ""])),
        draw(st.sampled_from([None, {}, {"tier": "gold"}])),
    )
    levels = [
        Level(reach, name, Guards.model_validate(draw(some_guards())))
        for reach, name in ((Reach.WORKFLOW, "fix"), (Reach.NAMESPACE, "shop"), (Reach.CLUSTER, ""))
        if draw(st.booleans())
    ]
    runs = [draw(a_past(number)) for number in range(draw(st.integers(0, 8)))]
    now = BASE + timedelta(minutes=draw(st.integers(0, 3 * 24 * 60)), seconds=draw(st.integers(0, 59)))
    if runs and draw(st.integers(0, 2)):
        run = draw(st.sampled_from(runs))
        near = draw(st.sampled_from([run.started, run.ended or run.started]))
        now = near + timedelta(minutes=draw(st.sampled_from(LENGTHS)), seconds=draw(st.integers(-1, 1)))
    labels = [{"alertname": draw(st.sampled_from(ALERTS)), "zone": draw(st.sampled_from("ab"))}]
    alerts = draw(
        st.sampled_from(
            [
                Alerts(asked_at=now),
                Alerts(tuple(labels), asked_at=now),
                Alerts(trouble="away"),
                Alerts(asked_at=now - timedelta(minutes=1)),
            ]
        )
    )
    runs = [run for run in runs if run.started <= now and (run.ended is None or run.ended <= now)]
    return subject, levels, sorted(runs, key=lambda run: run.started), alerts, now


@settings(max_examples=1000)
@given(a_world())
def test_guards_refuse_what_the_oracle_refuses_and_nothing_else(
    world: tuple[Subject, list[Level], list[Past], Alerts, datetime],
) -> None:
    subject, levels, runs, alerts, now = world
    known = Known([run for run in runs if run.target == subject.target], runs, alerts)
    found = refusal(subject, levels, known, now)
    wrong = violations(subject, levels, runs, alerts, now)
    assert (found is None) == (not wrong), (found, wrong)
    if found is None:
        return
    assert found.reason in wrong, (found, wrong)
    assert found.message
    assert "\n" not in found.message
    assert found.final == (found.reason is Reason.PROTECTED)
    if found.until is not None:
        # Until then it stays as it is, where nothing else happens; and then this guard says so no more.
        assert found.until > now
        just_before = max(now, found.until - timedelta(seconds=1))
        assert found.reason in violations(subject, levels, runs, alerts, just_before), found


# The oracle


def violations(
    subject: Subject, levels: list[Level], runs: list[Past], alerts: Alerts, now: datetime
) -> set[Reason]:
    """Return every reason for which nothing may begin now."""
    wrong: set[Reason] = set()
    for level in levels:
        guards = level.guards
        mine = [run for run in runs if _is_of(run, level, subject) and _may_have_changed(run)]
        here = [run for run in mine if run.target == subject.target]
        if guards.cooldown is not None and any(
            run.ended is not None and now - run.ended < guards.cooldown for run in here
        ):
            wrong.add(Reason.COOLDOWN)
        if guards.max_per_hour is not None:
            hour = [run for run in here if now - run.started < timedelta(hours=1)]
            if len(hour) >= guards.max_per_hour:
                wrong.add(Reason.TOO_MANY_RUNS)
        if guards.storm is not None and _storms(guards, mine, now):
            wrong.add(Reason.STORM)
        if not _open(guards.change_windows, now):
            wrong.add(Reason.OUTSIDE_CHANGE_WINDOW)
        if guards.stop_while_firing:
            if alerts.trouble or alerts.asked_at is None or now - alerts.asked_at >= timedelta(seconds=15):
                wrong.add(Reason.ALERTS_UNKNOWN)
            elif any(_fires(one, alerts) for one in guards.stop_while_firing):
                wrong.add(Reason.ALERT_FIRING)
        if _protected(guards, subject):
            wrong.add(Reason.PROTECTED)
    return wrong


def _is_of(run: Past, level: Level, subject: Subject) -> bool:
    if level.reach is Reach.CLUSTER:
        return True
    same = run.namespace == subject.namespace
    return same if level.reach is Reach.NAMESPACE else same and run.workflow == subject.workflow


def _may_have_changed(run: Past) -> bool:
    return run.verdict is None or run.verdict.value not in ("Declined", "NoActionRequired", "SelfHealed")


def _storms(guards: Guards, runs: list[Past], now: datetime) -> bool:
    assert guards.storm is not None
    for last in runs:
        if last.started + guards.storm.cooldown <= now:
            continue
        near = [one for one in runs if timedelta(0) <= last.started - one.started < guards.storm.within]
        if len(near) >= guards.storm.runs:
            return True
    return False


def _open(windows: list[ChangeWindow], now: datetime) -> bool:
    opened = [window for window in windows if window.type == "Open"]
    if opened and not any(_inside(window, now) for window in opened):
        return False
    return not any(_inside(window, now) for window in windows if window.type == "Closed")


def _inside(window: ChangeWindow, now: datetime) -> bool:
    local = now.astimezone(ZoneInfo(window.time_zone)).replace(tzinfo=None)
    for back in range(3):
        day = local.date() - timedelta(days=back)
        if window.days is not None and day.strftime("%a") not in [one.value for one in window.days]:
            continue
        if window.first_date is not None and day < datetime.fromisoformat(window.first_date).date():
            continue
        if window.last_date is not None and day > datetime.fromisoformat(window.last_date).date():
            continue
        midnight = datetime(day.year, day.month, day.day)
        start, end = midnight + _since_midnight(window.start), midnight + _since_midnight(window.end)
        if end <= start:
            end += timedelta(days=1)
        if start <= local < end:
            return True
    return False


def _since_midnight(clock: str) -> timedelta:
    return timedelta(hours=int(clock[:2]), minutes=int(clock[3:]))


def _fires(wanted: Any, alerts: Alerts) -> bool:
    needed = {"alertname": wanted.alert, **wanted.match_labels}
    return any(needed.items() <= labels.items() for labels in alerts.firing)


def _protected(guards: Guards, subject: Subject) -> bool:
    for pattern in guards.protected_namespaces:
        for namespace in (subject.namespace, subject.where):
            known = pattern[-1] == "*" and namespace[: len(pattern) - 1] == pattern[:-1]
            if namespace and (namespace == pattern or known):
                return True
    labels = subject.labels or {}
    return any(
        key == one.key and (one.value is None or one.value == value)
        for one in guards.protected_labels
        for key, value in labels.items()
    )
