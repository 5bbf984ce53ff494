"""Which finished runs leave the cluster, and at what pace: their time is over, or there are too many of them.

It is looked at again and again what there is, so nothing has to be remembered and nothing can be missed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable
from datetime import datetime
from typing import Final

from kubernaut.core.errors import ClusterError
from kubernaut.engine.backoff import AWAY
from kubernaut.engine.finished import FinishedRun
from kubernaut.engine.turns import turn

log = logging.getLogger(__name__)
LOOK_EVERY: Final = 5.0
#: seconds to leave an API server alone that refused
RELENT: Final = 10.0
#: seconds after which it is tried again to delete a run that is refused, as by a webhook; others do not wait for it
REFUSED: Final = 300.0
# A scan of so many runs holds the event loop for some milliseconds.
_Group = tuple[str, str, bool]


async def due(runs: Collection[FinishedRun], now: datetime) -> list[FinishedRun]:
    """Return the runs that should go, those first that finished first.

    By namespace, Workflow and outcome only as many stay as the newest claimed run of them says; each run stays at
    most as long as it says itself. Runs that are being deleted count as gone, and so do those that stand for an
    incident which is not over.
    """
    groups: dict[_Group, list[tuple[datetime, str, FinishedRun]]] = {}
    found: dict[str, FinishedRun] = {}
    for run in list(runs):
        await turn()
        if run.deleted_at is not None or run.finished_at is None:
            continue
        if run.kept_until is not None and run.kept_until > now:
            # An alert that is told again finds by it that its incident has had its run.
            continue
        expires = run.expires_at
        if expires is not None and expires <= now:
            found[run.uid] = run
        group = (run.key.namespace, run.workflow, run.succeeded)
        groups.setdefault(group, []).append((run.finished_at, run.uid, run))
    for members in groups.values():
        found.update((run.uid, run) for run in _surplus(members))
        await turn()
    return sorted(found.values(), key=lambda run: (run.finished_at or now, run.uid))


def _surplus(members: list[tuple[datetime, str, FinishedRun]]) -> Iterable[FinishedRun]:
    if all(run.limit is None for _, _, run in members):
        return ()
    members.sort(key=lambda one: one[:2], reverse=True)
    limit = next((run.limit for _, _, run in members if run.claimed), None)
    return () if limit is None else (run for _, _, run in members[limit:])


class Expiry:
    """Deletes what is due, never many at once.

    Args:
        runs: all finished runs that are known; others' count for the limits, too.
        expirable: whether a run may be deleted, and by this replica.
        expire: deletes it.
        now: the time.
        per_second: most deletions begun in a second.
        at_once: most under way at the same time; the rest of the connections is for live runs.
    """

    def __init__(
        self,
        runs: Callable[[], Collection[FinishedRun]],
        expirable: Callable[[FinishedRun], bool],
        expire: Callable[[FinishedRun], Awaitable[None]],
        now: Callable[[], datetime],
        *,
        per_second: float = 50.0,
        at_once: int = 4,
    ) -> None:
        self._runs = runs
        self._expirable = expirable
        self._expire = expire
        self._now = now
        self._gap = 1.0 / per_second
        self._at_once = at_once
        # By UID, until when a run whose deletion was refused is left alone.
        self._refused: dict[str, float] = {}

    async def run(self) -> None:
        """Look and delete until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            try:
                await self.once()
            except ClusterError as error:
                log.info("finished runs are deleted later", extra={"error": str(error)})
                await asyncio.sleep(RELENT)

    async def once(self) -> int:
        """Delete what is due now; return how many were.

        Raises:
            ClusterError: the API server refused or is away; what is left is due the next time.
        """
        found, loop = await due(self._runs(), self._now()), asyncio.get_running_loop()
        self._refused = {uid: until for uid, until in self._refused.items() if until > loop.time()}
        waiting = [run for run in found if run.uid not in self._refused and self._expirable(run)]
        if not waiting:
            return 0
        runs, done = iter(waiting), 0
        order = asyncio.Lock()

        async def work() -> None:
            nonlocal done
            while True:
                async with order:
                    run = next(runs, None)
                    if run is None:
                        return
                    await asyncio.sleep(self._gap)
                # The turn took its time: it may be another's by now, or somebody switched expiry off.
                if self._expirable(run) and await self._gone(run):
                    done += 1

        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(min(self._at_once, len(waiting))):
                    workers.create_task(work())
        except* ClusterError as errors:
            raise errors.exceptions[0] from None
        log.info("deleted finished runs", extra={"runs": done})
        return done

    async def _gone(self, run: FinishedRun) -> bool:
        """Delete one run; return whether that was done. Raises ClusterError where that says nothing of the run."""
        try:
            await self._expire(run)
        except AWAY:
            raise
        except ClusterError as error:
            # Whoever refuses this one may refuse it for ever, and the oldest is always the first.
            self._refused[run.uid] = asyncio.get_running_loop().time() + REFUSED
            told = {"run": str(run.key), "error": str(error), "seconds": REFUSED}
            log.warning("a finished run could not be deleted; it is tried again later", extra=told)
            return False
        return True
