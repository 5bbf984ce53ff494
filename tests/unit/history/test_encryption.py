"""Keys of a file: the first encrypts, all decrypt, and what was tampered with is not taken for what was stored."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from dataclasses import replace
from pathlib import Path

import pytest

from kubernaut.history.encryption import KeyRing
from kubernaut.history.errors import KeysUnusable, KeyUnknown, Tampered

PLAIN = b"the password is hunter2"


def key() -> str:
    return base64.b64encode(os.urandom(32)).decode()


def ring(path: Path, *keys: str) -> KeyRing:
    path.write_text("# of the operator\n\n" + "".join(f"{one}\n" for one in keys))
    return KeyRing(path)


def test_what_was_sealed_is_read_again_and_never_looks_the_same(tmp_path: Path) -> None:
    keys = ring(tmp_path / "keys", key())
    first, second = keys.seal(PLAIN, "run 1"), keys.seal(PLAIN, "run 1")
    assert first.content != second.content
    assert PLAIN not in first.content
    assert [keys.unseal(one, "run 1") for one in (first, second)] == [PLAIN, PLAIN]


def test_after_a_rotation_the_new_key_encrypts_and_the_old_one_still_decrypts(tmp_path: Path) -> None:
    path, old, new = tmp_path / "keys", key(), key()
    keys = ring(path, old)
    before = keys.seal(PLAIN, "run 1")
    ring(path, new, old)
    after = keys.seal(PLAIN, "run 1")
    assert before.key_id != after.key_id == keys.current
    assert keys.unseal(before, "run 1") == PLAIN
    ring(path, new)
    assert keys.unseal(after, "run 1") == PLAIN
    with pytest.raises(KeyUnknown, match=f"key {before.key_id}, which is not in"):
        keys.unseal(before, "run 1")


def test_what_was_changed_or_belongs_elsewhere_is_refused(tmp_path: Path) -> None:
    keys = ring(tmp_path / "keys", key())
    sealed = keys.seal(PLAIN, "run 1\ndiagnose")
    flipped = bytes([sealed.content[0] ^ 1]) + sealed.content[1:]
    with pytest.raises(Tampered, match="run 1, step diagnose"):
        keys.unseal(replace(sealed, content=flipped), "run 1\ndiagnose")
    with pytest.raises(Tampered):
        keys.unseal(sealed, "run 2\ndiagnose")
    with pytest.raises(Tampered):
        keys.unseal(replace(sealed, content=b"short"), "run 1\ndiagnose")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no key"),
        (b"# none yet\n", "holds no key"),
        (b"c2hvcnQ=\n", "line 1: not a key"),
        (b"\n&%$ secret-not-base64\n", "line 2: not a key"),
        (b"\xff\xfe\x00", "can't be read"),
    ],
)
def test_a_file_without_good_keys_says_what_is_wrong_and_not_what_is_in_it(
    tmp_path: Path, content: bytes, said: str
) -> None:
    path = tmp_path / "keys"
    path.write_bytes(content)
    trouble = KeyRing(path).trouble()
    assert said in trouble
    assert "secret-not" not in trouble
    with pytest.raises(KeysUnusable):
        KeyRing(path).seal(PLAIN, "run 1")


def test_a_file_that_comes_later_is_taken_up(tmp_path: Path) -> None:
    keys = KeyRing(tmp_path / "keys")
    assert "No such file" in keys.trouble()
    ring(tmp_path / "keys", key())
    assert keys.trouble() == ""


def test_equal_contents_have_equal_names_under_one_key_and_none_that_tell_of_them(tmp_path: Path) -> None:
    path, old, new = tmp_path / "keys", key(), key()
    names = ring(path, old).read().fingerprints()
    assert names(PLAIN) == names(PLAIN) != names(b"another")
    assert len(names(PLAIN)) == 64
    bare = base64.b64decode(old)
    assert names(PLAIN) not in (hashlib.sha256(PLAIN).hexdigest(), hmac.digest(bare, PLAIN, "sha256").hex())
    assert ring(path, new, old).read().fingerprints()(PLAIN) != names(PLAIN)


def test_keys_that_were_read_stay_what_they_were(tmp_path: Path) -> None:
    path, old = tmp_path / "keys", key()
    read = ring(path, old).read()
    ring(path, key())
    sealed = read.seal(PLAIN, "run 1")
    assert sealed.key_id == read.current
    assert read.unseal(sealed, "run 1") == PLAIN


def test_where_nothing_can_decrypt_it_is_said_and_not_blamed_on_the_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kubernaut.history.encryption.find_spec", lambda name: None)
    assert "cryptography is not installed" in ring(tmp_path / "keys", key()).trouble()
