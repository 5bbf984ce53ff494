"""Which alerts fire, asked of an Alertmanager by its API v2; whoever can't be asked is told of as trouble."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final

import aiohttp

from kubernaut.cluster.breaker import Breaker
from kubernaut.core.errors import Unavailable
from kubernaut.core.guards.deciding import Alerts

#: seconds for which one answer serves everybody who asks
FRESH: Final = 5.0
TIMEOUT: Final = 3.0
MOST_BYTES: Final = 16 * 2**20
#: for so long after its start it may not know of all that fires: it keeps no alerts over a restart, and Prometheus
#: tells of those that fire on each minute, or with each evaluation where these are further apart
NOT_YET_TOLD: Final = timedelta(minutes=3)
_ALERTS: Final = "/api/v2/alerts"
_STATUS: Final = "/api/v2/status"
_QUERY: Final = {"active": "true", "silenced": "true", "inhibited": "true", "unprocessed": "true"}


class Alertmanager:
    """Asks only when somebody wants to know, one request at a time, behind a breaker.

    A silenced alert is none that keeps runs from acting: who silences it says that it is known and no reason to stop.
    But it fires: nothing is remedied by a silence.
    """

    def __init__(
        self,
        url: str,
        clock: Callable[[], datetime],
        *,
        breaker: Breaker | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url.rstrip("/")
        self._told = url
        self._clock = clock
        self._monotonic = monotonic
        self.breaker = breaker or Breaker(f"the Alertmanager at {url}", fail_max=3, probe_every=5.0)
        self._asking = asyncio.Lock()
        self._asked_at = float("-inf")
        self._last = Alerts(trouble="it was not asked yet")

    async def look(self) -> Alerts:
        """Return what fires now, or why that is not known. Never raises."""
        async with self._asking:
            if self._monotonic() - self._asked_at < FRESH:
                return self._last
            asked = self._clock()
            try:
                self.breaker.admit()
            except Unavailable as error:
                return Alerts(trouble=str(error))
            try:
                firing = await self._ask()
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
                self.breaker.failed()
                told = str(error) or type(error).__name__
                self._last = Alerts(trouble=f"the Alertmanager at {self._told} can't be asked: {told[:200]}")
            else:
                self.breaker.succeeded()
                self._last = replace(firing, asked_at=asked)
            self._asked_at = self._monotonic()
            return self._last

    async def _ask(self) -> Alerts:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT)
        async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:
            status, body, _ = await self._get(session, _ALERTS, _QUERY)
            if status != 200:
                raise ValueError(f"it answered {status}")
            found = _list(body)
            for one in found:
                _labels(one)
            # Afterwards, and by the same connection: of several behind one address it is the one that answered.
            lacks = self._lacks(*await self._get(session, _STATUS))
        heard = tuple(_labels(one) for one in found if not _suppressed(one))
        return Alerts(
            heard, fingerprints=frozenset(str(one.get("fingerprint", "")) for one in found), lacks=lacks
        )

    async def _get(
        self, session: aiohttp.ClientSession, path: str, query: dict[str, str] | None = None
    ) -> tuple[int, bytes, str]:
        """Return status, body and the time that an answer says it was given at."""
        async with session.get(self._url + path, params=query, allow_redirects=False) as answer:
            body = bytearray()
            async for piece in answer.content.iter_chunked(65536):
                body += piece
                if len(body) > MOST_BYTES:
                    raise ValueError(f"its answer is larger than {MOST_BYTES} bytes")
            return answer.status, bytes(body), answer.headers.get("Date", "")

    def _lacks(self, status: int, body: bytes, date: str) -> str:
        """Return why it may not know yet of all that fires; nothing also where it does not tell when it started."""
        if status != 200:
            return ""
        try:
            began = datetime.fromisoformat(json.loads(body)["uptime"])
            # By its own clock, where it tells it.
            ran = (parsedate_to_datetime(date) if date else self._clock()) - began
        except (ValueError, TypeError, KeyError):
            return ""
        if ran >= NOT_YET_TOLD:
            return ""
        seconds, minutes = max(int(ran.total_seconds()), 0), NOT_YET_TOLD // timedelta(minutes=1)
        return (
            f"the Alertmanager at {self._told} has run for {seconds} s, and for {minutes} minutes "
            "it may not have been told of all that fires"
        )


def _list(body: bytes) -> list[Any]:
    found = json.loads(body)
    if not isinstance(found, list):
        raise ValueError("its answer is no list of alerts")
    return found


def _suppressed(alert: Any) -> bool:
    """Whether an alert is silenced or inhibited."""
    status = alert.get("status") if isinstance(alert, dict) else None
    return isinstance(status, dict) and status.get("state") == "suppressed"


def _labels(alert: Any) -> dict[str, str]:
    labels = alert.get("labels") if isinstance(alert, dict) else None
    if not isinstance(labels, dict):
        raise ValueError("an alert in its answer has no labels")
    return {str(key): str(value) for key, value in labels.items()}
