"""The connection to an API server: one per process, shared by all accounts.

Loading of credentials, TLS and renewal of tokens are the official package's; requests are plain JSON over its
TLS context, because the generated models cost more than the request itself.

Nothing is sent twice behind the caller's back: aiohttp sends only what it calls idempotent again over a fresh
connection when a kept one turns out dead; that includes DELETE, which is prevented here (``_sent_once``). Reads
may be repeated. A 401 is answered before anything is done, so that request is sent again with new credentials.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import aiohttp
import orjson
from multidict import CIMultiDict
from yarl import URL

from kubernaut import __version__
from kubernaut.api.base import could_be_a_name
from kubernaut.cluster import errors
from kubernaut.cluster.account import AccountCluster, OperatorCluster
from kubernaut.cluster.authorities import Authorities
from kubernaut.cluster.breaker import Breaker
from kubernaut.cluster.call import Call, demand_precondition
from kubernaut.cluster.discovery import Discovery
from kubernaut.cluster.patience import Patience
from kubernaut.cluster.requestspans import requesting
from kubernaut.cluster.resources import SELF_REVIEW, Resource
from kubernaut.core.errors import ClusterError, Invalid, NoSuchKind, TooManyRequests, Unavailable
from kubernaut.metrics import API_REQUESTS, API_SECONDS, API_WITHHELD

if TYPE_CHECKING:
    from kubernaut.cluster.credentials import Credentials

REQUEST_SECONDS: Final = 30.0
CONNECT_SECONDS: Final = 10.0
#: after which a watch that says nothing counts as dead: the API server sends a bookmark about once a minute
SILENCE_SECONDS: Final = 150.0
#: and one whose headers do not come: they do not wait for anything to happen
WATCH_ANSWER_SECONDS: Final = 15.0
# So long after it was last away a server may still be starting.
_DOUBT_SECONDS: Final = 30.0
_TOKEN_SECONDS: Final = 10.0
_RENEW_SECONDS: Final = 5.0
_RETIRED: Final = 8


class _Lost(Exception):
    """The connection broke after the request may have been sent."""


async def _sent_once(
    request: aiohttp.ClientRequest, handler: Callable[[aiohttp.ClientRequest], Any]
) -> aiohttp.ClientResponse:
    try:
        response: aiohttp.ClientResponse = await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _Lost(str(error) or type(error).__name__) from error
    return response


def _socket(address: Any) -> socket.socket:
    # A watch may be silent for minutes; without probes a dead peer would never be noticed.
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return made


class ApiConnection:
    """A connection to one API server.

    Attributes:
        host: its URL.
        namespace: the namespace of the kubeconfig's context (or of the pod).
        breaker: the circuit breaker around it.
        discovery: kinds and their resources.
        mutations: how many mutating requests were sent, by verb and resource (``pods/eviction``).
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        reload: Callable[[], Any] | None = None,
        breaker: Breaker | None = None,
        pool: int = 32,
        namespaces: Sequence[str] = (),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.breaker = breaker or Breaker("the API server")
        self.discovery = Discovery(self)
        self.mutations: Counter[tuple[str, str]] = Counter()
        self._pool = pool
        self._namespaces = tuple(namespaces)
        self._reload = reload
        self._monotonic = monotonic
        self._headers: dict[tuple[str, str], CIMultiDict[str]] = {}
        self._token: str | None = None
        self._token_at = float("-inf")
        self._renewed_at = float("-inf")
        self._renewing = asyncio.Lock()
        self._authorities = Authorities(self._tls_anew if reload is not None else None, monotonic)
        self._retired: list[aiohttp.ClientSession] = []
        self._doubtful_until = monotonic() + _DOUBT_SECONDS
        self._patience = Patience(monotonic)
        self._take(credentials)

    @classmethod
    async def load(
        cls,
        kubeconfig: Path | None = None,
        *,
        context: str | None = None,
        breaker: Breaker | None = None,
        pool: int = 32,
        namespaces: Sequence[str] = (),
    ) -> Self:
        """Connect as a kubeconfig says; without one as the pod's account, else by ``$KUBECONFIG``.

        No request is made yet. With ``namespaces``, those are all that ``own`` lists and watches.

        Raises:
            Unavailable: there are no usable credentials; says why.
        """
        # Imported here, so that what needs no cluster does not wait a second for the official package.
        from kubernaut.cluster.credentials import load_credentials

        async def reload() -> Credentials:
            return await load_credentials(kubeconfig, context)

        return cls(await reload(), reload=reload, breaker=breaker, pool=pool, namespaces=namespaces)

    def _take(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self.host = credentials.host
        self.namespace = credentials.namespace
        self._extra: dict[str, Any] = {}
        if credentials.proxy:
            self._extra["proxy"] = credentials.proxy
        if credentials.server_name:
            self._extra["server_hostname"] = credentials.server_name
        self._sessions = {
            "": self._session(self._pool),
            # Watches stay open for minutes, and the stop switch must never queue behind other requests.
            "unbounded": self._session(0),
        }

    def _session(self, limit: int) -> aiohttp.ClientSession:
        tls = self._credentials.tls
        connector = aiohttp.TCPConnector(
            limit=limit,
            ssl=tls if tls is not None else True,
            keepalive_timeout=60,
            socket_factory=_socket,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
            read_bufsize=2**18,
        )

    async def close(self) -> None:
        """Close all connections; requests and watches under way end with an error."""
        for session in (*self._sessions.values(), *self._retired):
            await session.close()
        # Connections that were broken off are closed by the loop in its next round.
        await asyncio.sleep(0)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def credentials(self) -> Credentials:
        """Who we are there, as last loaded."""
        return self._credentials

    def own(self) -> OperatorCluster:
        """Return the cluster as the credentials' own account sees it."""
        return OperatorCluster(self, self._namespaces)

    def as_account(self, namespace: str, service_account: str) -> AccountCluster:
        """Return the cluster as a ServiceAccount sees it, by impersonation.

        Raises:
            Invalid: that can't be the name of a ServiceAccount.
        """
        for part in (namespace, service_account):
            if not could_be_a_name(part):
                raise Invalid(f"{part[:80]!r} can't be the name of a namespace or a ServiceAccount")
        return AccountCluster(self, f"system:serviceaccount:{namespace}:{service_account}")

    async def whoami(self) -> str:
        """Return the name by which the API server knows us."""
        call = Call(
            "create", SELF_REVIEW, body={"apiVersion": SELF_REVIEW.api_version, "kind": SELF_REVIEW.kind}
        )
        answer = errors.parsed(call, await self.send(call))
        return str(answer["status"]["userInfo"]["username"])

    async def resource(self, api_version: str, kind: str) -> Resource:
        """Return the resource of a kind. Raises NotFound where the cluster has no such kind."""
        return await self.discovery.resource(api_version, kind)

    async def read(self, path: str, *, timeout: float = REQUEST_SECONDS) -> Any:
        """GET a path that belongs to no kind, such as ``/version``; the answer parsed.

        Raises:
            ClusterError: as for any request.
        """
        call = Call("get", Resource("", path, "", False))
        return errors.parsed(call, await self._admitted(call, path, "", timeout, False))

    async def send(
        self, call: Call, *, account: str = "", timeout: float = REQUEST_SECONDS, urgent: bool = False
    ) -> bytes:
        """Send one request and return the body of its answer.

        Args:
            account: the user to act as; empty for ourselves.
            timeout: seconds for everything, waiting for a connection included.
            urgent: never wait for one of the pool's connections.

        Raises:
            Unfenced: a mutating request without a precondition; it was not sent.
            ClusterError: the API server refused (``errors.from_answer``) or did not answer.
        """
        demand_precondition(call)
        with requesting(call, account):
            return await self._admitted(call, call.path, account, timeout, urgent)

    async def _admitted(self, call: Call, path: str, account: str, timeout: float, urgent: bool) -> bytes:
        self._demand_leave(call, account, urgent)
        try:
            code, headers, data = await self._answered(call, path, account, timeout, urgent)
            if code == 403 and self._monotonic() < self._doubtful_until:
                await self._demand_ready(call, timeout)
                code, headers, data = await self._answered(call, path, account, timeout, urgent)
            if code < 300:
                self.breaker.succeeded()
                return data
            raise errors.from_answer(call, code, headers, data, account)
        except ClusterError as error:
            self._note(error, call, account)
            raise

    def _demand_leave(self, call: Call, account: str, urgent: bool = False) -> None:
        """Let a request be sent, or not.

        Raises:
            Unavailable: the breaker is open.
            TooManyRequests: the API server has asked the account to wait.
        """
        try:
            self.breaker.admit()
            if not urgent:
                self._patience.demand(call, account)
        except TooManyRequests:
            API_WITHHELD.labels("throttled").inc()
            raise
        except Unavailable:
            API_WITHHELD.labels("breaker").inc()
            raise

    async def _demand_ready(self, call: Call, timeout: float) -> None:
        """Find out whether a refusal is to be believed: a starting server does not know its roles yet.

        Raises:
            Unavailable: it is not ready, or does not answer.
        """
        probe = Call("get", Resource("", "/readyz", "", False))
        code, _, _ = await self._answered(probe, "/readyz", "", timeout, False)
        # Without roles it refuses this as well; a cluster that never allows it is believed after the time of doubt.
        if code >= 400:
            message = f"{call}: the API server {self.host} is starting and does not know its roles yet"
            raise Unavailable(message, status=503)
        self._doubtful_until = float("-inf")

    def _note(self, error: ClusterError, call: Call, account: str) -> None:
        if isinstance(error, NoSuchKind):
            self.discovery.forget(call.resource)
        if error.status == 0:
            self._doubtful_until = self._monotonic() + _DOUBT_SECONDS
        # An eviction's 429 is a disruption budget's.
        busy = error.status == 429 and call.subresource != "eviction"
        if busy:
            self._patience.asked(account, error.retry_after)
        if error.status == 0 or error.status >= 500 or busy:
            self.breaker.failed(error.retry_after)
        else:
            self.breaker.succeeded()

    async def _answered(
        self, call: Call, path: str, account: str, timeout: float, urgent: bool
    ) -> tuple[int, Mapping[str, str], bytes]:
        body = orjson.dumps(call.body) if call.body is not None else None
        times = aiohttp.ClientTimeout(total=timeout, connect=min(CONNECT_SECONDS, timeout))
        more = {**self._extra, "middlewares": (_sent_once,)} if call.method == "DELETE" else self._extra
        for last in (False, True):
            headers = await self._headers_for(account, call.content_type if body else "")
            session = self._sessions["unbounded" if urgent else ""]
            if call.mutates:
                self.mutations[call.verb, f"{call.resource.plural}/{call.subresource}".rstrip("/")] += 1
            began, told = time.monotonic(), "error"
            try:
                async with session.request(
                    call.method,
                    URL(self.host + path, encoded=True),
                    data=body,
                    headers=headers,
                    timeout=times,
                    allow_redirects=False,
                    **more,
                ) as response:
                    code, answer, data = response.status, response.headers, await response.read()
                    told = str(code)
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
                if await self.trusts_more(error, self._credentials.tls) and not last:
                    continue
                raise errors.not_sent(call, self.host, error) from error
            except (aiohttp.ClientError, TimeoutError, OSError, _Lost) as error:
                raise errors.no_answer(call, self.host, error) from error
            finally:
                API_REQUESTS.labels(call.method, told).inc()
                API_SECONDS.labels(call.method).observe(time.monotonic() - began)
            if code != 401 or last or not await self.renew():
                break
        return code, answer, data

    @asynccontextmanager
    async def stream(self, call: Call, *, account: str = "") -> AsyncIterator[AsyncIterator[bytes]]:
        """Send a watch and give its lines as they come, for as long as the server keeps it and says anything.

        Raises:
            ClusterError: as ``send``; also from the iterator, where the connection breaks.
        """
        self._demand_leave(call, account)
        headers = await self._headers_for(account, "")
        times = aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS)
        asked = self._sessions["unbounded"].request(
            "GET",
            URL(self.host + call.path, encoded=True),
            headers=headers,
            timeout=times,
            allow_redirects=False,
            **self._extra,
        )
        try:
            async with await _in_time(asked, self.breaker.failed) as response:
                API_REQUESTS.labels("GET", str(response.status)).inc()
                if response.status >= 300:
                    data = await response.read()
                    if response.status == 401:
                        await self.renew()
                    refusal = errors.from_answer(call, response.status, response.headers, data, account)
                    self._note(refusal, call, account)
                    raise refusal
                self.breaker.succeeded()
                try:
                    yield _lines(response.content)
                finally:
                    _break_off(response)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            await self.trusts_more(error, self._credentials.tls)
            self.breaker.failed()
            raise errors.not_sent(call, self.host, error) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # Streams end this way whenever a server restarts; only requests that fail count for the breaker.
            raise errors.no_answer(call, self.host, error) from error

    async def _headers_for(self, account: str, content_type: str) -> CIMultiDict[str]:
        now = self._monotonic()
        if now - self._token_at >= _TOKEN_SECONDS:
            token = await self._credentials.authorization()
            if token != self._token or len(self._headers) > 10_000:
                self._headers.clear()
            self._token, self._token_at = token, now
        headers = self._headers.get((account, content_type))
        if headers is None:
            # The part of User-Agent before the slash is what managedFields call the manager.
            headers = CIMultiDict({"Accept": "application/json", "User-Agent": f"kubernaut/{__version__}"})
            if content_type:
                headers["Content-Type"] = content_type
            if self._token:
                headers["Authorization"] = self._token
            if account:
                headers["Impersonate-User"] = account
            self._headers[account, content_type] = headers
        return headers

    async def trusts_more(self, error: Exception, tls: ssl.SSLContext | None) -> bool:
        """Where a server's certificate was refused, look whose count now; return whether others do than before."""
        refused = isinstance(error, aiohttp.ClientConnectorCertificateError)
        return refused and await self._authorities.renew(tls)

    async def _tls_anew(self) -> ssl.SSLContext | None:
        assert self._reload is not None
        credentials: Credentials = await self._reload()
        return credentials.tls

    async def renew(self) -> bool:
        """Load the credentials anew, at most every few seconds; return whether they may be others now."""
        if self._reload is None:
            return False
        async with self._renewing:
            if self._monotonic() - self._renewed_at < _RENEW_SECONDS:
                return True
            try:
                credentials = await self._reload()
            except Unavailable:
                return False
            # What is under way ends on the old sessions; they hold nothing but idle connections then.
            self._retired += self._sessions.values()
            self._take(credentials)
            while len(self._retired) > _RETIRED:
                await self._retired.pop(0).close()
            self._token_at = float("-inf")
            self._renewed_at = self._monotonic()
            return True


async def _in_time(
    asked: Awaitable[aiohttp.ClientResponse], late: Callable[[], None]
) -> aiohttp.ClientResponse:
    """Wait for a watch's headers. Raises TimeoutError, having told ``late``, where they do not come."""
    try:
        async with asyncio.timeout(WATCH_ANSWER_SECONDS):
            return await asked
    except aiohttp.ConnectionTimeoutError:
        raise
    except TimeoutError:
        late()
        raise


def _break_off(response: aiohttp.ClientResponse) -> None:
    """Drop a stream's connection at once: TLS would wait for a good-bye that a busy server does not send."""
    connection = response.connection
    if connection is not None and connection.transport is not None:
        connection.transport.abort()


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    # Not readline(): it refuses lines longer than its buffer, and an object may be that long.
    rest = b""
    async for chunk in content.iter_any():
        *whole, rest = (rest + chunk).split(b"\n") if rest else chunk.split(b"\n")
        for line in whole:
            if line:
                yield line
