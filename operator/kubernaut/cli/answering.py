"""What people say of single steps: answers to approvals, and what becomes of a failed step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kubernaut.api.execution import Decision, Intervention, Remedy, RunPhase, StepPhase, WorkflowExecution
from kubernaut.api.workflow import WorkflowSpec, parse_parameter
from kubernaut.cli import starting
from kubernaut.cli.controlling import Change, change, live
from kubernaut.cli.errors import CliError, Exit
from kubernaut.cli.objects import RUN, fetch, parsed, snapshot
from kubernaut.cli.outline import Row, is_approval, needs_remedy, rows, waits_for_answer
from kubernaut.cli.output import show
from kubernaut.cli.place import Place
from kubernaut.cli.text import safe


async def answer(
    place: Place, name: str, step: str, decision: Decision, reason: str, given: tuple[str, ...] = ()
) -> int:
    """Approve or deny a step in one's own name; without a step the one that waits."""
    values = starting.assignments(given, "--set")
    by = await place.whoami()
    run = parsed(WorkflowExecution, await fetch(place.cluster, RUN, place.namespace, name))
    spec = await snapshot(place.cluster, run)
    step = step or the_one_that_waits(run, spec)
    wanted = answered(step, decision, by, reason, spec, values)
    patched = await change(place.cluster, place.namespace, name, wanted, run.metadata.uid)
    said = "approved" if decision is Decision.APPROVE else "denied"
    how = "".join(f", {key}={value}" for key, value in values.items())
    told = f"{said} by {by}{how}" if patched is not None else f"{said} already"
    show(safe(f"Run {place.namespace}/{name} step {step}: {told}."))
    return Exit.OK


def the_one_that_waits(run: WorkflowExecution, spec: WorkflowSpec | None) -> str:
    """Return the only approval that waits. Raises CliError where none waits, or several do."""
    live(run, "answered")
    given = {record.step for record in run.spec.control.approvals}
    waiting = [row.name for row in rows(run, spec) if waits_for_answer(row) and row.name not in given]
    if len(waiting) == 1:
        return waiting[0]
    if waiting:
        names = ", ".join(waiting)
        raise CliError(
            f"several steps of run {run.metadata.name} wait for an answer: {names}", "Name one of them."
        )
    fix = f"See `kubernaut status {run.metadata.name} -n {run.metadata.namespace}`; name a step to answer it ahead."
    raise CliError(f"no step of run {run.metadata.name} waits for an answer now", fix)


def answered(
    step: str, decision: Decision, by: str, reason: str, spec: WorkflowSpec | None, values: Mapping[str, str]
) -> Change:
    """Answer an approval step, with other values for what it lets be overridden; an answer that was given stays."""
    parameters = [{"name": name, "value": value} for name, value in values.items()]

    def wanted(run: WorkflowExecution) -> dict[str, Any] | None:
        live(run, "answered")
        _check_approval(run, step, spec)
        _check_overrides(run, step, spec, values)
        given = next((record for record in run.spec.control.approvals if record.step == step), None)
        if given is None:
            record = {"step": step, "decision": decision.value, "by": by, "reason": reason}
            return {"approvals": [record | ({"parameters": parameters} if parameters else {})]}
        before = {one.name: one.value for one in given.parameters}
        if given.decision is decision and (not values or before == values):
            return None
        how = "".join(f", {name}={value}" for name, value in before.items())
        raise CliError(
            f"step {step} of run {run.metadata.name} was answered already: {given.decision.value} by {given.by}{how}",
            "An answer stays; cancel the run and start a new one if it was wrong.",
        )

    return wanted


async def remedy(place: Place, name: str, step: str, what: Remedy, reason: str) -> int:
    """Say what becomes of a failed step, in one's own name."""
    by = await place.whoami()
    run = parsed(WorkflowExecution, await fetch(place.cluster, RUN, place.namespace, name))
    spec = await snapshot(place.cluster, run)
    wanted = remedied(step, what, by, reason, spec)
    patched = await change(place.cluster, place.namespace, name, wanted, run.metadata.uid)
    told = f"{what.value} as {by} says" if patched is not None else f"{what.value} was said already"
    show(safe(f"Run {place.namespace}/{name} step {step}: {told}."))
    return Exit.OK


def remedied(step: str, what: Remedy, by: str, reason: str, spec: WorkflowSpec | None) -> Change:
    """Say what becomes of the failed attempt of a step; a word that was given stays."""

    def wanted(run: WorkflowExecution) -> dict[str, Any] | None:
        phase, name = live(run, "remedied"), run.metadata.name
        steps = rows(run, spec)
        waiting = {row.name: row for row in needs_remedy(run, steps, spec)}
        row = next((one for one in steps if one.name == step), None)
        said = _said(run, row) if row else None
        if said is not None and said.remedy is what:
            return None
        if said is not None:
            told = f"{said.by} said {said.remedy.value} already"
            raise CliError(
                f"step {step} of run {name}, attempt {said.attempt}: {told}",
                "A word that was given stays; cancel the run if it was wrong.",
            )
        if phase is not RunPhase.SUSPENDED:
            fix = f"A run is suspended where a step with onFailure: Manual has failed; see `kubernaut why {name}`."
            raise CliError(
                f"run {name} is not suspended but {phase.value}: it waits for no word on a step", fix
            )
        if step not in waiting:
            names = ", ".join(waiting) or "none"
            if row is None:
                told = "does not exist"
            elif row.record.phase is not StepPhase.FAILED:
                told = f"has not failed ({row.record.phase.value})"
            else:
                told = "does not wait for a person"
            raise CliError(f"step {step!r} of run {name} {told}", f"Steps that wait: {names}.")
        attempt = waiting[step].record.attempt
        record = {"step": step, "attempt": attempt, "remedy": what.value, "by": by, "reason": reason}
        return {"interventions": [record]}

    return wanted


def _said(run: WorkflowExecution, row: Row) -> Intervention | None:
    if row.record.phase is not StepPhase.FAILED:
        return None
    key = (row.name, row.record.attempt)
    return next((one for one in run.spec.control.interventions if (one.step, one.attempt) == key), None)


def _check_approval(run: WorkflowExecution, step: str, spec: WorkflowSpec | None) -> None:
    if spec is None:
        return
    found = rows(run, spec)
    approvals = {row.name: row for row in found if is_approval(row)}
    if step not in approvals:
        what = "is no approval" if any(row.name == step for row in found) else "does not exist"
        names = ", ".join(approvals)
        fix = (
            f"Steps that wait for a person: {names}." if names else "No step of this run waits for a person."
        )
        raise CliError(f"step {step!r} {what} in run {run.metadata.name}", fix)
    record = approvals[step].record
    if record.phase.final:
        became = record.phase.value + (f", {record.reason}" if record.reason else "")
        raise CliError(f"step {step} of run {run.metadata.name} is over already ({became})")


def _check_overrides(
    run: WorkflowExecution, step: str, spec: WorkflowSpec | None, values: Mapping[str, str]
) -> None:
    """Check other values for parameters as the operator will."""
    if not values:
        return
    where = f"step {step} of run {run.metadata.name}"
    row = next((row for row in rows(run, spec) if row.name == step), None)
    approval = row.spec.approval if row and row.spec else None
    if spec is None or approval is None:
        fix = "Answer without --set, or see that its ControllerRevision can be read."
        raise CliError(f"it is not known which parameters {where} lets an approver set", fix)
    declared = {parameter.name: parameter for parameter in spec.parameters}
    for name, text in values.items():
        if name not in approval.may_override or name not in declared:
            allowed = [starting.describe(declared[one]) for one in approval.may_override if one in declared]
            fix = f"It lets the approver set: {'; '.join(allowed)}." if allowed else "It lets nothing be set."
            raise CliError(f"{where} does not let the approver set parameter {name!r}", fix)
        try:
            parse_parameter(declared[name], text)
        except ValueError as error:
            raise CliError(f"{where}: {error}", f"Give {starting.describe(declared[name])}.") from None
