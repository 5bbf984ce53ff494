"""One run in detail."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kubernaut.api.base import Condition
from kubernaut.api.execution import WorkflowExecution
from kubernaut.api.reasons import explain
from kubernaut.api.workflow import WorkflowSpec
from kubernaut.cli.lifecycle import LIFECYCLES
from kubernaut.cli.outline import Row, progress
from kubernaut.cli.text import cell, line, safe
from kubernaut.cli.times import age, between, moment
from kubernaut.cli.views.asking import asking
from kubernaut.cli.views.expected import expected
from kubernaut.cli.views.result import changed, ending, mode, outputs, relatives
from kubernaut.cli.views.steps import steps
from kubernaut.cli.views.words import fields, heading, phase, table, verdict, word
from kubernaut.cli.visible import ROOM


def details(
    run: WorkflowExecution,
    rows: Sequence[Row],
    at: datetime,
    spec: WorkflowSpec | None = None,
    room: int = ROOM,
) -> RenderableType:
    """Return all that the run's object says: summary, what to type, steps, outputs, conditions."""
    parts: list[RenderableType] = [summary(run, rows, at, spec)]
    waiting = asking(run, rows, spec, at)
    if waiting:
        parts += [heading("Waits for a person"), *waiting]
    if rows:
        parts += [heading("Steps"), steps(rows, at, room)]
    if run.spec.dry_run:
        parts += [heading("Result"), changed(run)]
    if outputs(run):
        parts += [heading("Outputs"), fields([(name, safe(value)) for name, value in outputs(run)])]
    if run.status and run.status.conditions:
        parts += [heading("Conditions"), conditions(run.status.conditions, at)]
    return Group(*parts)


def summary(
    run: WorkflowExecution, rows: Sequence[Row], at: datetime, spec: WorkflowSpec | None = None
) -> Table:
    """Return the run's head as names and values."""
    meta, status, trigger = run.metadata, run.status, run.spec.trigger
    resolved = status.workflow if status else None
    content = f" (content {resolved.content_hash[:10]})" if resolved else ""
    found = status.target if status else None
    started = f"{trigger.type.value}" + (f" by {trigger.by}" if trigger.by else "")
    took = between(status.started_at, status.finished_at) if status else ""
    pairs = [
        ("Run", safe(f"{meta.namespace}/{meta.name}")),
        ("Workflow", safe(line(run.spec.workflow_ref.name + content))),
        ("Lifecycle", safe(lifecycle(spec), "yellow")),
        ("Mode", safe(mode(run), "yellow")),
        ("Phase", word(phase(run))),
        ("Outcome", safe(ending(run))),
        ("Progress", safe(progress(run, rows))),
        ("Expected", safe(expected(run, at))),
        ("Verdict", word(verdict(run)) if verdict(run) else Text()),
        ("Target", safe(f"{found.kind} {found.name} (uid {found.uid})" if found else "")),
        ("Acts as", safe(f"ServiceAccount {resolved.service_account_name}" if resolved else "")),
        ("Parameters", safe(", ".join(f"{p.name}={line(p.value)}" for p in run.spec.parameters))),
        ("Trigger", safe(line(f"{started}: {trigger.reason}" if trigger.reason else started))),
        *((name, safe(text)) for name, text in relatives(run)),
        ("Created", safe(_when(meta.creation_timestamp, at))),
        ("Took", safe(took)),
        ("Asked", safe(asked(run))),
    ]
    return fields(pairs + trouble(run))


def trouble(run: WorkflowExecution) -> list[tuple[str, Text]]:
    """Return reason, message and fix as the status or its Reconciling condition gives them."""
    status = run.status
    if status is None:
        return [("Message", safe("The operator has not looked at this run yet."))]
    reason, message = status.reason or "", status.message or ""
    if not status.phase.final:
        held = next((c for c in status.conditions if c.type == "Reconciling"), None)
        if held is not None and explain(held.reason):
            reason, message = held.reason, held.message
    info = explain(reason)
    kind = f" ({info.category.value})" if info else ""
    pairs = [("Reason", safe(line(f"{reason}{kind}" if reason else ""))), ("Message", safe(line(message)))]
    # A condition's message already ends in the fix.
    return pairs + ([("Fix", safe(info.fix))] if info and info.fix not in message else [])


def asked(run: WorkflowExecution) -> str:
    """Return what people asked of the run since it was created."""
    control = run.spec.control
    said = ["cancel"] if control.cancel else []
    said += ["pause"] if control.paused else []
    for record in control.approvals:
        why = f" ({line(record.reason)})" if record.reason else ""
        with_ = "".join(f", {given.name}={line(given.value)}" for given in record.parameters)
        said.append(line(f"{record.decision.value} {record.step} by {record.by}") + with_ + why)
    for one in control.interventions:
        why = f" ({line(one.reason)})" if one.reason else ""
        said.append(line(f"{one.remedy.value} {one.step} by {one.by}") + why)
    said += [f"migrate to {line(control.migrate_to)}"] if control.migrate_to else []
    return ", ".join(said)


def lifecycle(spec: WorkflowSpec | None) -> str:
    """Return what a Draft or deprecated Workflow is good for; nothing for an active one."""
    return LIFECYCLES.get(spec.lifecycle, "") if spec else ""


def conditions(found: Sequence[Condition], at: datetime) -> Table:
    """Return the conditions, one a line."""
    made = table("TYPE", "STATUS", "REASON", "SINCE", "MESSAGE", last_wraps=True)
    for one in found:
        since = cell(age(one.last_transition_time, at))
        made.add_row(cell(one.type), word(one.status.value), cell(one.reason), since, cell(one.message))
    return made


def _when(time: datetime | None, at: datetime) -> str:
    return f"{moment(time)} ({age(time, at)} ago)" if time else ""
