"""A plain stateful Kopf operator: each of its objects has a Deployment changed in several steps.

    python -m bench.peer.operator KUBECONFIG STORAGE

``stepwiseruns`` have a stateful handler for each step, so Kopf stores after each step that it is done: what we call
durable. ``atonceruns`` do all their steps in one handler and know nothing of them after a crash.

It is tuned as well as we know how. uvloop; a raw JSON client; no reading before a patch, and no precondition;
no Events, no peering, no scanning; as many workers as there are objects. With the storage ``plain`` Kopf keeps
progress and the last seen state where it does unless told otherwise, with ``status`` in the status, so that each
round of Kopf's is one request.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import kopf
import uvloop

from bench.client import PlainClient
from bench.shapes import DEPLOYMENTS, PEER_GROUP, Peer, Storage

MOST_STEPS = 5


def body(change: str, name: str, first: int, at: int) -> dict[str, Any]:
    """Return the patch of one step."""
    if change == "scale":
        return {"spec": {"replicas": first + at}}
    return {"metadata": {"annotations": {f"bench/s{at}": name}}}


def registry_for(client: PlainClient) -> kopf.OperatorRegistry:
    """Return the handlers."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def _login(settings: kopf.OperatorSettings, **_: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_kubeconfig(settings=settings)

    async def step(spec: kopf.Spec, name: str, at: int) -> None:
        path = f"{DEPLOYMENTS}/{spec['deployment']}"
        await client.patch(path, body(spec["change"], name, spec["first"], at))

    def handler_of(at: int) -> Callable[..., Awaitable[None]]:
        async def handle(spec: kopf.Spec, name: str, patch: kopf.Patch, **_: Any) -> None:
            await step(spec, name, at)
            if at == MOST_STEPS - 1:
                patch.status["phase"] = "Succeeded"

        return handle

    for at in range(MOST_STEPS):
        register = kopf.on.create(PEER_GROUP, "v1", str(Peer.STEPWISE), id=f"s{at}", registry=registry)
        register(handler_of(at))

    @kopf.on.create(PEER_GROUP, "v1", str(Peer.AT_ONCE), registry=registry)
    async def _all(spec: kopf.Spec, name: str, patch: kopf.Patch, **_: Any) -> None:
        for at in range(spec["steps"]):
            await step(spec, name, at)
        patch.status["phase"] = "Succeeded"

    return registry


def settings_for(storage: Storage) -> kopf.OperatorSettings:
    """Return Kopf's settings."""
    settings = kopf.OperatorSettings()
    settings.peering.standalone = True
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 310
    if storage is Storage.STATUS:
        settings.persistence.progress_storage = kopf.StatusProgressStorage()
        settings.persistence.diffbase_storage = kopf.StatusDiffBaseStorage()
    return settings


async def operate(kubeconfig: Path, storage: Storage) -> None:
    """Run until a signal comes; say ``ready`` on stdout."""
    os.environ["KUBECONFIG"] = str(kubeconfig)
    ready = asyncio.Event()
    async with PlainClient(kubeconfig) as client:
        operator = asyncio.create_task(
            kopf.operator(
                registry=registry_for(client),
                settings=settings_for(storage),
                standalone=True,
                clusterwide=True,
                ready_flag=ready,
            )
        )
        await ready.wait()
        print("ready", flush=True)
        await operator


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    uvloop.run(operate(Path(sys.argv[1]), Storage(sys.argv[2])))
