"""What is shown of who waits: for a worker, for a person, for a target, for scarce resources; and of Workflows."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, Final

from kubernaut.api.execution import RunPhase, StepPhase, Verdict
from kubernaut.api.reasons import GUARD_REASONS, Reason
from kubernaut.core.asking import awaits_approval
from kubernaut.core.conditions import RECONCILING
from kubernaut.engine.live import LiveRun
from kubernaut.engine.locks import TargetLocks
from kubernaut.engine.queue import KeyedQueue
from kubernaut.engine.turns import turn
from kubernaut.metrics import (
    APPROVALS_LONGEST,
    CAPACITY,
    CAPACITY_USED,
    CAPACITY_WAITING,
    LOCK_WAITERS,
    LOCKS,
    NO_VERDICT,
    QUEUE_ADDS,
    QUEUE_DELAYED,
    QUEUE_DEPTH,
    QUEUE_LONGEST,
    QUEUE_UNFINISHED,
    QUEUE_WAIT,
    RUNS_UNMOVED,
    WATCH_SILENCE,
    WORKERS_BUSY,
    WORKFLOW_RUNS,
)

#: resources that are shown at most, first come, first shown: names are the users' to choose
MOST_RESOURCES: Final = 50
#: and Workflows
MOST_WORKFLOWS: Final = 50
#: every so many heartbeats it is looked at how long runs have waited
WAITS_EVERY: Final = 3
OTHERS: Final = "others"
# Why a run may stand still for as long as it likes: somebody wants it to, or it is told of otherwise.
_EXCUSED: Final = frozenset(
    reason.value for reason in (*GUARD_REASONS, Reason.PAUSED, Reason.STOPPED, Reason.POLICIES_MISSING)
)
_WAITS: Final = tuple(QUEUE_WAIT.labels(name) for name in ("low", "normal", "high"))
_SAMPLE: Final = 8
_VERDICTS: Final = (*(verdict.value for verdict in Verdict), NO_VERDICT)
_seen = [0, 0, 0]
_shown: set[str] = set()
_workflows: set[str] = set()


def show_wait(priority: int, seconds: float) -> None:
    """Note how long a key waited for a worker, by the class of its priority: below, at, or above 0."""
    kind = (priority > 0) - (priority < 0) + 1
    _seen[kind] += 1
    # Observing costs half as much as all else that is done about a key, so the first of every eight is enough.
    if _seen[kind] % _SAMPLE == 1:
        _WAITS[kind].observe(seconds)


def show_queue(queue: KeyedQueue[Any], told: int) -> int:
    """Show what waits and what is being worked on; return how many keys were added, as ``told`` the next time."""
    QUEUE_DEPTH.set(len(queue))
    QUEUE_DELAYED.set(queue.delayed)
    QUEUE_ADDS.inc(queue.added - told)
    busy = queue.busy()
    WORKERS_BUSY.set(len(busy))
    QUEUE_LONGEST.set(max(busy, default=0.0))
    QUEUE_UNFINISHED.set(sum(busy))
    return queue.added


def show_locks(locks: TargetLocks) -> None:
    """Show how many targets are held, and by how many runs they are waited for."""
    LOCKS.set(len(locks))
    LOCK_WAITERS.set(locks.waiting)


async def show_waits(runs: Iterable[LiveRun], now: datetime) -> None:
    """Show for how long runs have waited for a person, and for how long they have not moved."""
    asked = unmoved = 0.0
    for live in runs:
        await turn()
        since = asked_since(live)
        if since is not None:
            asked = max(asked, (now - since).total_seconds())
        elif not _may_stand(live):
            unmoved = max(unmoved, (now - moved_at(live)).total_seconds())
    APPROVALS_LONGEST.set(asked)
    RUNS_UNMOVED.set(unmoved)


def asked_since(live: LiveRun) -> datetime | None:
    """Return since when a run waits for a person; None where it does not."""
    asking = [record.started_at or moved_at(live) for record in live.status.steps if awaits_approval(record)]
    if live.status.phase is RunPhase.SUSPENDED:
        asking.append(moved_at(live))
    return min(asking, default=None)


def moved_at(live: LiveRun) -> datetime:
    """Return when a step of a run last began or ended, or the run itself did."""
    status, made = live.status, live.execution.metadata.creation_timestamp
    times = [made, status.started_at, status.verify_since, status.rollback_since]
    for record in status.steps:
        times += (record.started_at, record.finished_at, record.retry_at)
    return max(time for time in times if time is not None)


def _may_stand(live: LiveRun) -> bool:
    if live.execution.spec.control.paused:
        return True
    told = next((one.reason for one in live.status.conditions if one.type == RECONCILING), "")
    return told in _EXCUSED or any(record.phase is StepPhase.WAITING for record in live.status.steps)


def show_workflow(name: str) -> None:
    """Show what becomes of a Workflow's runs from now on, where there is room."""
    if name not in _workflows and len(_workflows) < MOST_WORKFLOWS:
        _workflows.add(name)
        _begin(name)


def hide_workflow(name: str) -> None:
    """Make room: the Workflow is gone."""
    if name in _workflows:
        _workflows.discard(name)
        for verdict in _VERDICTS:
            WORKFLOW_RUNS.remove(name, verdict)


def count_run(workflow: str, verdict: str) -> None:
    """Count a finished run of a Workflow (namespace/name)."""
    WORKFLOW_RUNS.labels(workflow if workflow in _workflows else OTHERS, verdict).inc()


def _begin(name: str) -> None:
    for verdict in _VERDICTS:
        WORKFLOW_RUNS.labels(name, verdict)


_begin(OTHERS)


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
    return live.status.phase is RunPhase.SUSPENDED or any(map(awaits_approval, live.status.steps))
