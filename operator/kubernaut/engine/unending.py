"""Loops that must not end: nobody looks whether they still go, and what they do would just stay undone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

log = logging.getLogger(__name__)
#: seconds after which a loop begins anew that ended
AGAIN: Final = 5.0


async def unending(name: str, work: Callable[[], Awaitable[None]], again: float = AGAIN) -> None:
    """Do what goes on for ever, and begin anew where it ended by an error that nobody thought of.

    Args:
        name: what is done, for the log.
    """
    while True:
        try:
            await work()
        except Exception:
            log.exception("%s failed unexpectedly; it begins anew", name, extra={"seconds": again})
        await asyncio.sleep(again)
