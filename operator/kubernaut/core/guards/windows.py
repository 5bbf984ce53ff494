"""Change windows: by the clock on the wall, so that a change of summer time moves none of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from kubernaut.api.guards import ChangeWindow, Day, WindowType

_DAYS: Final = tuple(Day)
#: so far is it looked for the next time at which changes are allowed
_AHEAD: Final = 40
_MINUTES: Final = 24 * 60


def allowed(windows: Sequence[ChangeWindow], now: datetime) -> bool:
    """Whether changes may be made: in one of the open windows, where there are any, and in no closed one."""
    opened = [window for window in windows if window.type is WindowType.OPEN]
    if opened and not any(within(window, now) for window in opened):
        return False
    return not any(within(window, now) for window in windows if window.type is WindowType.CLOSED)


def told(windows: Sequence[ChangeWindow], now: datetime) -> str:
    """Say why changes are not allowed now."""
    closed = next(
        (window for window in windows if window.type is WindowType.CLOSED and within(window, now)), None
    )
    if closed is not None:
        return f"within closed window {closed.name} ({_clock(closed)}), now {_local(closed, now)}"
    opened = [window for window in windows if window.type is WindowType.OPEN]
    names = ", ".join(f"{window.name} ({_clock(window)})" for window in opened)
    return f"outside of {names}, now {_local(opened[0], now)}"


def next_allowed(windows: Sequence[ChangeWindow], now: datetime) -> datetime | None:
    """Return the next time at which changes are allowed, as far as that is within some weeks."""
    edges = sorted({edge for window in windows for edge in _edges(window, now) if edge > now})
    return next((edge for edge in edges if allowed(windows, edge)), None)


def within(window: ChangeWindow, now: datetime) -> bool:
    """Whether a time is within a window."""
    local = now.astimezone(_zone(window.time_zone))
    start, end = _minutes(window.start), _minutes(window.end)
    minute, today = local.hour * 60 + local.minute, local.date()
    if start < end:
        return start <= minute < end and _begins(window, today)
    yesterday = today - timedelta(days=1)
    return (minute >= start and _begins(window, today)) or (minute < end and _begins(window, yesterday))


def _begins(window: ChangeWindow, day: date) -> bool:
    """Whether the window begins on a day."""
    if window.days is not None and _DAYS[day.weekday()] not in window.days:
        return False
    text = day.isoformat()
    if window.first_date is not None and text < window.first_date:
        return False
    return window.last_date is None or text <= window.last_date


def _edges(window: ChangeWindow, now: datetime) -> list[datetime]:
    """Return the times around which the window may begin or end."""
    zone = _zone(window.time_zone)
    today = now.astimezone(zone).date()
    minutes = {_minutes(window.start), _minutes(window.end) % _MINUTES}
    days = [today + timedelta(days=n) for n in range(_AHEAD)]
    found: list[datetime] = []
    for day in days:
        for minute in minutes:
            # Where the clock shows a time twice, or never, both readings are looked at.
            for fold in (0, 1):
                local = datetime.combine(day, time(minute // 60, minute % 60), zone).replace(fold=fold)
                found.append(local.astimezone(UTC))
        found += _jumps(day, zone)
    return found


def _jumps(day: date, zone: ZoneInfo) -> list[datetime]:
    """Return the times of a day at which its clock may be set: that, too, may open a window, or close it."""
    begin = datetime.combine(day, time(), zone)
    end = datetime.combine(day + timedelta(days=1), time(), zone)
    if begin.utcoffset() == end.utcoffset():
        return []
    first = begin.astimezone(UTC)
    # Clocks are set at quarters of an hour: there are zones that differ from others by 45 minutes.
    return [first + timedelta(minutes=15 * n) for n in range(104)]


@lru_cache(maxsize=256)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _minutes(clock: str) -> int:
    hours, minutes = clock.split(":")
    return int(hours) * 60 + int(minutes)


def _clock(window: ChangeWindow) -> str:
    days = f"{'/'.join(window.days)} " if window.days is not None else ""
    dates = ""
    if window.first_date or window.last_date:
        dates = f", {window.first_date or ''}..{window.last_date or ''}"
    return f"{days}{window.start}-{window.end} {window.time_zone}{dates}"


def _local(window: ChangeWindow, now: datetime) -> str:
    return f"{now.astimezone(_zone(window.time_zone)):%a %H:%M}"
