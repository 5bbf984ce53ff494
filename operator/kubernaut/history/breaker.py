"""A circuit breaker for coroutines: pybreaker keeps the states, the monotonic clock says when to probe."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pybreaker

from kubernaut.history.errors import BreakerOpen, HistoryError, Rejected


class Breaker:
    """Refuses calls for a while after several failures in a row, then lets a single probe through.

    Args:
        name: of the service, for messages.
        failures: how many in a row open it.
        pause: seconds until a probe.
        monotonic: the clock, seconds.
    """

    def __init__(
        self,
        name: str,
        *,
        failures: int = 3,
        pause: float = 5.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._pause = pause
        self._monotonic = monotonic
        self._opened_at = 0.0
        self._probing = False
        self._breaker = pybreaker.CircuitBreaker(
            fail_max=failures, reset_timeout=pause, name=name, throw_new_error_on_trip=False
        )

    @property
    def state(self) -> str:
        """One of closed, open, half-open."""
        return str(self._breaker.current_state)

    @property
    def opens_in(self) -> float:
        """Seconds until a call is let through; 0 where one would be now."""
        if self.state == pybreaker.STATE_CLOSED:
            return 0.0
        return max(0.0, self._opened_at + self._pause - self._monotonic())

    @asynccontextmanager
    async def guard(self) -> AsyncIterator[None]:
        """Let the body run, and learn from how it ends.

        Who refuses data is there; cancellation says nothing.

        Raises:
            BreakerOpen: the breaker is open, or another probe is under way.
        """
        probe = self._admit()
        try:
            yield
        except Rejected:
            self._succeeded()
            raise
        except HistoryError as error:
            self._failed(error)
            raise
        else:
            self._succeeded()
        finally:
            if probe:
                self._probing = False

    def _admit(self) -> bool:
        if self.state == pybreaker.STATE_CLOSED:
            return False
        if self._probing or self.opens_in > 0:
            raise BreakerOpen(
                f"{self._name} failed several times in a row; it is tried again in {self.opens_in:.1f} s"
            )
        self._breaker.half_open()
        self._probing = True
        return True

    def _failed(self, error: HistoryError) -> None:
        def fail() -> None:
            raise error

        with suppress(HistoryError, pybreaker.CircuitBreakerError):
            self._breaker.call(fail)
        if self.state != pybreaker.STATE_CLOSED:
            self._opened_at = self._monotonic()

    def _succeeded(self) -> None:
        # Raised where a call that began before the breaker opened ends well after it.
        with suppress(pybreaker.CircuitBreakerError):
            self._breaker.call(lambda: None)
