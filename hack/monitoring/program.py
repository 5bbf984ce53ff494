"""A program with a page that says when it is ready."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


class MonitoringFailed(Exception):
    """A program ended, or did not say in time what was waited for; the message holds the end of its log."""


class Program:
    """Started by us, stopped by its id."""

    def __init__(self, command: Sequence[str], folder: Path, port: int) -> None:
        self._command = list(command)
        self.folder = folder
        self.port = port
        self.log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def start(self, seconds: float = 30.0) -> None:
        """Start it and wait until it is ready.

        Raises:
            MonitoringFailed: it ended, or is not ready in time.
        """
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.until("it is ready", lambda: self._ready() or None, seconds)

    def stop(self) -> None:
        """SIGTERM, SIGKILL if it does not go."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

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
            MonitoringFailed: the program ended, or there is nothing in time.
        """
        deadline = time.monotonic() + seconds
        while (found := look()) is None:
            ended = self._process is None or self._process.poll() is not None
            if ended or time.monotonic() > deadline:
                tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])
                raise MonitoringFailed(f"{self._command[0]}: not within {seconds:g} s: {what}\n{tail}")
            time.sleep(0.1)
        return found
