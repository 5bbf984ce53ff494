"""The steps of a run as a table: for status, and for watching."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from rich.table import Table
from rich.text import Text

from kubernaut.api.execution import StepPhase, StepStatus
from kubernaut.cli.outline import ALTERNATE, FINALLY, Row
from kubernaut.cli.text import cell, line, safe
from kubernaut.cli.times import age, between, span
from kubernaut.cli.views.words import mark, table, word
from kubernaut.cli.visible import ROOM, Gap, visible


def steps(rows: Sequence[Row], at: datetime, room: int = ROOM) -> Table:
    """Return one line a step below its stage: phase, attempts, how long, and its message.

    More than ``room`` steps are told by those that matter now, and counts.
    """
    made = table("", "STEP", "DOES", "PHASE", "TRY", "TIME", "MESSAGE", last_wraps=True)
    headings = _headings(rows)
    section = ""
    for shown in visible(rows, room):
        if isinstance(shown, Gap):
            # Indented like what it stands for; the stages that it spans are named where they are told at all.
            made.add_row(
                "",
                safe("  " * shown.depth + _stages(shown, headings)),
                "",
                "",
                "",
                "",
                safe(str(shown), "dim"),
            )
            continue
        if shown.section != section and shown.section in headings and not shown.run:
            made.add_row(
                "", Text(title(shown.section), "bold"), "", "", "", "", safe(headings[shown.section], "dim")
            )
        section = shown.section
        _row(made, shown, at)
    return made


def _row(made: Table, row: Row, at: datetime) -> None:
    record = row.record
    made.add_row(
        mark(record.phase.value),
        safe("  " * row.depth + line(row.short)),
        cell(shortened(row.does)),
        word(record.phase.value),
        safe(str(record.attempt) if record.attempt else ""),
        safe(took(record, at)),
        safe(line(told(row, at))),
    )


def title(section: str) -> str:
    """Return the heading of a stage."""
    return {FINALLY: "finally", ALTERNATE: "instead"}.get(section, f"stage {section}")


def _headings(rows: Sequence[Row]) -> dict[str, str]:
    """Return the headings with what they count; none where each stage is one step, for that is a mere list."""
    members: dict[str, list[Row]] = {}
    for row in rows:
        if row.section and not row.run and row.depth == 0:
            members.setdefault(row.section, []).append(row)
    stages = {name: found for name, found in members.items() if name not in (FINALLY, ALTERNATE)}
    parallel = len(stages) > 1 and any(len(found) > 1 for found in stages.values())
    return {
        name: _counted(found) for name, found in members.items() if parallel or name in (FINALLY, ALTERNATE)
    }


def _counted(found: Sequence[Row]) -> str:
    phases = Counter(row.record.phase for row in found)
    done = phases[StepPhase.SUCCEEDED] + phases[StepPhase.SKIPPED]
    others = [
        f"{phases[one]} {one.value}" for one in StepPhase if one is not StepPhase.SUCCEEDED and phases[one]
    ]
    return ", ".join(
        [f"{done}/{len(found)} done", *(text for text in others if not text.endswith("Skipped"))]
    )


def _stages(gap: Gap, headings: dict[str, str]) -> str:
    first, last = gap.sections
    if gap.depth or first not in headings:
        return "…"
    if first == last:
        return title(first)
    numbered = first.isdigit() and last.isdigit()
    return f"stages {first}-{last}" if numbered else f"{title(first)} to {title(last)}"


def shortened(text: str, room: int = 40) -> str:
    """Return a text cut to a column's room; `why` shows it whole."""
    return text if len(text) <= room else f"{text[: room - 1]}…"


def took(record: StepStatus, at: datetime) -> str:
    """Return how long a step took, or has been at it."""
    if record.phase is StepPhase.SKIPPED:
        return ""
    return between(record.started_at, record.finished_at) or age(record.started_at, at)


def told(row: Row, at: datetime) -> str:
    """Return a step's message, with what it waits for and how far the run is that it started."""
    record = row.record
    parts = [record.message or (record.reason if record.reason and record.phase.final else "") or ""]
    if started(record):
        parts.append(f"run {started(record)} {record.progress or ''}".strip())
    if record.retry_at is not None and not record.phase.final:
        parts.append(f"next try in {span(record.retry_at - at)}" if record.retry_at > at else "trying again")
    if record.phase is StepPhase.PENDING and row.needs and not any(parts):
        parts.append(f"after {', '.join(row.needs)}")
    return "; ".join(part for part in parts if part)


def started(record: StepStatus) -> str:
    """Return the name of the run that a subflow step started, or nothing."""
    found = (record.intent or {}).get("run") or (record.outputs or {}).get("run")
    return found if isinstance(found, str) and (record.progress or record.intent) else ""
