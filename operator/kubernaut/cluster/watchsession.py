"""The HTTP session that Kopf watches through: behind the breaker, and never refused in a way that ends a watch.

Kopf gives a watch up for good when its request is refused (410, 403, 404, or 5xx for about a minute), and while the
API server is away each of its watches tries by itself, in a rhythm of its own. So what Kopf sends passes here:

- while the breaker is open it waits, without a request, until it is its turn to try, or until the server is back;
- a watch from a version that is too old (410) is asked for without a version: the server then begins with all
  objects as they are now (Kubernetes API concepts, "Get State and Start at Most Recent");
- other refusals look like a connection that broke, which Kopf tries again, or like an answer that broke off, after
  which it begins anew with the first page of a list.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from functools import partial
from typing import Any, Final, Protocol, cast

import aiohttp

from kubernaut import __version__
from kubernaut.cluster.breaker import Breaker
from kubernaut.cluster.credentials import Credentials

log = logging.getLogger(__name__)
Handler = Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]]
# A watch's headers come at once, a list's when it is gathered; only then the long silence of a watch begins.
ANSWER_SECONDS: Final = 15.0


class Refused(aiohttp.ClientConnectionError):
    """The API server refused a list or a watch; told as if the connection had broken."""


class ListExpired(aiohttp.ClientPayloadError):
    """A list took longer than its first page is remembered; told as if the answer had broken off."""


class Connected(Protocol):
    """What the session needs of a connection to an API server."""

    breaker: Breaker

    @property
    def credentials(self) -> Credentials: ...

    async def renew(self) -> bool: ...

    async def trusts_more(self, error: Exception, tls: ssl.SSLContext | None) -> bool: ...


def watch_session(
    connection: Connected, kinds: Collection[str], heard: Callable[[str], None] = lambda _: None
) -> aiohttp.ClientSession:
    """Return a session for lists and watches of ``kinds`` (plural names); other requests are only held back.

    It must be closed by whoever takes it. ``heard`` is told a kind whenever its watch says anything.
    """
    credentials = connection.credentials
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=credentials.tls if credentials.tls is not None else True),
        headers={"User-Agent": f"kubernaut/{__version__}"},
        proxy=credentials.proxy,
        cookie_jar=aiohttp.DummyCookieJar(),
        middlewares=(_Gate(connection, frozenset(kinds), heard),),
    )


class _Gate:
    def __init__(self, connection: Connected, kinds: frozenset[str], heard: Callable[[str], None]) -> None:
        self._heard = heard
        self._connection = connection
        # The session's own, whatever credentials the connection has later.
        self._tls = connection.credentials.tls
        self._kinds = kinds

    async def __call__(self, request: aiohttp.ClientRequest, handler: Handler) -> aiohttp.ClientResponse:
        response = await self._answered(request, handler)
        if response.status == 401 and await self._connection.renew():
            response.close()
            response = await self._answered(request, handler)
        kind = request.url.path.rsplit("/", 1)[-1]
        if kind not in self._kinds:
            return response
        watches = "watch" in request.url.query
        if response.status == 410 and watches and "resourceVersion" in request.url.query:
            response.close()
            request.url = request.url.without_query_params("resourceVersion", "resourceVersionMatch")
            log.info("a watch's version is too old; it begins anew", extra={"path": request.url.path})
            response = await self._answered(request, handler)
        if response.status == 200 and watches:
            response.content = cast(
                aiohttp.StreamReader, _Heard(response.content, partial(self._heard, kind))
            )
        if response.status < 400 or response.status in (401, 429):
            return response  # Kopf knows what to do: read on, log in again, wait as long as it is told to
        response.close()
        if response.status == 410 and not watches:
            raise ListExpired(f"the list {request.url.path} has to begin anew")
        raise Refused(f"the API server answers {response.status} to {request.method} {request.url.path}")

    async def _answered(self, request: aiohttp.ClientRequest, handler: Handler) -> aiohttp.ClientResponse:
        breaker = self._connection.breaker
        await breaker.admitted()
        key = await self._connection.credentials.authorization()
        if key:
            request.headers["Authorization"] = key
        if self._connection.credentials.server_name:
            request.server_hostname = self._connection.credentials.server_name
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                response = await handler(request)
        except TimeoutError as error:
            breaker.failed()
            raise Refused(f"no answer to {request.method} {request.url.path}") from error
        except (aiohttp.ClientError, OSError) as error:
            await self._connection.trusts_more(error, self._tls)
            breaker.failed()
            raise
        if response.status >= 500 or response.status == 429:
            breaker.failed()
        else:
            breaker.succeeded()
        return response


class _Heard:
    """The content of a watch; tells whenever some of it has come."""

    def __init__(self, content: aiohttp.StreamReader, heard: Callable[[], None]) -> None:
        self._content = content
        self._heard = heard
        heard()

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        async for piece in self._content.iter_chunked(size):
            self._heard()
            yield piece

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)
