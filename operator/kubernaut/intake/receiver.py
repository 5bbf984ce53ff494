"""The endpoint that Alertmanager posts to: POST /alerts, with a bearer token or a client's certificate."""

from __future__ import annotations

import asyncio
import hmac
import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from kubernaut.core.errors import KubernautError
from kubernaut.intake.notifications import Notifications, Taken
from kubernaut.intake.payload import PayloadInvalid, read
from kubernaut.metrics import ALERT_REQUESTS, ALERT_SECONDS

log = logging.getLogger(__name__)
PATH: Final = "/alerts"
#: notifications under way; whoever comes beyond them is asked to come again
MOST_UNDER_WAY: Final = 64
RETRY_AFTER: Final = 5
#: seconds between looks at the files of certificates and tokens, which are exchanged while we run
LOOK_EVERY: Final = 10.0
#: seconds in which a body has to come: who sends half of one, or goes away meanwhile, must not keep a place
BODY_WITHIN: Final = 10.0
#: seconds after which a connection is closed on which nothing is asked
IDLE: Final = 75.0
MIN_TOKEN: Final = 16


#: what stands in place of a status where TLS refused a connection before there was a request
NO_HANDSHAKE: Final = "tls"


class IntakeInvalid(KubernautError):
    """The receiver can't be set up as the settings say; names the setting."""


class _Told(ssl.SSLObject):
    """A connection whose refusal by TLS is counted and logged: the event loop drops it without a word."""

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            ALERT_REQUESTS.labels(NO_HANDSHAKE).inc()
            log.warning(
                "a connection to the receiver of alerts was refused by TLS: it takes who shows a certificate of "
                "the authority it knows, where it asks for one",
                extra={"error": str(error)},
            )
            raise


class _InUse(ssl.SSLContext):
    """Has each connection begin with the context that is in use then.

    A server keeps the context that it was started with, and a context keeps every authority that was ever loaded.
    """

    current: ssl.SSLContext

    def wrap_bio(self, *given: Any, **more: Any) -> ssl.SSLObject:
        return self.current.wrap_bio(*given, **more)


@dataclass(frozen=True, slots=True)
class Access:
    """Who may tell alerts.

    Attributes:
        tokens: file with bearer tokens, one a line; any of them will do.
        certificate, key: the endpoint's own; without them it speaks plain HTTP.
        client_ca: who signs the certificates that clients show; without it they need none.
    """

    tokens: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None

    def check(self) -> None:
        """Refuse what would let anybody in, or can't work.

        Raises:
            IntakeInvalid: says which setting is missing or unreadable.
        """
        if self.tokens is None and self.client_ca is None:
            raise IntakeInvalid(
                "nobody would be kept from telling alerts: set KUBERNAUT_ALERTS_TOKENS, or KUBERNAUT_ALERTS_CLIENT_CA"
            )
        if (self.certificate is None) is not (self.key is None):
            raise IntakeInvalid("KUBERNAUT_ALERTS_CERTIFICATE and KUBERNAUT_ALERTS_KEY go together")
        if self.client_ca is not None and self.certificate is None:
            raise IntakeInvalid(
                "KUBERNAUT_ALERTS_CLIENT_CA needs KUBERNAUT_ALERTS_CERTIFICATE: only TLS has clients"
            )

    def read_tokens(self) -> tuple[bytes, ...]:
        """Return the tokens; none where none are asked for.

        Raises:
            IntakeInvalid: the file can't be read, or has none that is long enough.
        """
        if self.tokens is None:
            return ()
        try:
            lines = self.tokens.read_text().split()
        except (OSError, UnicodeDecodeError) as error:
            raise IntakeInvalid(f"KUBERNAUT_ALERTS_TOKENS: {self.tokens} can't be read: {error}") from None
        if not lines or any(len(line) < MIN_TOKEN for line in lines):
            raise IntakeInvalid(
                f"KUBERNAUT_ALERTS_TOKENS: {self.tokens} needs a token a line, of {MIN_TOKEN} characters at least"
            )
        return tuple(line.encode() for line in lines)

    def context(self) -> ssl.SSLContext | None:
        """Return what TLS needs, with the certificates as they are now; None for plain HTTP.

        Raises:
            IntakeInvalid: one can't be read.
        """
        if self.certificate is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.sslobject_class = _Told
        try:
            context.load_cert_chain(self.certificate, self.key)
            if self.client_ca is not None:
                context.verify_mode = ssl.CERT_REQUIRED
                context.load_verify_locations(self.client_ca)
        except (OSError, ssl.SSLError) as error:
            raise IntakeInvalid(
                f"the certificates of the receiver of alerts can't be used: {error}"
            ) from None
        return context

    def stamp(self) -> tuple[tuple[int, int], ...]:
        """Return what differs once a file was exchanged."""
        found = []
        for path in (self.tokens, self.certificate, self.key, self.client_ca):
            try:
                seen = path.stat() if path is not None else None
            except OSError:
                seen = None
            found.append((seen.st_mtime_ns, seen.st_ino) if seen else (0, 0))
        return tuple(found)


class Receiver:
    """Serves the endpoint."""

    def __init__(
        self,
        notifications: Notifications,
        access: Access,
        *,
        receivers: frozenset[str],
        most_bytes: int,
        not_ready: Callable[[], str | None],
    ) -> None:
        """``not_ready`` says why nothing can be taken now, or None."""
        access.check()
        self._notifications = notifications
        self._access = access
        self._receivers = receivers
        self._most_bytes = most_bytes
        self._not_ready = not_ready
        self._stamp = access.stamp()
        self._tokens = access.read_tokens()
        self._context: _InUse | None = None
        if (context := access.context()) is not None:
            self._context = _InUse(ssl.PROTOCOL_TLS_SERVER)
            self._context.current = context
        self._under_way = 0
        self._runner: web.AppRunner | None = None
        self._looking: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int) -> int:
        """Begin to serve; return the port.

        Raises:
            OSError: the port can't be had; says what to do.
        """
        app = web.Application(client_max_size=self._most_bytes)
        app.router.add_post(PATH, self._post)
        # What Alertmanager has under way is answered before we go.
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=5.0, keepalive_timeout=IDLE)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port, ssl_context=self._context).start()
        except OSError as error:
            told = (
                f"alerts can't be received on {host} port {port}: {error.strerror or error}; "
                "set KUBERNAUT_ALERTS_BIND and KUBERNAUT_ALERTS_PORT to an address of this machine and a free port"
            )
            raise OSError(told) from error
        self._looking = asyncio.create_task(self._look())
        found: int = self._runner.addresses[0][1]
        return found

    async def stop(self) -> None:
        """Stop serving."""
        if self._looking is not None:
            self._looking.cancel()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            self.refresh()

    def refresh(self) -> None:
        """Take up tokens and certificates that were exchanged; the former stay in use where those can't be used."""
        found = self._access.stamp()
        if found == self._stamp:
            return
        try:
            tokens, context = self._access.read_tokens(), self._access.context()
        except IntakeInvalid as error:
            log.warning("the former tokens and certificates stay in use", extra={"error": str(error)})
        else:
            self._stamp, self._tokens = found, tokens
            if self._context is not None and context is not None:
                self._context.current = context
            log.info("tokens and certificates of the receiver of alerts were read anew")

    def _outdated(self, request: web.Request) -> bool:
        """Whether certificates were exchanged since a connection began: its client's may count no more."""
        return self._context is not None and (
            request.get_extra_info("ssl_object").context is not self._context.current
        )

    async def _post(self, request: web.Request) -> web.Response:
        try:
            answer = await self._answer(request)
        except web.HTTPException as error:
            ALERT_REQUESTS.labels(str(error.status)).inc()
            raise
        except Exception:
            # Answered with 500, which has Alertmanager tell it again.
            ALERT_REQUESTS.labels("500").inc()
            raise
        ALERT_REQUESTS.labels(str(answer.status)).inc()
        return answer

    async def _answer(self, request: web.Request) -> web.Response:
        if self._outdated(request):
            answer = _later("certificates were exchanged since this connection began")
            answer.force_close()
            return answer
        if not self._allowed(request.headers.get("Authorization", "")):
            log.warning(
                "a request to the receiver of alerts had no valid token", extra={"peer": request.remote}
            )
            return _refused(401, "a valid bearer token is needed", {"WWW-Authenticate": "Bearer"})
        if (why := self._not_ready()) is not None:
            return _later(why)
        if self._under_way >= MOST_UNDER_WAY:
            return _later(f"{self._under_way} notifications are under way")
        if request.content_length is not None and request.content_length > self._most_bytes:
            return self._too_large()
        self._under_way += 1
        try:
            with ALERT_SECONDS.time():
                return await self._take(request)
        finally:
            self._under_way -= 1

    async def _take(self, request: web.Request) -> web.Response:
        try:
            async with asyncio.timeout(BODY_WITHIN):
                body = await request.read()
        except TimeoutError:
            log.warning("a notification did not come in time", extra={"peer": request.remote})
            return _later(f"its body did not come within {BODY_WITHIN:.0f} s")
        except web.HTTPRequestEntityTooLarge:
            return self._too_large()
        except web.RequestPayloadError as error:
            log.warning("a notification can't be unpacked", extra={"error": str(error)})
            return _refused(400, f"the body can't be unpacked: {error}")
        try:
            notification = read(body)
        except PayloadInvalid as error:
            log.warning("a notification can't be read", extra={"error": str(error)})
            return _refused(400, str(error))
        if self._receivers and notification.receiver not in self._receivers:
            known = ", ".join(sorted(self._receivers))
            told = f"receiver {notification.receiver!r} is not known here; KUBERNAUT_ALERTS_RECEIVERS has: {known}"
            log.warning("a notification of an unknown receiver was refused", extra={"error": told})
            return _refused(403, told)
        taken = await self._notifications.take(notification)
        return _later(taken.again, taken) if taken.again else web.json_response(_body(taken))

    def _allowed(self, header: str) -> bool:
        if not self._tokens:
            # Then a certificate was asked for, and shown.
            return True
        scheme, _, token = header.partition(" ")
        # What is not UTF-8 is no token, but may be sent.
        given = token.strip().encode(errors="surrogateescape")
        # All are compared, so that time tells nothing.
        found = [hmac.compare_digest(given, one) for one in self._tokens]
        return scheme.lower() == "bearer" and any(found)

    def _too_large(self) -> web.Response:
        told = (
            f"a notification has at most {self._most_bytes} bytes here (KUBERNAUT_ALERTS_BYTES); "
            "set max_alerts in the webhook_configs of Alertmanager, or group by more labels"
        )
        log.warning("a notification is too large")
        return _refused(413, told)


def _body(taken: Taken) -> dict[str, object]:
    return {"alerts": dict(+taken.outcomes), "problems": taken.problems}


def _refused(status: int, told: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response({"error": told}, status=status, headers=headers)


def _later(told: str, taken: Taken | None = None) -> web.Response:
    """Ask Alertmanager to send it again, which it does after 5xx alone."""
    body = {"error": f"not stored yet, send it again: {told}", **(_body(taken) if taken else {})}
    return web.json_response(body, status=503, headers={"Retry-After": str(RETRY_AFTER)})
