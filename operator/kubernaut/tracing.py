"""Spans as data, and who takes them: nobody, unless traces are wanted. Nothing of OpenTelemetry is needed for it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import Enum
from typing import Final


class Kind(Enum):
    """What a span is: work of our own, a request that we answer, or one that we send."""

    INTERNAL = "internal"
    SERVER = "server"
    CLIENT = "client"


@dataclass(frozen=True, slots=True)
class Span:
    """Something that has ended.

    Attributes:
        trace_id, span_id, parent: as W3C Trace Context writes them; an empty parent is none.
        began, ended: nanoseconds since 1970.
        error: why it failed; empty where it did not.
        link: trace and span of what belongs to it in another trace, or None.
    """

    name: str
    trace_id: str
    span_id: str
    parent: str
    began: int
    ended: int
    attributes: Mapping[str, str | int | bool] = field(default_factory=dict)
    error: str = ""
    kind: Kind = Kind.INTERNAL
    link: tuple[str, str] | None = None


Sink = Callable[[Span], None]
_sinks: Final[list[Sink]] = []
_arrived: ContextVar[int | None] = ContextVar("arrived", default=None)


def take_by(sink: Sink) -> Callable[[], None]:
    """Have spans taken; return what ends that. A sink is quick and never raises."""
    _sinks.append(sink)
    return lambda: _sinks.remove(sink)


def wanted() -> bool:
    """Whether anybody takes spans; who does not ask makes them in vain."""
    return bool(_sinks)


def end(span: Span) -> None:
    """Tell of a span."""
    for sink in _sinks:
        sink(span)


def new_span_id() -> str:
    """Return an id for a span that nobody refers to."""
    return secrets.token_hex(8)


def arrive() -> None:
    """Take note that what this task works on has just arrived."""
    _arrived.set(time.time_ns())


def arrived() -> int:
    """Return when what this task works on arrived; now, where nobody said."""
    return _arrived.get() or time.time_ns()
