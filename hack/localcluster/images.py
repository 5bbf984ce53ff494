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
_EPOCH = "1970-01-01T00:00:00Z"
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


def entry(
    name: str, *, size: int = 0, mode: int, kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tarfile.TarInfo:
    """A tar entry of nobody in particular, of no time in particular."""
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
            tar.addfile(entry(path, mode=directories[path], kind=tarfile.DIRTYPE))
        for path, (content, mode) in sorted(image.files.items()):
            tar.addfile(entry(path, size=len(content), mode=mode), io.BytesIO(content))
        for path, target in sorted(image.links.items()):
            tar.addfile(entry(path, mode=0o777, kind=tarfile.SYMTYPE, link=target))
    return buffer.getvalue()


def digest_of(blob: bytes) -> str:
    """The name OCI gives to a blob."""
    return "sha256:" + hashlib.sha256(blob).hexdigest()


def blob_path(digest: str) -> str:
    """Where a blob is in an archive."""
    return f"blobs/{digest.replace(':', '/')}"


def _descriptor(media: str, blob: bytes) -> dict[str, object]:
    return {"mediaType": f"{_MEDIA}.{media}", "digest": digest_of(blob), "size": len(blob)}


def envelope(
    name: str,
    arch: str,
    settings: Mapping[str, object],
    layers: Sequence[tuple[str, int]],
    annotations: Mapping[str, str] | None = None,
) -> dict[str, bytes]:
    """Every file of the OCI layout but the layers, by its path in the archive.

    ``settings`` is the configuration of containers; ``layers`` are digests and sizes of uncompressed tar files.
    """
    config = json.dumps(
        {
            "architecture": arch,
            "os": "linux",
            "created": _EPOCH,
            "config": settings,
            "rootfs": {"type": "layers", "diff_ids": [digest for digest, _ in layers]},
            "history": [{"created": _EPOCH} for _ in layers],
        }
    ).encode()
    document: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": f"{_MEDIA}.manifest.v1+json",
        "config": _descriptor("config.v1+json", config),
        "layers": [
            {"mediaType": f"{_MEDIA}.layer.v1.tar", "digest": digest, "size": size} for digest, size in layers
        ],
    }
    if annotations:
        document["annotations"] = dict(annotations)
    manifest = json.dumps(document).encode()
    reference = {
        **_descriptor("manifest.v1+json", manifest),
        "platform": {"architecture": arch, "os": "linux"},
        "annotations": {
            "io.containerd.image.name": name,
            "org.opencontainers.image.ref.name": name.rsplit(":", 1)[1],
        },
    }
    index = json.dumps(
        {"schemaVersion": 2, "mediaType": f"{_MEDIA}.index.v1+json", "manifests": [reference]}
    ).encode()
    blobs = {blob_path(digest_of(blob)): blob for blob in (config, manifest)}
    return {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": index, **blobs}


def archive_files(image: Image, arch: str) -> dict[str, bytes]:
    """Every file of the OCI layout, by its path in the archive."""
    content = layer(image)
    digest = digest_of(content)
    settings = {"Env": [f"PATH={image.path}"], "Cmd": list(image.command), "WorkingDir": "/"}
    return {
        **envelope(image.name, arch, settings, [(digest, len(content))]),
        blob_path(digest): content,
    }


def write_archive(out: Path, image: Image, arch: str | None = None) -> None:
    """Write ``image`` as an archive that ``ctr image import`` and ``kind load image-archive`` take."""
    with tarfile.open(out, "w") as tar:
        for name, content in archive_files(image, arch or go_arch()).items():
            tar.addfile(entry(name, size=len(content), mode=0o644), io.BytesIO(content))


def busybox_images(busybox: Path, applets: Sequence[str]) -> list[Image]:
    """The two images every local node has: busybox with all its applets, and pause out of the same binary."""
    files = {"bin/busybox": (busybox.read_bytes(), 0o755)}
    links = {f"bin/{applet}": "busybox" for applet in applets if applet != "busybox"}
    return [
        Image(BUSYBOX, files, links),
        Image(PAUSE, files, {"bin/sleep": "busybox"}, command=("/bin/sleep", "infinity")),
    ]
