"""Short garbage collections: what a long one found alive is not looked through again.

A full collection holds the event loop for as long as it looks at all objects, 0.1 s and more of them with a thousand
live runs; nearly all of what it looks at was there the last time. Python has no incremental collector before 3.14.
"""

from __future__ import annotations

import gc
import time
from typing import Any, Final

#: seconds of processor time from which on a collection counts as long
LONG: Final = 0.025
#: how many objects more than twice those of the start may be set aside before all are looked through once
SLACK: Final = 300_000


class ShortCollections:
    """Sets aside (``gc.freeze``) what outlived a long collection.

    What is set aside and no longer needed still goes at once, unless it is part of a cycle. Such cycles add up
    slowly; when there may be many, the next collection looks through everything once.
    """

    def __init__(self, long: float = LONG, slack: int = SLACK) -> None:
        self._long = long
        self._slack = slack
        self._most: int | None = None
        self._began = 0.0

    def install(self) -> None:
        """Begin."""
        gc.callbacks.append(self._on_collection)

    def remove(self) -> None:
        """End."""
        gc.callbacks.remove(self._on_collection)

    def set_aside(self) -> None:
        """Set aside everything there is, as at a moment when it is all needed."""
        gc.freeze()
        self._most = 2 * gc.get_freeze_count() + self._slack

    def _on_collection(self, phase: str, info: dict[str, Any]) -> None:
        if info["generation"] != 2:
            return
        if phase == "start":
            self._began = time.thread_time()
        elif self._most is None:
            self.set_aside()
        elif time.thread_time() - self._began >= self._long:
            gc.freeze()
            if gc.get_freeze_count() > self._most:
                gc.unfreeze()
                self._most = None
