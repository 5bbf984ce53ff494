"""Layers and archives: what goes in is what comes out, and the same goes in gives the same digest."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from pathlib import Path

import pytest

from image.layers import Component, Layer, Stored, Tree, read_archive, unpack, write_archive


def folder_with(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"this is {name}")
    return root


def members(layer: Layer) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(layer.path) as tar:
        return {member.name: member for member in tar}


def test_the_digest_is_that_of_the_file(tmp_path: Path) -> None:
    layer = Tree().file("etc/name", "value").write(tmp_path / "layer.tar")
    data = layer.path.read_bytes()
    assert (layer.digest, layer.size) == (f"sha256:{hashlib.sha256(data).hexdigest()}", len(data))


def test_neither_times_nor_owners_nor_umask_nor_order_leave_a_trace(tmp_path: Path) -> None:
    one = folder_with(tmp_path / "one", "a/b", "c")
    other = folder_with(tmp_path / "other", "c", "a/b")
    os.utime(other / "c", (1, 1))
    (other / "c").chmod(0o600)
    (other / "a").chmod(0o700)
    first = Tree().folder(one, "usr/").link("x", "c").write(tmp_path / "1.tar")
    second = Tree().link("x", "c").folder(other, "usr/").write(tmp_path / "2.tar")
    assert first.digest == second.digest


def test_another_content_gives_another_digest(tmp_path: Path) -> None:
    layers = [Tree().file("a", text).write(tmp_path / f"{text}.tar") for text in ("one", "two")]
    assert layers[0].digest != layers[1].digest


def test_only_what_is_wanted_goes_in_with_its_parents_before_it(tmp_path: Path) -> None:
    root = folder_with(tmp_path / "root", "lib/keep.py", "lib/leave.c", "empty/leave.c")
    layer = Tree().folder(root, "usr/", lambda path: path.endswith(".py")).write(tmp_path / "layer.tar")
    assert list(members(layer)) == ["usr", "usr/lib", "usr/lib/keep.py"]


def test_links_are_kept_and_of_modes_only_whether_a_file_is_a_program(tmp_path: Path) -> None:
    root = folder_with(tmp_path / "root", "program", "text")
    (root / "program").chmod(0o4711)
    (root / "alias").symlink_to("/usr/bin/program")
    found = members(Tree().folder(root).directory("tmp", 0o1777).write(tmp_path / "layer.tar"))
    assert {name: oct(member.mode) for name, member in found.items()} == {
        "alias": "0o777",
        "program": "0o755",
        "text": "0o644",
        "tmp": "0o1777",
    }
    assert found["alias"].linkname == "/usr/bin/program"
    assert {(member.uid, member.gid, member.mtime) for member in found.values()} == {(0, 0, 0)}


def test_what_is_known_of_a_layer_is_read_again(tmp_path: Path) -> None:
    layer = Tree().file("a", "b").write(tmp_path / "layer.tar")
    stored = Stored(layer, (Component("pypi", "kopf", "1.0", "MIT"),), tmp_path)
    stored.save()
    assert Stored.load(tmp_path) == stored


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    lower = Tree().file("etc/name", "lower").file("etc/other", "lower").write(tmp_path / "lower.tar")
    upper = Tree().file("etc/name", "upper").link("name", "etc/name").write(tmp_path / "upper.tar")
    out = tmp_path / "image.tar"
    settings = {"User": "65532:65532", "Labels": {"a": "b"}}
    write_archive(out, "kubernaut.local/x:1", "arm64", settings, [lower, upper], {"a": "b"})
    return out


def test_an_archive_names_its_layers_in_order_and_holds_every_blob(archive: Path) -> None:
    manifest, config = read_archive(archive)
    assert config["rootfs"]["diff_ids"] == [layer["digest"] for layer in manifest["layers"]]
    assert (config["architecture"], config["config"]["User"]) == ("arm64", "65532:65532")
    assert manifest["annotations"] == {"a": "b"}
    with tarfile.open(archive) as tar:
        blobs = {member.name: member for member in tar if member.name.startswith("blobs/")}
        for name, member in blobs.items():
            file = tar.extractfile(member)
            assert file
            assert hashlib.sha256(file.read()).hexdigest() == name.rpartition("/")[2]
        assert len(blobs) == 4
        index = tar.extractfile("index.json")
        assert index
        named = json.load(index)["manifests"][0]["annotations"]["io.containerd.image.name"]
    assert named == "kubernaut.local/x:1"


def test_unpacking_puts_layers_over_each_other(archive: Path, tmp_path: Path) -> None:
    unpack(archive, tmp_path / "out")
    assert (tmp_path / "out" / "name").read_text() == "upper"
    assert (tmp_path / "out" / "etc" / "other").read_text() == "lower"
