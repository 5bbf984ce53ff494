"""Turns of the event loop that stay short, however many tasks could go on at once.

asyncio runs all tasks that can go on before it looks at sockets and timers again: with 64 workers that have 2 ms to
do each, a lease is renewed 0.1 s late.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

#: seconds of work after which those who can wait leave the rest to the next turn
SHORT: Final = 0.02


class _Turn:
    """The turn that the loop is in."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._began: float | None = None

    def seconds(self) -> float:
        """Return for how long the loop has been in this turn, as far as anybody asked."""
        loop = asyncio.get_running_loop()
        if self._began is None or self._loop is not loop:
            self._loop, self._began = loop, time.monotonic()
            loop.call_soon(self._end)
        return time.monotonic() - self._began

    def _end(self) -> None:
        self._began = None


_turn = _Turn()


async def turn() -> None:
    """Wait for the next turn, and on, where this one has been long already; call it before a piece of work."""
    while _turn.seconds() >= SHORT:  # noqa: ASYNC110 - it is the loop that is waited for
        await asyncio.sleep(0)
