"""How steps are cut short: what was not begun is skipped, what was begun comes to its (fenced) end."""

from __future__ import annotations

from collections.abc import Sequence

from kubernaut.api.duration import format_duration
from kubernaut.api.execution import StepPhase
from kubernaut.api.reasons import Reason
from kubernaut.core import awaiting, halting, subflows, unfenced
from kubernaut.core.action import Idempotency
from kubernaut.core.draft import Draft
from kubernaut.core.plan import Kind, PlannedStep
from kubernaut.core.policies import dormant


def close(draft: Draft, steps: Sequence[PlannedStep], reason: Reason) -> bool:
    """Bring steps to their end without beginning any; return whether all have ended.

    A step whose outcome is not known is performed once more: its marker says whether it had happened, and if not it
    happens now. A run that a subflow started is cancelled, and its end is waited for; an object that a step created
    and waits for is taken back.
    """
    # Found out before any is skipped: a step that was skipped lets its dependents begin.
    idle = frozenset(step.name for step in steps if _can_not_have_begun(draft, step))
    for step in steps:
        _skip(draft, step, reason, idle)
    moving = [step for step in steps if _settling(draft, step)]
    if moving or any(step.name in draft.facts.in_flight for step in steps):
        return False
    for step in steps:
        if not draft.record(step).phase.final and not dormant(draft, step):
            draft.skip(step, reason)
    return True


def _can_not_have_begun(draft: Draft, step: PlannedStep) -> bool:
    """Whether no earlier owner of the run can have created a step's object: what it depends on had not ended."""
    if not awaiting.may_be_named(step) or draft.record(step).phase is not StepPhase.PENDING:
        return False
    return not all(_may_have_ended(draft, need) for need in step.needs)


def _may_have_ended(draft: Draft, name: str) -> bool:
    """Whether a step may have ended without a word of it being stored (see ``storing``)."""
    record = draft.steps[name]
    group = draft.shape.by_name[name].kind.group and record.phase is not StepPhase.PENDING
    return record.phase.final or record.intent is not None or group


def _skip(draft: Draft, step: PlannedStep, reason: Reason, idle: frozenset[str]) -> None:
    """Skip a step whose effect can't have happened."""
    record = draft.record(step)
    if record.phase.final or step.name in draft.facts.in_flight or step.kind.group:
        return
    if (step.kind is Kind.WORKFLOW and record.intent is not None) or awaiting.waits(step, record):
        return
    if unfenced.in_doubt(draft, step):
        unfenced.give_up(draft, step)
    elif step.name in draft.unfenced and step.action is not None and step.name not in idle:
        _fence(draft, step)
    elif draft.begun_before(step):
        draft.fail(step, Reason(record.reason or Reason.INTERNAL), record.message or "it may have happened")
    elif not _may_have_acted(draft, step):
        if awaiting.tried(step, record):
            draft.fail(
                step, Reason(record.reason or Reason.INTERNAL), record.message or "it is not tried again"
            )
        else:
            draft.skip(step, reason)


def _may_have_acted(draft: Draft, step: PlannedStep) -> bool:
    """Whether the step's effect may have happened though its outcome is not known."""
    record, stored = draft.record(step), draft.run.stored_step(step.name)
    if not draft.in_doubt(step) or step.action is None:
        return False
    match step.action.idempotency:
        case Idempotency.READ_ONLY:
            return False
        case Idempotency.PINNED | Idempotency.INTENT:
            return stored.intent is not None and stored.intent == record.intent
        case _:
            return True


def _fence(draft: Draft, step: PlannedStep) -> None:
    """Have it made impossible that a request of an earlier owner of the run still has its effect."""
    if draft.held or any(act.step.name == step.name for act in draft.acts):
        return
    draft.begin(step, fence=True)


def _settling(draft: Draft, step: PlannedStep) -> bool:
    """Move a step that was begun towards its end; return whether it has not ended yet."""
    record = draft.record(step)
    if record.phase.final:
        return False
    fencing = step.name in draft.unfenced and step.action is not None and not step.kind.group
    fencing = fencing and not unfenced.in_doubt(draft, step)
    if fencing or step.name in draft.facts.in_flight:
        return True
    if step.kind is Kind.WORKFLOW and record.intent is not None:
        subflows.halt(draft, step)
        return not draft.record(step).phase.final
    if awaiting.waits(step, record):
        awaiting.halt(draft, step)
        return not draft.record(step).phase.final
    if not draft.in_doubt(step):
        return False
    if halting.halts(step):
        halting.halt(draft, step)
        return not draft.record(step).phase.final
    if draft.now >= draft.deadline(step) and (draft.held or step.kind is not Kind.WORKFLOW):
        message = f"not done within {format_duration(step.timeout)}; it may have happened"
        draft.fail(step, Reason.STEP_TIMEOUT, message)
        return False
    if draft.held:
        draft.wakes.append(draft.deadline(step))
        return True
    if step.kind is not Kind.WORKFLOW:
        draft.wakes.append(draft.deadline(step))
    if record.retry_at is not None and record.retry_at > draft.now:
        draft.wakes.append(record.retry_at)
        return True
    draft.set(step, phase=StepPhase.RUNNING, retry_at=None)
    draft.begin(step)
    return not draft.record(step).phase.final
