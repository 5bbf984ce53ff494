"""A queue of keys: each key at most once in it, at most one worker on it, with delays.

The idea is the work queue of Kubernetes' client-go: what happened is not queued, only that something did, so events
may be lost, doubled or late.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class KeyedQueue(Generic[K]):
    """Keys waiting to be looked at. For one event loop; not thread-safe."""

    def __init__(self) -> None:
        self._ready: OrderedDict[K, None] = OrderedDict()
        self._busy: set[K] = set()
        self._again: set[K] = set()
        self._due: dict[K, tuple[float, int]] = {}
        self._delayed: list[tuple[float, int, K]] = []
        self._count = itertools.count()
        self._waiters: list[asyncio.Future[None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._ready)

    @property
    def delayed(self) -> int:
        """How many keys wait for their time."""
        return len(self._due)

    def add(self, key: K) -> None:
        """Have the key looked at soon; one that is being looked at is looked at again afterwards."""
        self._due.pop(key, None)
        if key in self._busy:
            self._again.add(key)
        elif key not in self._ready:
            self._ready[key] = None
            self._wake_next()

    def add_after(self, key: K, seconds: float) -> None:
        """Have the key looked at after a while, unless something wakes it sooner; the earliest time counts."""
        if seconds <= 0:
            self.add(key)
            return
        due = asyncio.get_running_loop().time() + seconds
        known = self._due.get(key)
        if key in self._ready or (known is not None and known[0] <= due):
            return
        mark = next(self._count)
        self._due[key] = (due, mark)
        heapq.heappush(self._delayed, (due, mark, key))
        self._arm()

    async def get(self) -> K | None:
        """Return the next key, which is then this worker's until ``done``; None once closed."""
        while not self._ready:
            if self._closed:
                return None
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and self._ready:
                    self._wake_next()  # this worker was woken, but will not come
                raise
            finally:
                self._waiters.remove(waiter)
        key, _ = self._ready.popitem(last=False)
        self._busy.add(key)
        if self._ready:
            self._wake_next()
        return key

    def done(self, key: K) -> None:
        """Give a key back."""
        self._busy.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def close(self) -> None:
        """Let every worker go once the ready keys are taken; delayed keys are dropped."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _wake_next(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
                return

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._delayed and not self._closed:
            self._timer = asyncio.get_running_loop().call_at(self._delayed[0][0], self._release)

    def _release(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._delayed and self._delayed[0][0] <= now + 0.001:
            due, mark, key = heapq.heappop(self._delayed)
            if self._due.get(key) == (due, mark):
                self.add(key)
        self._arm()
