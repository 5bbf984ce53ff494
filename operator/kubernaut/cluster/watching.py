"""Watching single objects: nothing is asked while nothing happens, but to keep the watch open."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol
from urllib.parse import urlencode

import orjson

from kubernaut.cluster import errors
from kubernaut.cluster.call import Call, on
from kubernaut.cluster.resources import Resource
from kubernaut.core.errors import ClusterError, Forbidden, NotFound, TooManyRequests, Unavailable
from kubernaut.core.ports import Cluster, Manifest, ObjectRef

log = logging.getLogger(__name__)

SERVER_SECONDS: Final = 600
FIRST_PAUSE: Final = 0.2
# Not more: who waits for an object has to hear of it soon after the API server is back.
LAST_PAUSE: Final = 5.0
POLL_SECONDS: Final = 2.0
Sleep = Callable[[float], Awaitable[None]]


class Stream(Protocol):
    """What a watch needs of a connection."""

    async def send(self, call: Call, *, account: str = "") -> bytes: ...

    def stream(
        self, call: Call, *, account: str = ""
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]: ...


async def watch_object(
    connection: Stream,
    resource: Resource,
    ref: ObjectRef,
    *,
    account: str = "",
    sleep: Sleep = asyncio.sleep,
    spread: Callable[[float, float], float] = random.uniform,
) -> AsyncIterator[Manifest | None]:
    """Yield the object as it is now and after each change; None where it does not exist.

    States in between may be skipped; the last one never is. A server that is away is waited for (pauses of
    0.2 s to 5 s, or as long as it asks), and a resourceVersion that is too old leads to a new list; so does the
    end of a stream, lest an event that went astray be missed for longer than a stream lasts.

    Raises:
        ClusterError: the watch is refused (Forbidden, Invalid), which waiting does not mend.
    """
    pause = _Pause(sleep, spread)
    version, told = "", ""
    while True:
        try:
            if not version:
                manifest, version = await _now(connection, resource, ref, account)
                state = _state(manifest)
                if state != told:
                    told = state
                    yield manifest
            query = {
                "watch": "1",
                "allowWatchBookmarks": "true",
                "fieldSelector": f"metadata.name={ref.name}",
                "resourceVersion": version,
                "timeoutSeconds": str(int(SERVER_SECONDS * spread(0.9, 1.1))),
            }
            call = on(ref, resource, "watch", query=urlencode(query))
            async with connection.stream(_of_collection(call), account=account) as lines:
                async for line in lines:
                    event = errors.parsed(call, line)
                    manifest, version = _taken(call, event)
                    pause.reset()
                    state = _state(manifest) if event["type"] != "BOOKMARK" else told
                    if state != told:
                        told = state
                        yield manifest
            # A stream that ends without a word must not be asked for again at once, over and over.
            version = ""
            await pause.short()
        except errors.Expired:
            version = ""
            await pause.short()
        except (Unavailable, TooManyRequests) as error:
            await pause.long(error.retry_after)


class _Pause:
    """Pauses that grow while nothing comes."""

    def __init__(self, sleep: Sleep, spread: Callable[[float, float], float]) -> None:
        self._sleep = sleep
        self._spread = spread
        self._next = FIRST_PAUSE

    def reset(self) -> None:
        self._next = FIRST_PAUSE

    async def short(self) -> None:
        await self._sleep(FIRST_PAUSE * self._spread(0.5, 1.0))

    async def long(self, asked: float | None) -> None:
        await self._sleep(max(asked or 0.0, self._next * self._spread(0.5, 1.0)))
        self._next = min(LAST_PAUSE, self._next * 2)


def _of_collection(call: Call) -> Call:
    return Call(call.verb, call.resource, call.namespace, query=call.query)


async def _now(
    connection: Stream, resource: Resource, ref: ObjectRef, account: str
) -> tuple[Manifest | None, str]:
    query = urlencode({"fieldSelector": f"metadata.name={ref.name}"})
    call = _of_collection(on(ref, resource, "list", query=query))
    page = errors.parsed(call, await connection.send(call, account=account))
    items = page.get("items") or []
    for item in items:
        item["apiVersion"], item["kind"] = resource.api_version, resource.kind
    return (items[0] if items else None), page["metadata"]["resourceVersion"]


def _taken(call: Call, event: dict[str, Any]) -> tuple[Manifest | None, str]:
    manifest: Manifest = event["object"]
    if event["type"] == "ERROR":
        raise errors.from_answer(call, int(manifest.get("code") or 500), {}, orjson.dumps(manifest))
    version = manifest["metadata"]["resourceVersion"]
    return (None if event["type"] == "DELETED" else manifest), version


def _state(manifest: Manifest | None) -> str:
    """Tell one state of the object from another; what does not exist is a state too."""
    return (
        "gone"
        if manifest is None
        else f"{manifest['metadata']['uid']}@{manifest['metadata']['resourceVersion']}"
    )


class AccountsByName(Protocol):
    """Clusters by account."""

    def as_account(self, namespace: str, service_account: str) -> Cluster: ...


_Key = tuple[str, str, ObjectRef]
Callback = Callable[[Manifest | None], None]


class _Shared:
    """One watch and those who wait for it."""

    def __init__(self) -> None:
        self.callbacks: dict[int, Callback] = {}
        self.task: asyncio.Task[None] | None = None
        self.last: Manifest | None = None
        self.known = False

    def tell(self, manifest: Manifest | None) -> None:
        self.last, self.known = manifest, True
        for callback in tuple(self.callbacks.values()):
            _safely(callback, manifest)


class SharedWatches:
    """Many waiters on the same object, seen by the same account, share one watch.

    An account that may read the object but not watch it has it polled every 2 s instead.
    """

    def __init__(self, accounts: AccountsByName, *, sleep: Sleep = asyncio.sleep) -> None:
        self._accounts = accounts
        self._sleep = sleep
        self._shared: dict[_Key, _Shared] = {}
        self._numbers = 0

    def __len__(self) -> int:
        return len(self._shared)

    def subscribe(
        self, namespace: str, service_account: str, ref: ObjectRef, callback: Callback
    ) -> Callable[[], None]:
        """Call back with the object now and after each change (None: it does not exist).

        The callback is called on the event loop, never from within this call, and must not block.

        Returns:
            What ends the subscription; calling it twice is fine.
        """
        key = (namespace, service_account, ObjectRef(ref.api_version, ref.kind, ref.namespace, ref.name))
        shared = self._shared.get(key)
        if shared is None:
            shared = self._shared[key] = _Shared()
            shared.task = asyncio.create_task(self._run(key, shared), name=f"watch {ref}")
        self._numbers += 1
        number = self._numbers
        shared.callbacks[number] = callback
        if shared.known:
            asyncio.get_running_loop().call_soon(self._tell_late, shared, number)

        def unsubscribe() -> None:
            if shared.callbacks.pop(number, None) is not None and not shared.callbacks:
                if self._shared.get(key) is shared:
                    del self._shared[key]
                if shared.task is not None:
                    shared.task.cancel()

        return unsubscribe

    @staticmethod
    def _tell_late(shared: _Shared, number: int) -> None:
        callback = shared.callbacks.get(number)
        if callback is not None:
            _safely(callback, shared.last)

    async def close(self) -> None:
        """End all watches."""
        tasks = [shared.task for shared in self._shared.values() if shared.task is not None]
        self._shared.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, key: _Key, shared: _Shared) -> None:
        namespace, service_account, ref = key
        cluster = self._accounts.as_account(namespace, service_account)
        while True:
            try:
                async for manifest in cluster.watch(ref):
                    shared.tell(manifest)
            except Forbidden as error:
                log.warning(
                    "a watch is refused; the object is polled",
                    extra={"object": str(ref), "error": str(error)},
                )
                await self._poll(cluster, ref, shared)
            except ClusterError as error:
                log.warning("a watch ended", extra={"object": str(ref), "error": str(error)})
            except Exception:
                # Whoever waits must go on being told; nobody else would notice that this task is gone.
                log.exception("a watch failed unexpectedly", extra={"object": str(ref)})
            await self._sleep(LAST_PAUSE)

    async def _poll(self, cluster: Cluster, ref: ObjectRef, shared: _Shared) -> None:
        while True:
            with contextlib.suppress(Unavailable, TooManyRequests):
                try:
                    manifest: Manifest | None = await cluster.get(ref)
                except NotFound:
                    manifest = None
                if not shared.known or _state(manifest) != _state(shared.last):
                    shared.tell(manifest)
            await self._sleep(POLL_SECONDS)


def _safely(callback: Callback, manifest: Manifest | None) -> None:
    try:
        callback(manifest)
    except Exception:
        log.exception("a callback of a watch failed")
