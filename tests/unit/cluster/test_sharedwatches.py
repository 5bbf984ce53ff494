from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from typing import Any

import pytest

from kubernaut.cluster.sharedwatches import LEAST_TOGETHER, MOST_ALONE, SharedWatches
from kubernaut.cluster.watching import Sighting
from kubernaut.core.errors import ClusterError, Forbidden, NotFound, Unavailable
from kubernaut.core.ports import Manifest, ObjectRef

REF = ObjectRef("v1", "ConfigMap", "shop", "c")


def seen(version: int, name: str = "c") -> Manifest:
    return {"metadata": {"name": name, "uid": "u", "resourceVersion": str(version)}}


def sighting(version: int, name: str = "c", *, gone: bool = False) -> Sighting:
    return Sighting(name, None if gone else seen(version, name), str(version))


class Cluster:
    """A cluster in which watches are fed by hand.

    Attributes:
        alone: what feeds watches of single objects, in the order in which they were opened.
        together: what feeds watches of all objects of a kind.
        error: what watches of single objects meet instead.
        refusal: what watches of all objects meet instead.
        there: objects as reads find them.
    """

    def __init__(self) -> None:
        self.opened = 0
        self.closed = 0
        self.error: Exception | None = None
        self.refusal: Exception | None = None
        self.alone: list[asyncio.Queue[Sighting]] = []
        self.together: list[asyncio.Queue[Sighting]] = []
        self.names: Callable[[], Collection[str]] = tuple
        self.polled: list[Manifest | Exception] = []
        self.there: dict[str, Sighting] = {}
        self.reads: list[str] = []

    def as_account(self, namespace: str, service_account: str) -> Cluster:
        return self

    async def watch_names(
        self,
        api_version: str,
        kind: str,
        namespace: str,
        names: Callable[[], Collection[str]],
        *,
        only: str = "",
    ) -> AsyncIterator[Sighting]:
        error = self.error if only else self.refusal
        if error is not None:
            raise error
        queue: asyncio.Queue[Sighting] = asyncio.Queue()
        (self.alone if only else self.together).append(queue)
        if not only:
            self.names = names
        self.opened += 1
        try:
            while True:
                yield await queue.get()
        finally:
            self.closed += 1

    @property
    def open(self) -> int:
        return self.opened - self.closed

    async def sight(self, ref: ObjectRef) -> Sighting:
        self.reads.append(ref.name)
        return self.there[ref.name]

    async def get(self, ref: ObjectRef) -> Manifest:
        found = self.polled.pop(0) if self.polled else None
        if found is None:
            await asyncio.Event().wait()
        if isinstance(found, Exception):
            raise found
        assert found is not None
        return found


async def turn() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def versions(into: list[Any]) -> Callable[[Manifest | None], None]:
    return lambda manifest: into.append(manifest and manifest["metadata"]["resourceVersion"])


async def no_pause(_: float) -> None:
    await asyncio.sleep(0)


async def test_waiters_on_the_same_object_share_one_watch_and_it_ends_with_the_last() -> None:
    cluster = Cluster()
    watches = SharedWatches(cluster)
    first, second, other = [], [], []  # type: ignore[var-annotated]
    end_first = watches.subscribe("shop", "repair", REF, versions(first))
    await turn()
    cluster.alone[0].put_nowait(sighting(4))
    await turn()
    end_second = watches.subscribe(
        "shop", "repair", ObjectRef("v1", "ConfigMap", "shop", "c", "some-uid"), versions(second)
    )
    assert second == [], "never called from within subscribe"
    end_other = watches.subscribe("shop", "somebody", REF, versions(other))
    await turn()
    assert (first, second, other) == (["4"], ["4"], [])
    assert cluster.opened == 2, "one for each account"
    end_first()
    cluster.alone[0].put_nowait(sighting(9, gone=True))
    await turn()
    assert (first, second) == (["4"], ["4", None])
    end_second()
    end_second()
    end_other()
    await turn()
    assert cluster.closed == 2
    assert len(watches) == 0


async def test_a_subscription_after_the_last_one_ended_begins_anew() -> None:
    cluster = Cluster()
    watches = SharedWatches(cluster)
    told: list[Any] = []
    watches.subscribe("shop", "repair", REF, versions(told))()
    end = watches.subscribe("shop", "repair", REF, versions(told))
    await turn()
    cluster.alone[-1].put_nowait(sighting(9))
    await turn()
    assert told == ["9"]
    end()
    await watches.close()


async def test_a_failing_callback_harms_no_other() -> None:
    def bad(_: Manifest | None) -> None:
        raise RuntimeError("bad")

    cluster, told = Cluster(), list[Any]()
    watches = SharedWatches(cluster)
    watches.subscribe("shop", "repair", REF, bad)
    watches.subscribe("shop", "repair", REF, versions(told))
    await turn()
    cluster.alone[0].put_nowait(sighting(4))
    cluster.alone[0].put_nowait(sighting(5))
    await turn()
    assert told == ["4", "5"]
    await watches.close()


async def test_an_account_that_may_not_watch_has_the_object_polled() -> None:
    cluster, told = Cluster(), list[Any]()
    cluster.error = Forbidden("no watch", status=403)
    cluster.polled = [seen(4), seen(4), Unavailable("away"), seen(5), NotFound("gone"), NotFound("gone")]
    watches = SharedWatches(cluster, sleep=no_pause)
    watches.subscribe("shop", "repair", REF, versions(told))
    await turn()
    assert told == ["4", "5", None]
    await watches.close()


@pytest.mark.parametrize("error", [ClusterError("odd"), KeyError("odd")])
async def test_a_watch_that_ends_with_an_error_is_begun_again(error: Exception) -> None:
    cluster, told = Cluster(), list[Any]()
    cluster.error = error
    watches = SharedWatches(cluster, sleep=no_pause)
    watches.subscribe("shop", "repair", REF, versions(told))
    await turn()
    cluster.error = None
    await turn()
    cluster.alone[-1].put_nowait(sighting(4))
    await turn()
    assert told == ["4"]
    await watches.close()


NAMES = [f"c{number}" for number in range(MOST_ALONE + 1)]


class Many:
    """As many objects as are watched together, and what was told of each."""

    def __init__(self) -> None:
        self.cluster = Cluster()
        self.watches = SharedWatches(self.cluster, sleep=no_pause)
        self.told: dict[str, list[Any]] = {}
        self.ends: dict[str, Callable[[], None]] = {}

    def begin(self, *names: str) -> None:
        for name in names:
            ref = ObjectRef("v1", "ConfigMap", "shop", name)
            into: list[Any] = []
            self.told[name] = into
            self.ends[name] = self.watches.subscribe("shop", "repair", ref, versions(into))

    async def together(self) -> None:
        """Have all watched together, and seen once."""
        self.begin(*NAMES)
        await turn()
        for number, name in enumerate(NAMES):
            self.tell(name, 10 + number)
        await turn()

    def tell(self, name: str, version: int) -> None:
        self.cluster.together[-1].put_nowait(sighting(version, name))


async def test_many_objects_of_a_kind_share_one_watch() -> None:
    many = Many()
    await many.together()
    assert many.cluster.open == 1
    assert set(many.cluster.names()) == set(NAMES)
    assert many.told == {name: [str(10 + number)] for number, name in enumerate(NAMES)}
    many.tell("c3", 30)
    many.tell("unknown", 31)
    await turn()
    assert many.told["c3"] == ["13", "30"]
    await many.watches.close()
    assert many.cluster.open == 0


async def test_until_the_watch_of_all_has_told_of_an_object_its_own_goes_on() -> None:
    many = Many()
    many.begin(*NAMES)
    await turn()
    many.tell("c0", 10)
    await turn()
    assert many.cluster.open == len(NAMES)
    many.cluster.alone[1].put_nowait(sighting(11, "c1"))
    await turn()
    many.tell("c1", 11)
    await turn()
    assert many.told["c1"] == ["11"], "told once"
    await many.watches.close()


async def test_an_object_that_joins_is_read_once_and_then_told_what_the_watch_of_all_brings() -> None:
    many = Many()
    await many.together()
    many.cluster.there["late"] = sighting(40, "late")
    many.begin("late")
    await turn()
    many.tell("late", 39)
    many.tell("late", 41)
    await turn()
    assert (many.told["late"], many.cluster.reads) == (["40", "41"], ["late"])
    assert many.cluster.open == 1
    await many.watches.close()


async def test_one_that_joins_and_does_not_exist_stays_so_whatever_comes_late() -> None:
    many = Many()
    await many.together()
    many.cluster.there["late"] = sighting(40, "late", gone=True)
    many.begin("late")
    await turn()
    many.tell("late", 39)
    await turn()
    assert many.told["late"] == [None]
    await many.watches.close()


async def test_an_account_that_may_see_single_objects_only_has_a_watch_of_each() -> None:
    many = Many()
    many.cluster.refusal = Forbidden("all of them: no", status=403)
    many.begin(*NAMES)
    await turn()
    many.begin("late")
    await turn()
    assert many.cluster.open == len(NAMES) + 1
    many.cluster.alone[-1].put_nowait(sighting(9, "late"))
    await turn()
    assert many.told["late"] == ["9"]
    await many.watches.close()


@pytest.mark.parametrize("error", [ClusterError("odd"), KeyError("odd")])
async def test_a_watch_of_all_that_ends_with_an_error_is_begun_again(error: Exception) -> None:
    many = Many()
    many.cluster.refusal = error
    many.begin(*NAMES)
    await turn()
    many.cluster.refusal = None
    await turn()
    many.tell("c2", 22)
    await turn()
    assert many.told["c2"] == ["22"]
    await many.watches.close()


async def test_when_few_are_left_each_has_its_own_watch_again() -> None:
    many = Many()
    await many.together()
    for name in NAMES[LEAST_TOGETHER - 1 :]:
        many.ends[name]()
    await turn()
    assert (many.cluster.open, len(many.watches)) == (LEAST_TOGETHER - 1, LEAST_TOGETHER - 1)
    many.cluster.alone[-1].put_nowait(sighting(50, NAMES[LEAST_TOGETHER - 2]))
    await turn()
    assert many.told[NAMES[LEAST_TOGETHER - 2]][-1] == "50"
    for name in NAMES[: LEAST_TOGETHER - 1]:
        many.ends[name]()
    await turn()
    assert (many.cluster.open, len(many.watches)) == (0, 0)
