"""Finished runs that wait for the history: references only, each once, bounded."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable

from kubernaut.history.records import RunKey


class Outbox:
    """Keys in the order they came; those being written count until they are done."""

    def __init__(self, most: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._monotonic = monotonic
        self._waiting: OrderedDict[str, RunKey] = OrderedDict()
        self._taken: dict[str, RunKey] = {}
        # By uid, when it came; in that order.
        self._since: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._waiting) + len(self._taken)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def oldest(self) -> float | None:
        """When the key came that has been here for longest, by the monotonic clock; None where there is none."""
        return next(iter(self._since.values()), None)

    def offer(self, key: RunKey) -> bool:
        """Add a key; False where there is no room, so that the next reconciliation has to find the run again.

        A key that is just being written is added again, since the run may have changed after it was loaded.
        """
        if key.uid in self._waiting:
            return True
        if len(self) >= self._most:
            return False
        self._waiting[key.uid] = key
        self._since.setdefault(key.uid, self._monotonic())
        return True

    def take(self, most: int) -> list[RunKey]:
        """Take the oldest keys out; ``done`` or ``put_back`` must follow."""
        keys = [self._waiting.popitem(last=False)[1] for _ in range(min(most, len(self._waiting)))]
        self._taken.update((key.uid, key) for key in keys)
        return keys

    def done(self, keys: Iterable[RunKey]) -> None:
        """Forget keys that were taken."""
        for key in keys:
            self._taken.pop(key.uid, None)
            self._since.pop(key.uid, None)
            if key.uid in self._waiting:
                self._since[key.uid] = self._monotonic()

    def put_back(self, keys: Iterable[RunKey]) -> None:
        """Let keys that were taken wait again, before all others."""
        for key in reversed(list(keys)):
            self._taken.pop(key.uid, None)
            self._waiting[key.uid] = key
            self._waiting.move_to_end(key.uid, last=False)
