"""A bounded folder of files that are complete or not there: written aside, synced, renamed. Blocking."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from pathlib import Path

log = logging.getLogger(__name__)
_MOST_CORRUPT = 100


class Folder:
    """Files by name, all of one suffix.

    Args:
        path: made where missing, for this user only.
        most_bytes, most_files: bounds of all that is in it.

    Raises:
        OSError: the folder can't be made or read.
    """

    def __init__(self, path: Path, suffix: str, *, most_bytes: int, most_files: int) -> None:
        self.path = path
        self._suffix = suffix
        self._most_bytes = most_bytes
        self._most_files = most_files
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for half_written in path.glob("*.tmp"):
            half_written.unlink()
        self._sizes = {file.name: file.stat().st_size for file in path.glob(f"*{suffix}")}

    def __len__(self) -> int:
        return len(self._sizes)

    @property
    def size(self) -> int:
        """Bytes of all that is there."""
        return sum(self._sizes.values())

    def names(self) -> list[str]:
        """Return the names of the files, sorted."""
        return sorted(self._sizes)

    def name_of(self, key: str) -> str:
        """Return the name of the file for a key, which can't lead out of the folder."""
        plain = re.fullmatch(r"[A-Za-z0-9-]{1,64}", key)
        return (key if plain else hashlib.sha256(key.encode()).hexdigest()) + self._suffix

    def has_room(self, name: str, length: int) -> bool:
        """Whether a file of this length may be written, in place of one of the same name."""
        others = len(self._sizes) - (name in self._sizes)
        taken = self.size - self._sizes.get(name, 0)
        return others < self._most_files and taken + length <= self._most_bytes

    def write(self, name: str, content: bytes) -> None:
        """Write a file durably, in place of one of the same name.

        Raises:
            OSError: the disk refuses; the former file is as it was.
        """
        aside = self.path / f"{name}.tmp"
        try:
            with open(aside, "wb", opener=_private) as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            aside.rename(self.path / name)
        except OSError:
            aside.unlink(missing_ok=True)
            raise
        self._sync()
        self._sizes[name] = len(content)

    def _sync(self) -> None:
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def read(self, name: str) -> bytes | None:
        """Return a file's content; None where somebody removed it.

        Raises:
            OSError: the disk refuses.
        """
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            self._sizes.pop(name, None)
            return None

    def remove(self, name: str) -> None:
        """Remove a file; one that is gone is fine."""
        (self.path / name).unlink(missing_ok=True)
        self._sizes.pop(name, None)

    def set_aside(self, name: str, error: Exception) -> None:
        """Move a file that can't be used to ``corrupt/``; the newest hundred are kept there."""
        corrupt = self.path / "corrupt"
        corrupt.mkdir(mode=0o700, exist_ok=True)
        (self.path / name).replace(corrupt / name)
        self._sizes.pop(name, None)
        log.error("spooled file %s can't be replayed and was moved to %s: %s", name, corrupt, error)
        kept = sorted(corrupt.iterdir(), key=lambda file: file.stat().st_mtime)
        for surplus in kept[:-_MOST_CORRUPT]:
            surplus.unlink()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
