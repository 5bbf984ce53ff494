"""What is measured beside our figures: least sequences of requests, lists page by page, a bare process."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from bench import etcdputs
from bench.alone import OneByOne, bare_process, list_as_at_start
from bench.client import PlainClient
from kubernaut.cluster.watching import PAGE
from kubernaut.engine.endings import LIVE


class Server(PlainClient):
    """A collection of so many pages."""

    def __init__(self, pages: int) -> None:
        self.asked: list[dict[str, list[str]]] = []
        self._pages = pages

    async def send(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json"
    ) -> Any:
        query = parse_qs(urlsplit(path).query)
        self.asked.append({"path": [urlsplit(path).path.rsplit("/", 1)[1]], **query})
        (page,) = query.get("continue", ["1"])
        more = {"continue": str(int(page) + 1)} if int(page) < self._pages else {}
        return {"items": [], "metadata": more}


@pytest.fixture
def measured() -> OneByOne:
    client = Server(1)
    alone = OneByOne(client, client, client)
    alone.seconds |= {
        "create_run": [5.0, 4.0, 6.0],
        "patch_status_of_run": [3.0] * 6,
        "get_deployment": [1.0, 2.0, 90.0],
        "patch_deployment": [4.0, 4.0, 10.0],
        "etcd_put": [0.5],
    }
    alone.one_step = [16.0, 17.0, 18.0]
    return alone


def test_a_one_step_run_is_beside_the_whole_sequence_as_it_was_measured(measured: OneByOne) -> None:
    assert measured.beside_run(1) == {"API server alone": 17.0, "4 etcd puts alone": 2.0}


def test_more_steps_need_one_read_and_a_patch_each_at_the_least(measured: OneByOne) -> None:
    assert measured.beside_run(40) == {
        "API server alone": 5.0 + 3.0 + 3.0 + 2.0 + 40 * 4.0,
        "43 etcd puts alone": 21.5,
    }


def test_a_read_and_its_patch_are_taken_together(measured: OneByOne) -> None:
    assert measured.read_and_patch(0.5) == 6.0
    assert measured.read_and_patch(0.99) == 100.0


async def test_lists_are_read_page_by_page_as_a_start_does() -> None:
    server = Server(2)
    assert await list_as_at_start(server) >= 0
    size = [str(PAGE)]
    assert server.asked == [
        {"path": ["workflows"], "limit": size},
        {"path": ["workflows"], "limit": size, "continue": ["2"]},
        {"path": ["workflowexecutions"], "limit": size, "fieldSelector": [LIVE]},
        {"path": ["workflowexecutions"], "limit": size, "fieldSelector": [LIVE], "continue": ["2"]},
    ]


def test_a_bare_process_has_the_operators_modules_in_memory_and_ends() -> None:
    seconds, mib = bare_process()
    assert seconds > 0
    assert mib > 20


async def test_each_put_of_etcd_is_timed_on_as_many_connections_as_asked_for() -> None:
    connections = puts = 0

    async def etcd(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections, puts
        connections += 1
        with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                await reader.readexactly(int(head.split("content-length:")[1].split()[0]))
                puts += 1
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    server = await asyncio.start_server(etcd, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        found = await etcdputs.measure(f"http://{host}:{port}", 0.05, 3)
    assert connections == 3
    assert len(found["put_seconds"]) == puts > 0
    assert found["puts_per_second"] > 0
