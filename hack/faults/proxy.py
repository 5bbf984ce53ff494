"""A TLS relay in front of an API server that loses, delays and doubles requests, and tells of each beforehand.

It speaks HTTP/1.1 with kept connections, hands every header on untouched (tokens and impersonation included) and
lets watches stream. What happens to a request is decided by a ``Script``; the product knows nothing of all this.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import yaml

from faults.events import Meddler
from faults.fault import REFUSALS, Fault
from faults.places import Place
from faults.wire import LIMIT, Exchange, Upstream, answer, chunk, code_of, read_request, refusal, unchunked
from faults.wire import whole_answer as _whole_answer

_LATE_SECONDS = (1.0, 0.3, 2.5)
_SLOW_SECONDS = 0.7


class Script(Protocol):
    """Decides what happens to each request."""

    def decide(self, exchange: Exchange) -> Fault | None:
        """Return the fault that befalls a request, or None; asked once for each, before it is sent."""
        ...

    def kill(self) -> None:
        """Kill the operator now."""
        ...

    def meddler(self, exchange: Exchange) -> Meddler | None:
        """Return what meddles with the events of a watch, or None."""
        ...


class Peace:
    """Nothing happens."""

    def decide(self, exchange: Exchange) -> Fault | None:
        return None

    def kill(self) -> None:
        raise AssertionError("nobody is killed in peace")

    def meddler(self, exchange: Exchange) -> Meddler | None:
        return None


@dataclass(frozen=True, slots=True)
class Attempt:
    """A request that came in; ``at`` by the loop's clock, in seconds."""

    at: float
    what: str
    mutates: bool
    streams: bool


def self_signed(folder: Path) -> tuple[Path, Path]:
    """Make a key and a certificate for 127.0.0.1."""
    folder.mkdir(parents=True, exist_ok=True)
    key, certificate = folder / "proxy.key", folder / "proxy.crt"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=faults"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:TRUE"]
    command += ["-addext", "keyUsage=critical,digitalSignature,keyCertSign"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return key, certificate


class Proxy:
    """Relays from a port on loopback to an API server.

    Attributes:
        generation: raised whenever another process of the operator begins, so that what an earlier one had sent is
            told from what the next one sends.
        attempts: what came in since it was last set to a list; None keeps nothing.
        unfenced: mutating requests without a precondition, as ``METHOD path``.
    """

    def __init__(self, kubeconfig: Path, folder: Path, place: Place) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        self._config = config
        self._target = urlsplit(config["clusters"][0]["cluster"]["server"])
        authority = base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"])
        self._upstream_tls = ssl.create_default_context(cadata=authority.decode())
        self._folder = folder
        self._place = place
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._lateness = itertools.cycle(_LATE_SECONDS)
        self._late: set[asyncio.Future[None]] = set()
        self._watches: set[asyncio.StreamWriter] = set()
        self._clients: set[asyncio.StreamWriter] = set()
        self.script: Script = Peace()
        self.generation = 0
        self.attempts: list[Attempt] | None = None
        self.unfenced: list[str] = []

    async def start(self) -> Path:
        """Listen; return a kubeconfig like the given one that leads here."""
        key, certificate = await asyncio.to_thread(self_signed, self._folder)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate, key)
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=tls, limit=LIMIT)
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

    def lead_to(self, server: str) -> None:
        """Cut the operator off, and relay what comes from now on to another API server.

        What is under way there stays so: it may still land.
        """
        self._target = urlsplit(server)
        for writer in self._clients:
            writer.transport.abort()

    async def all_arrived(self) -> None:
        """Wait until what is held back now has arrived."""
        if self._late:
            await asyncio.wait(self._late)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        self._clients.add(writer)
        try:
            await self._serve(reader, writer, self.generation)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # one side is gone, or we are: so is the connection
        finally:
            writer.transport.abort()
            self._serving.discard(task)
            self._clients.discard(writer)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, generation: int
    ) -> None:
        upstream: Upstream | None = None
        target = self._target
        try:
            while True:
                exchange = self._place.turned(await read_request(reader, generation))
                self._note(exchange)
                if upstream is None or upstream.reader.at_eof() or target is not self._target:
                    if upstream is not None:
                        upstream.writer.transport.abort()
                    target = self._target
                    upstream = await self._connect(target)
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

    def _note(self, exchange: Exchange) -> None:
        if self.attempts is not None:
            now = asyncio.get_running_loop().time()
            self.attempts.append(Attempt(now, exchange.what, exchange.mutates, exchange.streams))
        if exchange.mutates and not exchange.fenced:
            self.unfenced.append(f"{exchange.method} {exchange.path}")

    async def _stream(self, upstream: Upstream, exchange: Exchange, writer: asyncio.StreamWriter) -> None:
        self._watches.add(writer)
        meddler = self.script.meddler(exchange)
        try:
            await (
                _meddle(upstream, exchange, writer, meddler)
                if meddler
                else _relay(upstream, exchange, writer)
            )
        finally:
            self._watches.discard(writer)

    def cut_watches(self) -> int:
        """Cut off all watches that are open; return how many there were."""
        for writer in self._watches:
            writer.transport.abort()
        return len(self._watches)

    async def _connect(self, target: Any) -> Upstream:
        return Upstream(
            *await asyncio.open_connection(target.hostname, target.port, ssl=self._upstream_tls, limit=LIMIT)
        )

    async def _befall(
        self, fault: Fault, exchange: Exchange, upstream: Upstream, writer: asyncio.StreamWriter
    ) -> bool:
        """Let a fault happen to a request; return whether the connection lives on."""
        match fault:
            case Fault.KILL_BEFORE:
                self.script.kill()
                return False
            case Fault.KILL_LATE:
                self.script.kill()
                await self._arrive_late(upstream, exchange)
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
                writer.write(refusal(REFUSALS[fault]))
                await writer.drain()
        return True

    async def _arrive_late(self, upstream: Upstream, exchange: Exchange) -> None:
        arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._late.add(arrived)
        try:
            await asyncio.sleep(next(self._lateness))
            await _whole_answer(upstream, exchange)
        finally:
            self._late.discard(arrived)
            arrived.set_result(None)


async def _relay(upstream: Upstream, exchange: Exchange, writer: asyncio.StreamWriter) -> None:
    async with contextlib.aclosing(answer(upstream, exchange)) as pieces:
        async for piece in pieces:
            writer.write(piece)
            await writer.drain()


async def _meddle(
    upstream: Upstream, exchange: Exchange, writer: asyncio.StreamWriter, meddler: Meddler
) -> None:
    """Relay a watch event by event, as a meddler lets them through."""
    async with contextlib.aclosing(answer(upstream, exchange)) as pieces:
        head = await anext(pieces)
        writer.write(head)
        if code_of(head) != 200:
            async for piece in pieces:
                writer.write(piece)
            return
        rest = b""
        async for piece in pieces:
            *lines, rest = (rest + unchunked(piece)).split(b"\n")
            for line in lines:
                passed, ended = await meddler.passed(line + b"\n")
                writer.writelines(chunk(one) for one in passed)
                await writer.drain()
                if ended:
                    writer.write(b"0\r\n\r\n")
                    return
    writer.write(b"0\r\n\r\n")
