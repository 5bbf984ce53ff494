"""Watching objects by name: nothing is asked while nothing happens, but to keep the watch open."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from collections.abc import Set as AbstractSet
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import urlencode

import orjson

from kubernaut.cluster import errors
from kubernaut.cluster.call import Call
from kubernaut.cluster.resources import Resource
from kubernaut.core.errors import TooManyRequests, Unavailable
from kubernaut.core.ports import Manifest, ObjectRef

#: how long the server keeps a watch: a run that waits costs no request for longer than an hour
SERVER_SECONDS: Final = 4_100
FIRST_PAUSE: Final = 0.2
# Not more: who waits for an object has to hear of it soon after the API server is back.
LAST_PAUSE: Final = 5.0
#: objects in a page of a list: to parse more of them at once would hold the event loop
PAGE: Final = 250
Sleep = Callable[[float], Awaitable[None]]


class Stream(Protocol):
    """What a watch needs of a connection."""

    async def send(self, call: Call, *, account: str = "") -> bytes: ...

    def stream(
        self, call: Call, *, account: str = ""
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]: ...


@dataclass(frozen=True, slots=True)
class Sighting:
    """An object as a watch saw it.

    Attributes:
        manifest: without ``managedFields``, which are often a third of an object; None where it does not exist.
        version: of the object, or of the moment at which it did not exist.
    """

    name: str
    manifest: Manifest | None
    version: str

    @property
    def state(self) -> str:
        """Tells one state of the object from another; that it does not exist is a state too."""
        return "gone" if self.manifest is None else f"{self.manifest['metadata']['uid']}@{self.version}"


async def watch_object(
    connection: Stream,
    resource: Resource,
    ref: ObjectRef,
    *,
    account: str = "",
    since: str = "",
    sleep: Sleep = asyncio.sleep,
    spread: Callable[[float, float], float] = random.uniform,
) -> AsyncIterator[Manifest | None]:
    """Yield the object as it is now and after each change; None where it does not exist.

    Args:
        since: resourceVersion from which on changes are yielded, in place of the object as it is now.

    Raises:
        ClusterError: the watch is refused (Forbidden, Invalid), which waiting does not mend.
    """
    sightings = watch_names(
        connection,
        resource,
        ref.namespace,
        lambda: (ref.name,),
        only=ref.name,
        account=account,
        since=since,
        sleep=sleep,
        spread=spread,
    )
    async for sighting in sightings:
        yield sighting.manifest


async def watch_names(
    connection: Stream,
    resource: Resource,
    namespace: str,
    names: Callable[[], Collection[str]],
    *,
    only: str = "",
    account: str = "",
    since: str = "",
    sleep: Sleep = asyncio.sleep,
    spread: Callable[[float, float], float] = random.uniform,
) -> AsyncIterator[Sighting]:
    """Yield the objects of these names as they are now and after each change, from one watch of all of a kind.

    States in between may be skipped; the last one never is. A server that is away, or has nothing to say, is waited
    for (pauses of 0.2 s to 5 s, or as long as it asks), and a resourceVersion that is too old leads to a new
    list; so does the end of a stream, lest an event that went astray be missed for longer than a stream lasts.

    Args:
        names: asked again and again; what happens to other objects is passed over. An object whose name is wanted
            only once the watch is under way is yielded when it changes: until then it is for others to read.
        only: the one name that there is; rights on this object are enough then.
        since: resourceVersion to begin at, in place of a list.

    Raises:
        ClusterError: the watch is refused (Forbidden, Invalid), which waiting does not mend.
    """
    pause = _Pause(sleep, spread)
    selector = {"fieldSelector": f"metadata.name={only}"} if only else {}
    version, told = since, dict[str, str]()
    while True:
        try:
            if not version:
                wanted = frozenset(names())
                found, version = await _now(connection, resource, namespace, wanted, selector, account)
                told = {name: state for name, state in told.items() if name in found}
                for sighting in found.values():
                    if told.get(sighting.name) != sighting.state:
                        told[sighting.name] = sighting.state
                        yield sighting
            call = watch_call(resource, namespace, {**selector, "resourceVersion": version}, spread)
            async with connection.stream(call, account=account) as lines:
                async for line in lines:
                    event = errors.parsed(call, line)
                    sighting = _taken(call, event)
                    version = sighting.version
                    pause.reset()
                    if event["type"] == "BOOKMARK" or sighting.name not in names():
                        continue
                    if told.get(sighting.name) != sighting.state:
                        told[sighting.name] = sighting.state
                        yield sighting
            # Streams that end without a word must not be asked for at once, over and over.
            version = ""
            await pause.wait()
        except errors.Expired:
            version = ""
            await pause.wait()
        except (Unavailable, TooManyRequests) as error:
            await pause.wait(error.retry_after)


def watch_call(
    resource: Resource, namespace: str, more: Mapping[str, str], spread: Callable[[float, float], float]
) -> Call:
    """Return a watch of a kind, in a namespace or in all, that the server keeps for about ``SERVER_SECONDS``."""
    seconds = str(int(SERVER_SECONDS * spread(0.9, 1.1)))
    query = {"watch": "1", "allowWatchBookmarks": "true", **more, "timeoutSeconds": seconds}
    return Call("watch", resource, namespace, query=urlencode(query))


class _Pause:
    """Pauses that grow while nothing comes."""

    def __init__(self, sleep: Sleep, spread: Callable[[float, float], float]) -> None:
        self._sleep = sleep
        self._spread = spread
        self._next = FIRST_PAUSE

    def reset(self) -> None:
        self._next = FIRST_PAUSE

    async def wait(self, asked: float | None = None) -> None:
        await self._sleep(max(asked or 0.0, self._next * self._spread(0.5, 1.0)))
        self._next = min(LAST_PAUSE, self._next * 2)


async def sight(connection: Stream, resource: Resource, ref: ObjectRef, account: str = "") -> Sighting:
    """Return an object as it is now, and as of when it does not exist.

    Raises:
        ClusterError: it can't be read.
    """
    selector = {"fieldSelector": f"metadata.name={ref.name}"}
    found, _ = await _now(connection, resource, ref.namespace, {ref.name}, selector, account)
    return found[ref.name]


async def _now(
    connection: Stream,
    resource: Resource,
    namespace: str,
    wanted: AbstractSet[str],
    selector: Mapping[str, str],
    account: str,
) -> tuple[dict[str, Sighting], str]:
    """Return the objects of these names, and the moment."""
    items: dict[str, Manifest] = {}
    version, rest = "", ""
    while True:
        query = {**selector, "limit": str(PAGE), **({"continue": rest} if rest else {})}
        call = Call("list", resource, namespace, query=urlencode(query))
        page = errors.parsed(call, await connection.send(call, account=account))
        for item in page.get("items") or []:
            if item["metadata"]["name"] in wanted:
                items[item["metadata"]["name"]] = item
                item["apiVersion"], item["kind"] = resource.api_version, resource.kind
        version, rest = page["metadata"]["resourceVersion"], page["metadata"].get("continue") or ""
        if not rest:
            return {name: _sighting(name, items.get(name), version) for name in wanted}, version


def _taken(call: Call, event: dict[str, Any]) -> Sighting:
    manifest: Manifest = event["object"]
    if event["type"] == "ERROR":
        raise errors.from_answer(call, int(manifest.get("code") or 500), {}, orjson.dumps(manifest))
    meta = manifest["metadata"]
    gone = event["type"] == "DELETED"
    return _sighting(meta.get("name", ""), None if gone else manifest, meta["resourceVersion"])


def _sighting(name: str, manifest: Manifest | None, version: str) -> Sighting:
    if manifest is None:
        return Sighting(name, None, version)
    manifest["metadata"].pop("managedFields", None)
    return Sighting(name, manifest, manifest["metadata"]["resourceVersion"])
