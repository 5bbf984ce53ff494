"""Progress lines on stderr, with a heartbeat so that nobody has to wonder whether a long step still moves."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


def human(seconds: float) -> str:
    """``0.4s``, ``12s``, ``4m05s``."""
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


class Step:
    """One running step; ``note`` says what it is at just now and appears in the heartbeat."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.detail = ""

    def note(self, detail: str) -> None:
        self.detail = detail


class Progress:
    """Prints steps as they start to take long (heartbeat) and as they end.

    ``first`` and ``interval`` are seconds: when the first heartbeat of a step comes, and the following ones.
    """

    def __init__(
        self, stream: TextIO | None = None, *, quiet: bool = False, first: float = 2.0, interval: float = 10.0
    ) -> None:
        self._stream = stream or sys.stderr
        self._quiet = quiet
        self._first = first
        self._interval = interval
        self._lock = threading.Lock()

    def say(self, text: str) -> None:
        if not self._quiet:
            with self._lock:
                print(text, file=self._stream, flush=True)

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Run the body as one step; its time is printed at the end, also when it fails."""
        step, started, done = Step(title), time.monotonic(), threading.Event()

        def beat() -> None:
            wait = self._first
            while not done.wait(wait):
                wait = self._interval
                detail = f": {step.detail}" if step.detail else ""
                self.say(f"  ... {step.title} ({human(time.monotonic() - started)}){detail}")

        heart = threading.Thread(target=beat, daemon=True)
        heart.start()
        outcome = "failed:"
        try:
            yield step
            outcome = "ok    "
        finally:
            done.set()
            heart.join()
            self.say(f"  {outcome} {step.title} ({human(time.monotonic() - started)})")
