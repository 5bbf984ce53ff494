"""Diagnostics bundles on disk: one a step, whole or not there, bounded, and never in the clear."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kubernaut.history.bundles import MAX_BUNDLE_BYTES, Bundle, again, seal, unseal
from kubernaut.history.bundlespool import BundleSpool
from kubernaut.history.encryption import KeyRing

MOMENT = datetime(2026, 3, 15, 12, 0, tzinfo=UTC)


@pytest.fixture
def keys(tmp_path: Path) -> KeyRing:
    path = tmp_path / "keys"
    path.write_text(base64.b64encode(bytes(range(32))).decode())
    return KeyRing(path)


def a_bundle(
    keys: KeyRing, step: str = "diagnose", content: bytes = b"log of hunter2", later: int = 0
) -> Bundle:
    return seal(keys, "u1", step, MOMENT + timedelta(seconds=later), content)


def test_a_bundle_comes_back_and_nothing_of_it_is_readable_on_disk(tmp_path: Path, keys: KeyRing) -> None:
    bundle = a_bundle(keys, "each/0/diagnose")
    assert BundleSpool(tmp_path / "spool").put(bundle) == ""
    found = BundleSpool(tmp_path / "spool").first()
    assert found is not None
    assert found[1] == bundle
    assert unseal(keys, found[1]) == b"log of hunter2"
    (file,) = (tmp_path / "spool").iterdir()
    assert b"hunter2" not in file.read_bytes()
    assert file.stat().st_mode & 0o077 == 0


def test_a_later_bundle_of_the_step_takes_the_place_of_the_former(tmp_path: Path, keys: KeyRing) -> None:
    spool = BundleSpool(tmp_path / "spool")
    first, second = a_bundle(keys), a_bundle(keys, content=b"second", later=1)
    spool.put(first)
    name = spool.first()[0]  # type: ignore[index]
    spool.put(second)
    assert len(spool) == 1
    spool.remove(name, first)
    assert spool.first() == (name, second)
    spool.remove(name, second)
    assert spool.first() is None


def test_what_has_no_room_is_not_kept_and_says_so(tmp_path: Path, keys: KeyRing) -> None:
    spool = BundleSpool(tmp_path / "spool", most_bytes=300)
    assert spool.put(a_bundle(keys)) == ""
    assert "the disk spool is full" in spool.put(a_bundle(keys, "again"))
    assert len(spool) == 1


def test_what_can_not_be_read_is_set_aside(tmp_path: Path, keys: KeyRing) -> None:
    spool = BundleSpool(tmp_path / "spool")
    spool.put(a_bundle(keys))
    (tmp_path / "spool" / "0.bundle").write_bytes(b'{"run_uid": "u1"}\nxyz')
    (tmp_path / "spool" / "1.bundle").write_bytes(b"cut off")
    spool = BundleSpool(tmp_path / "spool")
    assert spool.first()[1].step == "diagnose"  # type: ignore[index]
    assert {file.name for file in (tmp_path / "spool" / "corrupt").iterdir()} == {"0.bundle", "1.bundle"}


def test_a_bundle_of_another_step_is_not_taken_for_this_one(keys: KeyRing) -> None:
    moved = replace(a_bundle(keys), step="other")
    with pytest.raises(Exception, match="not what was encrypted"):
        unseal(keys, moved)


def test_one_that_is_too_large_is_refused(keys: KeyRing) -> None:
    with pytest.raises(ValueError, match="16777217 bytes"):
        a_bundle(keys, content=bytes(MAX_BUNDLE_BYTES + 1))


def test_encrypted_anew_it_is_the_same(tmp_path: Path, keys: KeyRing) -> None:
    old = a_bundle(keys)
    path = tmp_path / "keys"
    path.write_text(base64.b64encode(bytes(32)).decode() + "\n" + path.read_text())
    new = again(keys, old)
    assert new.key_id == keys.current != old.key_id
    assert unseal(keys, new) == unseal(keys, old)
