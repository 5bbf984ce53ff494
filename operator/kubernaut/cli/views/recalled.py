"""Past runs as the history keeps them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any, Final

from pydantic.alias_generators import to_camel
from rich.table import Table

from kubernaut.api.base import format_time
from kubernaut.cli.text import cell
from kubernaut.cli.times import age, span
from kubernaut.cli.views.words import table, word
from kubernaut.history.records import RunRecord

#: what is of no use outside the database
_INNER: Final = frozenset({"steps", "facts", "content", "revision"})


def listing(
    runs: Sequence[RunRecord], at: datetime, *, namespaces: bool = False, wide: bool = False
) -> Table:
    """Return one line a run: name, Workflow, phase, verdict, target, how long it took, age; more where ``wide``."""
    head = ["NAMESPACE"] if namespaces else []
    tail = ["BY", "REASON", "SYMPTOMS"] if wide else []
    made = table(*head, "NAME", "WORKFLOW", "PHASE", "VERDICT", "TARGET", "TOOK", "AGE", *tail)
    for run in runs:
        row = [cell(run.namespace)] if namespaces else []
        took = span(run.finished_at - run.started_at) if run.finished_at and run.started_at else ""
        row += [cell(run.name), cell(run.workflow), word(run.phase)]
        row += [word(run.verdict or ""), cell(run.target_name or "")]
        row += [cell(took), cell(age(run.created_at, at))]
        if wide:
            row += [cell(run.trigger_by), cell(run.reason or ""), cell(", ".join(run.symptoms))]
        made.add_row(*row)
    return made


def wire(run: RunRecord) -> dict[str, Any]:
    """Return a run for programs; what is not known is left out."""
    found: dict[str, Any] = {}
    for one in fields(run):
        value = getattr(run, one.name)
        if one.name in _INNER or value in (None, "", (), {}):
            continue
        if isinstance(value, datetime):
            value = format_time(value)
        found[to_camel(one.name)] = list(value) if isinstance(value, tuple) else value
    return found
