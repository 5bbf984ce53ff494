"""Watching what happens to objects of a kind from now on; what there is already is for others to list."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
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
# Events that wait to be taken up; whoever watches is held up beyond that.
_WAITING: Final = 100


@dataclass(frozen=True, slots=True)
class Event:
    """ADDED, MODIFIED or DELETED, as the API server says it; or GAP: events before this may have been missed."""

    type: str
    manifest: Manifest


async def watch_collection(
    connection: Stream,
    resource: Resource,
    namespace: str = "",
    *,
    field_selector: str = "",
    label_selector: str = "",
    sleep: Sleep = asyncio.sleep,
    spread: Callable[[float, float], float] = random.uniform,
) -> AsyncIterator[Event]:
    """Yield what happens to the objects of a kind; a GAP before the first and where some was lost.

    Without a namespace it is those of all.

    Never ends and never raises for what an API server may answer: it is asked again, later each time, up to 5 s.
    """
    pause, version = FIRST_PAUSE, ""
    given = {"fieldSelector": field_selector, "labelSelector": label_selector}
    selector = {name: text for name, text in given.items() if text}
    while True:
        try:
            if not version:
                version = await _now(connection, resource, namespace, selector)
                yield Event(GAP, {})
            call = watch_call(resource, namespace, {**selector, "resourceVersion": version}, spread)
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
            asked = 0.0
        except errors.Expired:
            version, asked = "", 0.0
        except ClusterError as error:
            asked = getattr(error, "retry_after", None) or 0.0
        # Also a server that ends each stream without a word, or finds each version too old, is not to be hurried.
        await sleep(max(asked, pause * spread(0.5, 1.0)))
        pause = min(LAST_PAUSE, pause * 2)


async def together(streams: Sequence[AsyncIterator[Event]]) -> AsyncGenerator[Event, None]:
    """Yield the events of several streams as they come; what one of them raises is raised here."""
    queue: asyncio.Queue[Event] = asyncio.Queue(maxsize=_WAITING)

    async def pass_on(stream: AsyncIterator[Event]) -> None:
        async for event in stream:
            await queue.put(event)

    tasks = [asyncio.create_task(pass_on(stream)) for stream in streams]
    coming = asyncio.create_task(queue.get())
    try:
        while True:
            await asyncio.wait([coming, *tasks], return_when=asyncio.FIRST_COMPLETED)
            if coming.done():
                event, coming = coming.result(), asyncio.create_task(queue.get())
                yield event
            else:
                for task in tasks:
                    if task.done():
                        task.result()
                tasks = [task for task in tasks if not task.done()]
                if not tasks:
                    return
    finally:
        for each in (coming, *tasks):
            each.cancel()
        await asyncio.gather(coming, *tasks, return_exceptions=True)


async def _now(connection: Stream, resource: Resource, namespace: str, selector: Mapping[str, str]) -> str:
    """Return the resourceVersion of this moment."""
    query = {"limit": "1", **selector}
    call = Call("list", resource, namespace, query=urlencode(query))
    page = errors.parsed(call, await connection.send(call))
    return str(page["metadata"]["resourceVersion"])
