"""Text from a cluster, made safe to show: no markup is read in it, no control character reaches the terminal."""

from __future__ import annotations

import re
from typing import Any, Final

from rich.text import Text

# C0 and C1 controls, and the marks that reorder text (UAX #9): a message must not be able to repaint a terminal.
_UNSAFE: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def _shown(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def clean(value: Any) -> str:
    """Return text with every control character written out as an escape; newlines and tabs stay."""
    return _UNSAFE.sub(_shown, str(value))


def line(value: Any) -> str:
    """Return text on one line."""
    return " ".join(clean(value).split())


def safe(value: Any, style: str = "") -> Text:
    """Return a renderable in which brackets are brackets: rich reads no markup in a Text."""
    return Text(clean(value), style=style)


def cell(value: Any, style: str = "") -> Text:
    """Return one table cell: on one line, a dash where there is nothing."""
    text = line(value) if value is not None else ""
    return Text(text or "-", style=style)
