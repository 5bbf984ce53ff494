"""When a failed step is tried again."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from kubernaut.api.reasons import REASONS, Category, Reason
from kubernaut.api.steps import BackoffPolicy, Retry

# A step's timeout bounds all its attempts, and what ran into it may have happened.
NEVER_AGAIN = frozenset(
    {Category.CONFIGURATION, Category.PERMISSION, Category.HUMAN, Category.LIMIT, Category.TIMEOUT}
)
# Not the step's fault: the same attempt goes on, fenced, until the step's timeout.
SAME_ATTEMPT = frozenset(
    {
        *(
            Reason.UNAVAILABLE,
            Reason.UNKNOWN_OUTCOME,
            Reason.STOPPED,
            Reason.LEASE_LOST,
            Reason.POLICIES_MISSING,
        ),
        Reason.IN_PROGRESS,
    }
)
INFRASTRUCTURE_PAUSE = timedelta(seconds=2)
# Until an unfinished step is looked after again.
PROGRESS_PAUSE = timedelta(seconds=1)


def delay(retry: Retry, attempt: int, key: str = "") -> timedelta:
    """Return the pause after failed attempt ``attempt`` (from 1): as the policy says, capped, less the jitter.

    The jitter is drawn from ``key`` and the attempt, so it comes out the same whenever it is asked for; it spreads
    waits evenly over [1 - jitter, 1] of their length ("equal jitter", AWS Architecture Blog, 2015).
    """
    backoff = retry.backoff
    initial, cap = backoff.initial.total_seconds(), backoff.max.total_seconds()
    match backoff.policy:
        case BackoffPolicy.FIXED:
            seconds = initial
        case BackoffPolicy.LINEAR:
            seconds = initial * attempt
        case BackoffPolicy.EXPONENTIAL:
            seconds = initial
            for _ in range(attempt - 1):
                seconds *= backoff.factor
                if seconds >= cap:
                    break
    share = backoff.jitter_percent / 100 * _fraction(f"{key}\n{attempt}")
    return timedelta(seconds=min(seconds, cap) * (1 - share))


def _fraction(key: str) -> float:
    """Return a number in [0, 1) that follows from a key."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:6], "big") / 2**48


def retry_at(retry: Retry, attempt: int, reason: Reason, now: datetime, key: str = "") -> datetime | None:
    """Return when to try again, or None where the step has failed for good.

    Trouble that only a person can mend (a missing right, a wrong field) is not tried again.
    """
    info = REASONS.get(reason)
    if attempt > retry.limit or (info is not None and info.category in NEVER_AGAIN):
        return None
    return now + delay(retry, attempt, key)
