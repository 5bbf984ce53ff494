"""HTTP/1.1 as Kubernetes clients speak it: bytes as they are, kept connections, chunked answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

LIMIT = 2**20
_REASONS = {410: "Expired", 429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable"}


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
    def what(self) -> str:
        """The kind of the request without the names in it, as in ``PATCH deployments``."""
        parts = self.path.split("?")[0].split("/")
        rest = parts[parts.index("namespaces") + 2 :] if "namespaces" in parts else parts[-1:]
        return f"{self.method} {'/'.join(part for at, part in enumerate(rest) if at != 1)}"

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
                # A server-side apply without the UID would create the object anew once it is gone.
                applied = b"apply-patch" in self.head
                return bool(meta.get("resourceVersion")) and (not applied or bool(meta.get("uid")))


@dataclass(frozen=True, slots=True)
class Upstream:
    """A connection to the API server."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


async def read_request(reader: asyncio.StreamReader, generation: int) -> Exchange:
    """Read one request.

    Raises:
        asyncio.IncompleteReadError: the client is gone.
    """
    head = await reader.readuntil(b"\r\n\r\n")
    method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
    headers = _headers(head)
    assert "transfer-encoding" not in headers, "the operator's requests have a length"
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Exchange(method, path, head, body, generation)


async def answer(upstream: Upstream, exchange: Exchange) -> AsyncGenerator[bytes, None]:
    """Send a request and yield its answer as it comes: its head, then its pieces, bytes as they are."""
    upstream.writer.write(exchange.head + exchange.body)
    await upstream.writer.drain()
    reader = upstream.reader
    head = await reader.readuntil(b"\r\n\r\n")
    yield head
    code, headers = code_of(head), _headers(head)
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
        part = await reader.read(min(left, 2**16))
        if not part:
            raise asyncio.IncompleteReadError(b"", left)
        left -= len(part)
        yield part


async def whole_answer(upstream: Upstream, exchange: Exchange) -> bytes:
    """Send a request and return all of its answer."""
    return b"".join([piece async for piece in answer(upstream, exchange)])


def code_of(head: bytes) -> int:
    """Return the status of an answer."""
    return int(head.split(b" ", 2)[1])


def chunk(data: bytes) -> bytes:
    """Return data as one piece of a chunked answer."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def unchunked(piece: bytes) -> bytes:
    """Return the data of one piece of a chunked answer."""
    return piece[piece.index(b"\r\n") + 2 : -2]


def status(code: int) -> dict[str, Any]:
    """Return the ``Status`` object of a refusal."""
    reason = _REASONS[code]
    meta = {"metadata": {}, "message": "a fault was injected"}
    return {"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason, **meta}


def refusal(code: int, retry_after: int = 1) -> bytes:
    """Return a refusal as an API server would write it."""
    body = json.dumps(status(code)).encode()
    wait = f"Retry-After: {retry_after}\r\n" if code == 429 else ""
    kind = "Content-Type: application/json\r\n"
    return f"HTTP/1.1 {code} Refused\r\n{kind}{wait}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _headers(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
