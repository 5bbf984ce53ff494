"""From rows to patterns, against a real Postgres with pgvector."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import asyncpg
import pytest

from bench.synthetic_runs import history
from kubernaut.history.database import Database
from kubernaut.history.errors import BadDsn, HistoryUnavailable, Superseded
from kubernaut.history.patternstore import PatternStore
from kubernaut.history.repository import Repository
from kubernaut.history.writer import RunWriter
from kubernaut.patterns.analysis import Analysis
from kubernaut.patterns.settings import AnalystSettings
from localpostgres import LocalPostgres
from unit.patterns.memory import MemorySink

RUNS = [record for record, _ in history(60, stray=0)]


def analysis(database: Database, sink: MemorySink) -> Analysis:
    return Analysis(Repository(database), PatternStore(database), sink, AnalystSettings(batch=7))


async def rows_written(dsn: str) -> dict[str, tuple[int, ...]]:
    """Return inserted, updated and deleted rows by table, as Postgres itself counts them."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("SELECT pg_stat_force_next_flush()")
        found = await connection.fetch(
            "SELECT relname, n_tup_ins, n_tup_upd, n_tup_del FROM pg_stat_user_tables "
            "WHERE schemaname = 'kubernaut'"
        )
    finally:
        await connection.close()
    return {row[0]: tuple(row[1:]) for row in found}


async def test_rows_become_patterns_and_a_second_round_writes_nothing(database: Database, dsn: str) -> None:
    await RunWriter(database).write(RUNS)
    sink = MemorySink()
    first = await analysis(database, sink).round()
    assert (first.runs, first.patterns, first.objects_created, first.vectors_written) == (60, 5, 5, 60)
    store = PatternStore(database)
    kept = await store.load_patterns()
    assert {pattern.name for pattern in kept} == set(sink.objects)
    assert [pattern.members for pattern in kept] == [12] * 5
    members = await store.load_members()
    assert {uid for uids in members.values() for uid in uids} == {run.uid for run in RUNS}
    await database.close()
    before, written = await rows_written(dsn), sink.writes

    again = await analysis(database, sink).round()
    assert again.patterns == 5
    assert (again.vectors_written, again.patterns_written) == (0, 0)
    await database.close()
    assert await rows_written(dsn) == before
    assert sink.writes == written


async def test_vectors_lie_in_pgvector_under_a_feature_set_that_names_their_columns(
    database: Database,
) -> None:
    await RunWriter(database).write(RUNS)
    await analysis(database, MemorySink()).round()
    store = PatternStore(database)
    found = await store.load_feature_set()
    assert found is not None
    key, definition = found
    vectors = await store.load_features(key)
    assert set(vectors) == {run.uid for run in RUNS}
    column = definition["terms"].index(["symptom", "OOMKilled"])
    assert {run.workflow for run in RUNS if vectors[run.uid][column] > 0} == {"increase-memory"}


async def test_runs_mirrored_late_join_their_pattern_under_its_old_name(database: Database) -> None:
    writer, sink = RunWriter(database), MemorySink()
    await writer.write(RUNS[10:40])
    analyst = analysis(database, sink)
    await analyst.round()
    names = set(sink.objects)
    await writer.write(RUNS[:10])
    await writer.write(RUNS[40:])
    done = await analyst.round()
    assert (done.read, done.runs) == (30, 60)
    assert set(sink.objects) == names
    assert {sink.status(name)["support"] for name in names} == {12}


async def test_a_vanished_pattern_is_kept_as_retired_and_recognised_when_it_returns(
    database: Database,
) -> None:
    sink, store = MemorySink(), PatternStore(database)
    await RunWriter(database).write(RUNS)
    await analysis(database, sink).round()
    names = set(sink.objects)
    async with database.connection() as connection:
        await connection.execute("DELETE FROM kubernaut.runs WHERE workflow = 'scale-up'")
    await analysis(database, sink).round()
    gone = [one for one in await store.load_patterns(retired=True) if one.retired_at is not None]
    assert [one.name.rsplit("-", 1)[0] for one in gone] == ["scaled-to-zero"]
    assert sink.condition(gone[0].name, "Active")["status"] == "False"
    later = [replace(run, revision=1) for run in RUNS if run.workflow == "scale-up"]
    await RunWriter(database).write(later)
    await analysis(database, sink).round()
    assert sink.condition(gone[0].name, "Active")["status"] == "True"
    assert set(sink.objects) == names


async def test_two_analysts_at_once_make_one_pattern_of_one_kind_of_runs(
    database: Database, dsn: str
) -> None:
    sink, other = MemorySink(), Database(dsn)
    writer = RunWriter(database)
    one, two = analysis(database, sink), analysis(other, sink)
    await asyncio.gather(one.round(), two.round())
    await writer.write(RUNS[30:])
    await one.round()
    # Runs that come late are older, and a pattern is named for its oldest.
    await writer.write(RUNS[:30])
    done = await two.round()
    assert (done.patterns, done.superseded) == (5, 1)
    assert (await one.round()).superseded == 1
    assert [sink.status(name)["support"] for name in sink.objects] == [12] * 5
    assert len(await PatternStore(database).load_patterns(retired=True)) == 5
    assert (await one.round()).superseded == 0
    await other.close()


async def test_what_two_analysts_write_at_the_same_moment_is_what_one_of_them_writes(
    database: Database, dsn: str
) -> None:
    other = Database(dsn)
    stores = [PatternStore(database), PatternStore(other)]
    for store in stores:
        await store.load_position()
    ended = await asyncio.gather(
        *(store.save_patterns([], {}, position=7) for store in stores), return_exceptions=True
    )
    assert [type(one) for one in ended if one is not None] == [Superseded]
    lost = stores[0] if ended[0] is not None else stores[1]
    assert await lost.superseded()
    with pytest.raises(Superseded, match="only one analyst"):
        await lost.save_patterns([], {}, position=9)
    assert await lost.load_position() == 7
    await lost.save_patterns([], {}, position=9)
    await other.close()


async def test_a_history_that_was_emptied_is_learned_from_anew(database: Database) -> None:
    analyst = analysis(database, MemorySink())
    await RunWriter(database).write(RUNS)
    await analyst.round()
    async with database.connection() as connection:
        await connection.execute("DELETE FROM kubernaut.patterns; DELETE FROM kubernaut.analysis")
    await analyst.round()
    assert len(await PatternStore(database).load_patterns()) == 5


async def test_a_run_that_is_not_finished_teaches_nothing(database: Database) -> None:
    live = replace(RUNS[0], phase="Running", verdict=None, finished_at=None, duration_seconds=None)
    await RunWriter(database).write([live])
    assert (await analysis(database, MemorySink()).round()).runs == 0


async def test_a_database_that_does_not_exist_is_said_to_be_a_wrong_address(server: LocalPostgres) -> None:
    database = Database(server.dsn_of("nowhere"))
    with pytest.raises(BadDsn, match="nowhere"):
        await analysis(database, MemorySink()).round()
    await database.close()


async def test_the_analysis_goes_on_where_it_stopped_when_postgres_was_away(
    database: Database, server: LocalPostgres
) -> None:
    sink = MemorySink()
    await RunWriter(database).write(RUNS[:30])
    analyst = analysis(database, sink)
    await analyst.round()
    async with database.connection() as connection:
        # The test server does not wait for its log; what a real one has committed must not be lost here either.
        await connection.execute("CHECKPOINT")
    server.stop()
    try:
        with pytest.raises(HistoryUnavailable):
            await analyst.round()
    finally:
        server.start()
    await database.close()
    await RunWriter(database).write(RUNS[30:])
    assert (await analyst.round()).runs == 60
    assert [sink.status(name)["support"] for name in sink.objects] == [12] * 5
