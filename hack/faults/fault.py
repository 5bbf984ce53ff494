"""What may happen to a request, and to an event of a watch."""

from __future__ import annotations

from enum import StrEnum


class Fault(StrEnum):
    """What happens to one request."""

    KILL_BEFORE = "killed before sending"
    KILL_UNANSWERED = "killed after sending, the answer dropped"
    KILL_AFTER = "killed after the answer"
    KILL_LATE = "killed, and what it had sent arrives later"
    DROP = "answer dropped"
    RESET = "connection reset before sending"
    SLOW = "answered late"
    TWICE = "sent twice"
    BUSY = "429"
    BROKEN = "500"
    AWAY = "503"
    CUT = "watch cut off after a while"
    GONE = "watch answered 410"


KILLS = (Fault.KILL_BEFORE, Fault.KILL_UNANSWERED, Fault.KILL_AFTER, Fault.KILL_LATE)
DISTURBANCES = (Fault.DROP, Fault.RESET, Fault.SLOW, Fault.TWICE, Fault.BUSY, Fault.BROKEN, Fault.AWAY)
WATCH_DISTURBANCES = (Fault.CUT, Fault.GONE, Fault.RESET, Fault.AWAY)
REFUSALS = {Fault.GONE: 410, Fault.BUSY: 429, Fault.BROKEN: 500, Fault.AWAY: 503}


class EventFault(StrEnum):
    """What happens to one event of a watch."""

    DROPPED = "event dropped"
    DOUBLED = "event sent twice"
    SWAPPED = "event sent after the next one"
    LATE = "event, and all after it, sent late"
    EXPIRED = "410 Gone in the stream"
