"""How many puts a second etcd takes, by its own client API (JSON gateway); run inside the cluster's network.

python hack/bench/etcdputs.py URL SECONDS
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import time
from urllib.parse import urlsplit

import uvloop

CONNECTIONS = 16
VALUE = b"x" * 1024


async def _put(host: str, port: int, number: int, until: float) -> int:
    """Put one key of 1 KiB again and again; the request is made once, so that the client costs little."""
    key = base64.b64encode(f"/bench/{number}".encode()).decode()
    body = json.dumps({"key": key, "value": base64.b64encode(VALUE).decode()}).encode()
    head = f"POST /v3/kv/put HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    reader, writer = await asyncio.open_connection(host, port)
    done = 0
    while time.monotonic() < until:
        writer.write(request)
        head_lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        if " 200 " not in head_lines.splitlines()[0]:
            raise SystemExit(f"etcd refused: {head_lines}")
        length = next(line for line in head_lines.splitlines() if line.startswith("content-length:"))
        await reader.readexactly(int(length.split(":")[1]))
        done += 1
    writer.close()
    return done


async def measure(url: str, seconds: float) -> float:
    """Return puts a second."""
    address = urlsplit(url)
    began = time.monotonic()
    puts = (
        _put(address.hostname or "", address.port or 0, number, began + seconds)
        for number in range(CONNECTIONS)
    )
    return sum(await asyncio.gather(*puts)) / (time.monotonic() - began)


if __name__ == "__main__":
    print(json.dumps({"puts_per_second": uvloop.run(measure(sys.argv[1], float(sys.argv[2])))}))
