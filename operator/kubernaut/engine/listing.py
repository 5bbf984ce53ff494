"""Listing runs and Workflows: at the start, when shards come, and again and again, for watches lose things."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from kubernaut.api.names import API_VERSION
from kubernaut.config import Settings
from kubernaut.core.errors import ClusterError
from kubernaut.core.ports import Manifest
from kubernaut.engine.endings import LIVE
from kubernaut.engine.hearing import RUNS, WORKFLOWS, Hearing
from kubernaut.engine.keys import RunKey, WorkflowKey
from kubernaut.engine.known import Known
from kubernaut.engine.ports import OperatorCluster
from kubernaut.engine.turns import turn
from kubernaut.engine.views import newer

log = logging.getLogger(__name__)
# Finished runs are listed at leisure: nothing that is live waits for them.
FIRST_RESYNC = 1.0
#: seconds after a listing that failed: what was asked for, or missed, is still to be found
_AGAIN = 5.0
_PAGE = 100
_BETWEEN_PAGES = 0.05


class Listener(Protocol):
    """Who takes up what lists bring."""

    def on_run(self, event: str | None, manifest: Manifest) -> None: ...

    def on_workflow(self, event: str | None, manifest: Manifest) -> None: ...

    def forget(self, key: RunKey) -> None: ...

    def on_all_listed(self) -> None: ...


class Listing:
    """Lists, and tells a listener what is new. Every method raises ClusterError where something can't be listed."""

    def __init__(self, cluster: OperatorCluster, known: Known, listener: Listener, hearing: Hearing) -> None:
        self._hearing = hearing
        self._cluster = cluster
        self._known = known
        self._listener = listener
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Have everything listed soon."""
        self._asked.set()

    async def load(self) -> None:
        """List Workflows, and then live runs: which shard a run belongs to may hang on its Workflow."""
        await self._workflows()
        await self._live()

    async def relist(self) -> int:
        """List live runs and Workflows; take up what is newer than known or gone, and return how many that were.

        Runs that are gone are ``resync``'s to find.
        """
        return await self._live() + await self._workflows()

    async def resync(self) -> None:
        """List all runs again, take up what was missed, forget what is gone."""
        before = self._known.keys()
        listed: set[RunKey] = set()
        async for page in self._cluster.list_pages(API_VERSION, "WorkflowExecution", limit=_PAGE):
            for manifest in page:
                self._listener.on_run(None, manifest)
                listed.add(RunKey(manifest["metadata"]["namespace"], manifest["metadata"]["name"]))
                await turn()
            await asyncio.sleep(_BETWEEN_PAGES)
        for key in before - listed:
            self._listener.forget(key)
        self._listener.on_all_listed()

    async def _live(self) -> int:
        found, number = 0, self._known.list_begins()
        async for page in self._cluster.list_pages(API_VERSION, "WorkflowExecution", field_selector=LIVE):
            for manifest in page:
                key = RunKey(manifest["metadata"]["namespace"], manifest["metadata"]["name"])
                known = self._known.version(key)
                new = known is None or known[0] != manifest["metadata"]["uid"] or newer(manifest, known[1])
                self._hearing.listed(RUNS, manifest, new=new)
                if new:
                    self._listener.on_run(None, manifest)
                    found += 1
                await turn()
        self._known.list_ended(number)
        self._hearing.looked(RUNS)
        return found

    async def _workflows(self) -> int:
        found, before = 0, dict(self._known.workflows)
        async for page in self._cluster.list_pages(API_VERSION, "Workflow"):
            for manifest in page:
                where = WorkflowKey(manifest["metadata"]["namespace"], manifest["metadata"]["name"])
                before.pop(where, None)
                seen = self._known.workflows.get(where)
                new = seen is None or newer(manifest, seen["metadata"]["resourceVersion"])
                self._hearing.listed(WORKFLOWS, manifest, new=new)
                if new:
                    self._listener.on_workflow(None, manifest)
                    found += 1
                await turn()
        for where, manifest in before.items():
            # One that was made anew meanwhile is another; a watch that began anew tells of no deletion before that.
            if self._known.workflows.get(where) is manifest:
                self._listener.on_workflow("DELETED", manifest)
                found += 1
        self._hearing.looked(WORKFLOWS)
        return found

    # Loops

    async def keep_relisting(self, settings: Settings) -> None:
        """List what is live again and again: what a dead watch does not bring is found all the same."""
        while True:
            await asyncio.sleep(settings.relist.total_seconds())
            try:
                found = await self.relist()
            except ClusterError as error:
                log.warning("listing live runs failed; it is tried again", extra={"error": str(error)})
            else:
                if found:
                    log.info("listing found what no watch had brought yet", extra={"objects": found})

    async def keep_resyncing(self, settings: Settings, sweep: Callable[[], Awaitable[None]]) -> None:
        """List everything soon after the start, for finished runs are not watched; and again now and then."""
        pause, failures = FIRST_RESYNC, 0
        usual = settings.resync.total_seconds()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._asked.wait()
            self._asked.clear()
            try:
                await self.resync()
                await sweep()
            except ClusterError as error:
                pause = min(_AGAIN * 2.0**failures, usual)
                failures = min(failures + 1, 16)
                log.warning(
                    "listing again failed; it is tried later", extra={"error": str(error), "seconds": pause}
                )
            else:
                pause, failures = usual, 0
