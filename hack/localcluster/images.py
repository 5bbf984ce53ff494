"""OCI image archives from local files, so that a node has images without a registry.

Layout after the OCI image specification (image-layout, index, manifest, config); what comes out depends on the
input alone (no times, no owners), so the same files give the same digest everywhere.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

REGISTRY = "kubernaut.local"
BUSYBOX = f"{REGISTRY}/busybox:1"
PAUSE = f"{REGISTRY}/pause:1"

_MEDIA = "application/vnd.oci.image"
_GO_ARCH = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64", "armv7l": "arm", "ppc64le": "ppc64le"}


def go_arch(machine: str | None = None) -> str:
    """The name Go and OCI use for this machine's architecture."""
    machine = machine or platform.machine()
    return _GO_ARCH.get(machine, machine)


@dataclass(frozen=True)
class Image:
    """What goes into an image: paths inside it are relative to its root.

    ``files`` maps a path to the content and mode; ``links`` maps a path to a symlink's target;
    ``directories`` maps a path to its mode.
    """

    name: str
    files: Mapping[str, tuple[bytes, int]]
    links: Mapping[str, str] = field(default_factory=dict)
    directories: Mapping[str, int] = field(
        default_factory=lambda: {"tmp": 0o1777, "proc": 0o755, "sys": 0o755, "dev": 0o755, "etc": 0o755}
    )
    command: Sequence[str] = ("sh",)
    path: str = "/bin"


def _entry(
    name: str, *, size: int = 0, mode: int, kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.type, info.linkname = size, mode, kind, link
    return info


def _parents(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]


def layer(image: Image) -> bytes:
    """The image's only layer as an uncompressed tar."""
    buffer = io.BytesIO()
    directories = dict(image.directories)
    for path in (*image.files, *image.links, *image.directories):
        for parent in _parents(path):
            directories.setdefault(parent, 0o755)
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path in sorted(directories):
            tar.addfile(_entry(path, mode=directories[path], kind=tarfile.DIRTYPE))
        for path, (content, mode) in sorted(image.files.items()):
            tar.addfile(_entry(path, size=len(content), mode=mode), io.BytesIO(content))
        for path, target in sorted(image.links.items()):
            tar.addfile(_entry(path, mode=0o777, kind=tarfile.SYMTYPE, link=target))
    return buffer.getvalue()


def _digest(blob: bytes) -> str:
    return "sha256:" + hashlib.sha256(blob).hexdigest()


def _descriptor(media: str, blob: bytes) -> dict[str, object]:
    return {"mediaType": f"{_MEDIA}.{media}", "digest": _digest(blob), "size": len(blob)}


def archive_files(image: Image, arch: str) -> dict[str, bytes]:
    """Every file of the OCI layout, by its path in the archive."""
    content = layer(image)
    config = json.dumps(
        {
            "architecture": arch,
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {"Env": [f"PATH={image.path}"], "Cmd": list(image.command), "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [_digest(content)]},
            "history": [{"created": "1970-01-01T00:00:00Z"}],
        }
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": f"{_MEDIA}.manifest.v1+json",
            "config": _descriptor("config.v1+json", config),
            "layers": [_descriptor("layer.v1.tar", content)],
        }
    ).encode()
    reference = {
        **_descriptor("manifest.v1+json", manifest),
        "platform": {"architecture": arch, "os": "linux"},
        "annotations": {
            "io.containerd.image.name": image.name,
            "org.opencontainers.image.ref.name": image.name.rsplit(":", 1)[1],
        },
    }
    index = json.dumps(
        {"schemaVersion": 2, "mediaType": f"{_MEDIA}.index.v1+json", "manifests": [reference]}
    ).encode()
    blobs = {f"blobs/sha256/{_digest(blob).split(':')[1]}": blob for blob in (config, manifest, content)}
    return {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": index, **blobs}


def write_archive(out: Path, image: Image, arch: str | None = None) -> None:
    """Write ``image`` as an archive that ``ctr image import`` and ``kind load image-archive`` take."""
    with tarfile.open(out, "w") as tar:
        for name, content in archive_files(image, arch or go_arch()).items():
            tar.addfile(_entry(name, size=len(content), mode=0o644), io.BytesIO(content))


def busybox_images(busybox: Path, applets: Sequence[str]) -> list[Image]:
    """The two images every local node has: busybox with all its applets, and pause out of the same binary."""
    files = {"bin/busybox": (busybox.read_bytes(), 0o755)}
    links = {f"bin/{applet}": "busybox" for applet in applets if applet != "busybox"}
    return [
        Image(BUSYBOX, files, links),
        Image(PAUSE, files, {"bin/sleep": "busybox"}, command=("/bin/sleep", "infinity")),
    ]
