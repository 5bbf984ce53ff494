"""The endpoint for alerts: who is let in, what is asked to come again, and what changes while it runs."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvloop

from certificates import Authority, client
from kubernaut.intake import receiver as module
from kubernaut.intake.notifications import Taken
from kubernaut.intake.payload import Notification, PayloadInvalid, read
from kubernaut.intake.receiver import Access, IntakeInvalid, Receiver
from kubernaut.metrics import REGISTRY

TOKEN = "0123456789abcdef-one"
BODY = json.dumps({"version": "4", "receiver": "kubernaut", "alerts": []}).encode()


@dataclass
class Takes:
    """Takes every notification; ``gate`` holds them up where it is there."""

    answer: Taken = field(default_factory=Taken)
    gate: asyncio.Event | None = None
    seen: list[Notification] = field(default_factory=list)
    began: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self, notification: Notification) -> Taken:
        self.seen.append(notification)
        self.began.set()
        if self.gate is not None:
            await self.gate.wait()
        return self.answer


@asynccontextmanager
async def served(
    access: Access, takes: Takes | None = None, not_ready: str | None = None, **more: Any
) -> AsyncIterator[int]:
    receiver = Receiver(
        takes or Takes(),  # type: ignore[arg-type]
        access,
        **{"receivers": frozenset(), "most_bytes": 2000, "not_ready": lambda: not_ready, **more},
    )
    port = await receiver.start("127.0.0.1", 0)
    try:
        yield port
    finally:
        await receiver.stop()


def tokens(folder: Path, *lines: str) -> Access:
    path = folder / "tokens"
    path.write_text("\n".join(lines or (TOKEN,)))
    return Access(path)


async def post(
    port: int, body: bytes = BODY, token: str = TOKEN, context: ssl.SSLContext | None = None, **more: Any
) -> tuple[int, dict[str, Any]]:
    scheme = "https" if context else "http"
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{scheme}://127.0.0.1:{port}/alerts",
            data=body,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            ssl=context or True,
            **more,
        ) as answer,
    ):
        return answer.status, await answer.json()


async def test_any_of_the_tokens_lets_in_and_nothing_else_does(tmp_path: Path) -> None:
    async with served(tokens(tmp_path, TOKEN, "0123456789abcdef-two")) as port:
        assert (await post(port))[0] == 200
        assert (await post(port, token="0123456789abcdef-two"))[0] == 200
        for wrong in ("", "0123456789abcdef", TOKEN + "x", "ümlaut"):
            status, answer = await post(port, token=wrong)
            assert status == 401
            assert "token" in answer["error"]


async def test_tokens_that_were_exchanged_count_without_a_restart(tmp_path: Path) -> None:
    receiver = Receiver(
        Takes(),  # type: ignore[arg-type]
        tokens(tmp_path),
        receivers=frozenset(),
        most_bytes=2000,
        not_ready=lambda: None,
    )
    port = await receiver.start("127.0.0.1", 0)
    try:
        # What can't be used leaves the former in use.
        (tmp_path / "tokens").write_text("short")
        receiver.refresh()
        assert (await post(port))[0] == 200
        tokens(tmp_path, "0123456789abcdef-new")
        receiver.refresh()
        assert (await post(port, token="0123456789abcdef-new"))[0] == 200
        assert (await post(port))[0] == 401
    finally:
        await receiver.stop()


async def test_what_is_not_stored_is_asked_to_come_again(tmp_path: Path) -> None:
    takes = Takes(Taken(again="the API server is away"))
    async with served(tokens(tmp_path), takes) as port:
        status, answer = await post(port)
    assert status == 503
    assert "send it again: the API server is away" in answer["error"]


async def test_who_is_not_ready_or_has_too_much_to_do_asks_to_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(tokens(tmp_path), not_ready="the operator is starting") as port:
        assert (await post(port)) == (
            503,
            {"error": "not stored yet, send it again: the operator is starting"},
        )
    monkeypatch.setattr(module, "MOST_UNDER_WAY", 1)
    takes = Takes(gate=asyncio.Event())
    assert takes.gate is not None
    async with served(tokens(tmp_path), takes) as port:
        first = asyncio.create_task(post(port))
        async with asyncio.timeout(10):
            await takes.began.wait()
        assert (await post(port))[0] == 503
        takes.gate.set()
        assert (await first)[0] == 200
        assert (await post(port))[0] == 200


@asynccontextmanager
async def connected(port: int, sent: bytes) -> AsyncIterator[asyncio.StreamReader]:
    """A client that sends so much, and then nothing until it goes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    await writer.drain()
    try:
        yield reader
    finally:
        writer.write(b"x" * 90)
        await reader.read()
        writer.close()


def half(token: bytes = TOKEN.encode()) -> bytes:
    """The beginning of a request of which the rest does not come."""
    told = b"Host: a\r\nConnection: close\r\nAuthorization: Bearer %s\r\nContent-Length: 90" % token
    return b'POST /alerts HTTP/1.1\r\n%s\r\n\r\n{"v' % told


async def test_who_sends_half_a_body_keeps_no_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_UNDER_WAY", 1)
    monkeypatch.setattr(module, "BODY_WITHIN", 0.3)
    async with served(tokens(tmp_path)) as port, connected(port, half()) as slow:
        async with asyncio.timeout(10):
            assert b" 503 " in await slow.readline()
        assert (await post(port))[0] == 200


@pytest.mark.parametrize("sent", [b"", b"POST /alerts HTTP/1.1\r\nHost: a\r\nX-"])
async def test_a_connection_on_which_nothing_is_asked_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(module, "IDLE", 0.2)
    async with (
        served(tokens(tmp_path)) as port,
        connected(port, sent) as reader,
        asyncio.timeout(10),
    ):
        assert await reader.read() == b""


async def test_a_token_that_is_no_text_lets_nobody_in(tmp_path: Path) -> None:
    async with served(tokens(tmp_path)) as port, connected(port, half(b"\xff" * 20)) as reader:
        async with asyncio.timeout(10):
            assert b" 401 " in await reader.readline()


def answered(code: int) -> float:
    return REGISTRY.get_sample_value("kubernaut_alert_requests_total", {"code": str(code)}) or 0


async def test_a_body_that_is_not_packed_as_it_says_is_refused_and_an_error_nobody_thought_of_is_counted(
    tmp_path: Path,
) -> None:
    async with served(tokens(tmp_path)) as port:
        bad, packed = answered(400), {"Authorization": f"Bearer {TOKEN}", "Content-Encoding": "gzip"}
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"http://127.0.0.1:{port}/alerts", data=BODY, headers=packed) as answer,
        ):
            assert (answer.status, answered(400) - bad) == (400, 1)
    takes = Takes()
    takes.take = None  # type: ignore[method-assign,assignment]
    async with served(tokens(tmp_path), takes) as port:
        before = answered(500)
        with pytest.raises(aiohttp.ContentTypeError):
            await post(port)
        assert answered(500) - before == 1


async def test_a_body_that_is_too_large_is_refused_whether_or_not_it_says_so(tmp_path: Path) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 100

    async with served(tokens(tmp_path)) as port:
        for body in (b" " * 2001, pieces()):
            status, answer = await post(port, body=body)  # type: ignore[arg-type]
            assert status == 413
            assert "max_alerts" in answer["error"]
        assert (await post(port))[0] == 200


@pytest.mark.parametrize(
    ("access", "told"),
    [
        (Access(), "nobody would be kept from telling alerts"),
        (Access(client_ca=Path("ca")), "KUBERNAUT_ALERTS_CLIENT_CA needs KUBERNAUT_ALERTS_CERTIFICATE"),
        (Access(Path("t"), certificate=Path("c")), "go together"),
        (Access(Path("/nowhere/tokens")), "/nowhere/tokens can't be read"),
    ],
)
def test_settings_that_would_let_anybody_in_are_refused(access: Access, told: str) -> None:
    with pytest.raises(IntakeInvalid, match=told):
        Receiver(Takes(), access, receivers=frozenset(), most_bytes=1, not_ready=lambda: None)  # type: ignore[arg-type]


def test_tokens_that_are_too_short_are_refused(tmp_path: Path) -> None:
    for lines in (("short",), (TOKEN, "short"), ("",)):
        with pytest.raises(IntakeInvalid, match="of 16 characters"):
            tokens(tmp_path, *lines).read_tokens()


def refused_by_tls() -> float:
    return REGISTRY.get_sample_value("kubernaut_alert_requests_total", {"code": "tls"}) or 0.0


# The operator runs on uvloop, which has a TLS of its own.
@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
async def test_with_an_authority_of_clients_only_their_certificates_let_in(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, run: Callable[[Coroutine[Any, Any, None]], None]
) -> None:
    ours, theirs = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    certificate, key = ours.signed("receiver")
    access = Access(certificate=certificate, key=key, client_ca=ours.path)

    async def tried() -> None:
        async with served(access) as port:
            shown = client(ours, ours.signed("alertmanager"))
            assert (await post(port, token="", context=shown))[0] == 200
            before = refused_by_tls()
            assert caplog.records == []
            others = None, theirs.signed("stranger")
            for at, other in enumerate(others, 1):
                with pytest.raises(aiohttp.ClientError):
                    await post(port, token="", context=client(ours, other))
                assert refused_by_tls() == before + at
                assert "refused by TLS" in caplog.records[-1].message
            assert (await post(port, token="", context=shown))[0] == 200

    await asyncio.to_thread(run, tried())


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
async def test_an_authority_that_was_exchanged_lets_nobody_in_any_more(
    tmp_path: Path, run: Callable[[Coroutine[Any, Any, None]], None]
) -> None:
    old, new = Authority(tmp_path, "old"), Authority(tmp_path, "new")
    certificate, key = old.signed("receiver")
    trusted = tmp_path / "ca.crt"
    trusted.write_bytes(old.path.read_bytes())
    receiver = Receiver(
        Takes(),  # type: ignore[arg-type]
        Access(certificate=certificate, key=key, client_ca=trusted),
        receivers=frozenset(),
        most_bytes=2000,
        not_ready=lambda: None,
    )

    async def tried() -> None:
        port = await receiver.start("127.0.0.1", 0)
        former = client(old, old.signed("former"))
        try:
            async with aiohttp.ClientSession() as kept:
                url = f"https://127.0.0.1:{port}/alerts"
                async with kept.post(url, data=BODY, ssl=former) as answer:
                    assert answer.status == 200
                trusted.write_bytes(new.path.read_bytes())
                receiver.refresh()
                async with kept.post(url, data=BODY, ssl=former) as answer:
                    assert (answer.status, "certificates were exchanged" in await answer.text()) == (
                        503,
                        True,
                    )
                with pytest.raises(aiohttp.ClientError):
                    await kept.post(url, data=BODY, ssl=former)
            with pytest.raises(aiohttp.ClientError):
                await post(port, token="", context=former)
            assert (await post(port, token="", context=client(old, new.signed("latter"))))[0] == 200
        finally:
            await receiver.stop()

    await asyncio.to_thread(run, tried())


async def test_with_an_authority_of_clients_and_tokens_both_are_needed(tmp_path: Path) -> None:
    ours = Authority(tmp_path, "ours")
    certificate, key = ours.signed("receiver")
    access = Access(tokens(tmp_path).tokens, certificate, key, ours.path)
    async with served(access) as port:
        shown = client(ours, ours.signed("alertmanager"))
        assert (await post(port, context=shown))[0] == 200
        assert (await post(port, token="", context=shown))[0] == 401
        with pytest.raises(aiohttp.ClientError):
            await post(port, context=client(ours, None))


async def test_with_a_certificate_of_its_own_it_speaks_tls_and_asks_for_a_token(tmp_path: Path) -> None:
    ours = Authority(tmp_path, "ours")
    certificate, key = ours.signed("receiver")
    access = Access(tokens(tmp_path).tokens, certificate, key)
    async with served(access) as port:
        assert (await post(port, context=client(ours, None)))[0] == 200
        assert (await post(port, token="", context=client(ours, None)))[0] == 401


def test_the_times_that_go_writes_are_read() -> None:
    told = {
        "status": "resolved",
        "labels": {"alertname": "A"},
        "startsAt": "2026-03-04T12:00:00.123456789Z",
        "endsAt": "2026-03-04T13:00:00.5+01:00",
        "fingerprint": "0123456789abcdef",
        "somethingNew": 1,
    }
    (one,) = read(json.dumps({"version": "4", "receiver": "r", "alerts": [told]}).encode()).alerts
    now = datetime(2026, 3, 4, 14, tzinfo=UTC)
    assert one.starts_at.microsecond == 123456
    assert one.alarm(now).ends_at == datetime(2026, 3, 4, 12, 0, 0, 500_000, tzinfo=UTC)
    # One that ended before it began says only that it ended.
    before = one.model_copy(update={"ends_at": datetime(2026, 3, 4, 11, tzinfo=UTC)})
    assert before.alarm(now).ends_at == now


@pytest.mark.parametrize(
    "body", [b"", b"null", b'{"version": "4"}', b"\xff", b'{"version": 4, "alerts": []}']
)
def test_what_is_no_payload_is_refused_by_name(body: bytes) -> None:
    with pytest.raises(PayloadInvalid):
        read(body)


def test_a_body_in_which_everything_is_wrong_is_refused_for_what_is_first() -> None:
    body = b'{"version": "4", "receiver": "r", "alerts": [%s]}' % b",".join([b"{}"] * 100_000)
    began = time.process_time()
    with pytest.raises(PayloadInvalid, match=r"alerts\.0\.status"):
        read(body)
    # It is read on the event loop, and leases have to be renewed meanwhile; once it took two seconds.
    assert time.process_time() - began < 0.5
