"""The list of runs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.table import Table

from kubernaut.api.execution import WorkflowExecution
from kubernaut.cli.outline import progress
from kubernaut.cli.text import cell
from kubernaut.cli.times import age, between
from kubernaut.cli.views.words import phase, table, target, verdict, word


def listing(
    runs: Sequence[WorkflowExecution], at: datetime, *, namespaces: bool = False, wide: bool = False
) -> Table:
    """Return one line a run: name, phase, progress, target, verdict, age; more where ``wide``."""
    head = ["NAMESPACE"] if namespaces else []
    tail = ["WORKFLOW", "TOOK", "BY", "REASON"] if wide else []
    made = table(*head, "NAME", "PHASE", "PROGRESS", "TARGET", "VERDICT", "AGE", *tail)
    for run in runs:
        meta, status = run.metadata, run.status
        row = [cell(meta.namespace)] if namespaces else []
        row += [cell(meta.name), word(phase(run)), cell(progress(run, ())), cell(target(run))]
        row += [word(verdict(run)), cell(age(meta.creation_timestamp, at))]
        if wide:
            took = between(status.started_at, status.finished_at) if status else ""
            row += [cell(run.spec.workflow_ref.name), cell(took), cell(run.spec.trigger.by)]
            row += [cell(status.reason if status else "")]
        made.add_row(*row)
    return made
