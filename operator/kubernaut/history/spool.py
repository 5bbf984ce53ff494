"""Finished runs on disk: where a deletion could wait no longer for Postgres. Blocking; call it in a thread."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from kubernaut.history.records import RunRecord
from kubernaut.history.rows import storable

log = logging.getLogger(__name__)
_RECORD = TypeAdapter(RunRecord)
_SUFFIX = ".json"
_MOST_CORRUPT = 100


@dataclass(frozen=True, slots=True)
class SpooledRun:
    """A record and the file it is in."""

    path: Path
    record: RunRecord


class Spool:
    """One file per run, complete or not there: written aside, synced, renamed.

    Args:
        folder: made where missing, for this user only.
        most_bytes, most_runs: bounds of all that waits.

    Raises:
        OSError: the folder can't be made or read.
    """

    def __init__(self, folder: Path, *, most_bytes: int = 256 * 2**20, most_runs: int = 10_000) -> None:
        self._folder = folder
        self._most_bytes = most_bytes
        self._most_runs = most_runs
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for half_written in folder.glob("*.tmp"):
            half_written.unlink()
        self._sizes = {path.name: path.stat().st_size for path in folder.glob(f"*{_SUFFIX}")}

    def __len__(self) -> int:
        return len(self._sizes)

    @property
    def size(self) -> int:
        """Bytes of all that waits."""
        return sum(self._sizes.values())

    def put(self, record: RunRecord) -> bool:
        """Store a record durably; False where there is no room, or the disk refuses (which is logged)."""
        content = _RECORD.dump_json(storable(record))
        name = _file_name(record.uid)
        others = len(self._sizes) - (name in self._sizes)
        if (
            others >= self._most_runs
            or self.size - self._sizes.get(name, 0) + len(content) > self._most_bytes
        ):
            log.error("the spool %s is full; run %s/%s was not spooled", self._folder, *_names(record))
            return False
        try:
            self._write(name, content)
        except OSError as error:
            log.error("run %s/%s can't be spooled to %s: %s", *_names(record), self._folder, error)
            return False
        self._sizes[name] = len(content)
        return True

    def _write(self, name: str, content: bytes) -> None:
        aside = self._folder / f"{name}.tmp"
        try:
            with open(aside, "wb", opener=_private) as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            aside.rename(self._folder / name)
        except OSError:
            aside.unlink(missing_ok=True)
            raise
        self._sync_folder()

    def _sync_folder(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def read(self, most: int) -> list[SpooledRun]:
        """Return some of the records; files that can't be read are set aside."""
        found: list[SpooledRun] = []
        for name in sorted(self._sizes):
            if len(found) >= most:
                break
            path = self._folder / name
            try:
                found.append(SpooledRun(path, _RECORD.validate_json(path.read_bytes())))
            except FileNotFoundError:
                del self._sizes[name]
            except (OSError, ValueError) as error:
                self.set_aside(path, error)
        return found

    def set_aside(self, path: Path, error: Exception) -> None:
        """Move a file that can't be replayed to ``corrupt/``; the newest hundred are kept there."""
        corrupt = self._folder / "corrupt"
        corrupt.mkdir(mode=0o700, exist_ok=True)
        path.replace(corrupt / path.name)
        self._sizes.pop(path.name, None)
        log.error("spooled run %s can't be replayed and was moved to %s: %s", path.name, corrupt, error)
        kept = sorted(corrupt.iterdir(), key=lambda file: file.stat().st_mtime)
        for surplus in kept[:-_MOST_CORRUPT]:
            surplus.unlink()

    def remove(self, runs: Iterable[SpooledRun]) -> None:
        """Remove records that reached Postgres."""
        for run in runs:
            run.path.unlink(missing_ok=True)
            self._sizes.pop(run.path.name, None)


def _names(record: RunRecord) -> tuple[str, str]:
    return record.namespace, record.name


def _file_name(uid: str) -> str:
    plain = re.fullmatch(r"[A-Za-z0-9-]{1,64}", uid)
    return (uid if plain else hashlib.sha256(uid.encode()).hexdigest()) + _SUFFIX


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
