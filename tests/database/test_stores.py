"""Patterns and vectors, and what was seen available."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from database.builders import MOMENT
from kubernaut.history.breaker import Breaker
from kubernaut.history.database import Database
from kubernaut.history.errors import HistoryError, HistoryUnavailable, Rejected
from kubernaut.history.pages import PatternRecord
from kubernaut.history.patternstore import PatternStore
from kubernaut.history.seen import SeenAvailable
from localpostgres import LocalPostgres


def a_pattern(id_: str, **changes: Any) -> PatternRecord:
    pattern = PatternRecord(
        id=id_,
        version=1,
        name=f"pattern-{id_}",
        namespace="kubernaut-system",
        feature_set="f1",
        centroid=[0.5, 0.25, -1.0],
        members=2,
        first_seen=MOMENT,
        last_seen=MOMENT + timedelta(days=1),
        status={"support": 2, "success": {"rate": 0.5}},
    )
    return replace(pattern, **changes)


@pytest.fixture
async def store(database: Database) -> PatternStore:
    store = PatternStore(database)
    await store.save_feature_set("f1", {"terms": ["a", "b"]})
    return store


async def test_the_feature_set_saved_last_is_the_newest(store: PatternStore) -> None:
    await store.save_feature_set("f2", {"terms": ["c"]})
    assert await store.load_feature_set() == ("f2", {"terms": ["c"]})
    await store.save_feature_set("f1", {"terms": ["ignored: a key stands for its content"]})
    assert await store.load_feature_set() == ("f1", {"terms": ["a", "b"]})
    assert await store.load_feature_set("f2") == ("f2", {"terms": ["c"]})
    assert await store.load_feature_set("f3") is None


async def test_vectors_come_back_and_are_replaced(store: PatternStore) -> None:
    await store.save_features("f1", [("u1", [1.0, 2.0, 3.0]), ("u2", [4.0, 5.0, 6.5])])
    await store.save_features("f1", iter([("u2", (7.0, 8.0, 9.0)), ("u3", [0.0, 0.0, 0.0])]))
    await store.save_features("f1", [])
    assert await store.load_features("f1") == {
        "u1": [1.0, 2.0, 3.0],
        "u2": [7.0, 8.0, 9.0],
        "u3": [0.0, 0.0, 0.0],
    }
    assert await store.load_features("f1", ["u1", "other"]) == {"u1": [1.0, 2.0, 3.0]}


async def test_feature_sets_have_dimensions_of_their_own(store: PatternStore) -> None:
    await store.save_feature_set("f2", {})
    await store.save_features("f1", [("u", [1.0, 2.0])])
    await store.save_features("f2", [("u", [1.0] * 300)])
    with pytest.raises(Rejected, match="dimension 2, not 3"):
        await store.save_features("f1", [("v", [1.0, 2.0, 3.0])])
    with pytest.raises(Rejected):
        await store.save_features("f1", [("v", [1.0, 2.0]), ("w", [1.0, 2.0, 3.0])])
    with pytest.raises(Rejected, match="not saved yet"):
        await store.save_features("f9", [("v", [1.0])])
    assert set(await store.load_features("f1")) == {"u"}


async def test_vectors_of_sets_that_nothing_names_any_more_are_forgotten(store: PatternStore) -> None:
    await store.save_features("f1", [("u", [1.0])])
    for key, retired_at in (("f2", None), ("f3", MOMENT), ("f4", MOMENT)):
        await store.save_feature_set(key, {})
        await store.save_features(key, [("u", [1.0])])
        await store.save_patterns([a_pattern(key, feature_set=key, retired_at=retired_at)], {})
    await store.save_feature_set("f5", {})
    left = [key for key in ("f1", "f2", "f3", "f4") if await store.load_features(key)]
    assert left == ["f2", "f4"]
    assert [one.feature_set for one in await store.load_patterns(retired=True)] == ["f2", "f3", "f4"]


async def test_patterns_and_members_are_replaced_together(store: PatternStore) -> None:
    one, two = a_pattern("a"), a_pattern("b", first_seen=MOMENT + timedelta(hours=1))
    await store.save_patterns([two, one], {"a": {"u1": 1.0, "u2": 0.5}, "b": {"u3": 0.25}}, position=7)
    assert await store.load_patterns() == [one, two]
    assert await store.load_members() == {"a": {"u1": 1.0, "u2": 0.5}, "b": {"u3": 0.25}}
    assert await store.load_position() == 7
    newer = replace(one, version=2, members=1, status={"support": 1})
    await store.save_patterns([newer], {"a": {"u9": 1.0}}, position=9)
    assert await store.load_patterns() == [newer, two]
    assert await store.load_members() == {"a": {"u9": 1.0}, "b": {"u3": 0.25}}
    assert await store.load_position() == 9


async def test_a_retired_pattern_is_kept_but_no_longer_shown(store: PatternStore) -> None:
    gone = a_pattern("a", retired_at=MOMENT + timedelta(days=2))
    await store.save_patterns([gone, a_pattern("b")], {"a": {"u1": 1.0}, "b": {"u2": 1.0}})
    assert [pattern.id for pattern in await store.load_patterns()] == ["b"]
    assert [pattern.id for pattern in await store.load_patterns(retired=True)] == ["a", "b"]
    assert await store.load_members() == {"b": {"u2": 1.0}}
    assert await store.load_members(["a"]) == {"a": {"u1": 1.0}}
    assert await store.load_members([]) == {}


async def test_a_round_that_fails_leaves_the_former_one(store: PatternStore) -> None:
    await store.save_patterns([a_pattern("a")], {"a": {"u1": 1.0}}, position=1)
    with pytest.raises(Rejected):
        await store.save_patterns([a_pattern("a", version=2)], {"unknown": {"u1": 1.0}}, position=2)
    assert [pattern.version for pattern in await store.load_patterns()] == [1]
    assert await store.load_members() == {"a": {"u1": 1.0}}
    assert await store.load_position() == 1


async def test_before_the_first_analysis_there_is_nothing(database: Database) -> None:
    store = PatternStore(database)
    assert await store.load_feature_set() is None
    assert await store.load_patterns(retired=True) == []
    assert await store.load_position() == 0
    await store.save_patterns([], {}, position=2**40)
    assert await store.load_position() == 2**40


def replica_set(uid: str, revision: str | None = "3") -> dict[str, Any]:
    annotations = {} if revision is None else {"deployment.kubernetes.io/revision": revision}
    return {
        "metadata": {
            "uid": uid,
            "namespace": "shop",
            "name": f"web-{uid}",
            "annotations": annotations,
            "ownerReferences": [{"name": "other"}, {"name": "web", "controller": True}],
        },
        "status": {"availableReplicas": 1},
    }


async def seen_rows(database: Database) -> dict[str, Mapping[str, Any]]:
    async with database.connection() as connection:
        return {row["uid"]: row for row in await connection.fetch("SELECT * FROM kubernaut.seen_available")}


@asynccontextmanager
async def running(seen: SeenAvailable) -> Any:
    task = asyncio.create_task(seen.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_was_seen_available_is_known_to_the_next_process(database: Database) -> None:
    before = SeenAvailable(database)
    for uid in ("a", "b"):
        before.remember(replica_set(uid))
    assert await before.known(["a", "b", "c"]) == {"a", "b"}
    await before.flush()
    assert before.backlog == 0
    assert await SeenAvailable(database).known(["a", "b", "c"]) == {"a", "b"}
    row = (await seen_rows(database))["a"]
    assert (row["namespace"], row["name"], row["owner"], row["revision"]) == ("shop", "web-a", "web", 3)


@pytest.mark.parametrize("revision", [None, "", "x", "²", "9" * 40])
async def test_a_replica_set_of_unknown_revision_is_remembered(
    database: Database, revision: str | None
) -> None:
    seen = SeenAvailable(database)
    seen.remember(replica_set("a", revision))
    await seen.flush()
    assert (await seen_rows(database))["a"]["revision"] == 0


async def test_first_and_last_sight_span_all_sights(database: Database) -> None:
    times = iter(datetime(2026, 1, day, tzinfo=UTC) for day in (5, 9, 2))
    seen = SeenAvailable(database, clock=lambda: next(times))
    for revision in ("1", "2", "2"):
        seen.remember(replica_set("a", revision))
        await seen.flush()
    row = (await seen_rows(database))["a"]
    assert (row["first_seen"].day, row["last_seen"].day, row["revision"]) == (2, 9, 2)


async def test_what_waits_to_be_written_is_bounded(database: Database) -> None:
    seen = SeenAvailable(database, most=3)
    for uid in "abcde":
        seen.remember(replica_set(uid))
    assert seen.backlog == 3


async def test_what_was_seen_during_an_outage_is_written_after_it(server: LocalPostgres, dsn: str) -> None:
    database = Database(dsn, breaker=Breaker("Postgres", failures=1, pause=0.1))
    seen = SeenAvailable(database)
    await asyncio.to_thread(server.stop)
    try:
        seen.remember(replica_set("a"))
        with pytest.raises(HistoryError):
            await seen.flush()
        assert seen.backlog == 1
        with pytest.raises(HistoryUnavailable):
            await seen.known(["b"])
        assert await seen.known(["a"]) == {"a"}
        async with running(seen):
            await asyncio.to_thread(server.start)
            while "a" not in await quietly(database):
                pass
    finally:
        await asyncio.to_thread(server.start)
        await database.close()


async def quietly(database: Database) -> Mapping[str, Any]:
    try:
        return await seen_rows(database)
    except HistoryUnavailable:
        await asyncio.sleep(0.05)
        return {}


async def test_an_answer_that_takes_too_long_is_not_waited_for(database: Database) -> None:
    seen = SeenAvailable(database, patience=0.05)
    async with database.transaction() as holder:
        await holder.execute("LOCK TABLE kubernaut.seen_available")
        with pytest.raises(HistoryUnavailable, match=r"within 0\.05 s"):
            await seen.known(["a"])
    assert await seen.known(["a"]) == frozenset()
