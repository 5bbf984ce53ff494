"""Asking a Prometheus over HTTP: what a query gives, and every way in which that is not known."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kubernaut.api.reasons import Reason
from kubernaut.cluster.breaker import Breaker
from kubernaut.cluster.prometheus import MOST_QUERY, Access, Prometheus
from kubernaut.core.run import MetricSeen, Sample
from unit.cluster.answering import Server, Time, serving

NOW = datetime(2026, 3, 1, tzinfo=UTC)
AWAY, REFUSED = Reason.METRICS_UNAVAILABLE, Reason.METRIC_REFUSED


class Asked(Server):
    """A Prometheus that answers as the test says."""

    def vector(self, *samples: dict[str, Any], **more: Any) -> None:
        self.data("vector", list(samples), **more)

    def data(self, kind: str, result: Any, **more: Any) -> None:
        self.body = json.dumps({"status": "success", "data": {"resultType": kind, "result": result}, **more})

    def error(self, status: int, kind: str, told: str) -> None:
        self.status = status
        self.body = json.dumps({"status": "error", "errorType": kind, "error": told})


@pytest.fixture
async def server() -> AsyncIterator[Asked]:
    one = Asked()
    one.vector()
    async with serving(one, "prom", "api/v1/query"):
        yield one


def prometheus(url: str, time: Any = None, **access: Any) -> Prometheus:
    breaker = Breaker("Prometheus", fail_max=3, probe_every=30.0, monotonic=time or Time())
    return Prometheus(Access(url, **access), lambda: NOW, breaker)


def sample(value: str, **labels: str) -> dict[str, Any]:
    return {"metric": labels, "value": [1764370000.1, value]}


async def test_each_sample_is_told_with_its_labels(server: Asked) -> None:
    server.vector(sample("0.5", pod="b", app="a"), sample("NaN"), sample("+Inf"), infos=["no matter"])
    found = await prometheus(server.url).ask("up", "shop")
    assert (found.asked_at, found.reason) == (NOW, None)
    assert [one.labels for one in found.samples] == ['app="a", pod="b"', "", ""]
    first, second, third = (one.value for one in found.samples)
    assert (first, third) == (0.5, math.inf)
    assert math.isnan(second)
    assert server.asked == [{"query": "up", "timeout": "2s"}]
    assert "Authorization" not in server.headers


async def test_a_scalar_is_one_sample_and_no_series_is_none(server: Asked) -> None:
    server.data("scalar", [1764370000.1, "3"])
    assert (await prometheus(server.url).ask("scalar(up)", "shop")).samples == (Sample(3.0),)
    server.vector()
    found = await prometheus(server.url).ask("up", "shop")
    assert found == MetricSeen(NOW)


async def test_the_namespace_of_the_run_and_the_token_go_with_the_query(
    server: Asked, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("secret-1\n")
    asks = prometheus(server.url, namespace_parameter="namespace", token=token)
    await asks.ask('up{namespace="other"}&namespace=other', "shop")
    assert server.asked[0]["namespace"] == "shop"
    assert server.headers["Authorization"] == "Bearer secret-1"
    token.write_text("secret-2")
    await asks.ask("up", "shop")
    assert server.headers["Authorization"] == "Bearer secret-2"
    token.unlink()
    found = await asks.ask("up", "shop")
    assert (found.reason, found.samples) == (AWAY, ())


@pytest.mark.parametrize(
    ("status", "kind", "told", "reason", "again"),
    [
        (400, "bad_data", "parse error: unexpected end", REFUSED, False),
        (400, "prom-label-proxy", "label matcher conflicts", REFUSED, False),
        (422, "execution", "many-to-many matching not allowed", REFUSED, True),
        (503, "timeout", "query timed out in expression evaluation", AWAY, True),
        (500, "internal", "oh", AWAY, True),
    ],
)
async def test_what_prometheus_says_of_a_query_is_told(
    server: Asked, status: int, kind: str, told: str, reason: Reason, again: bool
) -> None:
    server.error(status, kind, told)
    found = await prometheus(server.url).ask("up{", "shop")
    assert (found.reason, found.again, found.samples) == (reason, again, ())
    assert told in found.told


@pytest.mark.parametrize(
    ("kind", "result", "more", "reason", "says"),
    [
        ("vector", [sample("1")], {"warnings": ["store s1 is away"]}, AWAY, "store s1 is away"),
        ("vector", [sample("1", pod=str(at)) for at in range(101)], {}, REFUSED, "101 samples"),
        ("matrix", [], {}, REFUSED, "a matrix"),
        ("string", [1, "x"], {}, REFUSED, "a string"),
        ("vector", [{"metric": {}, "histogram": [1, {}]}], {}, REFUSED, "histograms"),
        ("vector", [{"metric": {}, "value": [1, 2]}], {}, AWAY, "has no value"),
        ("vector", [{"metric": {}, "value": [1, "x"]}], {}, AWAY, "could not convert"),
        ("vector", [1], {}, AWAY, "has no labels"),
        ("vector", {}, {}, AWAY, "no list of samples"),
    ],
)
async def test_an_answer_that_may_not_count_does_not(
    server: Asked, kind: str, result: Any, more: dict[str, Any], reason: Reason, says: str
) -> None:
    server.data(kind, result, **more)
    found = await prometheus(server.url).ask("up", "shop")
    assert (found.reason, found.samples) == (reason, ())
    assert says in found.told


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (500, "oh", "it answered 500"),
        (302, "", "it answered 302"),
        (403, '{"status":"success"}x', "it answered 403"),
        (200, "[]", "none of Prometheus"),
        (200, '{"status": "success"}', "has no data"),
        (200, "x" * 2**21, "larger than"),
        (200, "[" * 100_000, "none of Prometheus"),
    ],
)
async def test_an_answer_that_is_none_is_told(server: Asked, status: int, body: str, says: str) -> None:
    server.status, server.body = status, body
    found = await prometheus(server.url).ask("up", "shop")
    assert found.reason is not None
    assert found.samples == ()
    assert says in found.told


async def test_one_that_is_away_is_not_asked_each_time_and_comes_back(server: Asked) -> None:
    server.status, server.body = 502, "bad gateway"
    time = Time()
    asks = prometheus(server.url, time)
    for _ in range(5):
        assert (await asks.ask("up", "shop")).reason is AWAY
    assert len(server.asked) == 3
    assert asks.breaker.state == "open"
    assert "does not answer" in (await asks.ask("up", "shop")).told
    server.status = 200
    server.vector(sample("1"))
    time.now += 30
    assert (await asks.ask("up", "shop")).samples == (Sample(1.0),)
    assert asks.breaker.state == "closed"


async def test_one_workflow_with_bad_queries_keeps_no_other_from_asking(server: Asked) -> None:
    asks = prometheus(server.url)
    for status, kind in ((400, "bad_data"), (422, "execution"), (503, "timeout")):
        server.error(status, kind, "no")
        for _ in range(4):
            await asks.ask("up{", "shop")
    assert asks.breaker.state == "closed"
    assert len(server.asked) == 12


async def test_a_query_that_is_too_long_is_not_sent(server: Asked) -> None:
    found = await prometheus(server.url).ask("x" * (MOST_QUERY + 1), "shop")
    assert (found.reason, found.again, server.asked) == (REFUSED, False, [])


async def test_nobody_there_is_told_without_the_password_of_the_url() -> None:
    found = await prometheus("http://me:hidden@127.0.0.1:9").ask("up", "shop")
    assert (found.reason, found.again) == (AWAY, True)
    assert "can't be asked" in found.told
    assert "hidden" not in found.told


async def test_a_certificate_that_nobody_knows_is_not_trusted(server: Asked, tmp_path: Path) -> None:
    ca = tmp_path / "ca.crt"
    ca.write_text("no certificate")
    found = await prometheus(server.url, ca=ca).ask("up", "shop")
    assert found.reason is AWAY
