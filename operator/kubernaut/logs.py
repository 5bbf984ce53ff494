"""Logs: one JSON object a line, with the ids of what they are about; or text for people."""

from __future__ import annotations

import logging
import sys
from contextvars import ContextVar, Token
from dataclasses import dataclass, replace
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from kubernaut.core.tracing import step_span, trace_id


@dataclass(frozen=True, slots=True)
class About:
    """The object that a task works on; ``step`` is the step of a run, where it is with one."""

    kind: str
    namespace: str
    name: str
    uid: str
    step: str = ""


_about: ContextVar[About | None] = ContextVar("about", default=None)


def speak_of(about: About | None) -> Token[About | None]:
    """Have all that this task logs from now on, and tasks that it begins, name an object."""
    return _about.set(about)


def speak_of_step(step: str) -> None:
    """Have all that this task logs from now on name a step of the run it works on."""
    about = _about.get()
    if about is not None:
        _about.set(replace(about, step=step))


def spoken_of() -> About | None:
    """Return the object that this task works on."""
    return _about.get()


class ObjectFormatter(JsonFormatter):
    """JSON with the ids of the object that is worked on, and of its trace (W3C) and span."""

    def add_fields(
        self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
    ) -> None:
        """Fill a line."""
        super().add_fields(log_data, record, message_dict)
        about = _about.get()
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
