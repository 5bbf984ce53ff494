"""Tells each channel what is due, beside the reconciliations and never in their way."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from kubernaut.engine.live import LiveRun
from kubernaut.engine.posting import Became, Told
from kubernaut.metrics import NOTIFICATIONS, NOTIFICATIONS_PENDING
from kubernaut.notify.channels import Channel
from kubernaut.notify.ledger import Ledger
from kubernaut.notify.message import Message
from kubernaut.notify.waits import Waits
from kubernaut.outside.files import SecretUnreadable

log = logging.getLogger(__name__)
LOOK_EVERY: Final = 1.0
#: most seconds between two attempts at one message: where nobody answers, and where it is refused
AWAY_MOST: Final = 30.0
REFUSED_MOST: Final = 300.0


class Notifier:
    """Looks at live runs each second; a task for each channel sends one message after the other."""

    def __init__(
        self,
        channels: Sequence[Channel],
        waits: Waits,
        ledger: Ledger,
        runs: Callable[[], Iterable[LiveRun]],
        on: Callable[[], bool],
    ) -> None:
        """``on`` says whether people are to be told at all, now."""
        self._channels = channels
        self._waits = waits
        self._ledger = ledger
        self._runs = runs
        self._on = on
        self._wake = {channel.name: asyncio.Event() for channel in channels}
        self._saving = asyncio.Lock()
        for channel in channels:
            for became in Became:
                NOTIFICATIONS.labels(channel.name, became.value)
            NOTIFICATIONS_PENDING.labels(channel.name).set(0)

    async def run(self) -> None:
        """Tell, until cancelled."""
        self._waits.recall(self._ledger.load())
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._look())
            for channel in self._channels:
                tasks.create_task(self._tell(channel))

    async def _look(self) -> None:
        while True:
            if self._on():
                try:
                    if self._waits.look(list(self._runs())):
                        await self._save()
                except Exception:
                    # One odd run is no reason to tell of no other ever again.
                    log.exception("looking who is waited for failed; it is looked again")
                for name, event in self._wake.items():
                    NOTIFICATIONS_PENDING.labels(name).set(self._waits.pending(name))
                    event.set()
            await asyncio.sleep(LOOK_EVERY)

    async def _tell(self, channel: Channel) -> None:
        wake, away = self._wake[channel.name], 0
        while True:
            message = self._waits.due(channel.name) if self._on() else None
            if message is None:
                wake.clear()
                await wake.wait()
                continue
            if await self._send(channel, message) is not Became.UNSENT:
                away = 0
                continue
            # Nobody is there for the others either; they have their turn one by one.
            away += 1
            await asyncio.sleep(min(2.0 ** min(away - 1, 20), AWAY_MOST))

    async def _send(self, channel: Channel, message: Message) -> Became:
        about = {"channel": channel.name, "id": message.key, "event": message.event.value}
        told = await _attempt(channel, message)
        NOTIFICATIONS.labels(channel.name, told.became.value).inc()
        if told.became is Became.SENT:
            self._waits.sent(channel.name, message)
            NOTIFICATIONS_PENDING.labels(channel.name).set(self._waits.pending(channel.name))
            log.info("notified", extra=about)
            await self._save()
            return told.became
        most = AWAY_MOST if told.became is Became.UNSENT else REFUSED_MOST
        self._waits.failed(channel.name, message, most)
        log.warning("could not notify; it is tried again", extra={**about, "why": told.why})
        return told.became

    async def _save(self) -> None:
        async with self._saving:
            await self._ledger.save(self._waits.entries())


async def _attempt(channel: Channel, message: Message) -> Told:
    try:
        return await channel.send(message)
    except SecretUnreadable as error:
        return Told(Became.REFUSED, str(error))
    except ValueError:
        # Its text may hold the address.
        return Told(Became.REFUSED, "what the file holds is no URL that can be asked")
    except Exception:
        log.exception("sending a notification failed unexpectedly", extra={"channel": channel.name})
        return Told(Became.REFUSED, "see the log")
