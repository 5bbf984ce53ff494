"""Layers: trees of files written as tar, and their digests; contents go from disk to disk, never all into memory."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Self

from localcluster.images import blob_path, entry, envelope


@dataclass(frozen=True)
class Layer:
    """A layer on disk."""

    path: Path
    digest: str
    size: int


@dataclass(frozen=True)
class _Item:
    mode: int
    kind: bytes = tarfile.REGTYPE
    link: str = ""
    source: Path | None = None
    content: bytes = b""


class Tree:
    """What a layer is to hold, by its path in it. Owners, times and the order of adding leave no trace."""

    def __init__(self) -> None:
        self._items: dict[str, _Item] = {}

    def __contains__(self, path: str) -> bool:
        return path in self._items

    def file(self, path: str, content: bytes | str, mode: int = 0o644) -> Self:
        """Add a file."""
        data = content.encode() if isinstance(content, str) else content
        return self._add(path, _Item(mode, content=data))

    def link(self, path: str, target: str) -> Self:
        """Add a symbolic link."""
        return self._add(path, _Item(0o777, tarfile.SYMTYPE, target))

    def directory(self, path: str, mode: int = 0o755) -> Self:
        """Add a directory."""
        return self._add(path, _Item(mode, tarfile.DIRTYPE))

    def folder(self, root: Path, prefix: str = "", wanted: Callable[[str], bool] = lambda path: True) -> Self:
        """Add files and links below a folder, by their path in the layer where that is wanted.

        Of their modes only this is kept: whether they may be executed.
        """
        for path in sorted(root.rglob("*")):
            name = f"{prefix}{path.relative_to(root).as_posix()}"
            if path.is_symlink():
                if wanted(name):
                    self.link(name, str(path.readlink()))
            elif path.is_file() and wanted(name):
                mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
                self._add(name, _Item(mode, source=path))
        return self

    def _add(self, path: str, item: _Item) -> Self:
        parts = path.split("/")
        for count in range(1, len(parts)):
            self._items.setdefault("/".join(parts[:count]), _Item(0o755, tarfile.DIRTYPE))
        self._items[path] = item
        return self

    def write(self, out: Path) -> Layer:
        """Write the layer."""
        with out.open("wb") as file:
            hashing = _Hashing(file)
            with tarfile.open(fileobj=hashing, mode="w|", format=tarfile.GNU_FORMAT) as tar:
                for path in sorted(self._items):
                    self._put(tar, path, self._items[path])
        return Layer(out, f"sha256:{hashing.digest.hexdigest()}", hashing.size)

    @staticmethod
    def _put(tar: tarfile.TarFile, path: str, item: _Item) -> None:
        if item.source is None:
            info = entry(path, size=len(item.content), mode=item.mode, kind=item.kind, link=item.link)
            tar.addfile(info, io.BytesIO(item.content))
            return
        with item.source.open("rb") as source:
            tar.addfile(entry(path, size=item.source.stat().st_size, mode=item.mode), source)


class _Hashing(io.RawIOBase):
    """Writes on, and hashes what goes by."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self.digest = hashlib.sha256()
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.digest.update(data)
        self.size += len(data)
        return self._out.write(data)


@dataclass(frozen=True)
class Component:
    """What a layer is made of, for the bill of materials."""

    kind: str
    name: str
    version: str
    licence: str = ""
    arch: str = ""


@dataclass(frozen=True)
class Stored:
    """A layer in the cache, with what is known of it."""

    layer: Layer
    components: tuple[Component, ...]
    root: Path

    def save(self) -> None:
        """Write down what is known."""
        document = {
            "digest": self.layer.digest,
            "size": self.layer.size,
            "components": [asdict(component) for component in self.components],
        }
        (self.root / "layer.json").write_text(json.dumps(document, indent=1))

    @classmethod
    def load(cls, root: Path) -> Self:
        """Read what is known of a layer in its folder."""
        known = json.loads((root / "layer.json").read_text())
        layer = Layer(root / "layer.tar", known["digest"], known["size"])
        return cls(layer, tuple(Component(**one) for one in known["components"]), root)


def write_archive(
    out: Path,
    name: str,
    arch: str,
    settings: Mapping[str, object],
    layers: Sequence[Layer],
    annotations: Mapping[str, str] | None = None,
) -> None:
    """Write an image as an OCI archive."""
    listed = [(layer.digest, layer.size) for layer in layers]
    with tarfile.open(out, "w") as tar:
        for path, content in envelope(name, arch, settings, listed, annotations).items():
            tar.addfile(entry(path, size=len(content), mode=0o644), io.BytesIO(content))
        for layer in layers:
            with layer.path.open("rb") as source:
                tar.addfile(entry(blob_path(layer.digest), size=layer.size, mode=0o644), source)
