"""Scarce resources that all runs share: who holds units of them, who waits, and who is next.

What is true is in the API server, one object per unit (``cluster.slots``); here is only what was last seen of it, and
what the steps of this replica's runs want. A unit is given back once its step ended; units of runs that ended while
nobody looked are found at the start, every few minutes, and whenever somebody waits for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from kubernaut.cluster.slots import Slot
from kubernaut.core.errors import AlreadyExists, ClusterError, Conflict, NotFound
from kubernaut.core.features import Feature
from kubernaut.core.run import Want
from kubernaut.core.scheduling import Request, grants
from kubernaut.engine.gauges import show_capacities
from kubernaut.engine.keys import RunKey
from kubernaut.metrics import WRITES

log = logging.getLogger(__name__)
#: seconds between two lists of the units, at least
POLL: Final = 2.0
#: seconds after which units are listed though nobody waits, for those whose run ended unseen
SWEEP: Final = 600.0
# Of so many namespaces it is remembered when they had their last turn.
_REMEMBERED: Final = 1000


class Units(Protocol):
    """Where units are held; see ``cluster.slots.Slots``."""

    async def read(self) -> list[Slot]: ...

    async def create(self, resource: str, index: int, holder: str) -> Slot: ...

    async def take(self, seen: Slot, holder: str) -> Slot: ...

    async def free(self, seen: Slot) -> Slot: ...


class Standing(Protocol):
    """What is known of runs by their UID."""

    def ours(self, uid: str) -> bool:
        """Whether the run is live and this replica's to drive, right now."""
        ...

    def over(self, uid: str) -> bool:
        """Whether the run is certainly over."""
        ...

    def step_over(self, uid: str, step: str) -> bool:
        """Whether it is stored that the step has ended."""
        ...


class Unknown:
    """Nothing is known of any run."""

    def ours(self, uid: str) -> bool:
        return False

    def over(self, uid: str) -> bool:
        return False

    def step_over(self, uid: str, step: str) -> bool:
        return False


@dataclass(slots=True)
class _Asker:
    """A run whose steps want something.

    Attributes:
        since: by step, a number that grows with the time at which it began to wait.
    """

    key: RunKey
    uid: str
    priority: int = 0
    wants: dict[str, Want] = field(default_factory=dict)
    since: dict[str, int] = field(default_factory=dict)
    granted: set[str] = field(default_factory=set)


def _enough(held: Counter[str], want: Want) -> bool:
    return all(held[name] >= amount for name, amount in want.uses)


class Capacities:
    """Grants units of scarce resources to steps: all that a step wants at once, or nothing.

    Args:
        units: where they are held.
        capacity: returns how many units there are of a resource, now.
        off: returns the features that are off.
        wake: has a run looked at that holds more now.

    Attributes:
        standing: what is known of runs; set by who knows.
    """

    def __init__(
        self,
        units: Units,
        capacity: Callable[[str], int],
        off: Callable[[], frozenset[Feature]],
        wake: Callable[[RunKey], None],
    ) -> None:
        self.standing: Standing = Unknown()
        self.wake = wake
        self._units = units
        self._capacity = capacity
        self._off = off
        self._askers: dict[str, _Asker] = {}
        self._uids: dict[RunKey, str] = {}
        self._ended: set[str] = set()
        self._seen: dict[tuple[str, int], Slot] = {}
        self._turns: dict[str, int] = {}
        self._stale = True
        self._read_at: float | None = None
        self._count = itertools.count()
        self._changed = asyncio.Event()

    # What the engine asks

    def arrange(self, run: RunKey, uid: str, priority: int, wants: Sequence[Want]) -> frozenset[str]:
        """Take note of what a run's steps want now, giving back what is not wanted any more.

        Returns the steps that hold all they want; the run is woken when more do.
        """
        if self._uids.get(run) != uid:
            self.release(run)
            self._uids[run] = uid
            self._askers[uid] = _Asker(run, uid)
        asker = self._askers[uid]
        asker.priority = priority
        wanted = {want.step: want for want in wants}
        if wanted != asker.wants:
            asker.wants = wanted
            asker.granted &= wanted.keys()
            asker.since = {step: asker.since.get(step, next(self._count)) for step in wanted}
            self._changed.set()
        elif len(asker.granted) < len(wanted):
            self._changed.set()
        return frozenset(asker.granted)

    def release(self, run: RunKey, *, over: bool = False) -> None:
        """Forget what a run wants; where it is over, give back all that it holds.

        One that is not over goes on elsewhere, or after a restart, and keeps what it holds.
        """
        uid = self._uids.pop(run, None)
        if uid is None:
            return
        del self._askers[uid]
        if over or self.standing.over(uid):
            self._ended.add(uid)
        self._changed.set()

    def look(self) -> None:
        """Decide anew, for there may be more units than before."""
        self._changed.set()

    # What is done about it

    async def run(self) -> None:
        """Take and give back, for ever; ends by being cancelled."""
        pause: float = 0.0
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._changed.wait()
            self._changed.clear()
            try:
                pause = await self.settle()
            except ClusterError as error:
                log.warning("scarce resources could not be read or taken", extra={"error": str(error)})
                self._stale, pause = True, POLL
            except Exception:
                # Without this loop nobody gets anything any more.
                log.exception("arranging scarce resources failed unexpectedly")
                self._stale, pause = True, POLL

    async def settle(self) -> float:
        """Give back what is not wanted, take what is and is free; return seconds until it is to be done again.

        Raises:
            ClusterError: the units can't be read; what was written is noted.
        """
        now = asyncio.get_running_loop().time()
        age = POLL if self._read_at is None else now - self._read_at
        if age >= POLL and (self._stale or age >= SWEEP or self._others_hold_what_is_awaited()):
            await self._read(now)
            age = 0.0
        await self._give_back()
        self._adopt()
        if not self._stale:
            await self._grant()
        self._show()
        if self._stale or self._others_hold_what_is_awaited():
            return max(POLL - age, 0.05)
        # A lease that has lapsed may be renewed still, and nobody tells of that: nothing was lost.
        lapsed = any(not self.standing.ours(uid) for uid in self._askers)
        return POLL if lapsed else max(SWEEP - age, POLL)

    async def _read(self, now: float) -> None:
        self._read_at = now
        self._seen = {(slot.resource, slot.index): slot for slot in await self._units.read()}
        self._stale = False

    def _waiting(self) -> Iterable[tuple[_Asker, Want]]:
        for asker in self._askers.values():
            for step, want in asker.wants.items():
                if step not in asker.granted:
                    yield asker, want

    def _others_hold_what_is_awaited(self) -> bool:
        awaited = {name for _, want in self._waiting() for name, _ in want.uses}
        return any(
            slot.holder and slot.resource in awaited and slot.run not in self._askers
            for slot in self._seen.values()
        )

    async def _give_back(self) -> None:
        holdings = self._holdings()
        unwanted = [
            slot
            for slot in self._seen.values()
            if slot.holder and self._unwanted(slot, holdings[slot.holder])
        ]
        await asyncio.gather(*map(self._free, unwanted))
        if not self._stale:
            self._ended &= {slot.run for slot in self._seen.values()}

    def _unwanted(self, slot: Slot, held: Counter[str]) -> bool:
        asker = self._askers.get(slot.run)
        if asker is None:
            ended = slot.run in self._ended or self.standing.over(slot.run)
            return ended or self.standing.step_over(slot.run, slot.step)
        if not self.standing.ours(slot.run):
            return False
        want = asker.wants.get(slot.step)
        # Less than all of it is of no use, and two who keep a part each would wait for each other for ever.
        return want is None or (slot.step not in asker.granted and not _enough(held, want))

    def _holdings(self) -> dict[str, Counter[str]]:
        """Return how much of each resource each holder has."""
        found: dict[str, Counter[str]] = {}
        for slot in self._seen.values():
            if slot.holder:
                found.setdefault(slot.holder, Counter())[slot.resource] += 1
        return found

    async def _free(self, slot: Slot) -> None:
        WRITES.labels("capacity").inc()
        try:
            freed = await self._units.free(slot)
        except ClusterError as error:
            log.debug("a unit was not given back", extra={"unit": slot.name, "error": str(error)})
            self._stale = True
            return
        self._seen[slot.resource, slot.index] = freed

    def _adopt(self) -> None:
        """Note who holds all it wants: granted just now, or to an earlier life of the operator."""
        holdings = self._holdings()
        for asker, want in list(self._waiting()):
            held = holdings.get(f"{asker.uid}/{want.step}")
            if held is not None and _enough(held, want):
                asker.granted.add(want.step)
                self.wake(asker.key)

    async def _grant(self) -> None:
        names = {name for _, want in self._waiting() for name, _ in want.uses}
        capacity = {name: self._capacity(name) for name in names}
        used = Counter(slot.resource for slot in self._seen.values() if slot.holder)
        free = {name: capacity[name] - used[name] for name in names}
        if all(units <= 0 for units in free.values()):
            return
        ours = self.standing.ours
        waiting = [self._request(asker, want) for asker, want in self._waiting() if ours(asker.uid)]
        spare = {name: self._spare(name, capacity[name]) for name in names}
        held: Counter[str] = Counter(
            self._askers[slot.run].key.namespace
            for slot in self._seen.values()
            if slot.holder and slot.run in self._askers
        )
        plan: list[tuple[str, list[tuple[str, int]]]] = []
        for request in grants(waiting, free, capacity, held, self._turns):
            self._note_turn(request.namespace)
            units = [
                (name, next(spare[name])) for name, amount in sorted(request.uses) for _ in range(amount)
            ]
            plan.append((request.holder, units))
        await asyncio.gather(*(self._take_all(holder, units) for holder, units in plan))
        self._adopt()

    def _note_turn(self, namespace: str) -> None:
        self._turns.pop(namespace, None)
        self._turns[namespace] = next(self._count)
        if len(self._turns) > _REMEMBERED:
            del self._turns[next(iter(self._turns))]

    def _request(self, asker: _Asker, want: Want) -> Request:
        priority = 0 if Feature.PRIORITIES in self._off() else asker.priority
        holder = f"{asker.uid}/{want.step}"
        return Request(holder, asker.key.namespace, priority, asker.since[want.step], want.uses)

    def _spare(self, name: str, capacity: int) -> Iterator[int]:
        """Yield the indices of free units."""
        taken = {index for (resource, index), slot in self._seen.items() if resource == name and slot.holder}
        return (index for index in range(capacity) if index not in taken)

    async def _take_all(self, holder: str, units: list[tuple[str, int]]) -> None:
        """Take units for a step; where one can't be had, the others are given back when this is looked at again."""
        for resource, index in units:
            seen = self._seen.get((resource, index))
            WRITES.labels("capacity").inc()
            try:
                if seen is None:
                    taken = await self._units.create(resource, index, holder)
                else:
                    taken = await self._units.take(seen, holder)
            except ClusterError as error:
                if not isinstance(error, Conflict | AlreadyExists | NotFound):
                    extra = {"resource": resource, "error": str(error)}
                    log.warning("a unit of a scarce resource was not had", extra=extra)
                self._stale = True
                self._changed.set()
                return
            self._seen[resource, index] = taken

    def _show(self) -> None:
        used = Counter(slot.resource for slot in self._seen.values() if slot.holder)
        waiting = Counter(name for _, want in self._waiting() for name, _ in want.uses)
        names = {slot.resource for slot in self._seen.values()} | waiting.keys()
        show_capacities({name: (self._capacity(name), used[name], waiting[name]) for name in sorted(names)})
