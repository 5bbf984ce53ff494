"""Runs are stored exactly once, whatever the order and however often they come."""

from __future__ import annotations

import asyncio
import random
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from database.builders import MOMENT, a_run, a_step, some_runs
from database.conftest import sql
from kubernaut.history.database import Database
from kubernaut.history.errors import Rejected
from kubernaut.history.records import RunRecord, StepRecord
from kubernaut.history.repository import Repository
from kubernaut.history.writer import RunWriter


async def dump(database: Database) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    """Return all rows of runs and steps."""
    async with database.connection() as connection:
        runs = await connection.fetch("SELECT * FROM kubernaut.runs ORDER BY uid")
        steps = await connection.fetch("SELECT * FROM kubernaut.steps ORDER BY run_uid, position")
    return [tuple(row) for row in runs], [tuple(row) for row in steps]


async def test_a_run_comes_back_as_it_was_given(database: Database) -> None:
    run = a_run()
    await RunWriter(database).write([run])
    assert await Repository(database).run(run.uid) == run


async def test_a_replay_changes_nothing(database: Database) -> None:
    runs = some_runs(20)
    writer = RunWriter(database)
    assert await writer.write(runs) == 20
    before = await dump(database)
    assert await writer.write(runs) == 0
    assert await dump(database) == before


async def test_a_newer_record_replaces_an_older_one_with_its_steps(database: Database) -> None:
    writer, repository = RunWriter(database), Repository(database)
    old = a_run(steps=(a_step(0), a_step(1), a_step(2)), revision=5)
    new = replace(old, verdict="NotFixed", steps=(a_step(0, phase="Failed"), a_step(3)), revision=6)
    await writer.write([old])
    assert await writer.write([new]) == 1
    assert await repository.run(old.uid) == new


async def test_an_older_record_that_comes_late_is_ignored(database: Database) -> None:
    writer, repository = RunWriter(database), Repository(database)
    old = a_run(revision=9)
    new = replace(old, message="later", steps=(), revision=10)
    await writer.write([new])
    assert await writer.write([old]) == 0
    assert await repository.run(old.uid) == new


async def test_of_duplicates_in_one_batch_the_newest_is_kept(database: Database) -> None:
    run = a_run(revision=1)
    versions = [replace(run, revision=n, message=str(n)) for n in (2, 7, 3)]
    assert await RunWriter(database).write(versions) == 1
    assert await Repository(database).run(run.uid) == versions[1]


async def test_any_order_and_repetition_ends_in_the_same_rows(database: Database) -> None:
    base = some_runs(12)
    versions = [replace(run, revision=n, message=f"v{n}") for run in base for n in (1, 2, 3)]
    stream = versions * 3
    random.Random(7).shuffle(stream)
    writer = RunWriter(database)
    for at in range(0, len(stream), 5):
        await writer.write(stream[at : at + 5])
    stored = [await Repository(database).run(run.uid) for run in base]
    assert stored == [replace(run, revision=3, message="v3") for run in base]
    runs, steps = await dump(database)
    assert (len(runs), len(steps)) == (12, 24)


async def test_several_writers_of_the_same_runs_agree(database: Database) -> None:
    runs = some_runs(50)
    newer = [replace(run, revision=run.revision + 1) for run in runs]
    batches = [runs, newer, runs[::-1], newer[::-1]]
    await asyncio.gather(*(RunWriter(database).write(batch) for batch in batches))
    stored = await Repository(database).list_runs(limit=100)
    assert sorted(run.uid for run in stored.items) == sorted(run.uid for run in runs)
    assert {run.revision for run in stored.items} == {runs[0].revision + 1}


@pytest.mark.parametrize(
    ("created", "table"),
    [
        (datetime(1999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), "runs_1999_12"),
        (datetime(2031, 6, 1, tzinfo=UTC), "runs_2031_06"),
        (datetime(2028, 2, 29, 23, 0, tzinfo=UTC), "runs_2028_02"),
        (datetime.fromisoformat("2027-01-01T00:30:00+02:00"), "runs_2026_12"),
    ],
)
async def test_a_run_of_an_odd_month_gets_its_partition(
    database: Database, created: datetime, table: str
) -> None:
    run = a_run(created_at=created)
    await RunWriter(database).write([run])
    async with database.connection() as connection:
        assert await connection.fetchval(f"SELECT uid FROM kubernaut.{table}") == run.uid


async def test_one_batch_may_span_months(database: Database) -> None:
    runs = [a_run(created_at=MOMENT + timedelta(days=40 * n)) for n in range(8)]
    assert await RunWriter(database).write(runs) == 8


async def test_a_month_that_was_dropped_meanwhile_is_made_again(database: Database, dsn: str) -> None:
    writer = RunWriter(database)
    await writer.write([a_run()])
    await sql(dsn, "DROP TABLE kubernaut.runs_2026_03, kubernaut.steps_2026_03")
    assert await writer.write([a_run()]) == 1


async def test_partitions_made_by_several_at_once_do_not_collide(database: Database) -> None:
    created = datetime(2040, 5, 5, tzinfo=UTC)
    await asyncio.gather(*(RunWriter(database).write([a_run(created_at=created)]) for _ in range(8)))
    assert len((await Repository(database).list_runs()).items) == 8


async def test_data_that_postgres_cannot_hold_stores_none_of_the_batch(database: Database) -> None:
    good, bad = a_run(), a_run(steps=(a_step(0, attempts=2**40),))
    with pytest.raises(Rejected, match="can't store"):
        await RunWriter(database).write([good, bad])
    assert await RunWriter(database).stored([good.uid, bad.uid]) == frozenset()


async def test_characters_that_postgres_cannot_hold_are_replaced(database: Database) -> None:
    step = a_step(0, message="a\x00b", outputs={"log": "x\x00y", "bad\udcff": ["\ud800"]}, changed=("c\x00",))
    await RunWriter(database).write([run := a_run(message="\x00", steps=(step,))])
    stored = await Repository(database).run(run.uid)
    assert stored is not None
    assert stored.message == "\ufffd"
    assert stored.steps[0] == replace(
        step, message="a\ufffdb", outputs={"log": "x\ufffdy", "bad\ufffd": ["\ufffd"]}, changed=("c\ufffd",)
    )


async def test_only_runs_that_are_stored_count_as_mirrored(database: Database) -> None:
    runs = some_runs(10)
    writer = RunWriter(database)
    await writer.write(runs[:6])
    asked = [run.uid for run in runs] * 2000
    assert await writer.stored(asked) == {run.uid for run in runs[:6]}


# What the API server can hold: no lone surrogates (it speaks UTF-8), integers of 64 bits. Whole floats beyond
# 2^53 are left out: jsonb gives them back as integers, of the same value only once they are floats again.
_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=30)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(-(2.0**53), 2.0**53) | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=8,
)
_WHEN = st.datetimes(
    datetime(2020, 1, 1), datetime(2020, 12, 31, 23, 59, 59, 999_999), timezones=st.just(UTC)
)
_STEP = st.builds(
    StepRecord,
    name=_TEXT,
    position=st.just(0),
    phase=st.sampled_from(["Succeeded", "Failed", "Skipped"]),
    action=st.none() | _TEXT,
    attempts=st.integers(0, 1000),
    reason=st.none() | _TEXT,
    message=st.none() | _TEXT,
    started_at=st.none() | _WHEN,
    finished_at=st.none() | _WHEN,
    duration_seconds=st.none() | st.floats(0, 1e9),
    outputs=st.dictionaries(_TEXT, _JSON, max_size=4),
    changed=st.lists(_TEXT, max_size=3).map(tuple),
)
_RUN = st.builds(
    RunRecord,
    uid=st.just(""),
    namespace=_TEXT,
    name=_TEXT,
    workflow=_TEXT,
    phase=st.sampled_from(["Succeeded", "Failed", "Cancelled"]),
    created_at=_WHEN,
    content_hash=st.none() | _TEXT,
    service_account=st.none() | _TEXT,
    verdict=st.none() | st.sampled_from(["Remediated", "NotFixed"]),
    target_kind=st.none() | _TEXT,
    target_name=st.none() | _TEXT,
    target_uid=st.none() | _TEXT,
    started_at=st.none() | _WHEN,
    finished_at=st.none() | _WHEN,
    duration_seconds=st.none() | st.floats(0, 1e9),
    reason=st.none() | _TEXT,
    message=st.none() | _TEXT,
    symptoms=st.lists(_TEXT, max_size=3).map(tuple),
    parameters=st.dictionaries(_TEXT, _TEXT, max_size=3),
    steps=st.lists(_STEP, max_size=3).map(
        lambda steps: tuple(replace(step, position=at) for at, step in enumerate(steps))
    ),
    revision=st.integers(0, 2**62),
)


@given(given=st.lists(_RUN, min_size=1, max_size=4))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
async def test_every_record_survives_the_way_there_and_back(
    database: Database, given: list[RunRecord]
) -> None:
    runs = [replace(run, uid=str(uuid.uuid4())) for run in given]
    await RunWriter(database).write(runs)
    repository = Repository(database)
    assert [await repository.run(run.uid) for run in runs] == runs
