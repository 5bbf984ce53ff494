"""Runs on disk: complete or not there, bounded, read again by the next process."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from database.builders import a_run, a_step
from kubernaut.history.spool import Spool


def test_a_run_comes_back_as_it_was_put(tmp_path: Path) -> None:
    runs = [a_run(), a_run(verdict=None, finished_at=None, steps=())]
    spool = Spool(tmp_path)
    assert all(spool.put(run) for run in runs)
    later = Spool(tmp_path)
    assert len(later) == 2
    assert later.size == spool.size == sum(path.stat().st_size for path in tmp_path.iterdir())
    read = later.read(10)
    assert sorted((found.record for found in read), key=lambda run: run.uid) == sorted(
        runs, key=lambda run: run.uid
    )
    later.remove(read)
    assert (len(later), later.size, list(tmp_path.iterdir())) == (0, 0, [])


def test_characters_that_can_not_be_stored_are_replaced(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    assert spool.put(a_run(message="a\x00b", steps=(a_step(outputs={"log": "\ud800"}),)))
    (found,) = spool.read(1)
    assert found.record.message == "a\ufffdb"
    assert found.record.steps[0].outputs == {"log": "\ufffd"}


def test_a_run_put_again_takes_the_place_of_the_former_record(tmp_path: Path) -> None:
    spool = Spool(tmp_path, most_runs=1)
    run = a_run()
    assert spool.put(run)
    assert spool.put(replace(run, verdict="NotFixed"))
    assert [found.record.verdict for found in spool.read(10)] == ["NotFixed"]
    assert spool.size == next(tmp_path.iterdir()).stat().st_size


def test_a_full_spool_refuses_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spool = Spool(tmp_path, most_runs=2)
    assert [spool.put(a_run(name=f"r{n}")) for n in range(3)] == [True, True, False]
    assert "shop/r2 was not spooled" in caplog.text
    spool.remove(spool.read(1))
    assert spool.put(a_run())


def test_bytes_are_bounded_too(tmp_path: Path) -> None:
    first = a_run()
    size = Spool(tmp_path / "a")
    size.put(first)
    spool = Spool(tmp_path / "b", most_bytes=2 * size.size + 10)
    assert [spool.put(a_run(name=first.name)) for _ in range(3)] == [True, True, False]
    assert spool.size <= 2 * size.size + 10


@pytest.mark.parametrize("content", [b"", b"{", b'{"uid": 1}', b"\xff\xfe", b"[]"])
def test_a_file_that_can_not_be_read_is_set_aside_and_does_not_hold_up_others(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    good = a_run()
    Spool(tmp_path).put(good)
    (tmp_path / "0-bad.json").write_bytes(content)
    spool = Spool(tmp_path)
    assert [found.record for found in spool.read(10)] == [good]
    assert len(spool) == 1
    assert (tmp_path / "corrupt" / "0-bad.json").read_bytes() == content
    assert "0-bad.json" in caplog.text


def test_what_was_set_aside_is_bounded(tmp_path: Path) -> None:
    for number in range(105):
        (tmp_path / f"{number:03}.json").write_bytes(b"{")
    assert Spool(tmp_path).read(1) == []
    assert len(list((tmp_path / "corrupt").iterdir())) == 100


def test_a_write_that_was_broken_off_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.json.tmp").write_bytes(b"half")
    assert len(Spool(tmp_path)) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_refuses_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spool = Spool(tmp_path / "spool")
    shutil.rmtree(tmp_path / "spool")
    assert not spool.put(a_run())
    assert len(spool) == 0
    assert "can't be spooled" in caplog.text


def test_a_file_somebody_removed_is_no_longer_counted(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.put(a_run())
    next(tmp_path.iterdir()).unlink()
    assert spool.read(10) == []
    assert len(spool) == 0


def test_only_the_owner_may_read(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.put(a_run())
    assert (tmp_path / "spool").stat().st_mode & 0o077 == 0
    assert next((tmp_path / "spool").iterdir()).stat().st_mode & 0o077 == 0


def test_a_uid_can_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    assert spool.put(a_run(uid="../../escape"))
    assert [path.parent for path in tmp_path.rglob("*.json")] == [tmp_path / "spool"]
    assert spool.read(1)[0].record.uid == "../../escape"
