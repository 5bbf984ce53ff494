"""The intake of one replica, put together; all replicas take alerts, whichever the Service sends them to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from datetime import datetime

from kubernaut.config import Settings
from kubernaut.core.plan import Plan
from kubernaut.core.ports import Manifest
from kubernaut.engine.ports import Accounts
from kubernaut.engine.unending import unending
from kubernaut.intake.episodes import Episodes
from kubernaut.intake.incidents import Incidents
from kubernaut.intake.matching import Matching, Triggers
from kubernaut.intake.notifications import Notifications
from kubernaut.intake.receiver import Access, Receiver

log = logging.getLogger(__name__)


class Intake:
    """Takes alerts."""

    def __init__(
        self,
        settings: Settings,
        accounts: Accounts,
        workflows: Callable[[], Iterable[Manifest]],
        plan_of: Callable[[Manifest], Plan],
        clock: Callable[[], datetime],
        not_ready: Callable[[], str | None],
    ) -> None:
        """Put it together.

        Raises:
            IntakeInvalid: the settings would let anybody in, or name files that can't be used.
        """
        self._settings = settings
        self._writing: asyncio.Task[None] | None = None
        episodes = Episodes(accounts.own())
        self._incidents = Incidents(episodes, clock)
        matching = Matching(accounts, Triggers(workflows, plan_of), settings.alerts_namespace_label)
        names = (name.strip() for name in settings.alerts_receivers.split(","))
        self._receiver = Receiver(
            Notifications(matching, episodes, self._incidents, clock),
            Access(
                settings.alerts_tokens,
                settings.alerts_certificate,
                settings.alerts_key,
                settings.alerts_client_ca,
            ),
            receivers=frozenset(filter(None, names)),
            most_bytes=settings.alerts_bytes,
            not_ready=not_ready,
        )

    async def start(self) -> None:
        """Begin to take alerts.

        Raises:
            OSError: the port can't be had.
        """
        assert self._settings.alerts_port is not None
        port = await self._receiver.start(self._settings.alerts_bind, self._settings.alerts_port)
        log.info("receiving alerts", extra={"port": port})
        self._writing = asyncio.create_task(unending("writing which alerts joined", self._incidents.run))

    async def stop(self) -> None:
        """Answer what is under way, take no more, and write what is not written yet; twice is once."""
        if self._writing is None:
            return
        await self._receiver.stop()
        self._writing.cancel()
        self._writing = None
        await self._incidents.flush()
