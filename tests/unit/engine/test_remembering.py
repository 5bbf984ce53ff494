"""What is remembered of objects: only what was well without a break for long enough, once, and by whom it is for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kubernaut.actions.knowngood.declaration import MAX_DECLARATION, unpack
from kubernaut.api.reasons import Reason
from kubernaut.cluster.collections import GAP, Event
from kubernaut.core.errors import Forbidden, StepError
from kubernaut.core.ports import Manifest, ObjectRef
from kubernaut.engine import remembering
from kubernaut.engine.remembering import CONFIRM, HistoryMemory, Remembering
from kubernaut.history.errors import HistoryError, HistoryUnavailable, KeysUnusable, KeyUnknown, Tampered
from kubernaut.history.knowngood import GoodSighting
from unit.actions.builders import container, deployment, template
from unit.actions.test_known_good import config_map, well

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Store:
    """What was to be remembered."""

    def __init__(self) -> None:
        self.seen: list[GoodSighting] = []
        self.told: asyncio.Queue[GoodSighting] = asyncio.Queue()
        self.fails: HistoryError | None = None

    def remember(self, seen: GoodSighting) -> None:
        self.seen.append(seen)
        self.told.put_nowait(seen)

    async def newest(self, uid: str, good_for: timedelta) -> GoodSighting | None:
        if self.fails is not None:
            raise self.fails
        return next((one for one in reversed(self.seen) if one.uid == uid), None)


class World:
    """A memory with its own clock."""

    def __init__(self, settle: float = 60) -> None:
        self.store = Store()
        self.seconds = 0.0
        self.wanted = True
        self.memory = Remembering(
            Silent(),
            self.store,
            timedelta(seconds=settle),
            lambda: self.wanted,
            lambda: START + timedelta(seconds=self.seconds),
            monotonic=lambda: self.seconds,
        )

    def see(self, manifest: Manifest, event: str = "MODIFIED") -> None:
        self.memory.observe(event, manifest)

    def later(self, seconds: float) -> None:
        self.seconds += seconds
        self.memory.look("shop")

    @property
    def images(self) -> list[Any]:
        found = [unpack(one.content) for one in self.store.seen]
        return [one["spec"]["template"]["spec"]["containers"][0]["image"] for one in found]


class Silent:
    """A cluster in which nothing happens."""

    def __init__(self, *pages: Manifest, refused: bool = False) -> None:
        self.pages = list(pages)
        self.refused = refused
        self.asked = asyncio.Event()
        self.selectors: set[str] = set()
        self.events: asyncio.Queue[Event] = asyncio.Queue()

    async def list_pages(
        self, api_version: str, kind: str, namespace: str = "", *, label_selector: str = ""
    ) -> AsyncIterator[list[Manifest]]:
        self.asked.set()
        if self.refused:
            raise Forbidden("the operator lacks list", status=403)
        self.selectors.add(label_selector)
        yield [one for one in self.pages if one["kind"] == kind]

    async def watch_all(
        self, api_version: str, kind: str, *, field_selector: str = "", label_selector: str = ""
    ) -> AsyncIterator[Event]:
        self.selectors.add(label_selector)
        while kind == "Deployment":
            yield await self.events.get()
        await asyncio.Event().wait()


def api(image: str = "api:1", **status: Any) -> Manifest:
    return well(deployment(pod=template(container(image=image))), **status)


def test_it_is_remembered_once_it_was_well_for_long_enough() -> None:
    world = World()
    world.see(api(), "ADDED")
    world.later(59)
    assert world.images == []
    world.later(1)
    assert world.images == ["api:1"]
    (seen,) = world.store.seen
    assert (seen.first_seen, seen.last_seen) == (START, START + timedelta(seconds=60))
    assert (seen.namespace, seen.kind, seen.name, seen.uid) == (
        "shop",
        "Deployment",
        "api",
        "uid-deployment-api",
    )


def test_a_break_begins_the_time_anew() -> None:
    world = World()
    world.see(api())
    world.later(50)
    world.see(api(availableReplicas=1))
    world.see(api())
    world.later(50)
    assert world.images == []
    world.later(10)
    assert world.images == ["api:1"]


def test_another_declaration_begins_the_time_anew_and_status_alone_does_not() -> None:
    world = World()
    world.see(api())
    world.later(50)
    world.see(api("api:2"))
    world.later(50)
    assert world.images == []
    world.see(api("api:2", conditions=[{"type": "Available", "status": "True"}]))
    world.later(10)
    assert world.images == ["api:2"]


def test_what_is_not_well_is_not_remembered_however_long() -> None:
    world = World()
    world.see(api(availableReplicas=1))
    world.see(api(observedGeneration=1))
    world.later(3600)
    assert world.store.seen == []


def test_that_it_still_is_so_is_told_now_and_then() -> None:
    world = World()
    world.see(api())
    world.later(60)
    world.later(60)
    assert len(world.store.seen) == 1
    world.later(CONFIRM.total_seconds())
    assert [one.first_seen for one in world.store.seen] == [START, START]
    assert world.store.seen[1].last_seen > world.store.seen[0].last_seen


def test_a_config_map_is_remembered_while_what_uses_it_is_well() -> None:
    world = World()
    user = template(container(envFrom=[{"configMapRef": {"name": "settings"}}]))
    world.see(config_map(level="info"))
    world.later(100)
    assert world.store.seen == []
    world.see(well(deployment(pod=user)))
    world.later(60)
    assert {one.kind for one in world.store.seen} == {"ConfigMap", "Deployment"}
    world.see(well(deployment(pod=user), availableReplicas=0))
    world.see(config_map(level="debug"))
    world.later(100)
    assert len(world.store.seen) == 2


def test_what_lost_its_label_or_is_gone_is_forgotten() -> None:
    world = World()
    world.see(api())
    world.later(50)
    world.see(api(), "DELETED")
    world.later(50)
    assert world.store.seen == []


def test_only_the_replica_that_is_to_does_it_and_another_takes_over_at_once() -> None:
    world = World()
    world.wanted = False
    world.see(api())
    world.later(100)
    assert world.store.seen == []
    world.wanted = True
    world.later(1)
    assert world.images == ["api:1"]


def test_what_is_too_large_is_not_remembered(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.see(api())
    world.see(config_map(page="x" * MAX_DECLARATION))
    world.later(60)
    assert [one.kind for one in world.store.seen] == ["Deployment"]
    assert "too large" in caplog.text


def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembering, "MOST_BYTES", 600)
    world = World()
    for number in range(5):
        world.see({**api(), "metadata": {**api()["metadata"], "name": f"api-{number}", "uid": f"u{number}"}})
    world.later(60)
    assert 0 < len(world.store.seen) < 5
    for number in range(5):
        world.see({**api(), "metadata": {**api()["metadata"], "name": f"api-{number}"}}, "DELETED")
    world.see(api())
    world.later(60)
    assert world.store.seen[-1].name == "api"


async def watching(cluster: Silent, store: Store) -> asyncio.Task[None]:
    memory = Remembering(cluster, store, timedelta(0), lambda: True, lambda: START)
    return asyncio.create_task(memory.run())


async def test_those_with_the_label_are_listed_and_watched() -> None:
    cluster, store = Silent(api()), Store()
    task = await watching(cluster, store)
    await cluster.events.put(Event(GAP, {}))
    event = api("api:2")
    await cluster.events.put(Event("MODIFIED", {key: event[key] for key in ("metadata", "spec", "status")}))
    async with asyncio.timeout(5):
        told = {(await store.told.get()).digest for _ in range(2)}
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert cluster.selectors == {"kubernaut.io/remember=true"}
    assert len(told) == 2


async def test_without_the_rights_it_says_which_manifests_give_them(caplog: pytest.LogCaptureFixture) -> None:
    cluster = Silent(refused=True)
    task = await watching(cluster, Store())
    async with asyncio.timeout(5):
        await cluster.asked.wait()
        await asyncio.sleep(0)
    assert "manifests/remember" in caplog.text
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_what_is_remembered_is_told_by_uid_and_what_is_not_says_why() -> None:
    world = World(settle=0)
    world.see(api())
    memory = HistoryMemory(world.store)
    good = await memory.last_known_good(ObjectRef.of(api()))
    assert good.content["spec"] == api()["spec"]
    other = ObjectRef("apps/v1", "Deployment", "shop", "api", "uid-of-another")
    with pytest.raises(StepError) as caught:
        await memory.last_known_good(other)
    assert caught.value.reason is Reason.NOTHING_REMEMBERED
    world.store.fails = HistoryUnavailable("Postgres at db can't be used now")
    with pytest.raises(StepError) as caught:
        await memory.last_known_good(other)
    assert caught.value.reason is Reason.HISTORY_AWAY
    assert caught.value.transient


async def test_what_is_remembered_under_a_key_that_is_missing_is_not_waited_for() -> None:
    world = World()
    for error in (KeyUnknown("it was encrypted with key 0a1b"), KeysUnusable("no key"), Tampered("other")):
        world.store.fails = error
        with pytest.raises(StepError, match=str(error)) as caught:
            await HistoryMemory(world.store).last_known_good(ObjectRef.of(api()))
        assert caught.value.reason is Reason.MEMORY_UNREADABLE
        assert not caught.value.transient
