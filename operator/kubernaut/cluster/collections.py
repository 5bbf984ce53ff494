"""Watching what happens to objects of a kind from now on; what there is already is for others to list."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

import orjson

from kubernaut.cluster import errors
from kubernaut.cluster.call import Call
from kubernaut.cluster.resources import Resource
from kubernaut.cluster.watching import FIRST_PAUSE, LAST_PAUSE, Stream, watch_call
from kubernaut.core.errors import ClusterError
from kubernaut.core.ports import Manifest

Sleep = Callable[[float], Awaitable[None]]
GAP: Final = "GAP"


@dataclass(frozen=True, slots=True)
class Event:
    """ADDED, MODIFIED or DELETED, as the API server says it; or GAP: events before this may have been missed."""

    type: str
    manifest: Manifest


async def watch_collection(
    connection: Stream,
    resource: Resource,
    *,
    field_selector: str = "",
    label_selector: str = "",
    sleep: Sleep = asyncio.sleep,
    spread: Callable[[float, float], float] = random.uniform,
) -> AsyncIterator[Event]:
    """Yield what happens to the objects of a kind, in all namespaces; a GAP before the first and where some was lost.

    Never ends and never raises for what an API server may answer: it is asked again, later each time, up to 5 s.
    """
    pause, version = FIRST_PAUSE, ""
    given = {"fieldSelector": field_selector, "labelSelector": label_selector}
    selector = {name: text for name, text in given.items() if text}
    while True:
        try:
            if not version:
                version = await _now(connection, resource, selector)
                yield Event(GAP, {})
            call = watch_call(resource, "", {**selector, "resourceVersion": version}, spread)
            async with connection.stream(call) as lines:
                async for line in lines:
                    event = errors.parsed(call, line)
                    manifest: Manifest = event["object"]
                    if event["type"] == "ERROR":
                        code = int(manifest.get("code") or 500)
                        raise errors.from_answer(call, code, {}, orjson.dumps(manifest))
                    version = manifest["metadata"]["resourceVersion"]
                    pause = FIRST_PAUSE
                    if event["type"] != "BOOKMARK":
                        yield Event(event["type"], manifest)
            await sleep(FIRST_PAUSE * spread(0.5, 1.0))
        except errors.Expired:
            version = ""
            await sleep(FIRST_PAUSE * spread(0.5, 1.0))
        except ClusterError as error:
            await sleep(max(getattr(error, "retry_after", None) or 0.0, pause * spread(0.5, 1.0)))
            pause = min(LAST_PAUSE, pause * 2)


async def _now(connection: Stream, resource: Resource, selector: Mapping[str, str]) -> str:
    """Return the resourceVersion of this moment."""
    query = {"limit": "1", **selector}
    call = Call("list", resource, query=urlencode(query))
    page = errors.parsed(call, await connection.send(call))
    return str(page["metadata"]["resourceVersion"])
