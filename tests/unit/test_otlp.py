"""Spans on their way to a collector: a real HTTP server that reads the protobuf."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import pytest

from collector import Collector
from kubernaut import tracing
from kubernaut.config import Settings
from kubernaut.core.errors import KubernautError
from kubernaut.core.tracing import intake_span, span_id, step_span, trace_id
from kubernaut.metrics import REGISTRY
from kubernaut.otlp import Exporting
from kubernaut.services import traced
from kubernaut.tracing import Kind, Span

UID = "7f8c2c0e-5b1a-4c3d-9e2f-0123456789ab"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    made = Collector().start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", made.url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    yield made
    made.stop()


def span(number: int = 0, error: str = "", link: tuple[str, str] | None = None) -> Span:
    attributes: dict[str, str | int | bool] = {"kubernaut.verdict": "Remediated", "n": number, "ok": True}
    ids = trace_id(UID), f"{number + 1:016x}", span_id(UID)
    return Span("one", *ids, 1_000, 2_000, attributes, error, Kind.CLIENT, link)


def outcome(name: str) -> float:
    return REGISTRY.get_sample_value("kubernaut_trace_spans_total", {"outcome": name}) or 0


def until(count: int, collector: Collector) -> None:
    deadline = time.monotonic() + 10
    while len(collector.spans) < count:
        assert time.monotonic() < deadline, collector.spans
        time.sleep(0.01)


def test_a_span_arrives_as_it_is(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20secret")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=prod")
    exporting, before = Exporting("replica-0"), outcome("exported")
    exporting(span(link=(trace_id("other"), step_span("other", "start")), error="TargetGone"))
    exporting.close()
    (taken,) = collector.spans
    assert (taken.trace, taken.parent) == (UID.replace("-", ""), span_id(UID))
    assert (taken.began, taken.ended, taken.kind) == (1_000, 2_000, 3)
    assert taken.attributes == {"kubernaut.verdict": "Remediated", "n": 0, "ok": True}
    assert (taken.error, taken.failed) == ("TargetGone", True)
    assert taken.links == ((trace_id("other"), step_span("other", "start")),)
    assert taken.resource["service.name"] == "kubernaut-operator"
    assert taken.resource["service.instance.id"] == "replica-0"
    assert taken.resource["deployment.environment.name"] == "prod"
    assert collector.headers[0]["authorization"] == "Bearer secret"
    assert outcome("exported") - before == 1


def test_what_there_is_no_room_for_is_dropped_and_counted_and_nobody_waits(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "8")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")
    exporting, before = Exporting("replica-0"), outcome("dropped")
    began = time.monotonic()
    collector.status = 503
    for number in range(1000):
        exporting(span(number))
    assert time.monotonic() - began < 1
    assert outcome("dropped") - before == 992
    collector.status = 200
    exporting.close()


def test_a_collector_that_refuses_is_counted(collector: Collector) -> None:
    collector.status = 400
    exporting, before = Exporting("replica-0"), outcome("failed")
    exporting(span())
    exporting.close()
    assert outcome("failed") - before == 1
    assert collector.spans == []


def test_the_sampler_of_the_environment_takes_all_spans_of_a_trace_or_none(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    exporting = Exporting("replica-0")
    exporting(span())
    exporting.close()
    assert collector.spans == []


def test_a_sink_is_told_until_that_is_ended() -> None:
    taken: list[Span] = []
    assert not tracing.wanted()
    end = tracing.take_by(taken.append)
    assert tracing.wanted()
    tracing.end(span())
    end()
    tracing.end(span())
    assert len(taken) == 1


def test_the_spans_of_a_run_differ() -> None:
    ids = {span_id(UID), intake_span(UID), step_span(UID, "a"), step_span(UID, "b"), step_span("other", "a")}
    assert len(ids) == 5


def test_without_the_extra_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kubernaut.otlp", None)
    assert traced(Settings()) is None
    with pytest.raises(KubernautError, match=r"install kubernaut\[otlp\]"):
        traced(Settings(traces=True))
