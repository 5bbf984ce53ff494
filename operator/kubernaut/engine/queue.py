"""A queue of keys: each key at most once in it, at most one worker on it, with delays, priorities and fairness.

The idea is the work queue of Kubernetes' client-go: what happened is not queued, only that something did, so events
may be lost, doubled or late. Who goes first is ``core.scheduling.FairOrder``'s to say.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Callable, Hashable
from typing import Final, Generic, NamedTuple, TypeVar

from kubernaut.core.scheduling import FairOrder

K = TypeVar("K", bound=Hashable)
# So many delays that were overtaken may stay in the heap before it is built anew.
_STALE: Final = 64


class Rank(NamedTuple):
    """Where a key waits: higher priorities first, namespaces of one priority by turns."""

    priority: int = 0
    namespace: str = ""


def _alike(_: object) -> Rank:
    return Rank()


class KeyedQueue(Generic[K]):
    """Keys waiting to be looked at. For one event loop; not thread-safe.

    Args:
        rank: says of a key that is added where it waits.
        waited: is told how long a key waited for a worker: its priority, and seconds.

    Attributes:
        added: how many keys were put in; one that waits already is not put in again.
    """

    def __init__(
        self, rank: Callable[[K], Rank] = _alike, waited: Callable[[int, float], None] | None = None
    ) -> None:
        self.rank = rank
        self._waited = waited
        self._order: FairOrder[K] = FairOrder()
        self._ready: dict[K, float] = {}
        self._busy: dict[K, float] = {}
        self._again: set[K] = set()
        self._due: dict[K, tuple[float, int]] = {}
        self._delayed: list[tuple[float, int, K]] = []
        self._count = itertools.count()
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self.added = 0

    def __len__(self) -> int:
        return len(self._ready)

    @property
    def delayed(self) -> int:
        """How many keys wait for their time."""
        return len(self._due)

    def busy(self) -> list[float]:
        """Return for how many seconds each worker that is with a key has been with it."""
        now = self._now()
        return [now - since for since in self._busy.values()]

    def add(self, key: K) -> None:
        """Have the key looked at soon; one that is being looked at is looked at again afterwards."""
        if self._due:
            self._due.pop(key, None)
        if key in self._busy:
            self._again.add(key)
        elif key not in self._ready:
            self._ready[key] = self._now() if self._waited is not None else 0.0
            self.added += 1
            priority, namespace = self.rank(key)
            self._order.add(key, priority, namespace)
            self._wake_next()

    def add_after(self, key: K, seconds: float) -> None:
        """Have the key looked at after a while, unless something wakes it sooner; the earliest time counts."""
        if seconds <= 0:
            self.add(key)
            return
        due = self._now() + seconds
        known = self._due.get(key)
        if key in self._ready or (known is not None and known[0] <= due):
            return
        mark = next(self._count)
        self._due[key] = (due, mark)
        heapq.heappush(self._delayed, (due, mark, key))
        if len(self._delayed) > 2 * len(self._due) + _STALE:
            self._delayed = [(*when, key) for key, when in self._due.items()]
            heapq.heapify(self._delayed)
        if self._timer is None or self._delayed[0][1] == mark:
            self._arm()

    async def get(self) -> K | None:
        """Return the next key, which is then this worker's until ``done``; None once closed."""
        while not (self._ready or self._closed):
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if not waiter.cancelled() and self._ready:
                    self._wake_next()  # this worker was woken, but will not come
                raise
        if self._closed:
            return None
        key, priority = self._order.take()
        since = self._ready.pop(key)
        now = self._busy[key] = self._now()
        if self._waited is not None:
            self._waited(priority, now - since)
        if self._ready:
            self._wake_next()
        return key

    def done(self, key: K) -> None:
        """Give a key back."""
        self._busy.pop(key, None)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def close(self) -> None:
        """Let every worker go; keys that are ready or delayed are left to whoever comes next."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    def _wake_next(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            # One that was cancelled while it waited is still here.
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
        self._timer = None
        now = self._now()
        while self._delayed and self._delayed[0][0] <= now + 0.001:
            due, mark, key = heapq.heappop(self._delayed)
            if self._due.get(key) == (due, mark):
                self.add(key)
        self._arm()
