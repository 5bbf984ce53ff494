"""What was told already, in one small file, so that a restart tells nobody anew."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import Any, Final

import orjson

log = logging.getLogger(__name__)
FILE: Final = "notifications.json"


class Ledger:
    """Entries by the id of a wait. It is as lasting as its folder is; who loses it tells once more."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._failing = False

    def load(self) -> dict[str, dict[str, Any]]:
        """Return what was written last; nothing where there is no such file, or one that can't be understood."""
        try:
            found = orjson.loads(self._path.read_bytes())
            waits = found["waits"]
            if not isinstance(waits, dict) or not all(isinstance(one, dict) for one in waits.values()):
                raise ValueError("it holds something else")
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning(
                "what was notified before can't be read; what waits now is told once more",
                extra={"path": str(self._path), "error": str(error)},
            )
            return {}
        return waits

    async def save(self, waits: dict[str, dict[str, Any]]) -> None:
        """Write all; where that fails it is said once, and a restart will tell once more."""
        data = orjson.dumps({"waits": waits})
        try:
            await asyncio.to_thread(self._write, data)
        except OSError as error:
            if not self._failing:
                log.warning(
                    "what was notified can't be written down; after a restart it is told once more",
                    extra={"path": str(self._path), "error": str(error)},
                )
            self._failing = True
        else:
            self._failing = False

    def _write(self, data: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        new = self._path.with_suffix(".new")
        with new.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)
