"""A run while it goes: one renderable for a terminal, one line a change for everything else."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from kubernaut.api.execution import StepPhase, WorkflowExecution
from kubernaut.cli.outline import Row, progress
from kubernaut.cli.text import line, safe
from kubernaut.cli.times import age, clock, span
from kubernaut.cli.views.run import trouble
from kubernaut.cli.views.steps import steps, took
from kubernaut.cli.views.words import fields, phase, target, verdict, word


def live(run: WorkflowExecution, rows: Sequence[Row], at: datetime) -> RenderableType:
    """Return head, bar, steps, and at the end (or while held) the reason."""
    head = Table.grid(padding=(0, 2, 0, 0))
    bar = ProgressBar(total=max(1, len(rows)), completed=_done(rows), width=24)
    begun = run.status.started_at if run.status else None
    ended = (run.status.finished_at if run.status else None) or at
    name = Text(line(f"{run.metadata.namespace}/{run.metadata.name}"), "bold")
    clocked = safe(span(ended - begun) if begun else age(run.metadata.creation_timestamp, at))
    head.add_row(name, word(phase(run)), bar, safe(progress(run, rows)), clocked, safe(target(run)))
    parts: list[RenderableType] = [head, steps(rows, at)]
    told = [pair for pair in trouble(run) if pair[1].plain]
    parts += [fields(told)] if told else []
    if verdict(run):
        parts.append(Text.assemble(("Verdict  ", "bold"), word(verdict(run))))
    return Group(*parts)


def changes(
    before: WorkflowExecution | None,
    old: Sequence[Row],
    run: WorkflowExecution,
    rows: Sequence[Row],
    at: datetime,
) -> list[Text]:
    """Return a line for everything that is not as it was: steps first, then the run itself."""
    stamp = clock(at)
    known = {row.name: row.record for row in old}
    found: list[Text] = []
    for row in rows:
        record, former = row.record, known.get(row.name)
        same = former is not None and (former.phase, former.attempt) == (record.phase, record.attempt)
        if same or (former is None and record.phase is StepPhase.PENDING):
            continue
        found.append(_line(stamp, f"step {row.name}", record.phase.value, _details(row, at)))
    now = (phase(run), verdict(run), _told(run))
    was = (phase(before), verdict(before), _told(before)) if before is not None else None
    if now != was:
        details = [part for part in (progress(run, rows), verdict(run), _told(run)) if part]
        found.append(_line(stamp, f"run {run.metadata.name}", phase(run), details))
    return found


def _details(row: Row, at: datetime) -> list[str]:
    record = row.record
    parts = [row.does, f"try {record.attempt}" if record.attempt > 1 else ""]
    parts.append(took(record, at) if record.phase.final else "")
    parts.append(f"{record.reason}" if record.reason else "")
    parts.append(record.message or "")
    return [part for part in parts + list(record.changed or ()) if part]


def _line(stamp: str, what: str, became: str, details: Sequence[str]) -> Text:
    text = Text(f"{stamp}  {line(what)}: ")
    text.append_text(word(became))
    text.append("".join(f"  {line(part)}" for part in details))
    return text


def _told(run: WorkflowExecution) -> str:
    return "; ".join(line(text.plain) for _, text in trouble(run) if text.plain)


def _done(rows: Sequence[Row]) -> int:
    return sum(row.record.phase in (StepPhase.SUCCEEDED, StepPhase.SKIPPED) for row in rows)
