"""Diagnostics bundles: on disk at once, in Postgres once, readable with the keys alone, and gone with their run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from database.builders import MOMENT, a_run
from database.keyfile import Keys, key
from kubernaut.cli import main
from kubernaut.history.bundlemirror import BundleMirror
from kubernaut.history.bundles import Bundles, seal, unseal
from kubernaut.history.bundlespool import BundleSpool
from kubernaut.history.database import Database
from kubernaut.history.encryption import KeyRing
from kubernaut.history.errors import KeyUnknown
from kubernaut.history.retention import Retention
from kubernaut.history.writer import RunWriter
from localpostgres import LocalPostgres

UID = "6f1f6d1c-2f0f-4f0a-9f53-0d8c3c1f7a11"


def a_mirror(database: Database, keys: KeyRing, folder: Path, **more: Any) -> BundleMirror:
    return BundleMirror(database, keys, BundleSpool(folder / "bundles", **more))


@asynccontextmanager
async def running(mirror: BundleMirror) -> AsyncIterator[None]:
    task = asyncio.create_task(mirror.run())
    try:
        async with asyncio.timeout(60):
            yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def content(database: Database, keys: KeyRing, step: str = "diagnose", run: str = UID) -> bytes | None:
    found = await Bundles(database).load(run, step)
    return None if found is None else unseal(keys, found)


async def test_what_is_kept_reaches_postgres_encrypted_and_leaves_the_disk(
    database: Database, keys: KeyRing, tmp_path: Path
) -> None:
    mirror = a_mirror(database, keys, tmp_path)
    assert mirror.refusal() == ""
    async with running(mirror):
        for step in ("diagnose", "each/0/diagnose"):
            assert await mirror.keep(UID, step, MOMENT, b"hunter2 of " + step.encode()) == ""
        await mirror.idle()
    assert list((tmp_path / "bundles").iterdir()) == []
    assert await content(database, keys) == b"hunter2 of diagnose"
    assert [one.step for one in await Bundles(database).of_run(UID)] == ["diagnose", "each/0/diagnose"]
    async with database.connection() as connection:
        stored = await connection.fetchval("SELECT string_agg(content, ''::bytea) FROM kubernaut.bundles")
    assert b"hunter2" not in stored


async def test_while_postgres_is_away_steps_do_not_wait_and_all_is_stored_once_after(
    server: LocalPostgres, database: Database, keys: KeyRing, tmp_path: Path
) -> None:
    await asyncio.to_thread(server.stop)
    try:
        lost = a_mirror(database, keys, tmp_path)
        async with asyncio.timeout(5):
            for number in range(5):
                assert await lost.keep(UID, f"step-{number}", MOMENT, b"%d" % number) == ""
        # Another process goes on with what the first one left on disk.
        mirror = a_mirror(database, keys, tmp_path)
        assert mirror.waiting == 5
        async with running(mirror):
            await mirror.keep(UID, "step-0", MOMENT + timedelta(seconds=1), b"again")
            await asyncio.to_thread(server.start)
            await mirror.idle()
    finally:
        await asyncio.to_thread(server.start)
    found = [await content(database, keys, f"step-{number}") for number in range(5)]
    assert found == [b"again", b"1", b"2", b"3", b"4"]


async def test_a_replay_and_a_late_one_change_nothing(database: Database, keys: KeyRing) -> None:
    bundles = Bundles(database)
    newer = seal(keys, UID, "diagnose", MOMENT + timedelta(seconds=1), b"newer")
    await bundles.save(newer)
    await bundles.save(newer)
    await bundles.save(seal(keys, UID, "diagnose", MOMENT, b"older"))
    assert await content(database, keys) == b"newer"
    assert len(await bundles.of_run(UID)) == 1


async def test_a_new_key_takes_over_without_a_restart_and_the_old_one_can_go(
    database: Database, keys: KeyRing, file: Keys, tmp_path: Path
) -> None:
    for number in range(45):
        await Bundles(database).save(seal(keys, UID, f"step-{number}", MOMENT, b"%d" % number))
    file.add()
    mirror = a_mirror(database, keys, tmp_path)
    assert await mirror.rotate() == 45
    assert await mirror.rotate() == 0
    file.forget()
    assert await content(database, keys, "step-44") == b"44"


async def test_one_under_a_lost_key_holds_up_no_other(
    database: Database, keys: KeyRing, file: Keys, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await Bundles(database).save(seal(keys, UID, "lost", MOMENT, b"lost"))
    file.add()
    file.forget()
    await Bundles(database).save(seal(keys, UID, "other", MOMENT, b"other"))
    file.add()
    assert await a_mirror(database, keys, tmp_path).rotate() == 1
    assert "can't be read" in caplog.text
    assert await content(database, keys, "other") == b"other"
    with pytest.raises(KeyUnknown):
        await content(database, keys, "lost")


async def test_a_mirror_begins_by_looking_after_old_keys(
    database: Database, keys: KeyRing, file: Keys, tmp_path: Path
) -> None:
    await Bundles(database).save(seal(keys, UID, "diagnose", MOMENT, b"old"))
    file.add()
    mirror = a_mirror(database, keys, tmp_path)
    async with running(mirror):
        await mirror.rotated.wait()
    found = await Bundles(database).load(UID, "diagnose")
    assert found is not None
    assert found.key_id == keys.current


async def test_what_is_not_kept_says_why(
    database: Database, keys: KeyRing, file: Keys, tmp_path: Path
) -> None:
    full = a_mirror(database, keys, tmp_path, most_bytes=100)
    assert "the disk spool is full" in await full.keep(UID, "diagnose", MOMENT, bytes(1000))
    file.lines = []
    file.write()
    assert "holds no key" in full.refusal()
    assert "holds no key" in await full.keep(UID, "diagnose", MOMENT, b"x")


async def test_one_whose_run_is_gone_already_goes_too(database: Database, keys: KeyRing) -> None:
    old, kept = a_run(created_at=MOMENT - timedelta(days=400)), a_run()
    await RunWriter(database).write([old, kept])
    for uid in (old.uid, kept.uid):
        await Bundles(database).save(seal(keys, uid, "diagnose", MOMENT, b"text"))
    late = seal(keys, "gone", "diagnose", MOMENT - timedelta(days=800), b"late")
    await Bundles(database).save(late)
    await Retention(database, timedelta(days=100), lambda: MOMENT).once()
    found = [await content(database, keys, run=uid) for uid in (old.uid, "gone", kept.uid)]
    assert found == [None, None, b"text"]


BUNDLE = {
    "version": 1,
    "takenAt": "2026-03-15T12:00:00+00:00",
    "target": {"kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"}},
    "owners": [{"of": "Pod shop/web-1", "kind": "ReplicaSet", "name": "web-6d", "uid": "u"}],
    "pods": [],
    "events": [
        {
            "metadata": {},
            "involvedObject": {"kind": "Pod", "name": "web-1"},
            "reason": "BackOff",
            "message": "Back-off restarting",
            "lastTimestamp": "2026-03-15T11:59:00Z",
            "count": 3,
        }
    ],
    "changes": [
        {
            "of": "Deployment shop/web",
            "by": "kubectl",
            "operation": "Update",
            "at": "2026-03-15T11:50:00Z",
            "subresource": "",
            "fields": ["spec.replicas"],
            "more": 0,
        }
    ],
    "logs": [{"pod": "web-1", "container": "app", "previous": True, "text": "boom \x1b[2J\n"}],
    "omitted": ["3 more pods"],
}


def test_it_is_read_back_by_the_command(
    dsn: str, file: Keys, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    async def fill() -> None:
        database = Database(dsn)
        try:
            for step in ("diagnose", "again"):
                text = json.dumps(BUNDLE).encode()
                await Bundles(database).save(seal(file.ring, UID, step, MOMENT, text))
        finally:
            await database.close()

    asyncio.run(fill())
    where = ("--dsn", dsn, "--keys", str(file.path))
    assert main(["diagnostics", UID, *where]) == 0
    out = capsys.readouterr().out
    assert "again" in out
    assert "diagnose" in out
    assert main(["diagnostics", UID, "diagnose", *where]) == 0
    out = capsys.readouterr().out
    for told in (
        "Pod shop/web-1 belongs to ReplicaSet web-6d",
        "2026-03-15T11:50:00Z Deployment shop/web by kubectl (Update): spec.replicas",
        "Pod web-1: BackOff: Back-off restarting (3 times)",
        "Log of web-1/app, of its run before",
        "boom",
        "left out: 3 more pods",
    ):
        assert told in out
    assert "\x1b" not in out
    assert main(["diagnostics", UID, "diagnose", "-o", "json", *where]) == 0
    assert json.loads(capsys.readouterr().out) == BUNDLE
    assert main(["diagnostics", UID, "repair", *where]) == 4
    assert "These did: again, diagnose." in capsys.readouterr().err
    other = tmp_path / "other"
    other.write_text(key())
    assert main(["diagnostics", UID, "diagnose", "--dsn", dsn, "--keys", str(other)]) == 1
    assert "which is not in" in capsys.readouterr().err
    assert main(["diagnostics", UID, "--dsn", dsn]) == 1
    assert "--keys" in capsys.readouterr().err
