"""Spans to an OpenTelemetry collector, by OTLP over HTTP. Loaded only where traces are wanted (extra ``otlp``).

The ids are given, so no tracer makes these spans: they are put together as they are, and left to the SDK's batches.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from kubernaut import __version__
from kubernaut.metrics import TRACE_SPANS
from kubernaut.tracing import Kind, Span

log = logging.getLogger(__name__)
_KINDS: Final = {Kind.INTERNAL: SpanKind.INTERNAL, Kind.SERVER: SpanKind.SERVER, Kind.CLIENT: SpanKind.CLIENT}
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
#: seconds that are left for what was not sent yet when the operator ends
LAST_SECONDS: Final = 5.0
_USUAL_ROOM: Final = 2048


class _Counting(SpanExporter):
    """Counts what becomes of spans; runs in the thread of the batches."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self.done = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            self.done += len(spans)
            sent = result is SpanExportResult.SUCCESS
            TRACE_SPANS.labels("exported" if sent else "failed").inc(len(spans))
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


class Exporting:
    """A sink of spans: never blocks; what there is no room for is dropped and counted.

    Where to, with which headers, certificates and timeouts, and how large batches are, is told by the variables of
    OpenTelemetry: ``OTEL_EXPORTER_OTLP_*``, ``OTEL_BSP_*``, ``OTEL_TRACES_SAMPLER``, ``OTEL_RESOURCE_ATTRIBUTES``.
    """

    def __init__(self, instance: str) -> None:
        """``instance`` is the name of this replica."""
        own = {"service.version": __version__, "service.instance.id": instance}
        if "OTEL_SERVICE_NAME" not in os.environ:
            own["service.name"] = "kubernaut-operator"
        self._resource = Resource.create(own)
        self._scope = InstrumentationScope("kubernaut", __version__)
        self._sampler = TracerProvider(shutdown_on_exit=False).sampler
        self._exporter = _Counting(OTLPSpanExporter())
        self._most = _room()
        self._processor = BatchSpanProcessor(self._exporter)
        self._taken = 0
        for outcome in ("exported", "failed", "dropped"):
            TRACE_SPANS.labels(outcome)

    def __call__(self, span: Span) -> None:
        """Take a span."""
        trace = int(span.trace_id, 16)
        decision = self._sampler.should_sample(None, trace, span.name).decision
        if decision is not Decision.RECORD_AND_SAMPLE:
            return
        if self._taken - self._exporter.done >= self._most:
            TRACE_SPANS.labels("dropped").inc()
            return
        self._taken += 1
        self._processor.on_end(self._made(span, trace))

    def close(self) -> None:
        """Send what was not sent yet, for a few seconds at most; blocks."""
        # A thread of its own, which nobody waits for at the end: where no collector answers, it would take long.
        ending = threading.Thread(target=self._processor.shutdown, daemon=True)
        ending.start()
        ending.join(LAST_SECONDS)

    def _made(self, span: Span, trace: int) -> ReadableSpan:
        link = span.link
        return ReadableSpan(
            name=span.name,
            context=_context(trace, span.span_id),
            parent=_context(trace, span.parent) if span.parent else None,
            resource=self._resource,
            attributes=dict(span.attributes),
            links=(Link(_context(int(link[0], 16), link[1])),) if link is not None else (),
            kind=_KINDS[span.kind],
            instrumentation_scope=self._scope,
            status=Status(StatusCode.ERROR, span.error) if span.error else Status(StatusCode.UNSET),
            start_time=span.began,
            end_time=max(span.ended, span.began),
        )


def _context(trace: int, span: str) -> SpanContext:
    return SpanContext(trace, int(span, 16), is_remote=False, trace_flags=_SAMPLED)


def _room() -> int:
    """Return how many spans may wait, as the SDK reads it."""
    text = os.environ.get("OTEL_BSP_MAX_QUEUE_SIZE", "")
    return int(text) if text.isdecimal() and int(text) else _USUAL_ROOM
