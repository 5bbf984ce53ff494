"""Which of two views of an object is the newer one."""

from __future__ import annotations


def newer(version: str, than: str) -> bool:
    """Whether a resourceVersion is newer than another one, or than none (they are ordered integers since 1.35)."""
    try:
        return int(version) > int(than or 0)
    except ValueError:
        return version != than
