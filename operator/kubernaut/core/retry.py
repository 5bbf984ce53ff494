"""When a failed step is tried again."""

from __future__ import annotations

from datetime import datetime, timedelta

from kubernaut.api.reasons import REASONS, Category, Reason
from kubernaut.api.workflow import Retry

# A step's timeout bounds all its attempts, and what ran into it may have happened.
NEVER_AGAIN = frozenset(
    {Category.CONFIGURATION, Category.PERMISSION, Category.HUMAN, Category.LIMIT, Category.TIMEOUT}
)
INFRASTRUCTURE_PAUSE = timedelta(seconds=2)


def delay(retry: Retry, attempt: int) -> timedelta:
    """Return the pause after failed attempt ``attempt`` (from 1): ``initial * factor ** (attempt - 1)``, capped."""
    backoff = retry.backoff
    seconds = backoff.initial.total_seconds()
    cap = backoff.max.total_seconds()
    for _ in range(attempt - 1):
        seconds *= backoff.factor
        if seconds >= cap:
            break
    return timedelta(seconds=min(seconds, cap))


def retry_at(retry: Retry, attempt: int, reason: Reason, now: datetime) -> datetime | None:
    """Return when to try again, or None where the step has failed for good.

    Trouble that only a person can mend (a missing right, a wrong field) is not tried again.
    """
    info = REASONS.get(reason)
    if attempt > retry.limit or (info is not None and info.category in NEVER_AGAIN):
        return None
    return now + delay(retry, attempt)
