"""What objects were like while they were well: each declaration once, the newest answered, the old forgotten."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from kubernaut.history.database import Database
from kubernaut.history.encryption import KeyRing
from kubernaut.history.errors import HistoryError, HistoryUnavailable
from kubernaut.history.knowngood import KEPT_OF_EACH, GoodSighting, KnownGoodStore
from localpostgres import LocalPostgres

# Long ago: what was seen can't lie in the future.
MOMENT = datetime(2023, 3, 15, 12, 0, 0, 250_000, tzinfo=UTC)
KEEP = timedelta(days=90)


def sighting(uid: str = "u1", content: str = "good", minutes: int = 0, **more: Any) -> GoodSighting:
    moment = MOMENT + timedelta(minutes=minutes)
    return GoodSighting(
        uid,
        *("shop", "Deployment", f"name-of-{uid}", f"digest-of-{content}", len(content), content.encode()),
        first_seen=more.get("first_seen", moment),
        last_seen=moment,
    )


@pytest.fixture
def store(database: Database, keys: KeyRing) -> KnownGoodStore:
    return KnownGoodStore(database, keys, KEEP, lambda: MOMENT + timedelta(days=1))


async def counted(database: Database, table: str) -> int:
    async with database.connection() as connection:
        return int(await connection.fetchval(f"SELECT count(*) FROM kubernaut.{table}"))


async def write(store: KnownGoodStore, *seen: GoodSighting) -> None:
    for one in seen:
        store.remember(one)
    await store.flush()


async def test_the_newest_comes_back_as_it_was_given(store: KnownGoodStore) -> None:
    await write(
        store, sighting(content="old"), sighting(content="good", minutes=5), sighting("u2", "other", 9)
    )
    found = await store.newest("u1")
    assert found is not None
    assert (found.content, found.digest) == (b"good", "digest-of-good")
    assert found.first_seen == found.last_seen == MOMENT + timedelta(minutes=5)
    assert await store.newest("u9") is None


async def test_what_came_back_to_a_former_declaration_is_known_by_that(store: KnownGoodStore) -> None:
    await write(store, sighting(content="one"), sighting(content="two", minutes=5))
    await write(store, sighting(content="one", minutes=9))
    found = await store.newest("u1")
    assert found is not None
    assert found.content == b"one"
    assert (found.first_seen, found.last_seen) == (MOMENT, MOMENT + timedelta(minutes=9))


async def test_what_a_clock_that_is_ahead_has_seen_is_not_newer_than_what_is_seen_after_it(
    store: KnownGoodStore,
) -> None:
    ahead = datetime.now(UTC) + timedelta(days=30)
    await write(store, replace(sighting(content="old"), first_seen=ahead, last_seen=ahead))
    now = datetime.now(UTC)
    await write(store, replace(sighting(content="new"), first_seen=now, last_seen=now + timedelta(hours=1)))
    found = await store.newest("u1")
    assert found is not None
    assert found.content == b"new"
    assert found.last_seen < now + timedelta(minutes=5)


async def test_what_was_well_for_a_moment_only_is_passed_over_where_that_is_asked_for(
    store: KnownGoodStore,
) -> None:
    await write(store, sighting(content="long"), sighting(content="long", minutes=600))
    await write(store, sighting(content="short", minutes=605), sighting(content="short", minutes=610))
    store.remember(sighting(content="just now", minutes=615))
    for good_for, content in ((0, b"just now"), (1, b"short"), (60, b"long"), (601, None)):
        found = await store.newest("u1", timedelta(minutes=good_for))
        assert (found and found.content) == content


async def test_the_same_declaration_of_many_objects_is_stored_once(
    store: KnownGoodStore, database: Database
) -> None:
    await write(store, *(sighting(f"u{number}") for number in range(50)))
    await write(store, *(sighting(f"u{number}", minutes=1) for number in range(50)))
    assert await counted(database, "declarations") == 1
    assert await counted(database, "known_good") == 50


async def test_sightings_in_any_order_and_twice_end_in_the_same(store: KnownGoodStore) -> None:
    seen = [sighting(minutes=9, first_seen=MOMENT), sighting(minutes=3), sighting(minutes=6)]
    for order in (seen, seen[::-1], seen + seen):
        await write(store, *order)
        found = await store.newest("u1")
        assert found is not None
        assert (found.first_seen, found.last_seen) == (MOMENT, MOMENT + timedelta(minutes=9))


async def test_what_waits_to_be_written_is_answered_too(store: KnownGoodStore) -> None:
    await write(store, sighting(content="old"))
    store.remember(sighting(content="new", minutes=1))
    found = await store.newest("u1")
    assert found is not None
    assert found.content == b"new"


async def test_only_the_newest_of_each_and_nothing_old_is_kept(
    store: KnownGoodStore, database: Database
) -> None:
    many = [sighting(content=f"c{number}", minutes=number) for number in range(KEPT_OF_EACH + 3)]
    old = sighting("u2", "forgotten", minutes=-60 * 24 * 100)
    await write(store, *many, old, sighting("u3", "c0", minutes=1))
    await store.prune()
    assert await store.newest("u2") is None
    assert await counted(database, "known_good") == KEPT_OF_EACH + 1
    # What another object is still known to be good with stays.
    assert await counted(database, "declarations") == KEPT_OF_EACH + 1
    found = await store.newest("u1")
    assert found is not None
    assert found.content == f"c{KEPT_OF_EACH + 2}".encode()


async def test_forgetting_and_writing_at_once_lose_nothing(store: KnownGoodStore, database: Database) -> None:
    for number in range(20):
        store.remember(sighting(f"u{number}", f"c{number}"))
        await asyncio.gather(store.flush(), store.prune())
    assert await counted(database, "known_good") == await counted(database, "declarations") == 20


async def test_while_postgres_is_away_it_waits_and_asking_says_so(
    server: LocalPostgres, store: KnownGoodStore
) -> None:
    await write(store, sighting())
    server.stop()
    try:
        store.remember(sighting("u2"))
        with pytest.raises(HistoryError):
            await store.flush()
        assert store.backlog == 1
        with pytest.raises(HistoryError):
            await store.newest("u1")
    finally:
        server.start()
    async with asyncio.timeout(30):
        while store.backlog:
            try:
                await store.flush()
            except HistoryError:
                await asyncio.sleep(0.1)
    assert await store.newest("u2") is not None


async def test_a_postgres_that_hangs_is_not_waited_for(dsn: str, database: Database, keys: KeyRing) -> None:
    store = KnownGoodStore(database, keys, KEEP, lambda: MOMENT, patience=0.2)
    await write(store, sighting())
    other = await asyncpg.connect(dsn)
    try:
        async with other.transaction():
            await other.execute("LOCK TABLE kubernaut.known_good")
            with pytest.raises(HistoryUnavailable, match="did not answer within"):
                await store.newest("u1")
    finally:
        await other.close()


async def test_what_waits_is_bounded(database: Database, keys: KeyRing) -> None:
    store = KnownGoodStore(database, keys, KEEP, lambda: MOMENT, most=2)
    for number in range(5):
        store.remember(sighting(f"u{number}"))
    assert store.backlog == 2
    store.remember(sighting("u0", minutes=5))
    await store.flush()
    found = await store.newest("u0")
    assert found is not None
    assert found.last_seen == MOMENT + timedelta(minutes=5)


async def test_two_that_write_at_once_do_not_wait_for_each_other_in_a_circle(
    database: Database, keys: KeyRing
) -> None:
    stores = [KnownGoodStore(database, keys, KEEP, lambda: MOMENT) for _ in range(2)]
    for minutes in range(20):
        for store in stores:
            for number in range(10):
                store.remember(replace(sighting(f"u{number}", minutes=minutes), name="any"))
        await asyncio.gather(*(store.flush() for store in stores))
    assert await counted(database, "known_good") == 10
