"""How long a key waits after its reconciliation failed: ever longer, but never long for a server that was away."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

from kubernaut.core.errors import ClusterError, TooManyRequests, Unavailable, UnknownOutcome

FIRST: Final = 0.5
LONGEST: Final = 60.0
#: breaker and patience keep the API server from being asked meanwhile, and when it is back all is to go on soon
LONGEST_AWAY: Final = 5.0
#: what says nothing of the key, only of the API server: no run ends by it
AWAY: Final = (Unavailable, UnknownOutcome, TooManyRequests)
K = TypeVar("K", bound=Hashable)


class Backoff(Generic[K]):
    """Counts failures in a row by key.

    Args:
        spread: returns a number between two, so that keys which failed together do not come back together.
    """

    def __init__(self, spread: Callable[[float, float], float] = random.uniform) -> None:
        self._spread = spread
        self._failures: dict[K, int] = {}

    def failed(self, key: K, error: Exception) -> float:
        """Return after how many seconds to try a key again; at least as many as the server asked to wait."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        longest = LONGEST_AWAY if isinstance(error, AWAY) else LONGEST
        delay = min(FIRST * 2.0 ** min(failures + 1, 10), longest) * self._spread(0.75, 1.0)
        asked = error.retry_after if isinstance(error, ClusterError) else None
        return max(delay, asked or 0.0)

    def succeeded(self, key: K) -> None:
        """Begin anew with a key, or forget one that is gone."""
        self._failures.pop(key, None)
