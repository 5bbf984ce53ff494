"""OCI archives: what a container runtime checks on import has to hold."""

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

from localcluster.images import BUSYBOX, PAUSE, Image, archive_files, busybox_images, go_arch, write_archive

IMAGE = Image(
    "kubernaut.local/tool:1",
    files={"bin/tool": (b"#!/bin/sh\n", 0o755), "etc/deep/er/conf": (b"x", 0o644)},
    links={"usr/bin/alias": "/bin/tool"},
    command=("/bin/tool", "--serve"),
)


def blob(files: dict[str, bytes], descriptor: dict[str, Any]) -> bytes:
    content = files[f"blobs/sha256/{descriptor['digest'].removeprefix('sha256:')}"]
    assert descriptor["size"] == len(content)
    return content


def resolved(files: dict[str, bytes]) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    index = json.loads(files["index.json"])
    manifest = json.loads(blob(files, index["manifests"][0]))
    return index, json.loads(blob(files, manifest["config"])), blob(files, manifest["layers"][0])


def test_every_blob_is_named_by_its_digest() -> None:
    blobs = {
        name: content for name, content in archive_files(IMAGE, "amd64").items() if name.startswith("blobs/")
    }
    assert len(blobs) == 3
    for name, content in blobs.items():
        assert name == f"blobs/sha256/{hashlib.sha256(content).hexdigest()}"


def test_index_manifest_config_and_layer_refer_to_each_other() -> None:
    index, config, layer = resolved(archive_files(IMAGE, "arm64"))
    assert index["manifests"][0]["annotations"]["io.containerd.image.name"] == "kubernaut.local/tool:1"
    assert index["manifests"][0]["platform"] == {"architecture": "arm64", "os": "linux"}
    assert config["architecture"] == "arm64"
    assert config["config"]["Cmd"] == ["/bin/tool", "--serve"]
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(layer).hexdigest()}"]


def test_the_layer_holds_files_links_and_every_parent_before_its_children() -> None:
    _, _, layer = resolved(archive_files(IMAGE, "amd64"))
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        names = tar.getnames()
        assert tar.getmember("bin/tool").mode == 0o755
        assert tar.getmember("tmp").mode == 0o1777
        assert tar.getmember("usr/bin/alias").linkname == "/bin/tool"
        conf = tar.extractfile("etc/deep/er/conf")
        assert conf is not None
        assert conf.read() == b"x"
    assert len(names) == len(set(names))
    for name in names:
        parent = name.rpartition("/")[0]
        assert not parent or names.index(parent) < names.index(name)


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    write_archive(tmp_path / "one.tar", IMAGE, "amd64")
    write_archive(tmp_path / "two.tar", IMAGE, "amd64")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


def test_the_order_in_which_files_are_named_does_not_matter() -> None:
    files = {"b": (b"", 0o644), "c/d": (b"", 0o644)}
    links = {"z": "b", "e/f": "b"}
    folders = {"tmp": 0o1777, "a/b": 0o700, "a": 0o755}
    one = Image("x/y:1", files, links, folders)
    other = Image(
        "x/y:1", dict(reversed(files.items())), dict(reversed(links.items())), dict(reversed(folders.items()))
    )
    assert archive_files(one, "amd64") == archive_files(other, "amd64")


def test_the_archive_declares_the_oci_layout(tmp_path: Path) -> None:
    write_archive(tmp_path / "image.tar", IMAGE, "amd64")
    with tarfile.open(tmp_path / "image.tar") as tar:
        layout = tar.extractfile("oci-layout")
        assert layout is not None
        assert json.loads(layout.read()) == {"imageLayoutVersion": "1.0.0"}


def test_busybox_images_link_every_applet_but_not_busybox_to_itself(tmp_path: Path) -> None:
    (tmp_path / "busybox").write_bytes(b"ELF")
    busybox, pause = busybox_images(tmp_path / "busybox", ["busybox", "sh", "httpd"])
    assert (busybox.name, pause.name) == (BUSYBOX, PAUSE)
    assert busybox.links == {"bin/sh": "busybox", "bin/httpd": "busybox"}
    assert busybox.files["bin/busybox"] == (b"ELF", 0o755)
    assert pause.command == ("/bin/sleep", "infinity")
    assert set(pause.links) == {"bin/sleep"}


def test_architectures_carry_go_s_names() -> None:
    assert (go_arch("x86_64"), go_arch("aarch64"), go_arch("riscv64")) == ("amd64", "arm64", "riscv64")
