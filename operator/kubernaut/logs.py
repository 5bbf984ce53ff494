"""Logs: one JSON object a line, with the ids of what they are about; or text for people."""

from __future__ import annotations

import logging
import sys
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from kubernaut.core.tracing import step_span, trace_id
from kubernaut.speaking import spoken_of


class ObjectFormatter(JsonFormatter):
    """JSON with the ids of the object that is worked on, and of its trace (W3C) and span."""

    def add_fields(
        self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
    ) -> None:
        """Fill a line."""
        super().add_fields(log_data, record, message_dict)
        about = spoken_of()
        if about is None:
            return
        found = {"kind": about.kind, "namespace": about.namespace, "name": about.name}
        if about.uid:
            found |= {"uid": about.uid, "trace_id": trace_id(about.uid)}
        if about.step:
            found |= {"step": about.step, "span_id": step_span(about.uid, about.step)}
        for name, value in found.items():
            log_data.setdefault(name, value)


def set_up(level: str, form: str) -> None:
    """Send all logs to stderr, as JSON lines or as text."""
    handler = logging.StreamHandler(sys.stderr)
    if form == "json":
        handler.setFormatter(
            ObjectFormatter(
                "%(asctime)s %(levelname)s %(name)s %(message)s",
                rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
                datefmt="%Y-%m-%dT%H:%M:%S%z",
            )
        )
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # Kopf tells of every event it hands over; what they mean is told by us.
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)
    logging.getLogger("kopf").setLevel(max(logging.INFO, logging.getLevelName(level)))
