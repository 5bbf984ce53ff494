"""When the status must be written before the next effect.

No effect may rest on a decision that could not be made again from what is stored (docs/adr/0002). Success of
a marked step can be found again on the object it changed; everything else that moved has to be stored first.
"""

from __future__ import annotations

from kubernaut.api.execution import RunPhase, StepPhase, StepStatus, WorkflowExecutionStatus
from kubernaut.api.reasons import Reason
from kubernaut.core.action import Idempotency
from kubernaut.core.plan import Plan, PlannedStep

_INFRASTRUCTURE = frozenset({Reason.UNAVAILABLE, Reason.STOPPED})


def must_store_first(plan: Plan, stored: WorkflowExecutionStatus, status: WorkflowExecutionStatus) -> bool:
    """Return whether ``status`` holds something that could not be decided again from ``stored``."""
    if stored.workflow is None or stored.phase is RunPhase.PENDING:
        return True
    if status.phase is not stored.phase and status.phase in (RunPhase.ROLLING_BACK, RunPhase.VERIFYING):
        return True
    before = {record.name: record for record in stored.steps}
    now = {record.name: record for record in status.steps}
    return any(
        step.name in now and _moved(step, before.get(step.name, StepStatus(name=step.name)), now[step.name])
        for step in plan.steps
    )


def _moved(step: PlannedStep, before: StepStatus, now: StepStatus) -> bool:
    if (before.phase, before.attempt, before.intent) == (now.phase, now.attempt, now.intent):
        return False
    if now.intent != before.intent:
        return True
    decided_before = before.phase is StepPhase.RUNNING and before.attempt == now.attempt
    hangs = step.when is not None or bool(step.outputs_used) or step.uses_target
    if now.phase is StepPhase.RUNNING:
        return not decided_before and (hangs or now.attempt > 1)
    if now.phase is StepPhase.SUCCEEDED:
        return (hangs and not decided_before) or not _found_again(step, now)
    if now.phase is StepPhase.WAITING and now.reason in _INFRASTRUCTURE:
        return now.attempt > 1 and now.attempt != before.attempt
    return now.phase is not StepPhase.PENDING


def _found_again(step: PlannedStep, now: StepStatus) -> bool:
    """Whether the step's success is on the object (marked) or in the stored intent (pinned).

    A marked step that had nothing to change left no mark, and what a read-only step saw may change with the next
    effect: done once more after a crash, either could come out otherwise.
    """
    if step.action is None or step.outputs_matter:
        return False
    if step.action.idempotency is Idempotency.MARKED:
        return now.changed is not None
    return step.action.idempotency is Idempotency.PINNED


def worth_telling(stored: WorkflowExecutionStatus, status: WorkflowExecutionStatus) -> bool:
    """Return whether a person would want to see the difference: the plan moved, or something else holds it up."""
    return _gist(stored) != _gist(status)


def _gist(status: WorkflowExecutionStatus) -> object:
    steps = [
        # The same attempt goes on: to a person, such a step is running.
        (s.name, StepPhase.RUNNING, s.attempt, None)
        if s.reason in _INFRASTRUCTURE and not s.phase.final
        else (s.name, s.phase, s.attempt, s.reason)
        for s in status.steps
    ]
    conditions = [(c.type, c.status, c.reason) for c in status.conditions]
    return (status.phase, status.verdict, status.healthy_since, steps, conditions)
