"""A server that answers one path as a test says, and a clock that a test moves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping

from aiohttp import web


class Server:
    """What is asked, and what is answered.

    Attributes:
        url: what the path asked begins with.
        pause: seconds before an answer.
    """

    def __init__(self, body: str = "") -> None:
        self.status, self.body = 200, body
        self.asked: list[dict[str, str]] = []
        self.headers: dict[str, str] = {}
        self.url = ""
        self.pause = 0.0

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(dict(request.query))
        self.headers = dict(request.headers)
        await asyncio.sleep(self.pause)
        return web.Response(status=self.status, text=self.body, content_type="application/json")


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@contextlib.asynccontextmanager
async def serving(
    one: Server, below: str, path: str, others: Mapping[str, Server] | None = None
) -> AsyncIterator[None]:
    """Serve ``path``, and others by their paths, under ``below``, which is part of the first server's URL."""
    app = web.Application()
    for where, server in {path: one, **(others or {})}.items():
        app.router.add_get(f"/{below}/{where}", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    one.url = f"http://127.0.0.1:{runner.addresses[0][1]}/{below}/"
    try:
        yield
    finally:
        await runner.cleanup()
