"""Loops that must not end: nobody looks whether they still go, and what they do would just stay undone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from kubernaut.core.errors import ClusterError

T = TypeVar("T")
log = logging.getLogger(__name__)
#: seconds after which a loop begins anew that ended
AGAIN: Final = 5.0


class Interrupted(Exception):
    """What was waited for was cancelled by somebody else."""


async def uninterrupted(work: Awaitable[T]) -> T:
    """Do something; a task cancelled that it shares with others is an error of the work, not the end of who does it.

    Raises:
        Interrupted: such a task was cancelled.
    """
    try:
        return await work
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise Interrupted("a task that was waited for was cancelled by somebody else") from error


async def unending(name: str, work: Callable[[], Awaitable[None]], again: float = AGAIN) -> None:
    """Do what goes on for ever, and begin anew where it ended by an error that nobody thought of.

    Args:
        name: what is done, for the log.
    """
    while True:
        try:
            await uninterrupted(work())
        except Exception:
            log.exception("%s failed unexpectedly; it begins anew", name, extra={"seconds": again})
        await asyncio.sleep(again)


async def patiently(work: Callable[[], Awaitable[None]], prove: Callable[[], None]) -> None:
    """Do what a start needs; wait for an API server that is away or not ready yet.

    Args:
        prove: is called while it waits: that is all there is to do, and a restart would mend nothing.

    Raises:
        ClusterError: the API server refused, and will again.
    """
    pause = 0.25
    while True:
        try:
            await work()
            return
        except ClusterError as error:
            if not error.transient:
                raise
            log.warning("waiting for the API server", extra={"error": str(error)})
        prove()
        await asyncio.sleep(pause)
        pause = min(pause * 2, 10.0)
