"""What the event loop reports is told, but for connections that were broken off."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from kubernaut.loop import unless_closed

BROKEN_OFF: dict[str, Any] = {
    "message": "Fatal error on SSL protocol",
    "exception": RuntimeError(
        "unable to perform operation on <TCPTransport closed=True>; the handler is closed"
    ),
}


@pytest.mark.parametrize(
    ("context", "told"),
    [
        (BROKEN_OFF, False),
        ({**BROKEN_OFF, "exception": OSError("no route")}, True),
        ({"message": "Task exception was never retrieved", "exception": ValueError("x")}, True),
    ],
)
def test_only_a_connection_that_was_broken_off_is_no_news(
    context: dict[str, Any], told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    loop = asyncio.new_event_loop()
    try:
        unless_closed(loop, context)
    finally:
        loop.close()
    assert any(record.levelno >= logging.ERROR for record in caplog.records) is told
