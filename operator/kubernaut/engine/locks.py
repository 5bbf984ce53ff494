"""Locks on targets: at most one live run acts on an object.

They live in memory and are rebuilt from the live runs at start: what holds a lock is the run's stored claim.
"""

from __future__ import annotations

from collections.abc import Callable

from kubernaut.engine.keys import RunKey


class TargetLocks:
    """Who holds which target, and who waits for it."""

    def __init__(self, wake: Callable[[RunKey], None]) -> None:
        self._wake = wake
        self._holders: dict[str, RunKey] = {}
        self._held: dict[RunKey, str] = {}
        self._waiting: dict[str, dict[RunKey, None]] = {}

    def __len__(self) -> int:
        return len(self._holders)

    def take(self, target_uid: str, run: RunKey) -> RunKey | None:
        """Take the target for a run; return None, or the run that holds it (the caller is woken later)."""
        holder = self._holders.setdefault(target_uid, run)
        if holder == run:
            self._held[run] = target_uid
            self._waiting.get(target_uid, {}).pop(run, None)
            return None
        self._waiting.setdefault(target_uid, {})[run] = None
        return holder

    def release(self, run: RunKey) -> None:
        """Give up what a run holds or waits for, and wake the next."""
        target = self._held.pop(run, None)
        if target is not None:
            del self._holders[target]
            for waiter in list(self._waiting.pop(target, {})):
                self._wake(waiter)
        for waiting in self._waiting.values():
            waiting.pop(run, None)
