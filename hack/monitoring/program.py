"""A program with a page that says when it is ready."""

from __future__ import annotations

import json
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from localrun.process import CommandProcess, ProcessFailed

T = TypeVar("T")


class Program(CommandProcess):
    """Started by us, stopped by its id; keeps its files in ``folder``."""

    def __init__(self, command: Sequence[str], folder: Path, port: int) -> None:
        super().__init__(command, {}, folder / "log")
        self.port = port

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def run(self, seconds: float = 30.0) -> None:
        """Start it and wait until it is ready.

        Raises:
            ProcessFailed: it ended, or is not ready in time.
        """
        self.start()
        self.until("it is ready", lambda: self._ready() or None, seconds)

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def get(self, path: str, **query: str) -> Any:
        """Return the answer to a question of its HTTP API, parsed."""
        question = f"?{urllib.parse.urlencode(query)}" if query else ""
        with urllib.request.urlopen(f"{self.url}{path}{question}", timeout=10) as answer:
            return json.loads(answer.read())

    def until(self, what: str, look: Callable[[], T | None], seconds: float = 30.0) -> T:
        """Look again and again until there is something.

        Raises:
            ProcessFailed: the program ended, or there is nothing in time.
        """
        deadline = time.monotonic() + seconds
        while (found := look()) is None:
            if not self.running or time.monotonic() > deadline:
                raise ProcessFailed(f"{self._command[0]}: not within {seconds:g} s: {what}\n{self.tail()}")
            time.sleep(0.1)
        return found
