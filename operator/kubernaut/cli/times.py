"""Times and durations as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def now() -> datetime:
    """Return the time, with its zone."""
    return datetime.now(UTC)


def span(duration: timedelta) -> str:
    """Write a duration the way kubectl writes ages: ``350ms``, ``4.2s``, ``59s``, ``5m10s``, ``3h``, ``12d``."""
    seconds = max(0.0, duration.total_seconds())
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    if seconds < 10:
        return f"{seconds:.1f}s"
    if seconds < 120:
        return f"{int(seconds)}s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 10:
        return f"{minutes}m{rest}s" if rest else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    hours = minutes // 60
    return f"{hours}h" if hours < 48 else f"{hours // 24}d"


def age(since: datetime | None, at: datetime) -> str:
    """Return how long ago something was, or an empty string."""
    return "" if since is None else span(at - since)


def between(start: datetime | None, end: datetime | None) -> str:
    """Return how long something took, or an empty string where it did not start or end."""
    return "" if start is None or end is None else span(end - start)


def clock(time: datetime | None) -> str:
    """Write a time with milliseconds in UTC, or an empty string."""
    return "" if time is None else time.astimezone(UTC).strftime("%H:%M:%S.%f")[:-3]


def moment(time: datetime | None) -> str:
    """Write a date and time in UTC, or an empty string."""
    return "" if time is None else time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
