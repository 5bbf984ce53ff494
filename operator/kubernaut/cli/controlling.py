"""What people may ask of a run while it lives: patches of ``spec.control``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from kubernaut.api.execution import Decision, RunPhase, StepPhase, WorkflowExecution
from kubernaut.api.workflow import WorkflowSpec
from kubernaut.cli.errors import CliError
from kubernaut.cli.objects import RUN, fetch, parsed, reference
from kubernaut.cli.outline import rows
from kubernaut.core.errors import Conflict
from kubernaut.core.ports import Cluster, Manifest

# The operator writes the run's status as it goes, so the object moves under us; each try reads it anew.
_TRIES: Final = 8
Change = Callable[[WorkflowExecution], dict[str, Any] | None]


async def change(cluster: Cluster, namespace: str, name: str, wanted: Change) -> Manifest | None:
    """Patch ``spec.control`` under an optimistic lock.

    Args:
        wanted: from the run as it is to the fields of control to set (of approvals the new ones only), or None
            where it is so already. Called again whenever the run changed in between; raises CliError where the
            change makes no sense.

    Returns:
        the run as patched, or None where nothing was to do.
    """
    for left in reversed(range(_TRIES)):
        found = await fetch(cluster, RUN, namespace, name)
        control = wanted(parsed(WorkflowExecution, found))
        if control is None:
            return None
        if "approvals" in control:
            # As they were written: an admission policy refuses a list in which an earlier answer looks different.
            control = {
                "approvals": [*found["spec"].get("control", {}).get("approvals", []), *control["approvals"]]
            }
        version = found["metadata"]["resourceVersion"]
        body = {"spec": {"control": control}}
        try:
            return await cluster.patch(reference(RUN, namespace, name), body, resource_version=version)
        except Conflict:
            if not left:
                raise
    raise AssertionError


def cancel(run: WorkflowExecution) -> dict[str, Any] | None:
    """Cancel the run; it can't be undone."""
    _live(run, "cancelled")
    return None if run.spec.control.cancel else {"cancel": True}


def pause(run: WorkflowExecution) -> dict[str, Any] | None:
    """Begin no further step."""
    _live(run, "paused")
    return None if run.spec.control.paused else {"paused": True}


def resume(run: WorkflowExecution) -> dict[str, Any] | None:
    """Go on."""
    _live(run, "resumed")
    return {"paused": False} if run.spec.control.paused else None


def answer(step: str, decision: Decision, by: str, reason: str, spec: WorkflowSpec | None) -> Change:
    """Answer an approval step; an answer that was given stays."""

    def wanted(run: WorkflowExecution) -> dict[str, Any] | None:
        _live(run, "answered")
        _waits_for_a_person(run, step, spec)
        given = next((record for record in run.spec.control.approvals if record.step == step), None)
        if given is not None and given.decision is decision:
            return None
        if given is not None:
            raise CliError(
                f"step {step} of run {run.metadata.name} was answered already: {given.decision.value} by {given.by}",
                "An answer stays; cancel the run and start a new one if it was wrong.",
            )
        return {"approvals": [{"step": step, "decision": decision.value, "by": by, "reason": reason}]}

    return wanted


def _live(run: WorkflowExecution, what: str) -> None:
    phase = run.status.phase if run.status else RunPhase.PENDING
    if phase.final:
        raise CliError(
            f"run {run.metadata.name} is at its end ({phase.value}) and can't be {what} any more",
            f"See `kubernaut why {run.metadata.name} -n {run.metadata.namespace}`.",
        )


def _waits_for_a_person(run: WorkflowExecution, step: str, spec: WorkflowSpec | None) -> None:
    if spec is None:
        return
    found = rows(run, spec)
    approvals = [row for row in found if row.does == "approval"]
    names = ", ".join(row.name for row in approvals)
    if step not in {row.name for row in approvals}:
        what = "is no approval" if any(row.name == step for row in found) else "does not exist"
        fix = (
            f"Steps that wait for a person: {names}." if names else "No step of this run waits for a person."
        )
        raise CliError(f"step {step!r} {what} in run {run.metadata.name}", fix)
    record = next(row.record for row in approvals if row.name == step)
    if record.phase.final:
        became = record.phase.value + (f", {record.reason}" if record.reason else "")
        raise CliError(f"step {step} of run {run.metadata.name} is over already ({became})")
    if record.phase not in (StepPhase.WAITING, StepPhase.PENDING, StepPhase.RUNNING):
        raise AssertionError(record.phase)
