"""Reading back: pages by key, the stream for the analyst, statistics."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from datetime import timedelta

import pytest

from database.builders import MOMENT, a_run, some_runs
from kubernaut.history.database import Database
from kubernaut.history.pages import RunFilter
from kubernaut.history.records import RunRecord
from kubernaut.history.repository import _DURATIONS, InvalidCursor, Repository
from kubernaut.history.writer import POSITION_LOCK, RunWriter


async def all_pages(repository: Repository, where: RunFilter | None = None, *, limit: int) -> list[RunRecord]:
    """Read page after page."""
    runs: list[RunRecord] = []
    after = None
    while True:
        page = await repository.list_runs(where, after=after, limit=limit)
        assert len(page.items) <= limit
        runs.extend(page.items)
        if page.next is None:
            return runs
        after = page.next


async def test_pages_hold_each_run_once_though_their_times_are_equal(database: Database) -> None:
    runs = [a_run(created_at=MOMENT + timedelta(seconds=n // 5)) for n in range(23)]
    random.Random(3).shuffle(runs)
    await RunWriter(database).write(runs)
    found = await all_pages(Repository(database), limit=4)
    expected = sorted(runs, key=lambda run: (run.created_at, run.uid), reverse=True)
    assert [run.uid for run in found] == [run.uid for run in expected]


async def test_a_run_that_comes_between_two_pages_moves_no_other(database: Database) -> None:
    runs = some_runs(6)
    writer, repository = RunWriter(database), Repository(database)
    await writer.write(runs)
    first = await repository.list_runs(limit=3)
    await writer.write([a_run(created_at=MOMENT + timedelta(hours=1))])
    second = await repository.list_runs(after=first.next, limit=3)
    assert [run.name for run in (*first.items, *second.items)] == [f"run-{n}" for n in range(5, -1, -1)]
    assert second.next is None


async def test_a_page_that_ends_with_the_last_run_says_so(database: Database) -> None:
    await RunWriter(database).write(some_runs(4))
    assert (await Repository(database).list_runs(limit=4)).next is None
    assert (await Repository(database).list_runs(RunFilter(namespace="none"))).items == ()


async def test_filters_are_combined(database: Database) -> None:
    wanted = a_run(namespace="a", workflow="w", verdict="NotFixed", created_at=MOMENT + timedelta(hours=2))
    others = [
        replace(wanted, uid="1", namespace="b"),
        replace(wanted, uid="2", workflow="v"),
        replace(wanted, uid="3", verdict=None),
        replace(wanted, uid="4", created_at=MOMENT),
    ]
    await RunWriter(database).write([wanted, *others])
    where = RunFilter(namespace="a", workflow="w", verdict="NotFixed", since=MOMENT + timedelta(hours=1))
    found = await all_pages(Repository(database), where, limit=1)
    assert [run.uid for run in found] == [wanted.uid]


@pytest.mark.parametrize("cursor", ["", "zzz", "bm90IGpzb24=", "WzEsMl0=", "W10="])
async def test_a_cursor_that_was_not_given_out_is_refused(database: Database, cursor: str) -> None:
    with pytest.raises(InvalidCursor, match="cursor"):
        await Repository(database).list_runs(after=cursor)


async def test_the_newest_run_of_a_name_is_found(database: Database) -> None:
    old, new = a_run(name="web"), a_run(name="web", created_at=MOMENT + timedelta(days=60))
    await RunWriter(database).write([new, old])
    repository = Repository(database)
    assert await repository.run_named("shop", "web") == new
    assert await repository.run_named("shop", "other") is None
    assert await repository.run("none") is None


async def test_the_stream_brings_every_finished_run_once_in_batches(database: Database) -> None:
    runs = some_runs(11)
    await RunWriter(database).write([*runs, a_run(phase="Running", finished_at=None)])
    repository, position, names = Repository(database), 0, []
    while True:
        batch = await repository.finished_runs_after(position, limit=4)
        if not batch.runs:
            break
        assert batch.position > position
        position = batch.position
        names += [run.name for run in batch.runs]
    assert names == [run.name for run in runs]
    assert batch.position == position


async def test_dry_runs_are_nothing_to_learn_from(database: Database) -> None:
    await RunWriter(database).write([a_run(), a_run(dry_run=True)])
    repository = Repository(database)
    assert [run.dry_run for run in (await repository.finished_runs_after()).runs] == [False]
    assert await repository.verdict_counts() == {("shop", "crash-loop"): {"Remediated": 1}}
    assert len((await repository.list_runs()).items) == 2


async def test_a_run_that_is_mirrored_late_is_not_missed(database: Database) -> None:
    writer, repository = RunWriter(database), Repository(database)
    await writer.write([a_run()])
    position = (await repository.finished_runs_after()).position
    late = a_run(created_at=MOMENT - timedelta(days=90), finished_at=MOMENT - timedelta(days=90))
    await writer.write([late])
    assert [run.uid for run in (await repository.finished_runs_after(position)).runs] == [late.uid]


async def test_a_run_whose_record_was_replaced_comes_again(database: Database) -> None:
    writer, repository = RunWriter(database), Repository(database)
    run = a_run()
    await writer.write([run, a_run()])
    position = (await repository.finished_runs_after()).position
    await writer.write([replace(run, verdict="NotFixed", revision=run.revision + 1)])
    batch = await repository.finished_runs_after(position)
    assert [(one.uid, one.verdict) for one in batch.runs] == [(run.uid, "NotFixed")]


async def test_no_position_appears_below_one_already_seen(database: Database) -> None:
    # Positions are drawn under a lock that lasts until commit: while one is drawn, others wait.
    writer, repository = RunWriter(database), Repository(database)
    async with database.transaction() as first:
        await first.execute("SELECT pg_advisory_xact_lock($1)", POSITION_LOCK)
        drawn = await first.fetchval("SELECT nextval('kubernaut.run_position')")
        second = asyncio.create_task(writer.write([a_run()]))
        waiting = 0
        while not waiting and not second.done():
            waiting = await first.fetchval(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            )
        assert not second.done()
    await second
    assert (await repository.finished_runs_after()).position > drawn


async def test_the_analyst_gets_symptoms_and_actions_without_the_heavy_parts(database: Database) -> None:
    run = a_run()
    await RunWriter(database).write([run])
    (brief,) = (await Repository(database).finished_runs_after()).runs
    assert brief.symptoms == run.symptoms
    assert [step.action for step in brief.steps] == [step.action for step in run.steps]
    assert brief.parameters == {}
    assert brief.steps[0].outputs == {}
    assert (await Repository(database).finished_runs_after(details=True)).runs == (run,)


async def test_durations_of_the_last_good_runs_give_an_estimate(database: Database) -> None:
    runs = [a_run(duration_seconds=float(n), created_at=MOMENT + timedelta(minutes=n)) for n in range(1, 100)]
    others = [
        a_run(phase="Failed", verdict="NotFixed", duration_seconds=9000.0),
        a_run(duration_seconds=None, started_at=None),
        a_run(workflow="other", duration_seconds=9000.0),
        *some_runs(60, dry_run=True, duration_seconds=1.0, created_at=MOMENT + timedelta(days=1)),
        *some_runs(60, retry_from="web-0", duration_seconds=1.0, created_at=MOMENT + timedelta(days=1)),
    ]
    await RunWriter(database).write([*runs, *others])
    statistics = await Repository(database).duration_statistics("shop", "crash-loop", last=51)
    assert statistics is not None
    assert statistics.runs == 51
    assert statistics.median_seconds == 74.0
    assert statistics.lower_seconds < 74.0 < statistics.upper_seconds < statistics.p90_seconds
    assert await Repository(database).duration_statistics("shop", "none") is None


async def test_runs_with_the_same_content_say_how_long_it_takes_where_there_are_enough(
    database: Database,
) -> None:
    repository = Repository(database)
    old = [a_run(duration_seconds=100.0 + n, content_hash="old") for n in range(10)]
    new = [a_run(duration_seconds=float(n), content_hash="new") for n in range(1, 5)]
    await RunWriter(database).write([*old, *new])
    all_of_them = await repository.durations("shop", "crash-loop", "new")
    assert all_of_them is not None
    assert (all_of_them.runs, all_of_them.p90_seconds > 100) == (14, True)
    await RunWriter(database).write([a_run(duration_seconds=5.0, content_hash="new")])
    found = await repository.durations("shop", "crash-loop", "new")
    assert found is not None
    assert (found.runs, found.median_seconds) == (5, 3.0)
    assert (found.p10_seconds, found.p90_seconds) == pytest.approx((1.4, 4.6))
    assert await repository.durations("shop", "none", "new") is None


async def test_only_whole_and_real_runs_that_ended_well_say_how_long_it_takes(database: Database) -> None:
    others = [
        *some_runs(9, phase="Failed"),
        *some_runs(9, dry_run=True),
        *some_runs(9, retry_from="web-0"),
        *some_runs(9, duration_seconds=None),
        *some_runs(4),
    ]
    await RunWriter(database).write(others)
    assert await Repository(database).durations("shop", "crash-loop", "abc") is None


async def test_only_the_newest_runs_say_how_long_it_takes(database: Database) -> None:
    runs = [a_run(duration_seconds=float(n), created_at=MOMENT + timedelta(days=n)) for n in range(1, 61)]
    await RunWriter(database).write(runs)
    found = await Repository(database).durations("shop", "crash-loop", "abc", last=5)
    assert found is not None
    assert (found.runs, found.median_seconds) == (5, 58.0)


async def test_how_long_it_takes_is_answered_from_an_index(database: Database) -> None:
    await RunWriter(database).write(some_runs(300))
    async with database.connection() as connection:
        await connection.execute("VACUUM ANALYZE kubernaut.runs")
        statement = _DURATIONS
        for number, value in enumerate(("'shop'", "'crash-loop'", "'abc'", "200", "5"), start=1):
            statement = statement.replace(f"${number}", value)
        await connection.execute("SET enable_seqscan = off")
        plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {statement}"))
        await connection.execute("RESET enable_seqscan")
    assert "Index Only Scan Backward using runs_2026_03_namespace_workflow_created_at_duration" in plan
    assert "Sort Key: " not in plan


async def test_verdicts_are_counted_by_workflow(database: Database) -> None:
    await RunWriter(database).write(
        [
            *some_runs(3),
            *some_runs(2, verdict="NotFixed"),
            a_run(verdict=None, phase="Cancelled"),
            a_run(namespace="other", workflow="w"),
        ]
    )
    repository = Repository(database)
    counts = await repository.verdict_counts()
    assert counts == {
        ("shop", "crash-loop"): {"Remediated": 3, "NotFixed": 2, "": 1},
        ("other", "w"): {"Remediated": 1},
    }
    assert await repository.verdict_counts(namespace="other") == {("other", "w"): {"Remediated": 1}}
    assert await repository.verdict_counts(since=MOMENT + timedelta(seconds=2)) == {
        ("shop", "crash-loop"): {"Remediated": 1}
    }
