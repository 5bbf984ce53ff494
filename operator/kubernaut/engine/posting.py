"""Telling somebody outside by POST: JSON with an ``Idempotency-Key``, behind a breaker of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import orjson
from yarl import URL

from kubernaut.cluster.breaker import Breaker
from kubernaut.core.errors import StepError, Unavailable
from kubernaut.core.ports import HttpRequest, Web

TIMEOUT: Final = 5.0
_ANSWERED: Final = range(200, 300)
_BUSY: Final = 429


class Became(StrEnum):
    """What became of telling: it was taken; it was refused; nobody was there, or it is not known."""

    SENT = "sent"
    REFUSED = "refused"
    UNSENT = "unsent"


@dataclass(frozen=True, slots=True)
class Told:
    """What became of it, and in a few words why; these never hold the address."""

    became: Became
    why: str = ""


@dataclass(slots=True)
class Poster:
    """Sends JSON to one place, named by the operator's settings: no Workflow decides where it goes.

    Attributes:
        web: what may reach one URL and no other host.
    """

    web: Callable[[str], Web]
    breaker: Breaker

    async def post(self, url: str, key: str, body: object, headers: Mapping[str, str] | None = None) -> Told:
        """Send it, once; what comes twice, after a crash, has the same key. Never raises."""
        try:
            self.breaker.admit()
        except Unavailable as error:
            return Told(Became.UNSENT, str(error))
        sent = {"Content-Type": "application/json", "Idempotency-Key": key, **(headers or {})}
        request = HttpRequest("POST", url, sent, orjson.dumps(body), timeout=TIMEOUT, most=1024)
        try:
            answer = await self.web(url).send(request)
        except StepError as error:
            self.breaker.failed()
            return Told(Became.UNSENT, str(error).replace(url, "its address"))
        if answer.status in _ANSWERED:
            self.breaker.succeeded()
            return Told(Became.SENT)
        if answer.status == _BUSY or answer.status >= 500:
            self.breaker.failed()
            return Told(Became.UNSENT, f"it answered {answer.status}")
        self.breaker.succeeded()
        return Told(Became.REFUSED, f"it answered {answer.status}")


def host_of(url: str) -> str:
    """Return where a URL leads, as an entry of allowed hosts: it alone is allowed to the one who sends there."""
    found = URL(url)
    host = f"[{found.host}]" if ":" in (found.host or "") else found.host
    return f"{host}:{found.port}"
