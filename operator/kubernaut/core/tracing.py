"""Which trace and spans belong to an object: they follow from its UID, so every life of every replica knows them.

The ids are those of W3C Trace Context: 16 and 8 bytes as hexadecimal digits, not all of them zero.
"""

from __future__ import annotations

import hashlib
from typing import Final
from uuid import UUID

_INTAKE: Final = "intake"


def trace_id(uid: str) -> str:
    """Return the trace of an object: its UID without the dashes, so that who knows one finds the other."""
    try:
        found = UUID(uid).hex
    except ValueError:
        found = ""
    return found if found.strip("0") else hashlib.sha256(uid.encode()).hexdigest()[:32]


def span_id(uid: str, *of: str) -> str:
    """Return the span of a part of it, or of the whole."""
    return hashlib.sha256("/".join((uid, *of)).encode()).hexdigest()[:16]


def step_span(uid: str, step: str) -> str:
    """Return the span of a step of a run."""
    return span_id(uid, "steps", step)


def intake_span(uid: str) -> str:
    """Return the span in which an alert started a run."""
    return span_id(uid, _INTAKE)
