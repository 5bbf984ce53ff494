"""E-mail, by aiosmtplib: one message, one connection, to an address that was looked at first."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import re
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

import aiosmtplib
from aiosmtplib import SMTP, SMTPAuthenticationError, SMTPException, SMTPResponseException

from kubernaut import __version__
from kubernaut.cluster.breaker import Breaker
from kubernaut.core.errors import StepError, Unavailable
from kubernaut.engine.posting import Became, Told
from kubernaut.notify.message import Event, Message
from kubernaut.outside.files import secret_in

log = logging.getLogger(__name__)
TIMEOUT: Final = 15.0
#: seconds for a server that has the letter to say good-bye
_PARTING: Final = 1.0
_PERMANENT: Final = range(500, 600)
_SUBJECT: Final = 200


class Security(StrEnum):
    """How the connection is kept from being read: TLS from the first byte, TLS by STARTTLS, or not at all."""

    TLS = "tls"
    STARTTLS = "starttls"
    NONE = "none"


@dataclass(slots=True)
class Mail:
    """E-mail by one server.

    Attributes:
        host, port: the server.
        find: returns the addresses of it that may be connected to. Raises StepError, or OSError.
        sender, recipients: addresses.
        password: file with the password of ``username``.
    """

    host: str
    port: int
    security: Security
    find: Callable[[str, int], Awaitable[list[tuple[int, str]]]]
    sender: str
    recipients: tuple[str, ...]
    breaker: Breaker
    clock: Callable[[], datetime]
    username: str = ""
    password: Path | None = None
    name: str = "email"

    async def send(self, message: Message) -> Told:
        """Send it once. Raises SecretUnreadable."""
        password = None
        if self.password is not None:
            password = secret_in(self.password, "KUBERNAUT_NOTIFY_EMAIL_PASSWORD")
        try:
            self.breaker.admit()
        except Unavailable as error:
            return Told(Became.UNSENT, str(error))
        told = await self._try(self.letter(message), password)
        if told.became is Became.UNSENT:
            self.breaker.failed()
        else:
            self.breaker.succeeded()
        return told

    async def _try(self, letter: EmailMessage, password: str | None) -> Told:
        where = f"{self.host}:{self.port}"
        try:
            await self._deliver(letter, password)
        except StepError as error:
            return Told(Became.UNSENT, str(error))
        except SMTPAuthenticationError as error:
            return Told(Became.REFUSED, f"{where} does not take user and password ({error.code})")
        except SMTPResponseException as error:
            became = Became.REFUSED if error.code in _PERMANENT else Became.UNSENT
            # What a server answers may hold what it was sent.
            return Told(became, f"{where} answered {error.code} ({type(error).__name__})")
        except aiosmtplib.SMTPRecipientsRefused:
            return Told(Became.REFUSED, f"{where} takes none of the recipients")
        except (SMTPException, OSError, TimeoutError, ssl.SSLError) as error:
            return Told(Became.UNSENT, f"{where}: {type(error).__name__}")
        return Told(Became.SENT)

    async def _deliver(self, letter: EmailMessage, password: str | None) -> None:
        client: SMTP | None = None
        try:
            async with asyncio.timeout(TIMEOUT):
                client = self._client(await _connected(await self.find(self.host, self.port), self.port))
                await client.connect()
                if password is not None:
                    await client.login(self.username, password)
                left, _ = await client.send_message(letter)
            if left:
                # The others have it, so it is not sent again; who reads the log can mend the list.
                codes = {address: answer.code for address, answer in left.items()}
                log.warning("a mail server does not take some recipients", extra={"recipients": codes})
            # It has the letter now. Were it sent again for how the server parts, it would come twice.
            with contextlib.suppress(SMTPException, OSError):
                await client.quit(timeout=_PARTING)
        finally:
            if client is not None:
                client.close()

    def _client(self, sock: socket.socket) -> SMTP:
        return SMTP(
            hostname=self.host,
            sock=sock,
            use_tls=self.security is Security.TLS,
            start_tls=self.security is Security.STARTTLS,
            local_hostname=socket.gethostname(),
            timeout=TIMEOUT,
        )

    def letter(self, message: Message) -> EmailMessage:
        """Return a message as e-mail: repetitions have the same Message-ID, and one thread holds all of a wait."""
        letter = EmailMessage()
        letter["From"] = self.sender
        letter["To"] = ", ".join(self.recipients)
        letter["Subject"] = re.sub(r"\s+", " ", message.title)[:_SUBJECT]
        letter["Date"] = format_datetime(self.clock())
        domain = self.sender.rpartition("@")[2].rstrip(">") or "kubernaut.invalid"
        letter["Message-ID"] = _message_id(message.key, domain)
        if message.event is not Event.ASKED:
            first = _message_id(message.id, domain)
            letter["In-Reply-To"] = first
            letter["References"] = first
        letter["Auto-Submitted"] = "auto-generated"
        letter["X-Mailer"] = f"kubernaut/{__version__}"
        letter["X-Kubernaut-Key"] = message.key
        letter.set_content(message.text())
        return letter


def _message_id(key: str, domain: str) -> str:
    return f"<{hashlib.sha256(key.encode()).hexdigest()[:32]}@{domain}>"


async def _connected(found: list[tuple[int, str]], port: int) -> socket.socket:
    """Connect to the first of the addresses (family, address) that answers. Raises OSError."""
    last: OSError = OSError("it has no address")
    # One that never answers must leave time for the others, and for what is said then.
    each = TIMEOUT / (len(found) + 1)
    for family, address in found:
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            async with asyncio.timeout(each):
                await asyncio.get_running_loop().sock_connect(sock, (address, port))
        except BaseException as error:
            sock.close()
            if not isinstance(error, OSError):
                raise
            last = error
        else:
            return sock
    raise last
