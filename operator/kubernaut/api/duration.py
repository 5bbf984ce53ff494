"""Durations as Kubernetes writes them (Go's form: ``1h30m``, ``250ms``)."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from kubernaut.api.markers import Rule

PATTERN: Final = r"^([0-9]{1,6}(ms|s|m|h)){1,4}$"
MAX_LENGTH: Final = 32
LONGEST: Final = timedelta(hours=8760)
DAY_LONGEST: Final = timedelta(hours=24)
DAY_RULE: Final = Rule("duration(self) <= duration('24h')", "this duration is at most 24h")
RULE: Final = Rule("duration(self) <= duration('8760h')", "a duration is at most 8760h, which is a year")
_PART: Final = re.compile(r"([0-9]+)(ms|s|m|h)")
_UNITS: Final = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
}


def parse_duration(text: str) -> timedelta:
    """Parse a Go duration of whole numbers, such as ``1m30s``.

    Raises:
        ValueError: the text is not such a duration, or is longer than a year.
    """
    if len(text) > MAX_LENGTH or not re.fullmatch(PATTERN[1:-1], text, re.ASCII):
        raise ValueError(
            f"{text!r} is not a duration; write whole numbers with units ms, s, m or h, as in 1m30s"
        )
    value = sum((int(count) * _UNITS[unit] for count, unit in _PART.findall(text)), timedelta())
    if value > LONGEST:
        raise ValueError(f"{text!r} is too long: {RULE.message}")
    return value


def format_duration(value: timedelta) -> str:
    """Write a duration the way Kubernetes does; whole milliseconds, rounded down."""
    milliseconds = int(value / timedelta(milliseconds=1))
    if milliseconds == 0:
        return "0s"
    parts: list[str] = []
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)):
        count, milliseconds = divmod(milliseconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)


def _validate(value: Any) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, str):
        return parse_duration(value)
    raise ValueError(f"{value!r} is not a duration; write a string such as 1m30s")


Duration = Annotated[
    timedelta,
    BeforeValidator(_validate),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": PATTERN,
            "maxLength": MAX_LENGTH,
            "x-kubernetes-validations": [RULE.schema()],
        }
    ),
]


def _validate_day(value: Any) -> timedelta:
    found = _validate(value)
    if found > DAY_LONGEST:
        raise ValueError(f"{value!r} is too long: {DAY_RULE.message}")
    return found


DayDuration = Annotated[
    timedelta,
    BeforeValidator(_validate_day),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": PATTERN,
            "maxLength": MAX_LENGTH,
            "x-kubernetes-validations": [DAY_RULE.schema()],
        }
    ),
]
