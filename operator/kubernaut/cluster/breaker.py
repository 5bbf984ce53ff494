"""A circuit breaker around a service: while it is away, one request in a while finds out, not thousands.

States, counting and listeners are pybreaker's. It tells time by the wall clock and is not made for
coroutines; so when to try again is decided here, by a monotonic clock, and one trial at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any, Final

import pybreaker

from kubernaut.core.errors import Unavailable

_NEVER: Final = 10.0**9


class ServiceAway(Exception):
    """What a breaker is told of a failure."""


class _Tell(pybreaker.CircuitBreakerListener):
    def __init__(self, changed: Callable[[str], None]) -> None:
        self._changed = changed

    def state_change(self, cb: Any, old_state: Any, new_state: Any) -> None:
        self._changed(new_state.name)


class Breaker:
    """Opens after ``fail_max`` failures in a row; then lets one trial through every ``probe_every`` seconds,
    or, where the service said how long to wait, after that time.

    Usage: ``admit()`` before a request, then ``succeeded()`` or ``failed()``, or neither where it ended without
    telling anything of the service (it was cancelled).
    """

    def __init__(
        self,
        service: str,
        *,
        fail_max: int = 10,
        probe_every: float = 1.0,
        monotonic: Callable[[], float] = time.monotonic,
        on_change: Callable[[str], None] | None = None,
    ) -> None:
        self.service = service
        self._probe_every = probe_every
        self._monotonic = monotonic
        self._trial_at = float("-inf")
        self._wait = probe_every
        self._waiters: set[asyncio.Future[None]] = set()
        self._breaker = pybreaker.CircuitBreaker(
            fail_max=fail_max,
            reset_timeout=_NEVER,
            name=service,
            listeners=[_Tell(on_change)] if on_change else [],
        )

    @property
    def state(self) -> str:
        """``closed``, ``open`` or ``half-open``."""
        return str(self._breaker.current_state)

    @property
    def is_open(self) -> bool:
        """Whether requests are refused (but for the trials)."""
        return self.state != pybreaker.STATE_CLOSED

    def on_change(self, callback: Callable[[str], None]) -> None:
        """Have a callback called with every new state."""
        self._breaker.add_listener(_Tell(callback))

    def admit(self) -> None:
        """Let a request through, or not.

        Raises:
            Unavailable: the breaker is open; nothing was sent.
        """
        if self._breaker.current_state == pybreaker.STATE_CLOSED:
            return
        left = self._trial_at + self._wait - self._monotonic()
        if left > 0:
            message = f"{self.service} does not answer; it is tried again every {self._wait:g} s"
            raise Unavailable(message, retry_after=left)
        # A trial that never tells how it ended must not keep the breaker shut: the next one is due by time alone.
        self._trial_at = self._monotonic()
        self._breaker.half_open()

    async def admitted(self) -> None:
        """Wait until a request may be sent: until the service is back, or until it is this one's turn to try."""
        while True:
            try:
                self.admit()
                return
            except Unavailable as error:
                await self._closed(error.retry_after or self._probe_every)

    async def _closed(self, seconds: float) -> None:
        """Wait until the breaker closes, but not longer than so many seconds."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await waiter
        finally:
            self._waiters.discard(waiter)

    def succeeded(self) -> None:
        """The service answered: any answer shows that it is there."""
        self._wait = self._probe_every
        if self._breaker.current_state != pybreaker.STATE_CLOSED:
            self._breaker.close()
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)
        elif self._breaker.fail_counter:
            self._breaker.call(_nothing)

    def failed(self, retry_after: float | None = None) -> None:
        """The service did not answer, or said that it can't; maybe how many seconds to wait before the next trial."""
        self._wait = max(self._probe_every, retry_after or 0.0)
        if self._breaker.current_state == pybreaker.STATE_OPEN:
            return
        try:
            self._breaker.call(_fail)
        except (ServiceAway, pybreaker.CircuitBreakerError):
            if self._breaker.current_state == pybreaker.STATE_OPEN:
                self._trial_at = self._monotonic()


def _nothing() -> None:
    pass


def _fail() -> None:
    raise ServiceAway
