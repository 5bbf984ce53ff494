"""Diagnostics bundles on disk, encrypted, until they are in Postgres. Blocking; call it in a thread."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Final

from kubernaut.history.bundles import Bundle
from kubernaut.history.folder import Folder

_MOST_FILES: Final = 10_000


class BundleSpool:
    """One file for each step of a run: a line of JSON that says what it is, then the content.

    Raises:
        OSError: the folder can't be made or read.
    """

    def __init__(self, folder: Path, *, most_bytes: int = 256 * 2**20) -> None:
        self._folder = Folder(folder, ".bundle", most_bytes=most_bytes, most_files=_MOST_FILES)

    def __len__(self) -> int:
        return len(self._folder)

    def put(self, bundle: Bundle) -> str:
        """Store a bundle durably in place of an earlier one of the step; return why it is not, or nothing."""
        head = {key: value for key, value in asdict(bundle).items() if key != "content"}
        content = (
            json.dumps(head | {"taken_at": bundle.taken_at.isoformat()}).encode() + b"\n" + bundle.content
        )
        name = self._folder.name_of(bundle.about)
        if not self._folder.has_room(name, len(content)):
            waiting = f"{len(self._folder)} bundles, {self._folder.size} bytes wait for Postgres"
            return f"the disk spool is full ({waiting})"
        try:
            self._folder.write(name, content)
        except OSError as error:
            return f"the disk spool can't be written: {error.strerror or error}"
        return ""

    def first(self) -> tuple[str, Bundle] | None:
        """Return one of the bundles and the name of its file; files that can't be read are set aside."""
        for name in self._folder.names():
            try:
                content = self._folder.read(name)
                if content is not None:
                    return name, _parsed(content)
            except (OSError, ValueError, KeyError, TypeError) as error:
                self._folder.set_aside(name, error)
        return None

    def remove(self, name: str, bundle: Bundle) -> None:
        """Remove a bundle that reached Postgres, unless a later one of the step has taken its place."""
        content = self._folder.read(name)
        if content is not None and _parsed(content) == bundle:
            self._folder.remove(name)

    def set_aside(self, name: str, error: Exception) -> None:
        """Move a bundle that Postgres refuses to ``corrupt/``."""
        self._folder.set_aside(name, error)


def _parsed(content: bytes) -> Bundle:
    head, newline, rest = content.partition(b"\n")
    if not newline:
        raise ValueError("it has no content")
    told = json.loads(head)
    told["taken_at"] = datetime.fromisoformat(told["taken_at"])
    return Bundle(**told, content=rest)
