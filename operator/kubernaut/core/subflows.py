"""A step that runs another Workflow: it follows the run it started, and ends as that run ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from kubernaut.api.duration import format_duration
from kubernaut.api.execution import RunPhase, StepPhase, WorkflowExecutionStatus
from kubernaut.api.names import API_VERSION
from kubernaut.api.reasons import Reason
from kubernaut.core import limits, retry
from kubernaut.core.draft import Draft
from kubernaut.core.naming import child_run
from kubernaut.core.plan import PlannedStep
from kubernaut.core.retrying import try_again
from kubernaut.core.run import Watched

RUN = "run"
# Why a run may have been started though no answer said so.
_IN_DOUBT = frozenset({Reason.UNKNOWN_OUTCOME, Reason.INTERNAL})


def child(draft: Draft, step: PlannedStep) -> Watched:
    """Return the run that a step started, as an object to watch."""
    intent = draft.record(step).intent or {}
    return Watched(API_VERSION, "WorkflowExecution", str(intent.get(RUN, "")))


def not_started(draft: Draft, step: PlannedStep, reason: Reason, message: str) -> bool:
    """Take note that a run could not be started, as far as is known; False where it surely was not.

    The attempt is part of the run's name, so it must not rise before that is sure: the same attempt is made again,
    and finds the run where there is one. That is given up where it would bring nothing new.
    """
    record = draft.record(step)
    if draft.run.dry_run:
        return False
    if record.phase is StepPhase.WAITING:
        # It was taken already.
        return True
    in_doubt = record.reason in _IN_DOUBT or step.name in draft.facts.unfenced
    unexpected, on = reason is Reason.INTERNAL, reason in retry.SAME_ATTEMPT or reason is Reason.STEP_TIMEOUT
    if not on and not unexpected and (not in_doubt or reason is Reason.PRECONDITION_FAILED):
        return False
    if not on and (not unexpected or record.reason == Reason.INTERNAL):
        # A second unexpected error, or a refusal, which says nothing of a request that was sent before.
        name = child_run(draft.run.name, draft.run.uid, step.name, record.attempt)
        told = f"run {name} may have been started all the same; look for it. {reason.value}: {message}"
        draft.fail(step, Reason.UNKNOWN_OUTCOME, told)
        return True
    if on and record.reason in _IN_DOUBT:
        reason = Reason(record.reason)
    elif reason is Reason.STEP_TIMEOUT:
        reason = Reason.UNKNOWN_OUTCOME
    draft.set(
        step,
        phase=StepPhase.WAITING,
        retry_at=draft.now + retry.INFRASTRUCTURE_PAUSE,
        reason=reason.value,
        message=draft.short(message),
    )
    return True


def follow(draft: Draft, step: PlannedStep) -> None:
    """Take over where the started run is; end the step as that run ends."""
    status = _seen(draft, step)
    if status is not None and status.phase.final:
        _end(draft, step, status, halted=draft.record(step).reason == Reason.CANCELLED)
        return
    if status is not None and status.progress != draft.record(step).progress:
        draft.set(step, progress=status.progress)
    if step.timed and draft.now >= draft.deadline(step):
        halt(draft, step)
        return
    if step.timed:
        draft.wakes.append(draft.deadline(step))


def halt(draft: Draft, step: PlannedStep) -> None:
    """Cancel the started run, and wait for its end."""
    status, record = _seen(draft, step), draft.record(step)
    if record.phase.final:
        return
    if status is not None and status.phase.final:
        _end(draft, step, status, halted=True)
        return
    if record.reason == Reason.CANCELLED or step.name in draft.facts.in_flight or draft.held:
        return
    if record.retry_at is not None and record.retry_at > draft.now:
        draft.wakes.append(record.retry_at)
        return
    draft.begin(step, undo=True)


def halted(draft: Draft, step: PlannedStep, ok: bool, message: str) -> None:
    """Take note of whether the started run was told to end."""
    if ok:
        draft.set(step, reason=Reason.CANCELLED.value, retry_at=None)
    else:
        draft.set(step, retry_at=draft.now + retry.INFRASTRUCTURE_PAUSE, message=draft.short(message))


def _seen(draft: Draft, step: PlannedStep) -> WorkflowExecutionStatus | None:
    """Return the status of the started run, or None where it was not seen yet; one that is gone is cancelled."""
    key = child(draft, step)
    draft.objects.add(key)
    seen = draft.facts.objects.get(key)
    if seen is None:
        return None
    intent = draft.record(step).intent or {}
    if seen.manifest is None or seen.uid != intent.get("uid"):
        return WorkflowExecutionStatus(phase=RunPhase.CANCELLED, message="the run was deleted")
    try:
        return WorkflowExecutionStatus.model_validate(seen.manifest.get("status") or {})
    except ValidationError:
        return None


def _end(draft: Draft, step: PlannedStep, status: WorkflowExecutionStatus, *, halted: bool = False) -> None:
    name = child(draft, step).name
    told = f"run {name}: {status.message or status.phase.value}"
    changed = any(record.changed for record in status.steps)
    if changed:
        draft.set(step, changed=[limits.cut(f"run {name} changed objects", 512)])
    if status.phase is RunPhase.SUCCEEDED:
        _succeed(draft, step, status, told)
        return
    if halted and step.timed and draft.now >= draft.deadline(step):
        draft.fail(step, Reason.STEP_TIMEOUT, f"not done within {format_duration(step.timeout)}; {told}")
        return
    if halted:
        draft.fail(step, Reason.CANCELLED, told)
        return
    record = draft.record(step)
    later = try_again(draft, step, Reason.SUBFLOW_FAILED, told)
    if later is None:
        draft.fail(step, Reason.SUBFLOW_FAILED, told)
        return
    draft.set(
        step,
        phase=StepPhase.WAITING,
        attempt=record.attempt + 1,
        retry_at=later,
        intent=None,
        progress=None,
        reason=Reason.SUBFLOW_FAILED.value,
        message=draft.short(told),
    )


def _succeed(draft: Draft, step: PlannedStep, status: WorkflowExecutionStatus, told: str) -> None:
    name = child(draft, step).name
    verdict = status.verdict.value if status.verdict else None
    outputs: Mapping[str, Any] = {**(status.outputs or {}), RUN: name, "verdict": verdict}
    taken, room = limits.size(outputs), limits.outputs_left(draft.steps.values())
    if taken > room:
        message = f"the run's outputs take {taken} bytes; {room} of {limits.OUTPUTS} are left"
        draft.fail(step, Reason.OUTPUT_TOO_LARGE, message)
        return
    draft.succeed(step, message=told)
    draft.set(step, outputs=dict(outputs), progress=status.progress)
