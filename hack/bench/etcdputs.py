"""What puts etcd takes, by its own client API (JSON gateway); run inside the cluster's network.

python hack/bench/etcdputs.py URL SECONDS CONNECTIONS

Prints a JSON document: puts a second, and how many seconds each put took.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import time
from typing import Any
from urllib.parse import urlsplit

import uvloop

VALUE = b"x" * 1024


async def _put(host: str, port: int, number: int, until: float) -> list[float]:
    """Put one key of 1 KiB again and again; the request is made once, so that the client costs little."""
    key = base64.b64encode(f"/bench/{number}".encode()).decode()
    body = json.dumps({"key": key, "value": base64.b64encode(VALUE).decode()}).encode()
    head = f"POST /v3/kv/put HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    reader, writer = await asyncio.open_connection(host, port)
    took: list[float] = []
    while (began := time.monotonic()) < until:
        writer.write(request)
        head_lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        if " 200 " not in head_lines.splitlines()[0]:
            raise SystemExit(f"etcd refused: {head_lines}")
        length = next(line for line in head_lines.splitlines() if line.startswith("content-length:"))
        await reader.readexactly(int(length.split(":")[1]))
        took.append(time.monotonic() - began)
    writer.close()
    return took


async def measure(url: str, seconds: float, connections: int) -> dict[str, Any]:
    """Return the document that is printed."""
    address = urlsplit(url)
    began = time.monotonic()
    puts = (
        _put(address.hostname or "", address.port or 0, number, began + seconds)
        for number in range(connections)
    )
    took = [second for one in await asyncio.gather(*puts) for second in one]
    return {"puts_per_second": len(took) / (time.monotonic() - began), "put_seconds": took}


if __name__ == "__main__":
    _, where, for_seconds, at_once = sys.argv
    # An unbuffered stdout (PYTHONUNBUFFERED) would lose what a pipe does not take at once.
    with open(1, "w", closefd=False) as out:
        json.dump(uvloop.run(measure(where, float(for_seconds), int(at_once))), out)
