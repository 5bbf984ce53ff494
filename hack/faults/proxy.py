"""A TLS relay in front of an API server that loses, delays and doubles requests, and tells of each beforehand.

It speaks HTTP/1.1 with kept connections, hands every header on untouched (tokens and impersonation included) and
lets watches stream. What happens to a request is decided by a ``Script``; the product knows nothing of all this.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import ssl
import subprocess
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import yaml

_LIMIT = 2**20
_LATE_SECONDS = (1.0, 0.3, 2.5)
_SLOW_SECONDS = 0.7


class Fault(StrEnum):
    """What happens to one request."""

    KILL_BEFORE = "killed before sending"
    KILL_UNANSWERED = "killed after sending, the answer dropped"
    KILL_AFTER = "killed after the answer"
    KILL_LATE = "killed, and what it had sent arrives later"
    DROP = "answer dropped"
    RESET = "connection reset before sending"
    SLOW = "answered late"
    TWICE = "sent twice"
    BUSY = "429"
    BROKEN = "500"
    AWAY = "503"
    CUT = "watch cut off after a while"
    GONE = "watch answered 410"


KILLS = (Fault.KILL_BEFORE, Fault.KILL_UNANSWERED, Fault.KILL_AFTER, Fault.KILL_LATE)
DISTURBANCES = (Fault.DROP, Fault.RESET, Fault.SLOW, Fault.TWICE, Fault.BUSY, Fault.BROKEN, Fault.AWAY)
WATCH_DISTURBANCES = (Fault.CUT, Fault.GONE, Fault.RESET, Fault.AWAY)
_REFUSALS = {Fault.GONE: 410, Fault.BUSY: 429, Fault.BROKEN: 500, Fault.AWAY: 503}


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request on its way. ``generation`` says which of the operator's processes sent it."""

    method: str
    path: str
    head: bytes
    body: bytes
    generation: int

    @property
    def mutates(self) -> bool:
        """Whether it may change a stored object: no dry run, and no question asked by POST."""
        asks = "/authorization.k8s.io/" in self.path or "/authentication.k8s.io/" in self.path
        return self.method != "GET" and not asks and "dryRun=" not in self.path

    @property
    def streams(self) -> bool:
        return "watch=" in self.path

    @property
    def fenced(self) -> bool:
        """Whether it carries a precondition (DESIGN section 5)."""
        body: dict[str, Any] = json.loads(self.body) if self.body else {}
        meta = body.get("metadata") or {}
        match self.method:
            case "DELETE":
                return bool((body.get("preconditions") or {}).get("uid"))
            case "POST" if self.path.split("?")[0].endswith("/eviction"):
                return bool(((body.get("deleteOptions") or {}).get("preconditions") or {}).get("uid"))
            case "POST":
                return bool(meta.get("name"))
            case _:
                return bool(meta.get("resourceVersion"))


class Script(Protocol):
    """Decides what happens to each request."""

    def decide(self, exchange: Exchange) -> Fault | None:
        """Return the fault that befalls a request, or None; asked once for each, before it is sent."""
        ...

    def kill(self) -> None:
        """Kill the operator now."""
        ...


class Peace:
    """Nothing happens."""

    def decide(self, exchange: Exchange) -> Fault | None:
        return None

    def kill(self) -> None:
        raise AssertionError("nobody is killed in peace")


@dataclass(frozen=True, slots=True)
class _Upstream:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class Proxy:
    """Relays from a port on loopback to an API server.

    Attributes:
        generation: raised whenever another process of the operator begins, so that what an earlier one had sent is
            told from what the next one sends.
        attempts: when requests came in (the loop's clock), and which.
        unfenced: mutating requests without a precondition, as ``METHOD path``.
    """

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        self._config = config
        self._target = urlsplit(config["clusters"][0]["cluster"]["server"])
        authority = base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"])
        self._upstream_tls = ssl.create_default_context(cadata=authority.decode())
        self._folder = folder
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._lateness = itertools.cycle(_LATE_SECONDS)
        self._held = 0
        self._watches: set[asyncio.StreamWriter] = set()
        self._arrived = asyncio.Event()
        self.script: Script = Peace()
        self.generation = 0
        self.attempts: list[tuple[float, Exchange]] = []
        self.unfenced: list[str] = []

    async def start(self) -> Path:
        """Listen; return a kubeconfig like the given one that leads here."""
        self._folder.mkdir(parents=True, exist_ok=True)
        key, certificate = self._folder / "proxy.key", self._folder / "proxy.crt"
        command = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ]
        command += ["-days", "2", "-subj", "/CN=faults", "-addext", "subjectAltName=IP:127.0.0.1"]
        command += ["-addext", "basicConstraints=critical,CA:TRUE"]
        command += ["-addext", "keyUsage=critical,digitalSignature,keyCertSign"]
        command += ["-keyout", str(key), "-out", str(certificate)]
        await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate, key)
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=tls, limit=_LIMIT)
        port = self._server.sockets[0].getsockname()[1]
        cluster = self._config["clusters"][0]["cluster"]
        cluster["server"] = f"https://127.0.0.1:{port}"
        cluster["certificate-authority-data"] = base64.b64encode(certificate.read_bytes()).decode()
        path = self._folder / "proxied.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(self._config))
        return path

    async def stop(self) -> None:
        """Close everything."""
        if self._server is not None:
            self._server.close()
        for task in list(self._serving):
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def all_arrived(self) -> None:
        """Wait until nothing is held back any more."""
        while self._held:
            self._arrived.clear()
            await self._arrived.wait()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            await self._serve(reader, writer, self.generation)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # one side is gone, or we are: so is the connection
        finally:
            writer.transport.abort()
            self._serving.discard(task)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, generation: int
    ) -> None:
        upstream: _Upstream | None = None
        try:
            while True:
                exchange = await _read_request(reader, generation)
                self.attempts.append((asyncio.get_running_loop().time(), exchange))
                if exchange.mutates and not exchange.fenced:
                    self.unfenced.append(f"{exchange.method} {exchange.path}")
                if upstream is None or upstream.reader.at_eof():
                    if upstream is not None:
                        upstream.writer.transport.abort()
                    upstream = await self._connect()
                fault = self.script.decide(exchange)
                if fault is None and exchange.streams:
                    await self._stream(upstream, exchange, writer)
                elif fault is None:
                    await _relay(upstream, exchange, writer)
                elif not await self._befall(fault, exchange, upstream, writer):
                    return
        finally:
            if upstream is not None:
                upstream.writer.transport.abort()

    async def _stream(self, upstream: _Upstream, exchange: Exchange, writer: asyncio.StreamWriter) -> None:
        self._watches.add(writer)
        try:
            await _relay(upstream, exchange, writer)
        finally:
            self._watches.discard(writer)

    def cut_watches(self) -> int:
        """Cut off all watches that are open; return how many there were."""
        for writer in self._watches:
            writer.transport.abort()
        return len(self._watches)

    async def _connect(self) -> _Upstream:
        host, port = self._target.hostname, self._target.port
        return _Upstream(*await asyncio.open_connection(host, port, ssl=self._upstream_tls, limit=_LIMIT))

    async def _befall(
        self, fault: Fault, exchange: Exchange, upstream: _Upstream, writer: asyncio.StreamWriter
    ) -> bool:
        """Let a fault happen to a request; return whether the connection lives on."""
        match fault:
            case Fault.KILL_BEFORE:
                self.script.kill()
                return False
            case Fault.KILL_LATE:
                self.script.kill()
                self._held += 1
                try:
                    await asyncio.sleep(next(self._lateness))
                    await _whole_answer(upstream, exchange)
                finally:
                    self._held -= 1
                    self._arrived.set()
                return False
            case Fault.KILL_UNANSWERED:
                await _whole_answer(upstream, exchange)
                self.script.kill()
                return False
            case Fault.KILL_AFTER:
                writer.write(await _whole_answer(upstream, exchange))
                await writer.drain()
                self.script.kill()
                return False
            case Fault.RESET:
                return False
            case Fault.DROP:
                await _whole_answer(upstream, exchange)
                return False
            case Fault.SLOW:
                await asyncio.sleep(_SLOW_SECONDS)
                await _relay(upstream, exchange, writer)
            case Fault.TWICE:
                await _whole_answer(upstream, exchange)
                await _relay(upstream, exchange, writer)
            case Fault.CUT:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_SLOW_SECONDS):
                        await _relay(upstream, exchange, writer)
                return False
            case _:
                writer.write(_refusal(_REFUSALS[fault]))
                await writer.drain()
        return True


async def _read_request(reader: asyncio.StreamReader, generation: int) -> Exchange:
    head = await reader.readuntil(b"\r\n\r\n")
    method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
    headers = _headers(head)
    assert "transfer-encoding" not in headers, "the operator's requests have a length"
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Exchange(method, path, head, body, generation)


def _headers(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}


async def _relay(upstream: _Upstream, exchange: Exchange, writer: asyncio.StreamWriter) -> None:
    async with contextlib.aclosing(_answer(upstream, exchange)) as pieces:
        async for piece in pieces:
            writer.write(piece)
            await writer.drain()


async def _whole_answer(upstream: _Upstream, exchange: Exchange) -> bytes:
    return b"".join([piece async for piece in _answer(upstream, exchange)])


async def _answer(upstream: _Upstream, exchange: Exchange) -> AsyncGenerator[bytes, None]:
    """Send a request and yield its answer as it comes, bytes as they are."""
    upstream.writer.write(exchange.head + exchange.body)
    await upstream.writer.drain()
    reader = upstream.reader
    head = await reader.readuntil(b"\r\n\r\n")
    yield head
    code, headers = int(head.split(b" ", 2)[1]), _headers(head)
    if code in (204, 304):
        return
    if headers.get("transfer-encoding") == "chunked":
        while True:
            line = await reader.readuntil(b"\r\n")
            piece = await reader.readexactly(int(line, 16) + 2)
            yield line + piece
            if line == b"0\r\n":
                return
    left = int(headers["content-length"])
    while left:
        piece = await reader.read(min(left, 2**16))
        if not piece:
            raise asyncio.IncompleteReadError(b"", left)
        left -= len(piece)
        yield piece


def _refusal(code: int) -> bytes:
    reason = {410: "Expired", 429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable"}[code]
    status = {"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason}
    body = json.dumps({**status, "metadata": {}, "message": "a fault was injected"}).encode()
    wait = "Retry-After: 1\r\n" if code == 429 else ""
    head = f"HTTP/1.1 {code} {reason}\r\nContent-Type: application/json\r\n{wait}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body
