"""Finished runs are not watched with the live ones: a start would have to read them all before it could act.

A watch of its own for each final phase brings what happens to them from now on: runs that others ended, and runs that
a person deletes. Those that ended before are found by the listing of all runs, page by page, while live runs go on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Final, Protocol

from kubernaut.api.execution import RunPhase
from kubernaut.api.names import API_VERSION
from kubernaut.api.reasons import Reason
from kubernaut.cluster.collections import GAP, Event
from kubernaut.core.ports import Manifest

FINAL: Final = tuple(phase for phase in RunPhase if phase.final)
_AGAIN: Final = 5.0
log = logging.getLogger(__name__)
#: selects the runs that are not finished
LIVE: Final = ",".join(f"status.phase!={phase.value}" for phase in FINAL)


class Watching(Protocol):
    """What is needed of a cluster."""

    def watch_all(self, api_version: str, kind: str, *, field_selector: str = "") -> AsyncIterator[Event]:
        """Yield what happens to objects from now on."""
        ...


class Listener(Protocol):
    """Who is told."""

    def on_ended(self, event: str, manifest: Manifest) -> None:
        """Take note of a finished run."""
        ...

    def on_gap(self) -> None:
        """Have all runs listed: something may have been missed."""
        ...


def final(manifest: Manifest) -> bool:
    """Whether a run as read is finished."""
    return (manifest.get("status") or {}).get("phase") in FINAL


def lacked_a_right(manifest: Manifest) -> bool:
    """Whether the account of a finished run was refused something."""
    status = manifest.get("status") or {}
    reasons = {status.get("reason"), *(step.get("reason") for step in status.get("steps") or ())}
    return Reason.MISSING_RIGHT.value in reasons


async def watch_endings(cluster: Watching, listener: Listener) -> None:
    """Tell a listener what happens to finished runs, until cancelled."""
    async with asyncio.TaskGroup() as watches:
        for phase in FINAL:
            watches.create_task(_watch(cluster, listener, phase))


async def _watch(cluster: Watching, listener: Listener, phase: RunPhase) -> None:
    selector = f"status.phase={phase.value}"
    while True:
        try:
            async for event in cluster.watch_all(API_VERSION, "WorkflowExecution", field_selector=selector):
                if event.type == GAP:
                    listener.on_gap()
                else:
                    listener.on_ended(event.type, event.manifest)
        except Exception:
            # One odd object, or an answer that nobody thought of: no reason to look at finished runs no more.
            log.exception("the watch on finished runs is begun anew")
        await asyncio.sleep(_AGAIN)
