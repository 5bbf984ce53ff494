"""The mirror: whatever Postgres does meanwhile, each finished run ends in the history exactly once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from database.builders import a_run, a_step, some_runs
from kubernaut.core.errors import Unavailable
from kubernaut.history.breaker import Breaker
from kubernaut.history.database import Database
from kubernaut.history.errors import HistoryUnavailable
from kubernaut.history.mirror import Mirror
from kubernaut.history.records import RunKey, RunRecord
from kubernaut.history.spool import Spool
from kubernaut.history.writer import RunWriter
from localpostgres import LocalPostgres


@dataclass
class Cluster:
    """What the operator would load finished runs from, and be told of what is stored."""

    runs: dict[str, RunRecord] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    loads: int = 0
    fails: int = 0
    loading: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, *runs: RunRecord) -> list[RunKey]:
        self.runs.update((run.uid, run) for run in runs)
        return [run.key for run in runs]

    async def load(self, keys: Sequence[RunKey]) -> list[RunRecord | None]:
        self.loads += 1
        self.loading.set()
        if self.fails:
            self.fails -= 1
            raise Unavailable("the API server is away")
        return [self.runs.get(key.uid) for key in keys]

    async def mirrored(self, uids: Sequence[str]) -> None:
        self.told.extend(uids)


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@asynccontextmanager
async def running(mirror: Mirror) -> AsyncIterator[None]:
    """Run the mirror's task for a while; a run that is never stored ends the test instead of holding it up."""
    task = asyncio.create_task(mirror.run())
    try:
        async with asyncio.timeout(60):
            yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def stored(database: Database) -> dict[str, int]:
    """Return how many rows each run has, and that its steps are complete."""
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT uid, count(*) AS rows FROM kubernaut.runs GROUP BY uid")
        steps = await connection.fetchval("SELECT count(*) FROM kubernaut.steps")
    assert steps == 2 * len(rows)
    return {row["uid"]: row["rows"] for row in rows}


async def test_what_is_offered_is_stored_and_told_once(database: Database, cluster: Cluster) -> None:
    mirror = Mirror(database, cluster.load, cluster.mirrored, batch=7)
    keys = cluster.add(*some_runs(40))
    async with running(mirror):
        for key in keys * 2:
            assert mirror.offer(key)
        await mirror.idle()
    uids = {key.uid for key in keys}
    assert await stored(database) == dict.fromkeys(uids, 1)
    assert sorted(cluster.told) == sorted(uids)
    assert await mirror.mirrored([*uids, "unknown"]) == uids
    assert (mirror.stored, mirror.rejected, mirror.backlog, mirror.state) == (40, 0, 0, "closed")


async def test_a_run_that_is_gone_is_let_go(database: Database, cluster: Cluster) -> None:
    mirror = Mirror(database, cluster.load, cluster.mirrored)
    (key,) = cluster.add(a_run())
    async with running(mirror):
        mirror.offer(RunKey("gone", "shop", "gone"))
        mirror.offer(key)
        await mirror.idle()
    assert cluster.told == [key.uid]


async def test_a_disk_that_fails_holds_up_no_run_but_those_on_it(
    database: Database, cluster: Cluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool = Spool(tmp_path)
    on_disk = a_run(name="on-disk")
    assert spool.put(on_disk)
    all_told = asyncio.Event()

    async def told(uids: Sequence[str]) -> None:
        await cluster.mirrored(uids)
        if len(cluster.told) == 5:
            all_told.set()

    mirror = Mirror(database, cluster.load, told, spool=spool, batch=2)
    file = tmp_path / f"{on_disk.uid}.json"
    # A folder in the file's place can neither be read nor, where its like is to go, be moved aside.
    file.rename(tmp_path / "away")
    file.mkdir()
    (tmp_path / "corrupt").write_bytes(b"")
    keys = cluster.add(*some_runs(5))
    async with running(mirror):
        for key in keys:
            mirror.offer(key)
        await all_told.wait()
    assert await stored(database) == {key.uid: 1 for key in keys}
    assert mirror.spooled == 1
    assert caplog.text.count("the spool can't be read") == 1
    file.rmdir()
    (tmp_path / "away").rename(file)
    async with running(mirror):
        await mirror.idle()
    assert on_disk.uid in await stored(database)


async def test_a_stream_through_an_outage_loses_and_doubles_nothing(
    server: LocalPostgres, database: Database, cluster: Cluster
) -> None:
    mirror = Mirror(database, cluster.load, cluster.mirrored, batch=5)
    keys = cluster.add(*some_runs(300))
    async with running(mirror):
        try:
            for at, key in enumerate(keys):
                mirror.offer(key)
                await asyncio.sleep(0)
                if at in (60, 180):
                    await asyncio.to_thread(server.stop)
                    assert mirror.backlog > 0
                if at in (120, 240):
                    await asyncio.to_thread(server.start)
            await mirror.idle()
        finally:
            await asyncio.to_thread(server.start)
    assert await stored(database) == {key.uid: 1 for key in keys}
    assert set(cluster.told) == {key.uid for key in keys}


async def test_while_postgres_is_away_the_breaker_opens_and_the_operator_is_not_held_up(
    server: LocalPostgres, dsn: str, cluster: Cluster
) -> None:
    breaker = Breaker("Postgres", failures=2, pause=0.3)
    database = Database(dsn, breaker=breaker)
    mirror = Mirror(database, cluster.load, cluster.mirrored)
    keys = cluster.add(*some_runs(30))
    try:
        async with running(mirror):
            await asyncio.to_thread(server.stop)
            for key in keys:
                assert mirror.offer(key)
            while mirror.state != "open":
                cluster.loading.clear()
                await cluster.loading.wait()
            with pytest.raises(HistoryUnavailable):
                await mirror.mirrored([keys[0].uid])
            # Failures are spaced: 0.2 s, then the breaker's pause; half a second can't hold many.
            loads = cluster.loads
            await asyncio.sleep(0.5)
            assert cluster.loads - loads <= 3
            assert mirror.backlog == 30
            await asyncio.to_thread(server.start)
            await mirror.idle()
            assert mirror.state == "closed"
        assert len(await stored(database)) == 30
    finally:
        await asyncio.to_thread(server.start)
        await database.close()


async def test_an_operator_that_starts_before_postgres_migrates_when_it_comes(
    server: LocalPostgres, empty_dsn: str, cluster: Cluster
) -> None:
    database = Database(empty_dsn, breaker=Breaker("Postgres", pause=0.1))
    mirror = Mirror(database, cluster.load, cluster.mirrored)
    await asyncio.to_thread(server.stop)
    try:
        async with running(mirror):
            (key,) = cluster.add(a_run())
            mirror.offer(key)
            await cluster.loading.wait()
            await asyncio.to_thread(server.start)
            await mirror.idle()
        assert await stored(database) == {key.uid: 1}
    finally:
        await asyncio.to_thread(server.start)
        await database.close()


async def test_an_api_server_that_is_away_is_asked_again(database: Database, cluster: Cluster) -> None:
    mirror = Mirror(database, cluster.load, cluster.mirrored)
    keys = cluster.add(*some_runs(3))
    cluster.fails = 1
    async with running(mirror):
        for key in keys:
            mirror.offer(key)
        await mirror.idle()
    assert len(await stored(database)) == 3
    assert mirror.state == "closed"


async def test_one_record_that_postgres_refuses_does_not_keep_others_out(
    database: Database, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    mirror = Mirror(database, cluster.load, cluster.mirrored)
    good = some_runs(9)
    bad = a_run(steps=(a_step(0, attempts=2**40), a_step(1)))
    keys = cluster.add(*good[:5], bad, *good[5:])
    async with running(mirror):
        for key in keys:
            mirror.offer(key)
        await mirror.idle()
    assert set(await stored(database)) == {run.uid for run in good}
    assert set(cluster.told) == {run.uid for run in good}
    assert (mirror.stored, mirror.rejected, mirror.backlog) == (9, 1, 0)
    assert bad.uid in caplog.text


async def test_a_full_outbox_says_so_and_takes_again_when_there_is_room(
    database: Database, cluster: Cluster
) -> None:
    mirror = Mirror(database, cluster.load, cluster.mirrored, most_waiting=10)
    keys = cluster.add(*some_runs(15))
    assert [mirror.offer(key) for key in keys] == [True] * 10 + [False] * 5
    assert mirror.backlog == 10
    assert mirror.offer(keys[0])
    async with running(mirror):
        await mirror.idle()
        assert all(mirror.offer(key) for key in keys[10:])
        await mirror.idle()
    assert len(await stored(database)) == 15


async def test_a_run_offered_again_while_it_is_written_is_loaded_again(
    database: Database, cluster: Cluster
) -> None:
    run = a_run()
    (key,) = cluster.add(run)
    newer = replace(run, verdict="NotFixed", revision=run.revision + 1)

    async def load(keys: Sequence[RunKey]) -> list[RunRecord | None]:
        found = await cluster.load(keys)
        if cluster.loads == 1:
            cluster.add(newer)
            mirror.offer(key)
        return found

    mirror = Mirror(database, load, cluster.mirrored)
    async with running(mirror):
        mirror.offer(key)
        await mirror.idle()
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT verdict FROM kubernaut.runs") == "NotFixed"


async def test_a_failing_listener_loses_nothing(database: Database, cluster: Cluster) -> None:
    calls = 0

    async def tell(uids: Sequence[str]) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise Unavailable("the finalizer can't be removed now")
        await cluster.mirrored(uids)

    mirror = Mirror(database, cluster.load, tell)
    (key,) = cluster.add(a_run())
    async with running(mirror):
        mirror.offer(key)
        await mirror.idle()
    assert cluster.told == [key.uid]
    assert await stored(database) == {key.uid: 1}


async def test_a_cancelled_mirror_keeps_what_it_was_writing(database: Database, cluster: Cluster) -> None:
    hold = asyncio.Event()

    async def load(keys: Sequence[RunKey]) -> list[RunRecord | None]:
        cluster.loading.set()
        await hold.wait()
        return await cluster.load(keys)

    mirror = Mirror(database, load, cluster.mirrored)
    (key,) = cluster.add(a_run())
    async with running(mirror):
        mirror.offer(key)
        await cluster.loading.wait()
    assert mirror.backlog == 1
    hold.set()
    async with running(mirror):
        await mirror.idle()
    assert await stored(database) == {key.uid: 1}


async def test_runs_on_disk_reach_postgres_when_it_returns_and_leave_the_disk(
    server: LocalPostgres, database: Database, cluster: Cluster, tmp_path: Path
) -> None:
    runs = some_runs(12)
    spool = Spool(tmp_path / "spool")
    mirror = Mirror(database, cluster.load, cluster.mirrored, spool=spool, batch=5)
    await asyncio.to_thread(server.stop)
    try:
        assert all([await mirror.keep(run) for run in runs])
        (tmp_path / "spool" / f"{runs[3].uid}.json").write_bytes(b'{"uid": "cut off')
        async with running(mirror):
            assert mirror.backlog == 12
            await asyncio.to_thread(server.start)
            await mirror.idle()
    finally:
        await asyncio.to_thread(server.start)
    assert await stored(database) == {run.uid: 1 for run in runs if run is not runs[3]}
    assert [path.name for path in (tmp_path / "spool").iterdir()] == ["corrupt"]
    assert [path.name for path in (tmp_path / "spool" / "corrupt").iterdir()] == [f"{runs[3].uid}.json"]


async def test_what_an_earlier_process_spooled_is_replayed(
    database: Database, cluster: Cluster, tmp_path: Path
) -> None:
    run = a_run()
    assert Spool(tmp_path).put(run)
    now = [0.0]
    spool = Spool(tmp_path)
    mirror = Mirror(database, cluster.load, cluster.mirrored, spool=spool, monotonic=lambda: now[0])
    now[0] = 60.0
    assert mirror.lag == 60
    async with running(mirror):
        await mirror.idle()
    assert mirror.lag == 0
    assert await stored(database) == {run.uid: 1}


async def test_a_spooled_run_that_postgres_refuses_is_set_aside(
    database: Database, cluster: Cluster, tmp_path: Path
) -> None:
    good, bad = a_run(), a_run(steps=(a_step(0, attempts=2**40),))
    mirror = Mirror(database, cluster.load, cluster.mirrored, spool=Spool(tmp_path))
    for run in (bad, good):
        assert await mirror.keep(run)
    async with running(mirror):
        await mirror.idle()
    assert await stored(database) == {good.uid: 1}
    assert [path.name for path in (tmp_path / "corrupt").iterdir()] == [f"{bad.uid}.json"]


async def test_without_a_spool_nothing_is_kept_and_the_answer_says_so(
    database: Database, cluster: Cluster
) -> None:
    assert not await Mirror(database, cluster.load, cluster.mirrored).keep(a_run())


async def test_what_was_stored_in_an_earlier_life_is_not_loaded_again(
    database: Database, cluster: Cluster
) -> None:
    old, new = some_runs(30), some_runs(3, workflow="new")
    await RunWriter(database).write(old)
    mirror = Mirror(database, cluster.load, cluster.mirrored)
    cluster.add(*new)
    async with running(mirror):
        for run in (*old, *new):
            assert mirror.offer(replace(run.key, fresh=False))
        await mirror.idle()
    assert sorted(cluster.told) == sorted(run.uid for run in (*old, *new))
    assert (mirror.stored, cluster.loads) == (3, 1)
    assert len(await stored(database)) == 33
