"""Operators that can't work, or not yet: started, listened to, ended."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from e2e.world import until
from localrun.process import Operator


def given_up(operator: Operator) -> str:
    """Start an operator that can't work; return its last words, after it ended with 1."""
    operator.start()
    try:
        until("the operator ends", lambda: not operator.running)
    finally:
        status = operator.stop()
    assert status == 1, operator.tail()
    (last,) = [record for record in operator.records() if record["level"] == "CRITICAL"]
    return str(last["message"])


def said(operator: Operator, message: str) -> dict[str, Any]:
    """Wait until the operator's log has a message; return the record."""

    def look() -> dict[str, Any] | None:
        if not operator.log.exists():
            return None
        return next((r for r in operator.records() if message in str(r["message"])), None)

    found = until(f"the log says {message!r}", look)
    assert found is not None
    return found


@contextlib.contextmanager
def running(operator: Operator) -> Iterator[Operator]:
    """Have an operator run that is not ready."""
    operator.start()
    try:
        yield operator
    finally:
        operator.stop()
