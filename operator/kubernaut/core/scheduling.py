"""Who goes first: among keys that wait for a worker, and among steps that wait for scarce resources. Pure."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict, deque
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)

#: every so many turns the priority that was passed over for longest goes first
AGED_TURN: Final = 8


class FairOrder(Generic[K]):
    """Keys that wait, taken by priority, and among equals by turns of their namespaces.

    Higher priorities go first; among the namespaces of one priority each has its turn, one key at a time (round
    robin); the keys of a namespace come in their order. So that none starves, every ``AGED_TURN``-th turn belongs
    to the priority that has not had a turn for longest: with P priorities waiting, each has at least one of
    ``AGED_TURN * P`` turns. ``add`` and ``take`` cost O(1), and O(P) moves where a priority comes or goes.
    """

    def __init__(self) -> None:
        # By priority, the one that had no turn for longest first; then by namespace, in order of their turns.
        self._lanes: OrderedDict[int, OrderedDict[str, deque[K]]] = OrderedDict()
        self._priorities: list[int] = []
        self._turns = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, key: K, priority: int, namespace: str) -> None:
        """Put a key behind the others of its priority and namespace; it must not wait already."""
        lane = self._lanes.get(priority)
        if lane is None:
            lane = self._lanes[priority] = OrderedDict()
            insort(self._priorities, priority)
        waiting = lane.get(namespace)
        if waiting is None:
            lane[namespace] = deque((key,))
        else:
            waiting.append(key)
        self._count += 1

    def take(self) -> tuple[K, int]:
        """Remove whose turn it is; return it with its priority. Raises IndexError where nothing waits."""
        priority = self._priorities[-1]
        if len(self._priorities) > 1:
            self._turns += 1
            if self._turns % AGED_TURN == 0:
                priority = next(iter(self._lanes))
            self._lanes.move_to_end(priority)
        lane = self._lanes[priority]
        namespace = next(iter(lane))
        waiting = lane[namespace]
        key = waiting.popleft()
        if waiting:
            lane.move_to_end(namespace)
        else:
            del lane[namespace]
            if not lane:
                del self._lanes[priority]
                del self._priorities[bisect_left(self._priorities, priority)]
        self._count -= 1
        return key, priority


@dataclass(frozen=True, slots=True)
class Request:
    """A step that waits for scarce resources.

    Attributes:
        holder: the run's UID and the step, as in ``<uid>/<step>``: who will hold what is granted.
        since: a number that grows with the time at which the step began to wait.
        uses: name and amount of each resource.
    """

    holder: str
    namespace: str
    priority: int
    since: int
    uses: tuple[tuple[str, int], ...]


def grants(
    waiting: Iterable[Request],
    free: Mapping[str, int],
    capacity: Mapping[str, int],
    held: Mapping[str, int],
    turns: Mapping[str, int],
) -> list[Request]:
    """Return the requests to be granted now, in order; each gets all it asks for, or nothing.

    Higher priorities go first; among equals the namespace that holds less, counted anew after each grant; then the
    namespace whose last turn is longer ago; then who waits longer. Nobody overtakes on a resource that somebody
    before it waits for, so a request for much is not kept waiting by many for little. One that asks for more than
    there is at all is passed over: it must not block those who can be helped.

    Args:
        free: units of each resource that nobody holds.
        capacity: units of each resource there are.
        held: units that each namespace holds, of all resources together.
        turns: by namespace, a number that grows with the time of its last grant; none where it had none.
    """
    left, shares, last = dict(free), dict(held), dict(turns)
    turn = max(last.values(), default=0)
    blocked: set[str] = set()
    granted: list[Request] = []
    by_priority: dict[int, dict[str, deque[Request]]] = {}
    for one in sorted(waiting, key=lambda one: one.since):
        if all(amount <= capacity[name] for name, amount in one.uses):
            by_priority.setdefault(one.priority, {}).setdefault(one.namespace, deque()).append(one)
    for _, lanes in sorted(by_priority.items(), reverse=True):
        order = [_place(name, lane, shares, last) for name, lane in lanes.items()]
        heapify(order)
        # Most of the time most of them wait for what is used up; they need not be looked at.
        while order and any(amount > 0 and name not in blocked for name, amount in left.items()):
            namespace = heappop(order)[-1]
            lane = lanes[namespace]
            one = lane.popleft()
            names = {name for name, _ in one.uses}
            if names & blocked or any(left[name] < amount for name, amount in one.uses):
                blocked |= names
            else:
                granted.append(one)
                for name, amount in one.uses:
                    left[name] -= amount
                    shares[namespace] = shares.get(namespace, 0) + amount
                turn += 1
                last[namespace] = turn
            if lane:
                heappush(order, _place(namespace, lane, shares, last))
    return granted


def _place(
    namespace: str, lane: deque[Request], shares: Mapping[str, int], last: Mapping[str, int]
) -> tuple[int, int, int, str]:
    return shares.get(namespace, 0), last.get(namespace, -1), lane[0].since, namespace
