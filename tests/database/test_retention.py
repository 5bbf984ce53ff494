"""Old months go, whole, with what hangs on their runs; younger ones stay."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import pytest

from database.builders import MOMENT, a_run
from kubernaut.history import writer as writing
from kubernaut.history.begun import BegunRuns
from kubernaut.history.bundles import Bundle, Bundles
from kubernaut.history.database import Connection, Database
from kubernaut.history.records import RunRecord
from kubernaut.history.repository import Repository
from kubernaut.history.retention import RETENTION_LOCK, Retention
from kubernaut.history.writer import RunWriter

YEARS_AGO = MOMENT - timedelta(days=3 * 365)


def at(moment: datetime, keep: timedelta, database: Database) -> Retention:
    return Retention(database, keep, lambda: moment)


async def names(database: Database) -> set[str]:
    return {run.name for run in (await Repository(database).list_runs(limit=100)).items}


async def test_months_that_are_too_old_as_a_whole_are_dropped(database: Database) -> None:
    first = datetime(2023, 5, 1, tzinfo=UTC)
    runs = [
        a_run(name=f"run-{months}", created_at=first + timedelta(days=31 * months)) for months in range(4)
    ]
    writer = RunWriter(database)
    await writer.write(runs)
    kept = await at(datetime(2023, 8, 1, tzinfo=UTC), timedelta(days=40), database).once()
    assert [month for month in kept if month >= date(2023, 1, 1)] == [date(2023, 5, 1)]
    assert await names(database) == {"run-1", "run-2", "run-3"}
    async with database.connection() as connection:
        steps = await connection.fetchval("SELECT count(DISTINCT run_uid) FROM kubernaut.steps")
    assert steps == 3
    assert await at(datetime(2023, 8, 1, tzinfo=UTC), timedelta(days=40), database).once() == []


async def test_a_clock_that_is_years_ahead_drops_nothing_that_is_new(database: Database) -> None:
    now = datetime.now(UTC)
    await RunWriter(database).write([a_run(name="new", created_at=now)])
    await at(now + timedelta(days=3650), timedelta(days=365), database).once()
    assert await names(database) == {"new"}


async def test_what_hangs_on_their_runs_goes_with_them(database: Database) -> None:
    old, new = a_run(created_at=YEARS_AGO), a_run()
    await RunWriter(database).write([old, new])
    for run in (old, new):
        await Bundles(database).save(Bundle(run.uid, "diagnose", MOMENT, 4, "key", b"text"))
    await at(MOMENT, timedelta(days=365), database).once()
    assert await Bundles(database).load(old.uid, "diagnose") is None
    assert await Bundles(database).load(new.uid, "diagnose") is not None


async def test_a_run_of_a_dropped_month_can_be_stored_again(database: Database) -> None:
    writer, old = RunWriter(database), a_run(name="old", created_at=YEARS_AGO)
    await writer.write([old])
    await at(MOMENT, timedelta(days=365), database).once()
    assert await names(database) == set()
    assert await writer.write([old]) == 1
    assert await names(database) == {"old"}


async def test_only_one_operator_at_a_time_drops(database: Database) -> None:
    await RunWriter(database).write([a_run(created_at=YEARS_AGO)])
    async with database.transaction() as other:
        await other.execute("SELECT pg_advisory_xact_lock($1)", RETENTION_LOCK)
        assert await at(MOMENT, timedelta(days=365), database).once() == []
    assert len(await at(MOMENT, timedelta(days=365), database).once()) >= 1


async def test_a_table_in_use_is_left_for_later(database: Database) -> None:
    await RunWriter(database).write([a_run(created_at=YEARS_AGO)])
    async with database.transaction() as reader:
        await reader.fetch("SELECT count(*) FROM kubernaut.runs")
        async with asyncio.timeout(30):
            with pytest.raises(Exception, match="lock timeout"):
                await at(MOMENT, timedelta(days=365), database).once()
    assert len(await at(MOMENT, timedelta(days=365), database).once()) >= 1


async def test_the_content_of_a_run_that_is_just_being_stored_stays(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    content: dict[str, object] = {"steps": []}
    await RunWriter(database).write([a_run(created_at=YEARS_AGO, content=content)])
    insert, dropped = writing._insert, asyncio.Event()
    waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"

    async def late(connection: Connection, runs: Sequence[RunRecord]) -> int:
        retention = asyncio.create_task(at(MOMENT, timedelta(days=365), database).once())
        retention.add_done_callback(lambda _: dropped.set())
        async with asyncio.timeout(30):
            while not retention.done() and not await connection.fetchval(waits):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        return await insert(connection, runs)

    with monkeypatch.context() as patch:
        patch.setattr(writing, "_insert", late)
        await RunWriter(database).write([a_run(content=content)])
    await asyncio.wait_for(dropped.wait(), 30)
    assert await BegunRuns(database).content("abc") == content
