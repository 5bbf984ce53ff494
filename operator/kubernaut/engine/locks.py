"""Locks on targets: at most one live run, with the runs that it started, acts on an object.

They live in memory and are rebuilt from the live runs at start: what holds a lock is the run's stored claim.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left, insort
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from kubernaut.engine.keys import RunKey

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


class _Place(NamedTuple):
    """Where a run waits: higher priorities first, then who was created first, then who came first."""

    precedence: int
    created: datetime
    came: int
    run: RunKey


@dataclass(slots=True)
class _Target:
    """Who holds a target, in the order in which they came, and who waits for it, in the order of their turns."""

    holders: dict[RunKey, None] = field(default_factory=dict)
    waiting: list[_Place] = field(default_factory=list)


class TargetLocks:
    """Who holds which target, and who waits for it. A run holds, or waits for, one target at most.

    A target is held until everyone who holds it has released it: a run that was started by a holder shares its lock.
    Nobody overtakes who waits: a free lock is kept for the first of those that wait, who was woken; one that can't
    use its turn gives it up by ``release``.
    """

    def __init__(self, wake: Callable[[RunKey], None]) -> None:
        self._wake = wake
        self._targets: dict[str, _Target] = {}
        self._held: dict[RunKey, str] = {}
        self._places: dict[RunKey, tuple[str, _Place]] = {}
        self._count = itertools.count()

    def __len__(self) -> int:
        """Return how many targets are held."""
        return sum(1 for target in self._targets.values() if target.holders)

    @property
    def waiting(self) -> int:
        """How many runs wait for their target."""
        return len(self._places)

    def take(
        self,
        target_uid: str,
        run: RunKey,
        *,
        sharing_with: Collection[RunKey] = (),
        priority: int = 0,
        created: datetime | None = None,
    ) -> RunKey | None:
        """Take the target for a run; return None, or the run it has to wait for (the caller is woken later).

        Args:
            sharing_with: the run that started this one, and those that started that one in turn: where one of them
                holds the target, it is shared.
        """
        held = self._held.get(run)
        if held == target_uid:
            return None
        if held is not None:
            self.release(run)
        target = self._targets.get(target_uid)
        if target is not None and not target.holders.keys().isdisjoint(sharing_with):
            self.hold(target_uid, run)
            return None
        place = self._queue_up(target_uid, run, priority, created or _LONG_AGO)
        target = self._targets[target_uid]
        if target.holders:
            return next(iter(target.holders))
        first = target.waiting[0]
        if first is place:
            self.hold(target_uid, run)
            return None
        self.wake(first.run)
        return first.run

    def hold(self, target_uid: str, run: RunKey) -> None:
        """Note that a run holds a target, whoever else does: its claim is stored."""
        if self._held.get(run) not in (None, target_uid):
            self.release(run)
        self._give_up_place(run, then_wake=self._places.get(run, ("", None))[0] != target_uid)
        self._targets.setdefault(target_uid, _Target()).holders[run] = None
        self._held[run] = target_uid

    def holder(self, run: RunKey) -> RunKey | None:
        """Return whom a run waits for, or None where the target is free or the run does not wait."""
        target_uid, _ = self._places.get(run, ("", None))
        target = self._targets.get(target_uid)
        return next(iter(target.holders), None) if target is not None else None

    def older(self, run: RunKey) -> list[RunKey]:
        """Return those who wait for the same target and were created before a waiting run."""
        target_uid, place = self._places.get(run, ("", None))
        if place is None:
            return []
        age = (place.created, place.came)
        return [one.run for one in self._targets[target_uid].waiting if (one.created, one.came) < age]

    def wake(self, run: RunKey) -> None:
        """Have a run looked at."""
        self._wake(run)

    def release(self, run: RunKey) -> None:
        """Give up what a run holds or waits for, and wake the next."""
        self._give_up_place(run)
        target_uid = self._held.pop(run, None)
        if target_uid is not None:
            del self._targets[target_uid].holders[run]
            self._next(target_uid)

    def _queue_up(self, target_uid: str, run: RunKey, priority: int, created: datetime) -> _Place:
        known_uid, known = self._places.get(run, ("", None))
        if known is not None:
            if (known_uid, known.precedence, known.created) == (target_uid, -priority, created):
                return known
            self._give_up_place(run, then_wake=known_uid != target_uid)
        came = known.came if known is not None else next(self._count)
        place = _Place(-priority, created, came, run)
        insort(self._targets.setdefault(target_uid, _Target()).waiting, place)
        self._places[run] = (target_uid, place)
        return place

    def _give_up_place(self, run: RunKey, *, then_wake: bool = True) -> None:
        target_uid, place = self._places.pop(run, ("", None))
        if place is None:
            return
        waiting = self._targets[target_uid].waiting
        index = bisect_left(waiting, place)
        del waiting[index]
        if index == 0 and then_wake:
            self._next(target_uid)

    def _next(self, target_uid: str) -> None:
        target = self._targets[target_uid]
        if target.holders:
            return
        if target.waiting:
            self.wake(target.waiting[0].run)
        else:
            del self._targets[target_uid]
