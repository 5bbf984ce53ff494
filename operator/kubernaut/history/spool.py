"""Finished runs on disk: where a deletion could wait no longer for Postgres. Blocking; call it in a thread."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from kubernaut.history.folder import Folder
from kubernaut.history.records import RunRecord
from kubernaut.history.rows import storable

log = logging.getLogger(__name__)
_RECORD = TypeAdapter(RunRecord)


@dataclass(frozen=True, slots=True)
class SpooledRun:
    """A record and the file it is in."""

    path: Path
    record: RunRecord


class Spool:
    """One file per run.

    Args:
        folder: made where missing, for this user only.
        most_bytes, most_runs: bounds of all that waits.

    Raises:
        OSError: the folder can't be made or read.
    """

    def __init__(self, folder: Path, *, most_bytes: int = 256 * 2**20, most_runs: int = 10_000) -> None:
        self._folder = Folder(folder, ".json", most_bytes=most_bytes, most_files=most_runs)

    def __len__(self) -> int:
        return len(self._folder)

    @property
    def size(self) -> int:
        """Bytes of all that waits."""
        return self._folder.size

    def put(self, record: RunRecord) -> bool:
        """Store a record durably; False where there is no room, or the disk refuses (which is logged)."""
        content = _RECORD.dump_json(storable(record))
        name = self._folder.name_of(record.uid)
        if not self._folder.has_room(name, len(content)):
            log.error("the spool %s is full; run %s/%s was not spooled", self._folder.path, *_names(record))
            return False
        try:
            self._folder.write(name, content)
        except OSError as error:
            log.error("run %s/%s can't be spooled to %s: %s", *_names(record), self._folder.path, error)
            return False
        return True

    def read(self, most: int) -> list[SpooledRun]:
        """Return some of the records; files that can't be read are set aside."""
        found: list[SpooledRun] = []
        for name in self._folder.names():
            if len(found) >= most:
                break
            try:
                content = self._folder.read(name)
                if content is not None:
                    found.append(SpooledRun(self._folder.path / name, _RECORD.validate_json(content)))
            except (OSError, ValueError) as error:
                self._folder.set_aside(name, error)
        return found

    def set_aside(self, path: Path, error: Exception) -> None:
        """Move a file that can't be replayed to ``corrupt/``; the newest hundred are kept there."""
        self._folder.set_aside(path.name, error)

    def remove(self, runs: Iterable[SpooledRun]) -> None:
        """Remove records that reached Postgres."""
        for run in runs:
            self._folder.remove(run.path.name)


def _names(record: RunRecord) -> tuple[str, str]:
    return record.namespace, record.name
