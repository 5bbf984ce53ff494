"""Waiting as long as the API server asks for: what is sent before that time it refuses again, only busier."""

from __future__ import annotations

from collections.abc import Callable

from kubernaut.cluster.call import Call
from kubernaut.core.errors import TooManyRequests


class Patience:
    """Keeps, by account, until when no request is sent after a 429 with Retry-After.

    By account, for so does the API server count (priority and fairness): one that asks too much holds up no other.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._until: dict[str, float] = {}

    def asked(self, account: str, seconds: float | None) -> None:
        """Take note that the server asked this account to wait."""
        if seconds:
            self._until[account] = self._monotonic() + seconds

    def demand(self, call: Call, account: str) -> None:
        """Let a request of an account pass, or not.

        Raises:
            TooManyRequests: the time is not over; nothing was sent.
        """
        until = self._until.get(account)
        if until is None:
            return
        left = until - self._monotonic()
        if left <= 0:
            del self._until[account]
            return
        message = f"{call} was not sent: the API server asked to wait for {left:.1f} s more"
        raise TooManyRequests(message, retry_after=left)
