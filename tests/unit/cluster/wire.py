"""A server that speaks just enough HTTP to misbehave on purpose: reset, hang, cut short, answer anything."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

from kubernaut.cluster.client import ApiConnection
from kubernaut.cluster.credentials import Credentials


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


@dataclass
class Reply:
    """An answer; ``cut`` promises more bytes than it sends, ``stalls`` too, and keeps the connection open."""

    code: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    stalls: bool = False

    def encoded(self) -> bytes:
        body = self.body if isinstance(self.body, bytes) else orjson.dumps(self.body or {})
        length = len(body) + (10 if self.cut or self.stalls else 0)
        lines = [f"HTTP/1.1 {self.code} X", f"Content-Length: {length}", "Content-Type: application/json"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*lines, "", ""]).encode() + body


class Reset:
    """Break the connection once the request was read."""


class Hang:
    """Never answer."""


Script = Callable[[Request], Reply | Reset | Hang]


class Wire:
    """The server; ``script`` decides about each request, ``requests`` holds what arrived."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[Request] = []
        self.host = ""
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._arrival = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                first, *rest = head.strip().split("\r\n")
                method, path, _ = first.split(" ")
                headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in rest)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                request = Request(method, path, headers, body)
                self.requests.append(request)
                self._arrival.set()
                reply = self.script(request)
                if isinstance(reply, Hang):
                    continue
                if isinstance(reply, Reset):
                    raw: socket.socket = writer.get_extra_info("socket")
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    break
                writer.write(reply.encoded())
                await writer.drain()
                if reply.cut:
                    break
        writer.close()

    async def arrived(self, number: int) -> None:
        """Wait until so many requests have arrived."""
        async with asyncio.timeout(10):
            while len(self.requests) < number:
                self._arrival.clear()
                await self._arrival.wait()

    async def close(self) -> None:
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def status(code: int, reason: str, message: str = "no", **more: Any) -> Reply:
    """Return an answer as the API server gives it where it refuses."""
    return Reply(
        code,
        {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message, **more},
    )


class Settings:
    """The part of the official package's configuration that credentials use."""

    def __init__(self, token: str | None = "Bearer one") -> None:
        self.token = token
        self.asked = 0

    async def get_api_key_with_prefix(self, _name: str) -> str | None:
        self.asked += 1
        return self.token


def credentials(host: str, settings: Settings | None = None) -> Credentials:
    return Credentials(host, "default", None, None, None, settings or Settings())


@asynccontextmanager
async def connected(script: Script, **options: Any) -> AsyncIterator[tuple[Wire, ApiConnection]]:
    """A server with this script, and a connection to it."""
    wire = Wire(script)
    server = await asyncio.start_server(wire.serve, "127.0.0.1", 0)
    wire.host = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    settings = options.pop("settings", None)
    async with ApiConnection(credentials(wire.host, settings), **options) as connection:
        yield wire, connection
    server.close()
    await wire.close()
    await server.wait_closed()
