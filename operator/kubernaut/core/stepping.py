"""How one step moves: begin when its dependencies allow, act, wait, ask a person."""

from __future__ import annotations

from kubernaut.api.execution import Decision as Answer
from kubernaut.api.execution import StepPhase
from kubernaut.api.reasons import Reason
from kubernaut.core.draft import Draft
from kubernaut.core.errors import StepError
from kubernaut.core.plan import PlannedStep

_LETS_ON = (StepPhase.SUCCEEDED, StepPhase.SKIPPED)


def drive(draft: Draft, step: PlannedStep) -> None:
    """Move one step as far as it can go now."""
    record = draft.record(step)
    if record.phase.final or step.name in draft.facts.in_flight:
        return
    if record.phase is StepPhase.PENDING:
        _try_begin(draft, step)
    elif _timed(step) and draft.now >= draft.deadline(step):
        last = f"; last: {record.message}" if record.message else ""
        draft.fail(step, Reason.STEP_TIMEOUT, f"not done within {step.timeout}{last}")
    elif step.action is not None:
        _continue_action(draft, step)
    elif step.spec.wait is not None:
        _wait(draft, step)
    else:
        _await_answer(draft, step)


def _timed(step: PlannedStep) -> bool:
    """Whether the step's timeout counts: an approval has its expiry, a duration is its own end."""
    wait = step.spec.wait
    return step.spec.approval is None and (wait is None or wait.duration is None)


def _try_begin(draft: Draft, step: PlannedStep) -> None:
    if any(draft.steps[need].phase not in _LETS_ON for need in step.needs) or draft.held:
        return
    if draft.running >= draft.plan.spec.parallelism:
        return
    if step.uses_target and draft.facts.target is None:
        draft.observe = True
        return
    try:
        if step.when is not None and not step.when.holds(draft.scope()):
            reason = Reason.WHEN_FALSE.value
            draft.set(step, phase=StepPhase.SKIPPED, finished_at=draft.now, reason=reason)
            return
    except StepError as error:
        draft.set(step, started_at=draft.now)
        draft.fail(step, error.reason, str(error))
        return
    if step.action is not None:
        draft.set(step, phase=StepPhase.RUNNING, started_at=draft.now, attempt=1)
    else:
        draft.set(step, phase=StepPhase.WAITING, started_at=draft.now)
    drive(draft, step)


def _continue_action(draft: Draft, step: PlannedStep) -> None:
    record = draft.record(step)
    draft.wakes.append(draft.deadline(step))
    if draft.held:
        return
    if record.retry_at is not None and record.retry_at > draft.now:
        draft.wakes.append(record.retry_at)
        return
    if record.phase is StepPhase.WAITING:
        if draft.running >= draft.plan.spec.parallelism:
            return
        draft.set(step, phase=StepPhase.RUNNING, retry_at=None)
    draft.begin(step)


def _wait(draft: Draft, step: PlannedStep) -> None:
    wait, record = step.spec.wait, draft.record(step)
    assert wait is not None
    if wait.duration is not None:
        due = (record.started_at or draft.now) + wait.duration
        if draft.now >= due:
            draft.set(step, phase=StepPhase.SUCCEEDED, finished_at=draft.now)
        else:
            draft.wakes.append(due)
        return
    assert step.until is not None
    draft.wakes.append(draft.deadline(step))
    if step.uses_target:
        seen = draft.facts.target
        draft.observe = True
        if seen is None or not seen.current:
            return
    try:
        if step.until.holds(draft.scope()):
            draft.set(step, phase=StepPhase.SUCCEEDED, finished_at=draft.now, message=None)
    except StepError as error:
        # A field that is not there yet may be just what the step waits for; the message says so meanwhile.
        draft.set(step, message=draft.short(str(error)))


def _await_answer(draft: Draft, step: PlannedStep) -> None:
    approval, record = step.spec.approval, draft.record(step)
    assert approval is not None
    for answer in draft.run.control.approvals:
        if answer.step != step.name:
            continue
        told = f"{answer.decision.value} by {answer.by}" + (f": {answer.reason}" if answer.reason else "")
        if answer.decision is Answer.APPROVE:
            draft.set(step, phase=StepPhase.SUCCEEDED, finished_at=draft.now, message=draft.short(told))
        else:
            draft.fail(step, Reason.APPROVAL_DENIED, told)
        return
    expiry = (record.started_at or draft.now) + approval.expires_after
    if draft.now >= expiry:
        draft.fail(step, Reason.APPROVAL_EXPIRED, f"nobody answered within {approval.expires_after}")
    else:
        draft.wakes.append(expiry)
