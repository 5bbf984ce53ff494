"""A way out that records what is sent, and answers as it is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kubernaut.core.errors import StepError
from kubernaut.core.ports import HttpAnswer, HttpRequest

Reply = HttpAnswer | StepError | Callable[[HttpRequest], HttpAnswer]


@dataclass
class FakeWeb:
    """Answers the next requests in order; when there are no more, with 200."""

    replies: list[Reply] = field(default_factory=list)
    alertmanager: str = ""
    sent: list[HttpRequest] = field(default_factory=list)

    async def send(self, request: HttpRequest) -> HttpAnswer:
        self.sent.append(request)
        reply = self.replies.pop(0) if self.replies else HttpAnswer(200)
        if isinstance(reply, StepError):
            raise reply
        return reply if isinstance(reply, HttpAnswer) else reply(request)


def answer(document: Any, status: int = 200) -> HttpAnswer:
    return HttpAnswer(status, json.dumps(document).encode())
