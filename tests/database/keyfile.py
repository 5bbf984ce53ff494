"""Keys to encrypt with, in a file as a Secret is mounted."""

from __future__ import annotations

import base64
import os
from pathlib import Path

from kubernaut.history.encryption import KeyRing


def key() -> str:
    return base64.b64encode(os.urandom(32)).decode() + "\n"


class Keys:
    """The file of a mounted Secret, and the keys in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ring = KeyRing(path)
        self.lines = [key()]
        self.write()

    def write(self) -> None:
        self.path.write_text("".join(self.lines))

    def add(self) -> None:
        """Have a new key encrypt."""
        self.lines.insert(0, key())
        self.write()

    def forget(self) -> None:
        """Take the oldest key away."""
        self.lines.pop()
        self.write()
