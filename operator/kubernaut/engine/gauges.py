"""What is shown of who waits: for a worker, for a target, for scarce resources."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Final

from kubernaut.api.execution import RunPhase, StepPhase
from kubernaut.api.reasons import Reason
from kubernaut.engine.live import LiveRun
from kubernaut.metrics import CAPACITY, CAPACITY_USED, CAPACITY_WAITING, QUEUE_WAIT, WATCH_SILENCE

#: resources that are shown at most, first come, first shown: names are the users' to choose
MOST_RESOURCES: Final = 50
_WAITS: Final = tuple(QUEUE_WAIT.labels(name) for name in ("low", "normal", "high"))
_SAMPLE: Final = 8
_seen = [0, 0, 0]
_shown: set[str] = set()


def show_wait(priority: int, seconds: float) -> None:
    """Note how long a key waited for a worker, by the class of its priority: below, at, or above 0."""
    kind = (priority > 0) - (priority < 0) + 1
    _seen[kind] += 1
    # Observing costs half as much as all else that is done about a key, so the first of every eight is enough.
    if _seen[kind] % _SAMPLE == 1:
        _WAITS[kind].observe(seconds)


def show_capacities(found: Mapping[str, tuple[int, int, int]]) -> None:
    """Show capacity, units in use and waiting steps of each resource."""
    for name in _shown - found.keys():
        for gauge in (CAPACITY, CAPACITY_USED, CAPACITY_WAITING):
            gauge.remove(name)
    _shown.intersection_update(found)
    for name, (capacity, used, waiting) in found.items():
        if name not in _shown and len(_shown) >= MOST_RESOURCES:
            continue
        _shown.add(name)
        CAPACITY.labels(name).set(capacity)
        CAPACITY_USED.labels(name).set(used)
        CAPACITY_WAITING.labels(name).set(waiting)


class Silences:
    """For how long watches of some kinds have said nothing, as it is shown."""

    def __init__(self, kinds: Iterable[str]) -> None:
        self._heard = dict.fromkeys(kinds, time.monotonic())
        for kind in self._heard:
            WATCH_SILENCE.labels(kind).set_function(partial(self._silent, kind))

    def heard(self, kind: str) -> None:
        """Take note that a kind's watch has said something."""
        self._heard[kind] = time.monotonic()

    def _silent(self, kind: str) -> float:
        return time.monotonic() - self._heard[kind]


def waits_for_person(live: LiveRun) -> bool:
    """Whether a run does not go on before somebody approves, or says what becomes of a failed step."""
    return live.status.phase is RunPhase.SUSPENDED or any(
        record.phase is StepPhase.WAITING and record.reason == Reason.APPROVAL_REQUIRED
        for record in live.status.steps
    )
