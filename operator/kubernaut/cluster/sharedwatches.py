"""Watches that many wait for: of an object, or, where many objects of a kind are waited for, one of all of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Iterator
from contextvars import Context
from dataclasses import replace
from typing import Any, Final, NamedTuple, Protocol

from kubernaut.cluster.watching import LAST_PAUSE, Sighting
from kubernaut.core.errors import ClusterError, Forbidden, NotFound, TooManyRequests, Unavailable
from kubernaut.core.ports import Manifest, ObjectRef
from kubernaut.core.versions import newer

log = logging.getLogger(__name__)

POLL_SECONDS: Final = 2.0
#: of how many objects of a kind each has a watch of its own: a connection each, about 100 KiB here and more there
MOST_ALONE: Final = 8
#: down to how many a watch of all of a kind is kept: it brings what happens to all others too
LEAST_TOGETHER: Final = 4
Sleep = Callable[[float], Awaitable[None]]
Callback = Callable[[Manifest | None], None]


class Watchable(Protocol):
    """What the watches need of a cluster as an account sees it."""

    async def get(self, ref: ObjectRef) -> Manifest: ...

    async def sight(self, ref: ObjectRef) -> Sighting: ...

    def watch_names(
        self,
        api_version: str,
        kind: str,
        namespace: str,
        names: Callable[[], Collection[str]],
        *,
        only: str = "",
    ) -> AsyncIterator[Sighting]: ...


class AccountsByName(Protocol):
    """Clusters by account."""

    def as_account(self, namespace: str, service_account: str) -> Watchable: ...


class _Key(NamedTuple):
    """Whose watches of what: objects of a kind in a namespace, as an account of it sees them."""

    account_namespace: str
    account: str
    api_version: str
    kind: str
    namespace: str


class _Watched:
    """An object and those who wait for it."""

    def __init__(self, ref: ObjectRef) -> None:
        self.ref = ref
        self.callbacks: dict[int, Callback] = {}
        #: watches or polls it, where it is alone, else reads it once
        self.task: asyncio.Task[None] | None = None
        self.alone = False
        self.last: Sighting | None = None

    def tell(self, sighting: Sighting) -> None:
        """Tell all who wait of a state, unless it is the last one or older."""
        if self.last is not None:
            older = bool(sighting.version) and not newer(sighting.version, self.last.version)
            if older or sighting.state == self.last.state:
                return
        self.last = sighting
        for callback in tuple(self.callbacks.values()):
            _safely(callback, sighting.manifest)

    def end(self) -> None:
        """Stop whatever is done for it."""
        if self.task is not None:
            self.task.cancel()
            self.task = None
        self.alone = False


class _Group:
    """All objects of a kind that are waited for as one account."""

    def __init__(self, key: _Key, cluster: Watchable, sleep: Sleep) -> None:
        self._key = key
        self._cluster = cluster
        self._sleep = sleep
        self._together: asyncio.Task[None] | None = None
        self._refused = False
        self.objects: dict[str, _Watched] = {}

    def add(self, ref: ObjectRef) -> _Watched:
        """Begin to watch an object."""
        watched = self.objects[ref.name] = _Watched(ref)
        if self._together is not None:
            watched.task = self._begin(self._read(watched), f"read {ref}")
            return watched
        self._alone(watched)
        if len(self.objects) > MOST_ALONE and not self._refused:
            self._together = self._begin(self._watch_together(), f"watch {self._key.kind}")
        return watched

    def remove(self, watched: _Watched) -> None:
        """Watch an object no more."""
        watched.end()
        if self.objects.get(watched.ref.name) is watched:
            del self.objects[watched.ref.name]
        if self._together is not None and len(self.objects) < LEAST_TOGETHER:
            self._together.cancel()
            self._each_alone()

    async def close(self) -> None:
        """End all watches."""
        tasks = [self._together, *(watched.task for watched in self.objects.values())]
        running = [task for task in tasks if task is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _each_alone(self) -> None:
        self._together = None
        for watched in self.objects.values():
            if not watched.alone:
                watched.end()
                self._alone(watched)

    def _alone(self, watched: _Watched) -> None:
        watched.alone = True
        watched.task = self._begin(self._watch_alone(watched), f"watch {watched.ref}")

    @staticmethod
    def _begin(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        # It is shared, so what it logs is not about the run that happened to be first.
        return asyncio.create_task(work, name=name, context=Context())

    async def _watch_together(self) -> None:
        key = self._key
        while True:
            with _survived(f"{key.kind} in {key.namespace}"):
                try:
                    sightings = self._cluster.watch_names(
                        key.api_version, key.kind, key.namespace, self.objects.keys
                    )
                    async for sighting in sightings:
                        watched = self.objects.get(sighting.name)
                        if watched is not None:
                            watched.end()
                            watched.tell(sighting)
                except Forbidden as error:
                    # Rights on single objects are enough for watches of single ones.
                    log.info("each object has a watch of its own", extra={"error": str(error)})
                    self._refused = True
                    self._each_alone()
                    return
            await self._sleep(LAST_PAUSE)

    async def _watch_alone(self, watched: _Watched) -> None:
        ref = watched.ref
        while True:
            with _survived(str(ref)):
                try:
                    sightings = self._cluster.watch_names(
                        ref.api_version, ref.kind, ref.namespace, lambda: (ref.name,), only=ref.name
                    )
                    async for sighting in sightings:
                        watched.tell(sighting)
                except Forbidden as error:
                    log.warning(
                        "a watch is refused; the object is polled",
                        extra={"object": str(ref), "error": str(error)},
                    )
                    await self._poll(watched)
            await self._sleep(LAST_PAUSE)

    async def _poll(self, watched: _Watched) -> None:
        while True:
            with contextlib.suppress(Unavailable, TooManyRequests):
                try:
                    manifest = await self._cluster.get(watched.ref)
                    sighting = Sighting(watched.ref.name, manifest, manifest["metadata"]["resourceVersion"])
                except NotFound:
                    sighting = Sighting(watched.ref.name, None, "")
                watched.tell(sighting)
            await self._sleep(POLL_SECONDS)

    async def _read(self, watched: _Watched) -> None:
        """Tell how an object is that joins a watch under way; what happens to it from now on that watch brings."""
        while watched.last is None:
            with _survived(str(watched.ref)):
                watched.tell(await self._cluster.sight(watched.ref))
                return
            await self._sleep(LAST_PAUSE)


@contextlib.contextmanager
def _survived(what: str) -> Iterator[None]:
    """Go on after whatever happens: who waits must go on being told, and nobody else would notice."""
    try:
        yield
    except ClusterError as error:
        log.warning("a watch ended", extra={"object": what, "error": str(error)})
    except Exception:
        log.exception("a watch failed unexpectedly", extra={"object": what})


class SharedWatches:
    """Many waiters on the same object, seen by the same account, share one watch; so do many objects of a kind.

    An account that may read the object but not watch it has it polled every 2 s instead.
    """

    def __init__(self, accounts: AccountsByName, *, sleep: Sleep = asyncio.sleep) -> None:
        self._accounts = accounts
        self._sleep = sleep
        self._groups: dict[_Key, _Group] = {}
        self._numbers = 0

    def __len__(self) -> int:
        return sum(len(group.objects) for group in self._groups.values())

    def subscribe(
        self, namespace: str, service_account: str, ref: ObjectRef, callback: Callback
    ) -> Callable[[], None]:
        """Call back with the object now and after each change (None: it does not exist).

        The callback is called on the event loop, never from within this call, and must not block. The object
        comes without ``managedFields``.

        Returns:
            What ends the subscription; calling it twice is fine.
        """
        key = _Key(namespace, service_account, ref.api_version, ref.kind, ref.namespace)
        group = self._groups.get(key)
        if group is None:
            cluster = self._accounts.as_account(namespace, service_account)
            group = self._groups[key] = _Group(key, cluster, self._sleep)
        watched = group.objects.get(ref.name) or group.add(replace(ref, uid=""))
        self._numbers += 1
        number = self._numbers
        watched.callbacks[number] = callback
        if watched.last is not None:
            asyncio.get_running_loop().call_soon(_tell_late, watched, number)

        def unsubscribe() -> None:
            if watched.callbacks.pop(number, None) is not None and not watched.callbacks:
                group.remove(watched)
                if not group.objects and self._groups.get(key) is group:
                    del self._groups[key]

        return unsubscribe

    async def close(self) -> None:
        """End all watches."""
        groups = list(self._groups.values())
        self._groups.clear()
        await asyncio.gather(*(group.close() for group in groups))


def _tell_late(watched: _Watched, number: int) -> None:
    callback = watched.callbacks.get(number)
    if callback is not None and watched.last is not None:
        _safely(callback, watched.last.manifest)


def _safely(callback: Callback, manifest: Manifest | None) -> None:
    try:
        callback(manifest)
    except Exception:
        log.exception("a callback of a watch failed")
