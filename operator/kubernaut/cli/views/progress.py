"""A run while it goes: one renderable for a terminal, one line a change for everything else."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from kubernaut.api.execution import StepPhase, WorkflowExecution
from kubernaut.api.workflow import WorkflowSpec
from kubernaut.cli.outline import Row, progress, share
from kubernaut.cli.text import line, safe
from kubernaut.cli.times import age, clock, span
from kubernaut.cli.views.asking import asking
from kubernaut.cli.views.expected import expected
from kubernaut.cli.views.result import changed, ending, mode
from kubernaut.cli.views.run import trouble
from kubernaut.cli.views.steps import started, steps, took
from kubernaut.cli.views.words import fields, phase, target, verdict, word
from kubernaut.cli.visible import ROOM


def live(
    run: WorkflowExecution,
    rows: Sequence[Row],
    at: datetime,
    spec: WorkflowSpec | None = None,
    room: int = ROOM,
) -> RenderableType:
    """Return head, bar, expected end, steps, what waits for a person, and at the end (or while held) the reason.

    ``rows`` may hold steps of runs that this one started; more steps than ``room`` are told in counts.
    """
    head = Table.grid(padding=(0, 2, 0, 0))
    done, whole = share(run, rows)
    bar = ProgressBar(total=max(1, whole), completed=done, width=24)
    begun = run.status.started_at if run.status else None
    ended = (run.status.finished_at if run.status else None) or at
    name = Text(line(f"{run.metadata.namespace}/{run.metadata.name}"), "bold")
    clocked = safe(span(ended - begun) if begun else age(run.metadata.creation_timestamp, at))
    head.add_row(name, word(phase(run)), bar, safe(progress(run, rows)), clocked, safe(target(run)))
    parts: list[RenderableType] = [head]
    parts += [safe(text) for text in (mode(run), ending(run), expected(run, at)) if text]
    parts.append(steps(rows, at, room))
    told = [pair for pair in trouble(run) if pair[1].plain]
    parts += [fields(told)] if told else []
    parts += asking(run, rows, spec, at)
    if verdict(run):
        parts.append(Text.assemble(("Verdict  ", "bold"), word(verdict(run))))
    if run.status and run.status.phase.final and run.spec.dry_run:
        parts.append(changed(run))
    return Group(*parts)


def changes(
    before: WorkflowExecution | None,
    old: Sequence[Row],
    run: WorkflowExecution,
    rows: Sequence[Row],
    at: datetime,
    spec: WorkflowSpec | None = None,
) -> list[Text]:
    """Return a line for everything that is not as it was: steps first, then the run itself."""
    stamp = clock(at)
    known = {(row.run, row.name): row.record for row in old}
    found: list[Text] = []
    for row in rows:
        record, former = row.record, known.get((row.run, row.name))
        same = former is not None and (former.phase, former.attempt) == (record.phase, record.attempt)
        if same or (former is None and record.phase is StepPhase.PENDING):
            continue
        whose = f"run {row.run} " if row.run else ""
        found.append(_line(stamp, f"{whose}step {row.name}", record.phase.value, _details(row, at)))
    now = (phase(run), verdict(run), _told(run))
    was = (phase(before), verdict(before), _told(before)) if before is not None else None
    if now != was:
        parts = (progress(run, rows), mode(run), ending(run), expected(run, at), verdict(run), _told(run))
        found.append(_line(stamp, f"run {run.metadata.name}", phase(run), [part for part in parts if part]))
    new = [text.plain for text in asking(run, rows, spec, at)]
    asked = [text.plain for text in asking(before, old, spec, at)] if before is not None else []
    found += [Text(f"{stamp}  {text}") for text in new if text not in asked]
    return found


def _details(row: Row, at: datetime) -> list[str]:
    record = row.record
    parts = [row.does, f"try {record.attempt}" if record.attempt > 1 else ""]
    parts.append(took(record, at) if record.phase.final else "")
    parts.append(f"{record.reason}" if record.reason else "")
    parts.append(f"run {started(record)}" if started(record) else "")
    parts.append(record.message or "")
    return [part for part in parts + list(record.changed or ()) if part]


def _line(stamp: str, what: str, became: str, details: Sequence[str]) -> Text:
    text = Text(f"{stamp}  {line(what)}: ")
    text.append_text(word(became))
    text.append("".join(f"  {line(part)}" for part in details))
    return text


def _told(run: WorkflowExecution) -> str:
    return "; ".join(line(text.plain) for _, text in trouble(run) if text.plain)
