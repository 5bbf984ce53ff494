"""Slack, by an incoming webhook."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from slack_sdk.models.blocks import Block, HeaderBlock, MarkdownTextObject, PlainTextObject, SectionBlock

from kubernaut.engine.posting import Poster, Told
from kubernaut.notify.message import Event, Message
from kubernaut.outside.files import secret_in

_HEADER: Final = 150
_SECTION: Final = 2900


@dataclass(slots=True)
class Slack:
    """An incoming webhook of Slack; its URL is the secret.

    The blocks are slack_sdk's, which knows their bounds; our own client sends them, for slack_sdk's writes the URL
    into its log, follows redirects and proxies, and connects to any address.
    """

    poster: Poster
    url: Path
    name: str = "slack"

    async def send(self, message: Message) -> Told:
        """Send it once. Raises SecretUnreadable."""
        url = secret_in(self.url, "KUBERNAUT_NOTIFY_SLACK_URL")
        return await self.poster.post(url, message.key, slack_payload(message))


def slack_payload(message: Message) -> dict[str, Any]:
    """Return a message as Slack takes it; what a Workflow or a cluster says can't mention anybody there."""
    facts = "\n".join(f"*{name}*: {_plain(value)}" for name, value in message.facts())
    blocks: list[Block] = [
        HeaderBlock(text=PlainTextObject(text=_cut(message.title, _HEADER), emoji=False)),
        SectionBlock(text=MarkdownTextObject(text=_cut(facts, _SECTION), verbatim=True)),
    ]
    if message.event is not Event.RESOLVED:
        if message.asked.effects:
            effects = "\n".join(f"• {_plain(effect)}" for effect in message.asked.effects)
            told = f"*What would be done*\n{effects}"
            blocks.append(SectionBlock(text=MarkdownTextObject(text=_cut(told, _SECTION), verbatim=True)))
        commands = "\n".join(map(_plain, message.commands.values()))
        blocks.append(
            SectionBlock(text=MarkdownTextObject(text=f"*To answer*\n```{commands}```", verbatim=True))
        )
    return {"text": _plain(message.title), "blocks": [block.to_dict() for block in blocks]}


def _plain(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
