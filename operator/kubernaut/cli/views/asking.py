"""What a run waits for a person to say, and what to type."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from rich.text import Text

from kubernaut.api.execution import RunPhase, WorkflowExecution
from kubernaut.api.workflow import WorkflowSpec
from kubernaut.cli.outline import Row, needs_remedy, waits_for_answer
from kubernaut.cli.text import line, safe
from kubernaut.cli.times import span


def asking(
    run: WorkflowExecution, rows: Sequence[Row], spec: WorkflowSpec | None, at: datetime
) -> list[Text]:
    """Return for each step that waits for a person a line that says so, and the command to answer."""
    if run.status is None or run.status.phase.final:
        return []
    found: list[Text] = []
    for row in rows:
        if waits_for_answer(row) and not _answered(run, row):
            found += [safe(question(row, at), "yellow"), safe(f"  {approval(run, row)}")]
    for row in needs_remedy(run, rows, spec) if run.status.phase is RunPhase.SUSPENDED else ():
        why = (
            f": {line(row.record.message or row.record.reason)}"
            if row.record.message or row.record.reason
            else ""
        )
        found.append(
            safe(f"{line(row.name)} failed and a person has to say what becomes of it{why}", "yellow")
        )
        found.append(safe(f"  {remedy(run, row)}"))
    if run.spec.control.paused:
        found.append(safe(f"Paused; to go on: {command('resume', row_run(run))}", "yellow"))
    return found


def question(row: Row, at: datetime) -> str:
    """Return what an approval step asks, and until when."""
    approval = row.spec.approval if row.spec else None
    text = f"{line(row.name)} waits for an approval"
    text += f": {line(approval.message)}" if approval and approval.message else ""
    if approval and row.record.started_at is not None:
        left = row.record.started_at + approval.expires_after - at
        text += f" (counts as denied in {span(left)})" if left > timedelta(0) else " (its time is over)"
    if approval and approval.may_override:
        text += f"; you may set {', '.join(approval.may_override)}"
    return text


def approval(run: WorkflowExecution, row: Row) -> str:
    """Return the command that answers an approval step."""
    own = (row.run or run.metadata.name, run.metadata.namespace)
    override = row.spec.approval.may_override if row.spec and row.spec.approval else []
    more = "; --set NAME=VALUE" if override else ""
    return f"kubernaut approve {line(own[0])} {line(row.name)} -n {line(own[1])}   (or deny{more})"


def remedy(run: WorkflowExecution, row: Row) -> str:
    """Return the command that says what becomes of a failed step."""
    name, space = row_run(run)
    return (
        f"kubernaut remedy {line(name)} {line(row.name)} retry -n {line(space)}   (or skip, fail, rollback)"
    )


def row_run(run: WorkflowExecution) -> tuple[str, str]:
    """Return a run's name and namespace."""
    return run.metadata.name, run.metadata.namespace


def command(what: str, of: tuple[str, str]) -> str:
    """Return a command on a run."""
    return f"kubernaut {what} {line(of[0])} -n {line(of[1])}"


def _answered(run: WorkflowExecution, row: Row) -> bool:
    return not row.run and any(record.step == row.name for record in run.spec.control.approvals)
