"""Remembering what objects are like while they are well: the operator's own watch of those with a label.

An object counts as well with a declaration once it was seen so without a break for a while (docs/adr/0033), for what
crashes after a minute is available for that minute. What was stored then is what ``restore_last_known_good`` gives
back; what became of an object since is not asked here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from kubernaut.actions.knowngood import declaration, health
from kubernaut.actions.knowngood.declaration import KINDS, Packed
from kubernaut.actions.knowngood.health import Facts, Health
from kubernaut.api.duration import format_duration
from kubernaut.api.names import LABEL_REMEMBER
from kubernaut.api.reasons import Reason
from kubernaut.cluster.collections import GAP, Event
from kubernaut.core.errors import ClusterError, StepError
from kubernaut.core.memory import KnownGood
from kubernaut.core.ports import Manifest, ObjectRef
from kubernaut.history.errors import HistoryError, KeysUnusable, KeyUnknown, Tampered
from kubernaut.history.knowngood import GoodSighting
from kubernaut.metrics import REMEMBERED

SELECTOR: Final = f"{LABEL_REMEMBER}=true"
#: how often it is stored that an object still is as it was
CONFIRM: Final = timedelta(minutes=10)
#: compressed bytes of declarations in memory; beyond that no more objects are remembered
MOST_BYTES: Final = 64 * 2**20
_AGAIN: Final = 30.0
Key = tuple[str, str]
log = logging.getLogger(__name__)


class Watching(Protocol):
    """What is needed of a cluster."""

    def list_pages(
        self, api_version: str, kind: str, namespace: str = "", *, label_selector: str = ""
    ) -> AsyncIterator[list[Manifest]]:
        """Yield pages of objects of all namespaces."""
        ...

    def watch_all(
        self, api_version: str, kind: str, *, field_selector: str = "", label_selector: str = ""
    ) -> AsyncIterator[Event]:
        """Yield what happens to objects from now on."""
        ...


class Store(Protocol):
    """Where it is remembered."""

    def remember(self, seen: GoodSighting) -> None:
        """Store, some time soon, that an object was seen well."""
        ...

    async def newest(self, uid: str, good_for: timedelta) -> GoodSighting | None:
        """Return what an object was well with for at least so long, the newest. Raises HistoryError."""
        ...


@dataclass(slots=True)
class _Seen:
    """An object as last seen.

    Attributes:
        packed: its declaration; None where it is not remembered, being too large.
        since: since when it is well with this declaration, on the monotonic clock and by date; None where it is not.
        told: when that was stored last, on the monotonic clock.
    """

    uid: str
    facts: Facts
    packed: Packed | None
    since: tuple[float, datetime] | None = None
    told: float | None = None
    health: Health = Health.UNSEEN

    @property
    def digest(self) -> str:
        """What its declaration is told from others by; empty where it is not remembered."""
        return self.packed.digest if self.packed is not None else ""


class Remembering:
    """Watches objects with the label, and has the store remember what they are like while they are well.

    Args:
        settle: for how long an object has to be well without a break.
        wanted: whether this replica is the one that remembers, and the feature is on.
    """

    def __init__(
        self,
        cluster: Watching,
        store: Store,
        settle: timedelta,
        wanted: Callable[[], bool],
        clock: Callable[[], datetime],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._settle = settle.total_seconds()
        self._wanted = wanted
        self._clock = clock
        self._monotonic = monotonic
        self._objects: dict[str, dict[Key, _Seen]] = {}
        self._bytes = 0

    async def run(self) -> None:
        """Watch and remember until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for kind in KINDS:
                tasks.create_task(self._watch(kind))
            tasks.create_task(self._look_again())

    async def _watch(self, kind: str) -> None:
        while True:
            try:
                # Listed first: a watch that is refused is asked for again and again, and says nothing.
                await self._list(kind)
                events = self._cluster.watch_all(KINDS[kind], kind, label_selector=SELECTOR)
                async for event in events:
                    if event.type == GAP:
                        await self._list(kind)
                    else:
                        self.observe(event.type, {**event.manifest, "apiVersion": KINDS[kind], "kind": kind})
            except ClusterError as error:
                log.error(
                    "objects of a kind are not remembered: give the operator the rights of manifests/remember",
                    extra={"kind": kind, "error": str(error)},
                )
            except Exception:
                # One odd object: no reason to look at the others no more.
                log.exception("the watch on what is to be remembered is begun anew")
            await asyncio.sleep(_AGAIN)

    async def _list(self, kind: str) -> None:
        found: set[tuple[str, str]] = set()
        async for page in self._cluster.list_pages(KINDS[kind], kind, label_selector=SELECTOR):
            for manifest in page:
                self.observe("ADDED", manifest)
                found.add((manifest["metadata"]["namespace"], manifest["metadata"]["name"]))
        for namespace, objects in list(self._objects.items()):
            for key in [key for key in objects if key[0] == kind and (namespace, key[1]) not in found]:
                self._forget(namespace, key)

    def observe(self, event: str, manifest: Manifest) -> None:
        """Take note of an object as a watch brought it."""
        meta = manifest["metadata"]
        namespace, key = meta["namespace"], (manifest["kind"], meta["name"])
        if event == "DELETED":
            self._forget(namespace, key)
        else:
            self._see(namespace, key, manifest)
        self.look(namespace)

    def _see(self, namespace: str, key: Key, manifest: Manifest) -> None:
        objects = self._objects.setdefault(namespace, {})
        uid, declared = manifest["metadata"]["uid"], declaration.declared(manifest)
        known = objects.get(key)
        if known is not None and known.uid == uid and known.digest == declaration.digest_of(declared):
            known.facts = health.facts(manifest)
            return
        self._forget(namespace, key)
        packed = declaration.pack(declared)
        if packed is None or self._bytes + len(packed.content) > MOST_BYTES:
            log.warning(
                "an object is not remembered: its declaration is too large, or there are too many",
                extra={"object": f"{key[0]} {namespace}/{key[1]}"},
            )
            packed = None
        else:
            self._bytes += len(packed.content)
        self._objects.setdefault(namespace, {})[key] = _Seen(uid, health.facts(manifest), packed)

    def _forget(self, namespace: str, key: Key) -> None:
        objects = self._objects.get(namespace, {})
        gone = objects.pop(key, None)
        if gone is not None and gone.packed is not None:
            self._bytes -= len(gone.packed.content)
        if not objects:
            self._objects.pop(namespace, None)

    async def _look_again(self) -> None:
        while True:
            await asyncio.sleep(min(5.0, max(0.1, self._settle / 4)))
            for namespace in list(self._objects):
                self.look(namespace)
            self._show()

    def look(self, namespace: str) -> None:
        """Judge the objects of a namespace, and have those remembered that have been well for long enough."""
        objects = self._objects.get(namespace, {})
        workloads = [one.facts for (kind, _), one in objects.items() if kind in health.WORKLOADS]
        now, wanted = self._monotonic(), self._wanted()
        for (kind, name), one in objects.items():
            one.health = health.judge(one.facts, workloads).health
            if one.health is not Health.HEALTHY:
                one.since = one.told = None
                continue
            one.since = one.since or (now, self._clock())
            due = one.told is None or now - one.told >= CONFIRM.total_seconds()
            if wanted and due and one.packed is not None and now - one.since[0] >= self._settle:
                one.told = now
                self._store.remember(self._sighting(namespace, kind, name, one))

    def _sighting(self, namespace: str, kind: str, name: str, one: _Seen) -> GoodSighting:
        assert one.packed is not None
        assert one.since is not None
        packed, times = one.packed, (one.since[1], self._clock())
        return GoodSighting(
            one.uid, namespace, kind, name, packed.digest, packed.size, packed.content, *times
        )

    def _show(self) -> None:
        counts = Counter(one.health for one in self._everything())
        for state in Health:
            REMEMBERED.labels(state.value).set(counts[state])

    def _everything(self) -> Iterable[_Seen]:
        return (one for objects in self._objects.values() for one in objects.values())


class HistoryMemory:
    """What actions are told of what is remembered."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def last_known_good(self, ref: ObjectRef, good_for: timedelta = timedelta(0)) -> KnownGood:
        """Return what is remembered of the object with this UID.

        Raises:
            StepError: NothingRemembered; HistoryAway; MemoryUnreadable.
        """
        try:
            found = await self._store.newest(ref.uid, good_for)
        except (KeysUnusable, KeyUnknown, Tampered) as error:
            raise StepError(
                f"what {ref} was like can't be read: {error}", reason=Reason.MEMORY_UNREADABLE
            ) from error
        except HistoryError as error:
            raise StepError(
                f"what {ref} was like can't be known now: {error}", reason=Reason.HISTORY_AWAY
            ) from error
        if found is None:
            long = format_duration(good_for) if good_for else "long enough"
            raise StepError(
                f"nothing is remembered of {ref}: it was never seen well for {long} with the label {SELECTOR}, "
                "or was made anew since",
                reason=Reason.NOTHING_REMEMBERED,
            )
        content: dict[str, Any] = await asyncio.to_thread(declaration.unpack, found.content)
        return KnownGood(content, found.first_seen, found.last_seen)
