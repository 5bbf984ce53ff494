"""The event loop's signals and complaints."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine
from typing import Any

log = logging.getLogger(__name__)


def on_signals(call: Callable[[], None]) -> None:
    """Have SIGTERM and SIGINT call a function."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, call)


async def done_before(work: Coroutine[Any, Any, None], stop: asyncio.Event) -> bool:
    """Do some work unless told to stop before it is done; return whether it was. Raises what the work raises."""
    working, told = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({working, told}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            await working
            return True
        return False
    finally:
        for task in (working, told):
            task.cancel()
        await asyncio.gather(working, told, return_exceptions=True)


def unless_closed(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Keep quiet about TLS connections that were broken off: uvloop may still try to write a good-bye to them."""
    if context["message"] == "Fatal error on SSL protocol" and "closed" in str(context.get("exception")):
        log.debug("a connection was closed already: %s", context.get("exception"))
    else:
        loop.default_exception_handler(context)


def unless_kopf_ends(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Keep quiet about watches that Kopf leaves half closed when it ends; nothing is lost with them."""
    if "asyncgen" in context:
        log.debug("a watch was not closed: %s", context["message"])
    else:
        unless_closed(loop, context)
