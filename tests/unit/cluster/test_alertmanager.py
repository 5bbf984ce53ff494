"""Asking an Alertmanager over HTTP: what fires, and every way in which that is not known."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kubernaut.cluster import alertmanager as module
from kubernaut.cluster.alertmanager import FRESH, Alertmanager
from kubernaut.cluster.breaker import Breaker
from unit.cluster.answering import Server, Time, serving

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def about() -> Server:
    """What it says of itself."""
    return Server('{"uptime": "2026-01-01T00:00:00.000Z"}')


@pytest.fixture
async def server(about: Server) -> AsyncIterator[Server]:
    one = Server("[]")
    async with serving(one, "am", "api/v2/alerts", {"api/v2/status": about}):
        yield one


def alertmanager(url: str, time: Any) -> Alertmanager:
    breaker = Breaker("the Alertmanager", fail_max=3, probe_every=30.0, monotonic=time)
    return Alertmanager(url, lambda: NOW, breaker=breaker, monotonic=time)


async def test_what_fires_is_told_with_its_labels_and_what_is_silenced_keeps_nobody_but_fires(
    server: Server,
) -> None:
    server.body = json.dumps(
        [
            {
                "labels": {"alertname": "Down", "zone": "a"},
                "status": {"state": "active"},
                "fingerprint": "aa",
            },
            {"labels": {"alertname": "Hush"}, "status": {"state": "suppressed"}, "fingerprint": "bb"},
        ]
    )
    found = await alertmanager(server.url, Time()).look()
    assert (found.firing, found.trouble, found.asked_at) == (({"alertname": "Down", "zone": "a"},), "", NOW)
    assert found.fingerprints == {"aa", "bb"}
    assert server.asked == [
        {"active": "true", "silenced": "true", "inhibited": "true", "unprocessed": "true"}
    ]


async def test_an_answer_that_comes_in_many_pieces_is_read_to_its_end(server: Server) -> None:
    labels = {"alertname": "Broken", "summary": "x" * 500}
    server.body = json.dumps([{"labels": labels, "fingerprint": f"{at:x}"} for at in range(2000)])
    found = await alertmanager(server.url, Time()).look()
    assert found.trouble == ""
    assert len(found.fingerprints) == len(found.firing) == 2000


async def test_an_answer_that_is_too_large_is_trouble(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 1000)
    server.body = json.dumps([{"labels": {"alertname": "x" * 2000}}])
    found = await alertmanager(server.url, Time()).look()
    assert found.trouble.endswith("its answer is larger than 1000 bytes")


@pytest.mark.parametrize(("seconds", "known"), [(0, False), (170, False), (190, True)])
async def test_one_that_has_just_started_may_not_know_yet_of_all_that_fires(
    server: Server, about: Server, seconds: int, known: bool
) -> None:
    began = datetime.now(UTC) - timedelta(seconds=seconds)
    about.body = json.dumps({"uptime": began.isoformat(timespec="milliseconds").replace("+00:00", "Z")})
    found = await alertmanager(server.url, Time()).look()
    assert (found.trouble, found.lacks == "") == ("", known)
    assert known or "for 3 minutes it may not have been told of all that fires" in found.lacks


@pytest.mark.parametrize(
    ("code", "body"), [(404, "no"), (200, "no"), (200, "[]"), (200, '{"uptime": "2026-01-01"}'), (200, "{}")]
)
async def test_of_one_that_does_not_say_since_when_it_runs_all_is_believed(
    server: Server, about: Server, code: int, body: str
) -> None:
    about.status, about.body = code, body
    found = await alertmanager(server.url, Time()).look()
    assert (found.trouble, found.lacks) == ("", "")


async def test_one_answer_serves_all_who_ask_for_some_seconds(server: Server) -> None:
    time = Time()
    source = alertmanager(server.url, time)
    await asyncio.gather(*(source.look() for _ in range(10)))
    assert len(server.asked) == 1
    time.now += FRESH
    await source.look()
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("status", "body"),
    [(500, "[]"), (302, "[]"), (200, "{}"), (200, "oh"), (200, "[1]"), (200, '[{"labels": null}]')],
)
async def test_an_answer_that_is_none_is_trouble(server: Server, status: int, body: str) -> None:
    server.status, server.body = status, body
    found = await alertmanager(server.url, Time()).look()
    assert found.asked_at is None
    assert found.trouble.startswith(f"the Alertmanager at {server.url} can't be asked: ")


async def test_one_that_is_away_is_not_asked_each_time(server: Server) -> None:
    server.status = 503
    time = Time()
    source = alertmanager(server.url, time)
    for _ in range(5):
        assert (await source.look()).trouble
        time.now += FRESH
    assert len(server.asked) == 3
    assert "does not answer" in (await source.look()).trouble
    server.status = 200
    time.now += 30
    assert (await source.look()).trouble == ""


async def test_nobody_there_is_trouble() -> None:
    found = await alertmanager("http://127.0.0.1:9", Time()).look()
    assert "can't be asked" in found.trouble


async def test_an_answer_that_comes_in_many_pieces_is_read_whole(server: Server) -> None:
    labels = {"alertname": "Down", "told": "x" * 200}
    server.body = json.dumps([{"labels": labels, "fingerprint": str(number)} for number in range(4_000)])
    found = await alertmanager(server.url, Time()).look()
    assert (found.trouble, len(found.firing)) == ("", 4_000)


async def test_an_answer_without_end_is_not_read_to_its_end(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kubernaut.cluster.alertmanager.MOST_BYTES", 100_000)
    server.body = " " * 200_000
    assert "larger than 100000 bytes" in (await alertmanager(server.url, Time()).look()).trouble
