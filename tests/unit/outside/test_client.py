"""Requests of steps against a real HTTP server on this machine."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from kubernaut.api.reasons import Reason
from kubernaut.core.errors import StepError, Unavailable, UnknownOutcome
from kubernaut.core.ports import HttpRequest
from kubernaut.outside.client import HttpClient
from kubernaut.outside.hosts import Hosts

API = "https://127.0.0.1:6443"
HERE = "127.0.0.1,localhost"


@asynccontextmanager
async def serving(handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> AsyncIterator[int]:
    """Serve on a free port of this machine, and give the port."""
    server = web.Server(handle)
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port: int = runner.addresses[0][1]
        yield port
    finally:
        await runner.cleanup()


def client(hosts: str = HERE, api_server: str = API) -> HttpClient:
    return HttpClient(Hosts.parse(hosts), api_server)


def post(port: int, host: str = "127.0.0.1", **more: object) -> HttpRequest:
    given = {"method": "POST", "headers": {"X-A": "b"}, "body": b"hello", **more}
    return HttpRequest(url=f"http://{host}:{port}/path?x=1", **given)  # type: ignore[arg-type]


async def test_what_is_asked_for_arrives_and_the_answer_comes_back() -> None:
    seen: list[tuple[str, str, str | None, bytes]] = []

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        seen.append((request.method, request.path_qs, request.headers.get("X-A"), await request.read()))
        return web.Response(status=201, text="made")

    async with serving(handle) as port:
        answer = await client().send(post(port, "localhost"))
    assert seen == [("POST", "/path?x=1", "b", b"hello")]
    assert (answer.status, answer.body, answer.whole) == (201, b"made", True)


async def test_of_a_long_answer_no_more_is_read_than_may_be() -> None:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=b"x" * 200_000)

    async with serving(handle) as port:
        answer = await client().send(post(port, most=1000))
    assert (len(answer.body), answer.whole) == (1000, False)


async def test_a_redirect_is_an_answer_and_not_followed() -> None:
    paths: list[str] = []

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        paths.append(request.path)
        return web.Response(status=302, headers={"Location": "http://169.254.169.254/latest"})

    async with serving(handle) as port:
        assert (await client().send(post(port))).status == 302
    assert paths == ["/path"]


async def test_a_request_without_a_connection_was_not_sent() -> None:
    async with serving(lambda request: asyncio.sleep(0, web.Response())) as port:
        pass
    with pytest.raises(Unavailable, match="no connection"):
        await client().send(post(port))


async def test_a_name_that_leads_nowhere_was_not_sent_to() -> None:
    with pytest.raises(Unavailable, match="no connection"):
        await client("").send(post(80, "nowhere.invalid"))


@pytest.mark.parametrize("reads", [False, True])
async def test_an_answer_that_does_not_come_leaves_open_what_happened_unless_it_only_read(
    reads: bool,
) -> None:
    came = asyncio.Event()

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        came.set()
        await asyncio.sleep(3600)
        raise AssertionError

    async with serving(handle) as port:
        with pytest.raises(Unavailable if reads else UnknownOutcome) as caught:
            await client().send(post(port, timeout=0.3, reads=reads))
    assert came.is_set()
    assert "path" not in str(caught.value)
    assert "x=1" not in str(caught.value)


async def test_an_answer_that_breaks_off_leaves_open_what_happened() -> None:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with serving(handle) as port:
        with pytest.raises(UnknownOutcome, match="may or may not"):
            await client().send(post(port))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "[::1]"])
async def test_this_machine_is_refused_however_it_is_written(host: str) -> None:
    came: list[str] = []

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        came.append(request.path)
        return web.Response()

    async with serving(handle) as port:
        with pytest.raises(StepError) as caught:
            await client("").send(post(port, host))
    # A form that this machine's resolver does not take for an address leads nowhere, which does as well.
    assert caught.value.reason in (Reason.ADDRESS_REFUSED, Reason.UNAVAILABLE)
    assert came == []


async def test_a_port_that_is_not_listed_is_refused() -> None:
    async with serving(lambda request: asyncio.sleep(0, web.Response())) as port:
        listed = f"10.0.0.1,127.0.0.1:{port + 1 if port < 65535 else 1}"
        with pytest.raises(StepError, match="not among the hosts") as caught:
            await client(listed).send(post(port))
    assert caught.value.reason is Reason.ADDRESS_REFUSED


async def test_a_name_is_not_listed_by_the_address_it_leads_to() -> None:
    async with serving(lambda request: asyncio.sleep(0, web.Response())) as port:
        with pytest.raises(StepError, match="not among the hosts"):
            await client("127.0.0.1").send(post(port, "localhost"))


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with serving(lambda request: asyncio.sleep(0, web.Response())) as port:
        assert (await client().send(post(port))).status == 200


async def test_names_that_are_not_answered_for_take_no_thread_from_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answered = threading.Event()

    def silent(*_: object, **__: object) -> list[object]:
        answered.wait(30)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
    sent = [asyncio.create_task(client("*.test").send(post(1, f"h{n}.test", timeout=0.2))) for n in range(8)]
    try:
        found = await asyncio.gather(*sent, return_exceptions=True)
        assert all(isinstance(one, Unavailable) for one in found)
        async with asyncio.timeout(5):
            assert await asyncio.to_thread(lambda: "there")
    finally:
        answered.set()


async def test_a_name_that_no_host_can_have_is_no_host() -> None:
    with pytest.raises(Unavailable, match="no connection"):
        await client("*.test").send(post(1, f"{'a' * 64}.test"))
