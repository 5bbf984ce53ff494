"""When the status must be written before the next effect.

No effect may rest on a decision that could not be made again from what is stored (docs/adr/0002). Success of
a marked step can be found again on the object it changed; everything else that moved has to be stored first.
"""

from __future__ import annotations

from collections.abc import Iterable

from kubernaut.api.execution import RunPhase, StepPhase, StepStatus, WorkflowExecutionStatus, unbegun
from kubernaut.api.reasons import Reason
from kubernaut.core.action import Idempotency
from kubernaut.core.plan import Kind, PlannedStep

_INFRASTRUCTURE = frozenset({Reason.UNAVAILABLE, Reason.STOPPED, Reason.LEASE_LOST, Reason.POLICIES_MISSING})
_GOES_ON = _INFRASTRUCTURE | {Reason.IN_PROGRESS}

_SETTLED = (RunPhase.ROLLING_BACK, RunPhase.VERIFYING, RunPhase.FINALIZING)


def must_store_first(
    steps: Iterable[PlannedStep], stored: WorkflowExecutionStatus, status: WorkflowExecutionStatus
) -> bool:
    """Return whether ``status`` holds something that could not be decided again from ``stored``."""
    if stored.workflow is None or stored.phase is RunPhase.PENDING:
        return True
    if status.phase is not stored.phase and status.phase in _SETTLED:
        return True
    before = {record.name: record for record in stored.steps}
    now = {record.name: record for record in status.steps}
    return any(
        step.name in now and _moved(step, before.get(step.name, unbegun(step.name)), now[step.name])
        for step in steps
    )


def _moved(step: PlannedStep, before: StepStatus, now: StepStatus) -> bool:
    if before is now or _place(step, before) == _place(step, now):
        return False
    if now.intent != before.intent or now.undo_attempt != before.undo_attempt:
        return True
    if step.kind.group:
        return _group_moved(step, before, now)
    decided_before = before.phase is StepPhase.RUNNING and before.attempt == now.attempt
    hangs = step.hangs
    if now.phase is StepPhase.RUNNING:
        return not decided_before and (hangs or now.attempt > 1)
    if now.phase is StepPhase.SUCCEEDED:
        return (hangs and not decided_before) or not _found_again(step, now)
    if now.phase is StepPhase.WAITING and now.reason in _INFRASTRUCTURE:
        return now.attempt > 1 and now.attempt != before.attempt
    return now.phase is not StepPhase.PENDING


def _place(step: PlannedStep, record: StepStatus) -> object:
    items = record.outputs if step.kind.group else None
    return record.phase, record.attempt, record.intent, record.undo_attempt, record.branch, items


def _group_moved(step: PlannedStep, before: StepStatus, now: StepStatus) -> bool:
    """Whether what a group's steps are, or that they failed, was not known; that all are done is seen from them."""
    if now.phase is StepPhase.SUCCEEDED and step.kind is Kind.SWITCH and now.branch is None:
        return True
    if now.branch != before.branch or now.outputs != before.outputs:
        return True
    return now.phase.final and now.phase is not StepPhase.SUCCEEDED


def _found_again(step: PlannedStep, now: StepStatus) -> bool:
    """Whether the step's success is on the object (marked) or in the stored intent (pinned).

    A marked step that had nothing to change left no mark, and what a read-only step saw may change with the next
    effect: done once more after a crash, either could come out otherwise.
    """
    if step.action is None or step.outputs_matter:
        return False
    if step.action.idempotency is Idempotency.MARKED:
        return now.changed is not None
    return step.action.idempotency in (Idempotency.PINNED, Idempotency.NAMED)


def worth_telling(stored: WorkflowExecutionStatus, status: WorkflowExecutionStatus) -> bool:
    """Return whether a person would want to see the difference: the plan moved, or something else holds it up."""
    return _gist(stored) != _gist(status)


def _gist(status: WorkflowExecutionStatus) -> object:
    steps = [
        # The same attempt goes on: to a person, such a step is running.
        (s.name, StepPhase.RUNNING, s.attempt, None, s.progress)
        if s.reason in _GOES_ON and not s.phase.final
        else (s.name, s.phase, s.attempt, s.reason, s.progress)
        for s in status.steps
    ]
    conditions = [(c.type, c.status, c.reason) for c in status.conditions]
    return (status.phase, status.verdict, status.healthy_since, steps, conditions)
