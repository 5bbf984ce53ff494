"""Declarations in Postgres are encrypted: readable with the keys alone, rotated, and stored once all the same."""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from pathlib import Path

import asyncpg
import pytest

from database.keyfile import Keys
from database.test_knowngood import KEEP, MOMENT, counted, sighting, write
from kubernaut.history.breaker import Breaker
from kubernaut.history.bundlemirror import BundleMirror
from kubernaut.history.bundlespool import BundleSpool
from kubernaut.history.database import Database
from kubernaut.history.encryption import KeyRing
from kubernaut.history.errors import KeysUnusable, KeyUnknown, Tampered
from kubernaut.history.knowngood import GoodSighting, KnownGoodStore
from kubernaut.history.schema import migrate

CANARY = "canary-in-a-declaration"


@pytest.fixture
def store(database: Database, keys: KeyRing) -> KnownGoodStore:
    return a_store(database, keys)


def a_store(database: Database, keys: KeyRing | None) -> KnownGoodStore:
    return KnownGoodStore(database, keys, KEEP, lambda: MOMENT)


async def content(store: KnownGoodStore, uid: str = "u1") -> bytes:
    found = await store.newest(uid)
    assert found is not None
    return found.content


async def in_the_clear(database: Database, *seen: GoodSighting) -> None:
    """Store as the version before encryption did."""
    async with database.connection() as connection:
        for one in seen:
            await connection.execute(
                "INSERT INTO kubernaut.declarations VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
                *(one.digest, one.size, one.content),
            )
            await connection.execute(
                "INSERT INTO kubernaut.known_good VALUES ($1, $2, $3, $4, $5, $6, $7)",
                *(one.uid, one.digest, one.namespace, one.kind, one.name, one.first_seen, one.last_seen),
            )


async def everything(database: Database) -> bytes:
    """Return all that both tables hold, as bytes."""
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT * FROM kubernaut.declarations")
        rows += await connection.fetch("SELECT * FROM kubernaut.known_good")
    values = [value for row in rows for value in row.values()]
    return b"\n".join(value if isinstance(value, bytes) else str(value).encode() for value in values)


async def key_ids(database: Database) -> list[str | None]:
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT DISTINCT key_id FROM kubernaut.declarations ORDER BY 1")
    return [row["key_id"] for row in rows]


async def test_nothing_that_is_stored_tells_what_it_says(store: KnownGoodStore, database: Database) -> None:
    await write(store, sighting(content=CANARY))
    assert await content(store) == CANARY.encode()
    kept = await everything(database)
    # Nor its digest: who knows a declaration could tell by that who has it.
    for told in (CANARY, f"digest-of-{CANARY}", hashlib.sha256(CANARY.encode()).hexdigest()):
        assert told.encode() not in kept


async def test_a_new_key_takes_over_and_the_old_one_can_go(
    store: KnownGoodStore, database: Database, keys: KeyRing, file: Keys
) -> None:
    many = [sighting(f"u{number}", f"c{number}") for number in range(45)]
    await write(store, *many)
    file.add()
    assert await content(store, "u7") == b"c7"
    assert await store.rotate() == 45
    assert await store.rotate() == 0
    file.forget()
    assert await key_ids(database) == [keys.current]
    for number in (0, 44):
        assert await content(store, f"u{number}") == b"c%d" % number
    assert await counted(database, "known_good") == await counted(database, "declarations") == 45


async def test_what_was_seen_before_and_after_a_new_key_becomes_one_again(
    store: KnownGoodStore, database: Database, file: Keys
) -> None:
    await write(store, sighting("u1"), sighting("u2"))
    file.add()
    await write(store, sighting("u1", minutes=9), sighting("u3", minutes=9))
    assert await counted(database, "declarations") == 2
    assert await store.rotate() == 1
    assert await counted(database, "declarations") == 1
    assert await counted(database, "known_good") == 3
    found = await store.newest("u1")
    assert found is not None
    assert (found.first_seen, found.last_seen) == (MOMENT, sighting(minutes=9).last_seen)


async def test_what_an_earlier_version_left_in_the_clear_is_read_and_encrypted(
    store: KnownGoodStore, database: Database, keys: KeyRing
) -> None:
    await in_the_clear(database, sighting("u1", CANARY), sighting("u2", CANARY), sighting("u3", "other"))
    assert CANARY.encode() in await everything(database)
    assert await content(store) == CANARY.encode()
    assert await store.rotate() == 2
    assert CANARY.encode() not in await everything(database)
    assert await key_ids(database) == [keys.current]
    found = await store.newest("u2")
    assert found is not None
    assert (found.content, found.digest) == (CANARY.encode(), f"digest-of-{CANARY}")
    # It is told from others as before.
    await write(store, sighting("u4", CANARY))
    assert await counted(database, "declarations") == 2


async def test_one_under_a_lost_key_names_it_and_holds_up_no_other(
    store: KnownGoodStore,
    database: Database,
    keys: KeyRing,
    file: Keys,
    caplog: pytest.LogCaptureFixture,
) -> None:
    lost = keys.current
    await write(store, sighting("u1", "lost"))
    file.add()
    file.forget()
    await write(store, sighting("u2", "other"))
    file.add()
    assert await store.rotate() == 1
    assert "a known-good declaration can't be read" in caplog.text
    assert await content(store, "u2") == b"other"
    with pytest.raises(KeyUnknown, match=f"key {lost}, which is not in .*; add that below the first"):
        await store.newest("u1")
    # Seen well again, it is remembered again.
    await write(store, sighting("u1", "lost", minutes=5))
    assert await content(store) == b"lost"


async def test_one_in_the_place_of_another_is_refused(store: KnownGoodStore, database: Database) -> None:
    await write(store, sighting("u1", "mine"), sighting("u2", "yours"))
    async with database.connection() as connection:
        await connection.execute(
            "UPDATE kubernaut.declarations one SET content = other.content "
            "FROM kubernaut.declarations other WHERE one.digest <> other.digest"
        )
    with pytest.raises(Tampered, match="is not what was encrypted"):
        await store.newest("u1")


async def test_without_a_key_nothing_is_remembered_and_that_is_said(
    store: KnownGoodStore, database: Database
) -> None:
    await write(store, sighting("u1"))
    await in_the_clear(database, sighting("u2", "clear"))
    without = a_store(database, None)
    await write(without, sighting("u3"))
    assert without.backlog == 0
    assert await counted(database, "known_good") == 2
    assert await content(without, "u2") == b"clear"
    for uid in ("u1", "u3"):
        with pytest.raises(KeysUnusable, match="set KUBERNAUT_ENCRYPTION_KEYS"):
            await without.newest(uid)


async def test_keys_that_can_not_be_read_are_not_taken_for_a_postgres_that_is_away(
    dsn: str, keys: KeyRing, file: Keys
) -> None:
    database = Database(dsn, breaker=Breaker("Postgres", failures=1, pause=60))
    store = a_store(database, keys)
    await write(store, sighting("u1"))
    lines, file.lines = file.lines, []
    file.write()
    store.remember(sighting("u2"))
    for failing in (store.flush, store.rotate, lambda: store.newest("u1")):
        with pytest.raises(KeysUnusable, match="holds no key"):
            await failing()
    assert store.backlog == 1
    file.lines = lines
    file.write()
    await store.flush()
    assert await content(store, "u1") == b"good"
    await database.close()


async def test_writing_and_rotating_at_once_lose_nothing(
    store: KnownGoodStore, database: Database, file: Keys
) -> None:
    other = a_store(database, file.ring)
    for number in range(10):
        file.add()
        for uid in range(10):
            store.remember(sighting(f"u{uid}", f"c{uid % 3}", minutes=number))
        await asyncio.gather(store.flush(), store.rotate(), other.rotate(), other.prune())
    await store.rotate()
    assert await counted(database, "declarations") == 3
    assert await counted(database, "known_good") == 10
    assert await content(store, "u4") == b"c1"


async def test_bundles_and_declarations_are_rotated_together(
    store: KnownGoodStore, database: Database, keys: KeyRing, file: Keys, tmp_path: Path
) -> None:
    await write(store, sighting())
    file.add()
    mirror = BundleMirror(database, keys, BundleSpool(tmp_path / "bundles"), also=(store.rotate,))
    task = asyncio.create_task(mirror.run())
    async with asyncio.timeout(60):
        await mirror.rotated.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await key_ids(database) == [keys.current]


async def test_up_keeps_what_is_in_the_clear_and_down_what_the_former_version_can_read(
    empty_dsn: str, keys: KeyRing
) -> None:
    await migrate(empty_dsn, "0006")
    former = zlib.compress(b"{}")
    connection = await asyncpg.connect(empty_dsn)
    try:
        await connection.execute("INSERT INTO kubernaut.declarations VALUES ('d', 2, $1)", former)
        await connection.execute(
            "INSERT INTO kubernaut.known_good VALUES ('u1', 'd', 'shop', 'Service', 'web', $1, $1)", MOMENT
        )
        database = Database(empty_dsn)
        store = a_store(database, keys)
        assert await content(store) == former
        await write(store, sighting("u2"))
        await database.close()
        await migrate(empty_dsn, "0006")
        rows = await connection.fetch(
            "SELECT uid, content FROM kubernaut.known_good JOIN kubernaut.declarations USING (digest)"
        )
        assert [tuple(row) for row in rows] == [("u1", former)]
        assert await connection.fetchval("SELECT count(*) FROM kubernaut.declarations") == 1
    finally:
        await connection.close()
