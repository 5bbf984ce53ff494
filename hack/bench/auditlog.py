"""The API server's audit log with the times in it: when a request came, and when it was answered."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from bench.shapes import NAMESPACE

_LONGEST_LINE = 1 << 20
_MUTATING = frozenset({"create", "update", "patch", "delete", "deletecollection"})
_REVIEWS = frozenset({"authorization.k8s.io", "authentication.k8s.io"})


@dataclass(frozen=True, slots=True)
class Entry:
    """One request: who, what, and from when to when (seconds since the epoch, by the API server's clock)."""

    verb: str
    by: str
    user: str
    group: str
    what: str
    namespace: str
    name: str
    code: int
    dry_run: bool
    came: float
    answered: float

    @property
    def persisted(self) -> bool:
        """Whether it changed an object."""
        return self.verb in _MUTATING and self.code < 300 and not self.dry_run and self.group not in _REVIEWS

    @property
    def kind(self) -> str:
        """What it is counted as: ``patch deployments``, with what became of it where it persisted nothing."""
        told = f"{self.verb} {self.what}"
        if self.dry_run:
            told += " (dry run)"
        return told if self.code < 300 else f"{told} ({self.code})"


class AuditTail:
    """Reads what was logged since it was made, or last read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = _whole_lines(path)

    def read(self) -> list[Entry]:
        """Return the requests answered since."""
        found = []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._offset += len(line)
                event = orjson.loads(line)
                if event.get("stage") == "ResponseComplete":
                    found.append(_entry(event))
        return found

    def read_until(self, wanted: Callable[[Entry], bool], seconds: float = 5.0) -> list[Entry]:
        """Return the requests answered since, up to one that is wanted, which may come a little late.

        Raises:
            TimeoutError: it does not come.
        """
        found: list[Entry] = []
        deadline = time.monotonic() + seconds
        while True:
            found += self.read()
            if any(wanted(entry) for entry in found):
                return found
            if time.monotonic() > deadline:
                raise TimeoutError(f"the audit log does not tell of what was waited for within {seconds} s")
            time.sleep(0.02)


def in_namespace(entry: Entry) -> bool:
    """Whether a request is about our namespace, and so about a run or its target."""
    return entry.namespace == NAMESPACE


def _whole_lines(path: Path) -> int:
    """Return where the last line that is whole ends, in bytes; the API server may be writing the next."""
    size = path.stat().st_size
    start = max(0, size - _LONGEST_LINE)
    with path.open("rb") as file:
        file.seek(start)
        end = file.read(size - start).rfind(b"\n")
    return start + end + 1 if end >= 0 else start


def _entry(event: dict[str, Any]) -> Entry:
    ref = event.get("objectRef") or {}
    by = event["user"]["username"]
    what = ref.get("resource", "")
    return Entry(
        verb=event["verb"],
        by=by,
        user=(event.get("impersonatedUser") or {}).get("username", by),
        group=ref.get("apiGroup", ""),
        what=f"{what}/{ref['subresource']}" if ref.get("subresource") else what,
        namespace=ref.get("namespace", ""),
        name=ref.get("name", ""),
        code=(event.get("responseStatus") or {}).get("code", 0),
        dry_run="dryRun=" in event.get("requestURI", ""),
        came=_time(event["requestReceivedTimestamp"]),
        answered=_time(event["stageTimestamp"]),
    )


def _time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
