"""Sending one HTTP request, once, to an address that was looked at first."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import ip_address
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from kubernaut import __version__
from kubernaut.api.reasons import Reason
from kubernaut.core.errors import StepError, Unavailable, UnknownOutcome
from kubernaut.core.ports import HttpAnswer, HttpRequest
from kubernaut.outside.hosts import Address, Hosts

CONNECT_SECONDS: Final = 10.0
_PIECE: Final = 16 * 1024
# Threads of their own: a name whose servers don't answer takes one long after nobody waits for it any more, and
# Workflows name hosts. The few that all else shares, as for Postgres and for what is written to disk, must stay free.
_LOOK_UPS: Final = ThreadPoolExecutor(32, "outside-dns")


class HttpClient:
    """``core.ports.Web``: every request has a connection of its own, to an address that the settings allow.

    A name is looked up once, and what was looked at is what is connected to. Redirects and proxies of the environment
    are not followed: they would lead elsewhere.
    """

    def __init__(self, hosts: Hosts, api_server: str, alertmanager: str = "") -> None:
        self._hosts = hosts
        self._api_server = URL(api_server)
        self._alertmanager = alertmanager

    @property
    def alertmanager(self) -> str:
        """The URL of the Alertmanager that the settings name."""
        return self._alertmanager

    async def send(self, request: HttpRequest) -> HttpAnswer:
        """Send it once.

        Raises:
            StepError: AddressRefused.
            Unavailable: no connection could be had, or one that only reads got no whole answer.
            UnknownOutcome: it was, or may have been, sent, and there was no whole answer.
        """
        url = URL(request.url)
        host, port = (url.host or "").lower().rstrip("."), url.port or 0
        where = f"{host}:{port}"
        connected = asyncio.Event()
        try:
            async with asyncio.timeout(request.timeout):
                found = await self._addresses(host, port)
                return await self._exchange(request, url, found, connected)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            told = str(error) if isinstance(error, aiohttp.ClientConnectorError) else type(error).__name__
            if not connected.is_set():
                raise Unavailable(f"{request.method} {where}: no connection: {told}") from None
            if request.reads:
                raise Unavailable(f"{request.method} {where}: no whole answer: {told}") from None
            raise UnknownOutcome(
                f"{request.method} {where}: no whole answer ({told}); it may or may not have happened"
            ) from None

    async def addresses(self, host: str, port: int) -> list[tuple[int, str]]:
        """Return family and address of all that a name stands for, each of which may be connected to.

        Raises:
            StepError: AddressRefused.
            OSError: there is no such host.
        """
        return [(one["family"], one["host"]) for one in await self._addresses(host.lower(), port)]

    async def _addresses(self, host: str, port: int) -> list[ResolveResult]:
        """Look a host up, and see that each of its addresses may be connected to.

        Raises:
            StepError: AddressRefused.
            OSError: there is no such host.
        """
        refusal = self._hosts.refusal(host, port)
        if refusal is None:
            found = await _look_up(host, port)
            api_server = await self._api_addresses()
            refused = (self._hosts.address_refusal(_address(one), port, api_server) for one in found)
            refusal = next((told for told in refused if told is not None), None)
        if refusal is not None:
            raise StepError(f"no request is sent to {host}: {refusal}", reason=Reason.ADDRESS_REFUSED)
        return found

    async def _api_addresses(self) -> frozenset[tuple[Address, int]]:
        port = self._api_server.port or 0
        try:
            found = await _look_up(self._api_server.host or "", port)
        except OSError:
            return frozenset()
        return frozenset((_address(one), port) for one in found)

    async def _exchange(
        self, request: HttpRequest, url: URL, found: list[ResolveResult], connected: asyncio.Event
    ) -> HttpAnswer:
        async def note(*_: Any) -> None:
            connected.set()

        trace = aiohttp.TraceConfig()
        trace.on_connection_create_end.append(note)
        connector = aiohttp.TCPConnector(resolver=_Found(found), force_close=True, ttl_dns_cache=None)
        # Identity: of an answer that is packed nobody could say beforehand how large it is.
        headers = {
            "User-Agent": f"kubernaut/{__version__}",
            "Accept-Encoding": "identity",
            **request.headers,
        }
        async with (
            aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trace_configs=[trace]
            ) as session,
            session.request(
                request.method,
                url,
                data=request.body or None,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS),
                allow_redirects=False,
            ) as response,
        ):
            body = bytearray()
            async for piece in response.content.iter_chunked(_PIECE):
                body += piece
                if len(body) > request.most:
                    response.close()
                    return HttpAnswer(response.status, bytes(body[: request.most]), False)
            return HttpAnswer(response.status, bytes(body))


class _Found(AbstractResolver):
    """Answers with what was looked up before."""

    def __init__(self, found: list[ResolveResult]) -> None:
        self._found = found

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return self._found

    async def close(self) -> None:
        """Nothing is open."""


async def _look_up(host: str, port: int) -> list[ResolveResult]:
    look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    try:
        infos = await asyncio.get_running_loop().run_in_executor(_LOOK_UPS, look_up)
    except UnicodeError:
        raise OSError("it can't be the name of a host") from None
    return [
        ResolveResult(
            hostname=host,
            host=str(sockaddr[0]),
            port=port,
            family=family,
            proto=protocol,
            flags=socket.AI_NUMERICHOST,
        )
        for family, _, protocol, _, sockaddr in infos
    ]


def _address(found: ResolveResult) -> Address:
    return ip_address(found["host"].partition("%")[0])
