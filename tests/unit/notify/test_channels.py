"""Messages on the wire: a real HTTP server, a real mail server, and files that are exchanged meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kubernaut.cluster.breaker import Breaker
from kubernaut.core.asking import Asked, Asks
from kubernaut.engine.posting import Became, Poster, host_of
from kubernaut.notify import mail as mail_module
from kubernaut.notify.channels import Webhook
from kubernaut.notify.mail import Mail, Security
from kubernaut.notify.message import Event, Message, Subject
from kubernaut.notify.slack import Slack, slack_payload
from kubernaut.outside.client import HttpClient
from kubernaut.outside.files import SecretUnreadable
from kubernaut.outside.hosts import Hosts
from localrun.process import free_port
from unit.outside.test_client import serving

AT = datetime(2026, 1, 1, tzinfo=UTC)
CANARY = "t0ken-canary-0123456789"


def message(event: Event = Event.ASKED, question: str = "Scale web?", **more: Any) -> Message:
    effects = ("grow: scale_deployment (replicas: 5)",)
    until = AT + timedelta(hours=1)
    one = Asked(Asks.APPROVAL, "ask", 1, question, "", AT, until, effects, ("to",))
    subject = Subject("shop", "run-1", "u1", "crash-loop", "Deployment web")
    return Message(event, "u1/approval/ask/1", subject, one, **more)


def poster() -> Poster:
    return Poster(lambda url: HttpClient(Hosts.parse(host_of(url)), "https://127.0.0.1:1"), Breaker("it"))


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


async def test_a_webhook_gets_all_that_a_person_needs_under_a_stable_key(tmp_path: Path) -> None:
    seen: list[tuple[str, Any, dict[str, Any]]] = []

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        seen.append((request.path, request.headers.copy(), json.loads(await request.read())))
        return web.Response(status=202)

    async with serving(handle) as port:
        url = written(tmp_path / "url", f"http://127.0.0.1:{port}/one\n")
        channel = Webhook(poster(), url, written(tmp_path / "token", CANARY))
        assert (await channel.send(message())).became is Became.SENT
        # A Secret is rotated: the next message goes where it says now.
        written(url, f"http://127.0.0.1:{port}/two")
        written(tmp_path / "token", "another-token")
        await channel.send(message(Event.REMINDER, number=2))
    (path, headers, body), (later, later_headers, reminder) = seen
    assert (path, later) == ("/one", "/two")
    assert headers["Authorization"] == f"Bearer {CANARY}"
    assert later_headers["Authorization"] == "Bearer another-token"
    assert headers["Idempotency-Key"] == "u1/approval/ask/1"
    assert later_headers["Idempotency-Key"] == "u1/approval/ask/1/reminder-2"
    assert (body["event"], reminder["event"], reminder["reminder"]) == ("Asked", "Reminder", 2)
    assert body["run"] == {"namespace": "shop", "name": "run-1", "uid": "u1"}
    assert (body["workflow"], body["target"], body["question"]) == (
        "crash-loop",
        "Deployment web",
        "Scale web?",
    )
    assert (body["since"], body["until"]) == ("2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z")
    assert body["effects"] == ["grow: scale_deployment (replicas: 5)"]
    assert body["commands"]["approve"] == "kubectl kubernaut approve run-1 ask -n shop"
    assert body["commands"]["deny"].startswith("kubectl kubernaut deny run-1 ask -n shop")


@pytest.mark.parametrize(
    ("status", "became"),
    [(200, "sent"), (400, "refused"), (404, "refused"), (429, "unsent"), (503, "unsent"), (302, "refused")],
)
async def test_what_an_answer_means(tmp_path: Path, status: int, became: str) -> None:
    async def handle(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=status, headers={"Location": "http://127.0.0.1:1/"})

    async with serving(handle) as port:
        channel = Webhook(poster(), written(tmp_path / "url", f"http://127.0.0.1:{port}/"))
        assert (await channel.send(message())).became == became


async def test_nothing_that_is_told_of_a_failure_holds_the_address(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = written(tmp_path / "url", f"http://127.0.0.1:{free_port()}/services/{CANARY}")
    for channel in (Webhook(poster(), url), Slack(poster(), url)):
        told = await channel.send(message())
        assert told.became is Became.UNSENT
        assert CANARY not in told.why + caplog.text


async def test_a_link_local_address_and_the_api_server_are_no_webhook(tmp_path: Path) -> None:
    url = written(tmp_path / "url", "http://169.254.169.254.nip.invalid/x")
    assert (await Webhook(poster(), url).send(message())).became is Became.UNSENT
    web_ = HttpClient(Hosts.parse("localhost:1"), "https://127.0.0.1:1")
    named = written(tmp_path / "url", "http://metadata.test/x")
    told = await Webhook(Poster(lambda _: web_, Breaker("it")), named).send(message())
    assert "not among the hosts" in told.why


def test_slack_is_told_within_its_bounds_and_nobody_can_be_mentioned() -> None:
    payload = slack_payload(message(question="<!channel> " + "x" * 5000))
    text = json.dumps(payload)
    assert "<!channel>" not in text
    assert "&lt;!channel&gt;" in text
    assert all(len(block["text"]["text"]) <= 3000 for block in payload["blocks"])
    assert "kubectl kubernaut approve run-1 ask -n shop" in text
    resolved = json.dumps(slack_payload(message(Event.RESOLVED, became="Approved by alice.")))
    assert "Approved by alice." in resolved
    assert "approve run-1" not in resolved


async def test_a_secret_that_is_missing_or_odd_is_named_and_not_shown(tmp_path: Path) -> None:
    for text in ("", "  \n", f"a {CANARY}"):
        with pytest.raises(SecretUnreadable) as told:
            await Webhook(poster(), written(tmp_path / "url", text)).send(message())
        assert "KUBERNAUT_NOTIFY_WEBHOOK_URL" in str(told.value)
        assert CANARY not in str(told.value)
    with pytest.raises(SecretUnreadable, match="No such file"):
        await Slack(poster(), tmp_path / "none").send(message())


# E-mail


class Box:
    """A mailbox."""

    def __init__(self, answer: str = "250 OK") -> None:
        self.answer = answer
        self.letters: list[Envelope] = []

    async def handle_DATA(self, _: Any, __: Any, envelope: Envelope) -> str:  # noqa: N802
        self.letters.append(envelope)
        return self.answer


def text_of(letter: Envelope) -> str:
    content = letter.content or b""
    return content.decode() if isinstance(content, bytes) else content


@contextmanager
def mail_server(box: Box, **more: Any) -> Iterator[int]:
    controller = Controller(box, hostname="127.0.0.1", port=free_port(), **more)
    controller.start()
    try:
        yield int(controller.port)
    finally:
        controller.stop()


def mail(port: int, security: Security = Security.NONE, **more: Any) -> Mail:
    hosts = HttpClient(Hosts.parse(f"127.0.0.1:{port}"), "https://127.0.0.1:1")
    return Mail(
        "127.0.0.1",
        port,
        security,
        hosts.addresses,
        "kubernaut@example.com",
        ("sre@example.com", "ops@example.com"),
        Breaker("the mail server"),
        lambda: AT,
        **more,
    )


async def test_an_email_says_it_all_and_a_wait_is_one_thread() -> None:
    box = Box()
    with mail_server(box) as port:
        channel = mail(port)
        for one in (message(), message(), message(Event.RESOLVED, became="Approved by alice.")):
            assert (await channel.send(one)).became is Became.SENT
    first, again, resolved = map(text_of, box.letters)
    assert box.letters[0].rcpt_tos == ["sre@example.com", "ops@example.com"]
    assert "Subject: Approval wanted: crash-loop on Deployment web in shop (run run-1)" in first
    for part in ("Scale web?", "grow: scale_deployment", "2026-01-01T01:00:00Z", "kubectl kubernaut approve"):
        assert part in first

    def header(letter: str, name: str) -> str:
        return next(line for line in letter.splitlines() if line.startswith(f"{name}: ")).partition(": ")[2]

    assert header(first, "Message-ID") == header(again, "Message-ID")
    assert header(resolved, "References") == header(first, "Message-ID")
    assert header(resolved, "Message-ID") != header(first, "Message-ID")


async def test_what_a_workflow_says_can_not_add_headers() -> None:
    box = Box()
    odd = Message(
        Event.ASKED,
        "k",
        Subject("shop", "run\r\nBcc: eve@example.com", "u1", "crash\nloop", ""),
        message(question="a\r\n.\r\nMAIL FROM:<eve@example.com>").asked,
    )
    with mail_server(box) as port:
        assert (await mail(port).send(odd)).became is Became.SENT
    assert len(box.letters) == 1
    assert "\nBcc:" not in text_of(box.letters[0]).partition("\r\n\r\n")[0]


@pytest.mark.parametrize("silent", [False, True])
async def test_a_server_that_takes_a_letter_and_parts_oddly_is_not_sent_it_again(
    silent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail_module, "_PARTING", 0.1)

    class Odd(Box):
        async def handle_QUIT(self, *_: Any) -> str:  # noqa: N802
            if silent:
                await asyncio.sleep(1)
            return "421 no time for that"

    box = Odd()
    with mail_server(box) as port:
        assert (await mail(port).send(message())).became is Became.SENT
    assert len(box.letters) == 1


async def test_a_recipient_that_is_not_taken_is_told_in_the_log_and_the_others_are_not_sent_it_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Picky(Box):
        async def handle_RCPT(  # noqa: N802
            self, _: Any, __: Any, envelope: Envelope, address: str, ___: Any
        ) -> str:
            if address.startswith("ops"):
                return "550 nobody of that name"
            envelope.rcpt_tos.append(address)
            return "250 OK"

    box = Picky()
    with mail_server(box) as port:
        assert (await mail(port).send(message())).became is Became.SENT
    assert [one.rcpt_tos for one in box.letters] == [["sre@example.com"]]
    (record,) = [one for one in caplog.records if "does not take some recipients" in one.getMessage()]
    assert vars(record)["recipients"] == {"ops@example.com": 550}


async def test_an_address_that_never_answers_leaves_time_for_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mail_module, "TIMEOUT", 1.5)

    async def both(host: str, port: int) -> list[tuple[int, str]]:
        return [(socket.AF_INET, "127.0.0.2"), (socket.AF_INET, "127.0.0.1")]

    box = Box()
    with mail_server(box) as port, contextlib.ExitStack() as stack:
        # A listener whose queue is full: who connects is never answered.
        full = stack.enter_context(contextlib.closing(socket.create_server(("127.0.0.2", port), backlog=0)))
        full.setblocking(False)
        for _ in range(3):
            one = stack.enter_context(contextlib.closing(socket.socket()))
            one.setblocking(False)
            one.connect_ex(("127.0.0.2", port))
        assert (await dataclasses.replace(mail(port), find=both).send(message())).became is Became.SENT
    assert len(box.letters) == 1


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that nobody has signed, and its key."""
    from ipaddress import ip_address

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(True, None), True)
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (tmp_path / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
    return tmp_path / "cert.pem", tmp_path / "key.pem"


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
@pytest.mark.parametrize("security", [Security.STARTTLS, Security.TLS])
async def test_user_and_password_go_over_tls_and_the_certificate_is_checked(
    tmp_path: Path,
    certificate: tuple[Path, Path],
    security: Security,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[LoginPassword] = []

    def check(_: Any, __: Any, ___: Any, ____: str, login: LoginPassword) -> AuthResult:
        given.append(login)
        return AuthResult(success=login.password == CANARY.encode(), handled=False)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    how: dict[str, Any] = {"authenticator": check, "auth_required": True}
    if security is Security.STARTTLS:
        how |= {"tls_context": context, "require_starttls": True}
    else:
        how |= {"ssl_context": context, "auth_require_tls": False}
    password, box = written(tmp_path / "password", CANARY), Box()
    with mail_server(box, **how) as port:
        channel = mail(port, security, username="kubernaut", password=password)
        distrusted = await channel.send(message())
        assert distrusted.became is Became.UNSENT
        assert given == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        assert (await channel.send(message())).became is Became.SENT
        written(password, "wrong-password")
        refused = await channel.send(message())
    assert len(box.letters) == 1
    assert refused.became is Became.REFUSED
    assert "wrong-password" not in refused.why


@pytest.mark.parametrize(
    ("answer", "became"), [("550 no such box", Became.REFUSED), ("451 later", Became.UNSENT)]
)
async def test_what_a_mail_server_answers_means(answer: str, became: Became) -> None:
    with mail_server(Box(answer)) as port:
        assert (await mail(port).send(message())).became is became


async def test_a_mail_server_that_is_away_is_not_asked_again_and_again() -> None:
    port = free_port()
    channel = mail(port)
    channel.breaker = Breaker("the mail server", fail_max=2, probe_every=600)
    tried = []
    find = channel.find

    async def finding(host: str, port: int) -> list[tuple[int, str]]:
        tried.append(host)
        return await find(host, port)

    channel.find = finding
    for _ in range(4):
        assert (await channel.send(message())).became is Became.UNSENT
        await asyncio.sleep(0)
    assert len(tried) == 2
