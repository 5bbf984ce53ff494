"""Meddling with the events of a watch: some are dropped, doubled, swapped or late; some streams end with 410."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter

from faults.fault import EventFault
from faults.wire import status

_LATE_SECONDS = (0.2, 1.0)
_EXPIRED = json.dumps({"type": "ERROR", "object": status(410)}).encode() + b"\n"


class Meddler:
    """Meddles with one stream.

    Args:
        share: of how many events something happens to.
        points: counts what happened, by fault.
    """

    def __init__(self, chance: random.Random, share: float, points: Counter[str]) -> None:
        self._random = chance
        self._share = share
        self._points = points
        self._kept: list[bytes] = []

    async def passed(self, line: bytes) -> tuple[list[bytes], bool]:
        """Return which events to send now in place of one, and whether the stream ends with them."""
        kept, self._kept = self._kept, []
        if self._random.random() >= self._share:
            return [line, *kept], False
        fault = self._random.choice(list(EventFault))
        self._points[fault] += 1
        match fault:
            case EventFault.DROPPED:
                return kept, False
            case EventFault.DOUBLED:
                return [line, line, *kept], False
            case EventFault.SWAPPED:
                self._kept = [line]
                return kept, False
            case EventFault.EXPIRED:
                return [*kept, _EXPIRED], True
            case _:
                await asyncio.sleep(self._random.uniform(*_LATE_SECONDS))
                return [line, *kept], False
