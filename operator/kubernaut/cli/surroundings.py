"""What is around a simulated run: runs that went before it, and what is remembered of objects."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

from kubernaut.api.names import API_VERSION
from kubernaut.api.reasons import Reason
from kubernaut.cli.errors import CliError
from kubernaut.cli.historic import reading_history
from kubernaut.core.errors import ClusterError, Forbidden, StepError
from kubernaut.core.memory import KnownGood, Memory
from kubernaut.core.ports import Manifest, ObjectRef
from kubernaut.engine.past import PastRuns
from kubernaut.engine.remembering import HistoryMemory
from kubernaut.history.database import Database
from kubernaut.history.encryption import KeyRing
from kubernaut.history.knowngood import KnownGoodStore
from kubernaut.simulation.assumptions import Assumptions

RUN: Final = "WorkflowExecution"
_IDENTITY: Final = ("name", "namespace", "uid", "creationTimestamp")
_ENDS: Final = ("phase", "verdict", "target", "startedAt", "finishedAt", "highRisk")
#: nothing is forgotten by who only reads
_KEEP: Final = timedelta(days=36_500)


class Lists(Protocol):
    """What lists objects."""

    async def list(self, api_version: str, kind: str, namespace: str) -> list[Manifest]: ...


async def runs_of(cluster: Lists, namespace: str, assumptions: Assumptions) -> list[Manifest]:
    """Return the runs that guards count, as far as the person may list them."""
    try:
        return await cluster.list(API_VERSION, RUN, "")
    except Forbidden:
        assumptions.say("no run of another namespace counts for guards (they may not be listed)")
    except ClusterError as error:
        assumptions.say(f"no earlier run counts for guards ({error})")
        return []
    try:
        return await cluster.list(API_VERSION, RUN, namespace)
    except ClusterError as error:
        assumptions.say(f"no earlier run counts for guards ({error})")
        return []


def counted(runs: Iterable[Manifest]) -> list[Manifest]:
    """Return of runs what guards look at, and nothing else; those that never began are left out."""
    return [
        {
            **{name: one[name] for name in ("apiVersion", "kind") if name in one},
            "metadata": {name: one["metadata"][name] for name in _IDENTITY if name in one["metadata"]},
            "spec": {name: one["spec"][name] for name in ("workflowRef", "dryRun") if name in one["spec"]},
            "status": {
                **{name: status[name] for name in _ENDS if name in status},
                "steps": [
                    {name: step[name] for name in ("name", "phase", "changed") if name in step}
                    for step in status.get("steps") or ()
                ],
            },
        }
        for one in runs
        if (status := one.get("status") or {}).get("startedAt")
    ]


def past_of(runs: Iterable[Manifest], clock: Callable[[], datetime], assumptions: Assumptions) -> PastRuns:
    """Return what the engine would know of these runs; what can't be read, as of another version, is said."""
    past = PastRuns(clock)
    for one in runs:
        try:
            past.see(one)
        except (KeyError, TypeError, ValueError):
            meta = one["metadata"]
            told = f"run {meta.get('namespace', '')}/{meta['name']}"
            assumptions.say(f"{told} does not count for guards: this version can't read it")
    past.complete = True
    return past


class NotAsked:
    """The memory of a simulation that was not told where it is."""

    def __init__(self, assumptions: Assumptions) -> None:
        self._assumptions = assumptions

    async def last_known_good(self, ref: ObjectRef, good_for: timedelta = timedelta(0)) -> KnownGood:
        """Say that this is not simulated."""
        why = f"what {ref} was like is not simulated: the operator's memory was not asked (--dsn, --keys)"
        self._assumptions.say(why)
        raise StepError(why, reason=Reason.HISTORY_AWAY)


def _ring(keys: str) -> KeyRing:
    ring = KeyRing(Path(keys).expanduser())
    if trouble := ring.trouble():
        raise CliError(trouble, "Give the file with --keys; the operator has it of a mounted Secret.")
    return ring


@asynccontextmanager
async def memory_of(
    dsn: str, keys: str, assumptions: Assumptions, clock: Callable[[], datetime]
) -> AsyncIterator[Memory]:
    """Open the operator's memory, to read only.

    Raises:
        CliError: its keys are not usable, or it can't be reached.
    """
    if not dsn or not keys:
        yield NotAsked(assumptions)
        return
    ring = _ring(keys)
    with reading_history():
        database = Database(dsn, migrating=False, connections=1, read_only=True)
    try:
        yield HistoryMemory(KnownGoodStore(database, ring, _KEEP, clock))
    finally:
        await database.close()
