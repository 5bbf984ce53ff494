"""The steps of a run as a table: for status, and for watching."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.table import Table

from kubernaut.api.execution import StepPhase, StepStatus
from kubernaut.cli.outline import Row
from kubernaut.cli.text import cell, line, safe
from kubernaut.cli.times import age, between, span
from kubernaut.cli.views.words import mark, table, word


def steps(rows: Sequence[Row], at: datetime) -> Table:
    """Return one line a step: phase, attempts, how long, and its message."""
    made = table("", "STEP", "DOES", "PHASE", "TRY", "TIME", "MESSAGE", last_wraps=True)
    for row in rows:
        record = row.record
        tries = str(record.attempt) if record.attempt else ""
        made.add_row(
            mark(record.phase.value),
            cell(row.name),
            cell(shortened(row.does)),
            word(record.phase.value),
            safe(tries),
            safe(took(record, at)),
            safe(line(told(row, at))),
        )
    return made


def shortened(text: str, room: int = 40) -> str:
    """Return a text cut to a column's room; `why` shows it whole."""
    return text if len(text) <= room else f"{text[: room - 1]}…"


def took(record: StepStatus, at: datetime) -> str:
    """Return how long a step took, or has been at it."""
    if record.phase is StepPhase.SKIPPED:
        return ""
    return between(record.started_at, record.finished_at) or age(record.started_at, at)


def told(row: Row, at: datetime) -> str:
    """Return a step's message, with what it waits for."""
    record = row.record
    parts = [record.message or (record.reason if record.reason and record.phase.final else "") or ""]
    if record.retry_at is not None and not record.phase.final:
        parts.append(f"next try in {span(record.retry_at - at)}" if record.retry_at > at else "trying again")
    if record.phase is StepPhase.PENDING and row.needs and not any(parts):
        parts.append(f"after {', '.join(row.needs)}")
    return "; ".join(part for part in parts if part)
