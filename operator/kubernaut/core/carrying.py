"""What of a run's past still counts: when it is tried again as a new run, and when it moves to another revision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kubernaut.api.execution import RunPhase, StepPhase, StepStatus, WorkflowExecutionStatus
from kubernaut.api.reasons import Reason
from kubernaut.core.errors import StepError
from kubernaut.core.plan import FINALLY, Plan, PlannedStep
from kubernaut.core.unfolding import Unfolded, unfold

_DONE = (StepPhase.SUCCEEDED, StepPhase.SKIPPED)


def carried_over(
    plan: Plan,
    params: Mapping[str, Any],
    old_name: str,
    old: WorkflowExecutionStatus,
    old_plan: Plan,
    old_params: Mapping[str, Any],
) -> list[StepStatus]:
    """Return the records that a new run takes over from a failed one.

    A step is taken over if it was done, is declared as before, sees the same parameters, and all it depends on is
    taken over too; a group only as a whole. What was put back is not done.

    Raises:
        StepError: RetryRefused, where that run did not fail.
    """
    if old.phase not in (RunPhase.FAILED, RunPhase.CANCELLED):
        raise StepError(
            f"run {old_name} is {old.phase.value}; only a failed or cancelled run is tried again",
            reason=Reason.RETRY_REFUSED,
        )
    changed = {name for name in {*params, *old_params} if params.get(name) != old_params.get(name)}
    records = {record.name: record for record in old.steps}
    before = unfold(old_plan, records)
    last = {step.name for step in before.below(FINALLY)}
    kept: dict[str, StepStatus] = {}
    now = unfold(plan, records)
    for step in now.steps:
        former = before.by_name.get(step.name)
        if former is None or step.name in last or changed & step.params_used:
            continue
        if not _same(step, former) or not all(need in kept for need in step.needs):
            continue
        if step.parent in now.by_name and step.parent not in kept:
            continue
        if _whole(before, step, records):
            kept[step.name] = _taken(records[step.name], old_name)
    return [kept[step.name] for step in now.steps if step.name in kept]


def _whole(shape: Unfolded, step: PlannedStep, records: Mapping[str, StepStatus]) -> bool:
    steps = [step, *(shape.below(step.name) if step.kind.group else ())]
    return all(one.name in records and records[one.name].phase in _DONE for one in steps)


def _taken(record: StepStatus, run: str) -> StepStatus:
    if record.phase is StepPhase.SKIPPED:
        return record
    return record.replace(
        reason=Reason.CARRIED_OVER.value, message=f"done by run {run}", intent=None, attempt=0, retry_at=None
    )


def migration_problem(old: Plan, new: Plan, status: WorkflowExecutionStatus) -> str | None:
    """Return why a paused run can't follow another revision from now on, or None where it can.

    It can where the target and the account stay, and every step that was begun is declared there as here.
    """
    if old.spec.target != new.spec.target:
        return "the target is declared otherwise"
    if old.spec.service_account_name != new.spec.service_account_name:
        return "it acts as another ServiceAccount"
    if status.phase not in (RunPhase.RUNNING, RunPhase.SUSPENDED):
        return f"the run is {status.phase.value}"
    records = {record.name: record for record in status.steps}
    before, after = unfold(old, records), unfold(new, records)
    for name, record in records.items():
        if record.phase is StepPhase.PENDING:
            continue
        here, there = before.by_name.get(name), after.by_name.get(name)
        if here is None or there is None:
            return f"step {name} was begun and is not declared there"
        if not _same(there, here):
            return f"step {name} was begun and is declared otherwise there"
        missing = [need for need in there.needs if need not in records or not records[need].phase.final]
        if missing:
            return f"step {name} was begun and depends there on {missing[0]}, which is not done"
    return None


def _same(step: PlannedStep, other: PlannedStep) -> bool:
    """Whether a step does the same; what it waits for may differ."""
    return step.spec.replace(depends_on=[]) == other.spec.replace(depends_on=[]) and step.kind is other.kind
