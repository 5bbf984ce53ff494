"""Where messages go: a webhook of JSON; others are in ``slack.py`` and ``mail.py``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kubernaut.engine.posting import Poster, Told
from kubernaut.notify.message import Message
from kubernaut.outside.files import secret_in


class Channel(Protocol):
    """One way to reach people; ``name`` is its label in metrics."""

    name: str

    async def send(self, message: Message) -> Told:
        """Send it once. Raises SecretUnreadable where what it needs can't be read."""
        ...


@dataclass(slots=True)
class Webhook:
    """JSON to a URL that a file tells, with a bearer token where a file tells one."""

    poster: Poster
    url: Path
    token: Path | None = None
    name: str = "webhook"

    async def send(self, message: Message) -> Told:
        """Send it once. Raises SecretUnreadable."""
        url = secret_in(self.url, "KUBERNAUT_NOTIFY_WEBHOOK_URL")
        headers = {}
        if self.token is not None:
            token = secret_in(self.token, "KUBERNAUT_NOTIFY_WEBHOOK_TOKEN")
            headers["Authorization"] = f"Bearer {token}"
        return await self.poster.post(url, message.key, message.data(), headers)
