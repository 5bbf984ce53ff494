"""The forms of output, apart from what makes them: options must not wait for the drawing library."""

from __future__ import annotations

from enum import StrEnum


class Format(StrEnum):
    """What ``-o`` can say."""

    TEXT = "text"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"

    @property
    def for_programs(self) -> bool:
        return self in (Format.JSON, Format.YAML)
