"""A collector of traces: an HTTP server that takes OTLP and reads the protobuf."""

from __future__ import annotations

import gzip
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from localrun.process import free_port


@dataclass(frozen=True)
class Taken:
    """A span as it came over the wire; ids in hexadecimal digits."""

    name: str
    trace: str
    id: str
    parent: str
    began: int
    ended: int
    attributes: dict[str, Any]
    resource: dict[str, Any]
    error: str
    failed: bool
    kind: int
    links: tuple[tuple[str, str], ...]


class Collector:
    """Takes spans while it is started; ``status`` is what it answers."""

    def __init__(self) -> None:
        self.port = free_port()
        self.spans: list[Taken] = []
        self.headers: list[dict[str, str]] = []
        self.status = 200
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Collector:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                if owner.status == 200:
                    assert self.path == "/v1/traces"
                    owner.headers.append(dict(self.headers))
                    owner.take(body)
                self.send_response(owner.status)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def take(self, body: bytes) -> None:
        """Read a request."""
        request = ExportTraceServiceRequest()
        request.ParseFromString(body)
        for one in request.resource_spans:
            resource = _values(one.resource.attributes)
            for scope in one.scope_spans:
                for span in scope.spans:
                    self.spans.append(
                        Taken(
                            span.name,
                            span.trace_id.hex(),
                            span.span_id.hex(),
                            span.parent_span_id.hex(),
                            span.start_time_unix_nano,
                            span.end_time_unix_nano,
                            _values(span.attributes),
                            resource,
                            span.status.message,
                            span.status.code == 2,
                            span.kind,
                            tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
                        )
                    )

    def trace(self, uid: str) -> list[Taken]:
        """Return the spans of a run."""
        return [span for span in self.spans if span.trace == uid.replace("-", "")]

    def named(self, uid: str, name: str) -> list[Taken]:
        """Return those of one name."""
        return [span for span in self.trace(uid) if span.name == name]


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}
