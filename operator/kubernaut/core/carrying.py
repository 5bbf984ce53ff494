"""What of a run's past still counts: when it is tried again as a new run, and when it moves to another revision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kubernaut.api.execution import ApprovalRecord, RunPhase, StepPhase, StepStatus, WorkflowExecutionStatus
from kubernaut.api.guards import GUARD_APPROVAL
from kubernaut.api.reasons import Reason
from kubernaut.core.errors import StepError
from kubernaut.core.plan import FINALLY, Kind, Plan, PlannedStep
from kubernaut.core.unfolding import Unfolded, unfold

# Other steps were skipped only because the run came to its end.
_SKIPPED_FOR_GOOD = (Reason.WHEN_FALSE, Reason.SKIPPED_BY_PERSON)


def carried_over(
    plan: Plan,
    params: Mapping[str, Any],
    old_name: str,
    old: WorkflowExecutionStatus,
    old_plan: Plan,
    old_params: Mapping[str, Any],
    answers: Sequence[ApprovalRecord] = (),
) -> list[StepStatus]:
    """Return the records that a new run takes over from a failed one.

    A step is taken over if it was done, is declared as before, sees the same parameters, and all it depends on is
    taken over too; a group only as a whole. What was put back is not done, nor what was skipped because the run
    ended. An approval holds for what the approver saw: it is taken over only where Workflow and parameters are the
    same, and where the approver could not give other values for parameters.

    Args:
        old_params: the parameters as that run was given them.
        answers: what people answered to approvals of that run.

    Raises:
        StepError: RetryRefused, where that run did not fail.
    """
    check_retryable(old_name, old)
    changed = {name for name in {*params, *old_params} if params.get(name) != old_params.get(name)}
    alike = not changed and plan.spec == old_plan.spec
    # What guards had asked is asked again: they may have other grounds now.
    records = {record.name: record for record in old.steps if record.name != GUARD_APPROVAL}
    before, now = unfold(old_plan, records), unfold(plan, records)
    last = {step.name for step in before.below(FINALLY)}
    overrides = _overrides(before, answers)

    def others(step: PlannedStep) -> set[str]:
        """Return the parameters of which the step saw, or may have seen, other values."""
        return changed.union(*(names for names, ended in overrides if step.name not in ended))

    def counts(step: PlannedStep) -> bool:
        """Whether what was done for a step, and within it, is still what is to be done."""
        former = before.by_name.get(step.name)
        if former is None or step.name in last or others(step) & step.params_used or not _same(step, former):
            return False
        record = records.get(step.name)
        if not (_answered(step, record, alike) if step.kind is Kind.APPROVAL else _done(record)):
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


def check_retryable(name: str, status: WorkflowExecutionStatus) -> None:
    """Raise StepError (RetryRefused) where a run did not fail, or is not over yet."""
    if status.phase not in (RunPhase.FAILED, RunPhase.CANCELLED):
        raise StepError(
            f"run {name} is {status.phase.value}; only a failed or cancelled run is tried again",
            reason=Reason.RETRY_REFUSED,
        )


def _done(record: StepStatus | None) -> bool:
    if record is None or record.phase is not StepPhase.SKIPPED:
        return record is not None and record.phase is StepPhase.SUCCEEDED
    return record.reason in _SKIPPED_FOR_GOOD


def _needed(step: PlannedStep, records: Mapping[str, StepStatus]) -> bool:
    """Whether a step of a group has to be done for the group to be: alternates are where they were begun."""
    return step.kind is not Kind.ALTERNATE or step.name in records


def _answered(step: PlannedStep, record: StepStatus | None, alike: bool) -> bool:
    """Whether nothing is left to ask: it was approved as it stands, or did not have to be.

    Args:
        alike: whether what follows is what the approver saw.
    """
    if record is None or step.spec.approval is None or step.spec.approval.may_override:
        return False
    if record.phase is StepPhase.SUCCEEDED:
        return alike
    return record.phase is StepPhase.SKIPPED and record.reason == Reason.WHEN_FALSE and not step.uses_target


def _overrides(
    shape: Unfolded, answers: Sequence[ApprovalRecord]
) -> list[tuple[frozenset[str], frozenset[str]]]:
    """Return for each answer the parameters that it gave other values, and the steps that had ended before."""
    return [
        (frozenset(value.name for value in answer.parameters), _ended_before(shape, answer.step))
        for answer in answers
        if answer.parameters
    ]


def _ended_before(shape: Unfolded, name: str) -> frozenset[str]:
    """Return the steps that had ended before this one began: what it, or a group around it, depends on."""
    found: set[str] = set()
    todo = [name]
    while todo:
        step = shape.by_name.get(todo.pop())
        if step is None:
            continue
        todo.append(step.parent)
        for need in step.needs:
            if need not in found:
                found |= {need, *(inner.name for inner in shape.below(need))}
                todo.append(need)
    return frozenset(found)


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
