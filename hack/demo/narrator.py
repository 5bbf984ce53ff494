"""Says what happens as it happens, and keeps account of what was seen."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console

T = TypeVar("T")


class NotSeen(Exception):
    """Something the demo must see did not happen."""


class Narrator:
    """Prints headings, explanations and results with the time since the start."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, soft_wrap=True, file=sys.stdout)
        self._began = time.monotonic()
        self._number = 0
        self.seen: list[str] = []

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began

    def heading(self, text: str) -> None:
        """Begin a part."""
        self._number += 1
        self.console.print(f"\n[bold cyan]{self._number}. {text}[/]  [dim]({self.elapsed:.0f} s)[/]")

    def say(self, text: str) -> None:
        """Explain something."""
        self.console.print(f"   {text}", markup=False)

    def block(self, text: str) -> None:
        """Print output as it is, set in."""
        for line in text.rstrip().splitlines():
            self.console.print(f"     {line}", markup=False, style="dim")

    def saw(self, text: str) -> None:
        """Record something that had to be seen and was."""
        self.seen.append(text)
        self.console.print(f"   [green]✓[/] {text}")

    def check(self, holds: bool, text: str, instead: object = "") -> None:
        """Record that something holds.

        Raises:
            NotSeen: it does not.
        """
        if not holds:
            raise NotSeen(f"{text}: not so{f'; instead: {instead}' if instead != '' else ''}")
        self.saw(text)

    @contextmanager
    def working(self, text: str) -> Iterator[None]:
        """Show that something is under way: a line now, and a sign of life every few seconds."""
        self.say(f"{text} …")
        began, stop = time.monotonic(), threading.Event()

        def beat() -> None:
            while not stop.wait(5):
                self.console.print(
                    f"     … {text}: {time.monotonic() - began:.0f} s", style="dim", markup=False
                )

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def wait(self, text: str, look: Callable[[], T | None], timeout: float, every: float = 0.25) -> T:
        """Wait until ``look`` returns something true; show that we wait.

        Raises:
            NotSeen: it did not within ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        with self.working(text):
            while True:
                found = look()
                if found:
                    return found
                if time.monotonic() > deadline:
                    raise NotSeen(f"{text}: not within {timeout:.0f} s")
                time.sleep(every)
