"""What of a run's past still counts: when it is tried again as a new run, and when it moves to another revision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kubernaut.api.execution import RunPhase, StepPhase, StepStatus, WorkflowExecutionStatus
from kubernaut.api.reasons import Reason
from kubernaut.core.errors import StepError
from kubernaut.core.plan import FINALLY, Kind, Plan, PlannedStep
from kubernaut.core.unfolding import unfold

# Other steps were skipped only because the run came to its end.
_SKIPPED_FOR_GOOD = (Reason.WHEN_FALSE, Reason.SKIPPED_BY_PERSON)


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
    taken over too; a group only as a whole. What was put back is not done, nor what was skipped because the run
    ended. A question whose answer may hold other values for parameters is asked again.

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
    before, now = unfold(old_plan, records), unfold(plan, records)
    last = {step.name for step in before.below(FINALLY)}

    def counts(step: PlannedStep) -> bool:
        """Whether what was done for a step, and within it, is still what is to be done."""
        former = before.by_name.get(step.name)
        if former is None or step.name in last or changed & step.params_used or not _same(step, former):
            return False
        if not _done(records.get(step.name)) or _asks_for_values(step):
            return False
        inside = [one for one in now.below(step.name) if _needed(one, records)] if step.kind.group else []
        return all(map(counts, inside))

    kept: dict[str, StepStatus] = {}
    for step in now.steps:
        if step.kind is Kind.ALTERNATE or not all(need in kept for need in step.needs):
            # What an alternate did was for a step that failed, and that is tried again.
            continue
        if (step.parent not in now.by_name or step.parent in kept) and counts(step):
            kept[step.name] = _taken(records[step.name], old_name)
    return [kept[step.name] for step in now.steps if step.name in kept]


def _done(record: StepStatus | None) -> bool:
    if record is None or record.phase is not StepPhase.SKIPPED:
        return record is not None and record.phase is StepPhase.SUCCEEDED
    return record.reason in _SKIPPED_FOR_GOOD


def _needed(step: PlannedStep, records: Mapping[str, StepStatus]) -> bool:
    """Whether a step of a group has to be done for the group to be: alternates are where they were begun."""
    return step.kind is not Kind.ALTERNATE or step.name in records


def _asks_for_values(step: PlannedStep) -> bool:
    """Whether an approver may have given other values, which are not known any more."""
    return step.spec.approval is not None and bool(step.spec.approval.may_override)


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
