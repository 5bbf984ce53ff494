"""Kopf's part: it watches, we enqueue. Handlers keep nothing, decide nothing and write nothing."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import kopf

from kubernaut.api.names import GROUP, VERSION
from kubernaut.engine.endings import LIVE
from kubernaut.engine.hearing import Listener

WATCHED = ("workflowexecutions", "workflows", "replicasets")


class NoDiffs(kopf.DiffBaseStorage):
    """Nothing of ours asks what changed since the last time, so nothing is copied and compared for it.

    Kopf's own makes a deep copy of every object of every event, which was half of what an event cost.
    """

    def build(self, *, body: kopf.Body, extra_fields: Any = None) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        return None


class WatchGuard:
    """Notices that one of Kopf's watches has ended, which nothing else would: Kopf goes on without it.

    Kopf gives a watch up for good on some answers, such as a 410 to the request itself.
    """

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def dead(self) -> list[str]:
        """Return the kinds that were watched and are not any more, each with its namespace where it is of one."""
        names = {task.get_name() for task in asyncio.all_tasks()}
        alive = {_watched(kind, name) for kind in WATCHED for name in names if _watches(kind, name)}
        self._seen |= alive
        return sorted(self._seen - alive)


def _watches(kind: str, task: str) -> bool:
    return task.startswith(f"watcher for {kind}.")


def _watched(kind: str, task: str) -> str:
    namespace = task.rpartition("@")[2]
    return kind if namespace == "None" else f"{kind} in namespace {namespace}"


class Backoffs:
    """Pauses between attempts, without end: Kopf would give up, and the operator with it, after the last of them."""

    def __iter__(self) -> Iterator[float]:
        return itertools.chain((0.5, 1.0, 2.0), itertools.repeat(5.0))


def registry_for(
    listener: Listener, login: Callable[[kopf.OperatorSettings], kopf.AiohttpSession | None]
) -> kopf.OperatorRegistry:
    """Return Kopf's registry with our handlers.

    Only ``on.event``: stateful handlers would write annotations and finalizers of their own (docs/adr/0013).
    """
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def _login(settings: kopf.OperatorSettings, **_: Any) -> kopf.AiohttpSession | None:
        return login(settings)

    @kopf.on.event(GROUP, VERSION, "workflowexecutions", registry=registry)
    async def _run(event: kopf.RawEvent, **_: Any) -> None:
        listener.on_run(event["type"], dict(event["object"]))

    @kopf.on.event(GROUP, VERSION, "workflows", registry=registry)
    async def _workflow(event: kopf.RawEvent, **_: Any) -> None:
        listener.on_workflow(event["type"], dict(event["object"]))

    @kopf.on.event("apps", "v1", "replicasets", registry=registry)
    async def _replicaset(event: kopf.RawEvent, **_: Any) -> None:
        listener.on_replicaset(event["type"], dict(event["object"]))

    return registry


def settings_for() -> kopf.OperatorSettings:
    """Return Kopf's settings."""
    settings = kopf.OperatorSettings()
    settings.peering.standalone = True
    settings.posting.enabled = False
    settings.posting.loggers = False
    settings.scanning.disabled = True
    # Finished runs are seen to by the engine (engine/endings.py).
    settings.watching.field_selectors[GROUP, VERSION, "workflowexecutions"] = LIVE
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 310
    settings.watching.connect_timeout = 10
    settings.watching.inactivity_timeout = 70
    settings.watching.chunk_size = 500
    settings.watching.reconnect_backoff = 0.5
    settings.networking.request_timeout = 30
    settings.networking.error_backoffs = Backoffs()
    settings.networking.enforce_retry_after = True
    settings.persistence.diffbase_storage = NoDiffs()
    return settings
