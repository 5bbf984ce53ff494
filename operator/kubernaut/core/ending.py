"""How a run ends badly: stop short, give up, put back."""

from __future__ import annotations

from kubernaut.api.execution import RunPhase, StepPhase, Verdict
from kubernaut.api.reasons import Reason
from kubernaut.api.workflow import OnFailure
from kubernaut.core import limits
from kubernaut.core.action import Idempotency
from kubernaut.core.draft import Draft, in_doubt
from kubernaut.core.plan import PlannedStep

# Why a run ends before its steps are done; said in its status while what was begun comes to its end.
STOPS_SHORT = frozenset({Reason.RUN_TIMEOUT, Reason.TARGET_NOT_FOUND, Reason.TARGET_REPLACED})


def skip_rest(draft: Draft, reason: Reason) -> None:
    """Skip what was not begun; a step whose effect may have happened is left to come to its end."""
    for step in draft.plan.steps:
        record = draft.record(step)
        if record.phase.final or step.name in draft.facts.in_flight or _may_have_acted(draft, step):
            continue
        draft.set(step, phase=StepPhase.SKIPPED, finished_at=draft.now, retry_at=None, reason=reason.value)


def _may_have_acted(draft: Draft, step: PlannedStep) -> bool:
    """Whether the step's effect may have happened though its outcome is not known."""
    record, stored = draft.record(step), draft.run.stored_step(step.name)
    if not in_doubt(record) or step.action is None:
        return False
    match step.action.idempotency:
        case Idempotency.READ_ONLY:
            return False
        case Idempotency.PINNED:
            return stored.intent is not None and stored.intent == record.intent
        case Idempotency.MARKED:
            return True


def settle(draft: Draft) -> bool:
    """Bring steps whose outcome is not known to their (fenced) end; return whether all are settled.

    Such a step is performed once more: its marker says whether it had happened, and if not it happens now.
    """
    for step in draft.plan.steps:
        record = draft.record(step)
        if not in_doubt(record) or step.name in draft.facts.in_flight:
            continue
        if draft.now >= draft.deadline(step):
            draft.fail(step, Reason.STEP_TIMEOUT, f"not done within {step.timeout}; it may have happened")
            continue
        draft.wakes.append(draft.deadline(step))
        if draft.held:
            continue
        if record.retry_at is not None and record.retry_at > draft.now:
            draft.wakes.append(record.retry_at)
        else:
            draft.set(step, phase=StepPhase.RUNNING, retry_at=None)
            draft.begin(step)
    return not draft.busy


def cancel(draft: Draft) -> None:
    """End the run because a person said so; what was begun is finished first."""
    skip_rest(draft, Reason.CANCELLED)
    if settle(draft):
        verdict = Verdict.INCONCLUSIVE if draft.may_have_acted else Verdict.DECLINED
        draft.end(RunPhase.CANCELLED, verdict, Reason.CANCELLED, "The run was cancelled by a person.")


def stop_short(draft: Draft, reason: Reason, message: str) -> None:
    """Give up before all steps were done; what was begun is finished first."""
    skip_rest(draft, reason)
    if settle(draft):
        give_up(draft, reason, message)
    else:
        draft.status = draft.status.replace(reason=reason.value, message=limits.message(message))


def step_failed(draft: Draft) -> None:
    """Give up because a step failed for good."""
    skip_rest(draft, Reason.DEPENDENCY_FAILED)
    if not settle(draft):
        return
    for step in draft.plan.steps:
        record = draft.record(step)
        if record.phase is StepPhase.FAILED:
            reason = Reason(record.reason or Reason.STEP_FAILED)
            give_up(draft, reason, limits.sentence(f"Step {step.name}: {record.message or record.reason}"))
            return


def give_up(draft: Draft, reason: Reason, message: str) -> None:
    """The run did not help: put things back where the Workflow says so, else end."""
    if draft.plan.spec.on_failure is OnFailure.ROLLBACK and _to_undo(draft):
        draft.acts.clear()
        told = limits.message(message)
        draft.status = draft.status.replace(phase=RunPhase.ROLLING_BACK, reason=reason.value, message=told)
        roll_back(draft)
        return
    denied = reason in (Reason.APPROVAL_DENIED, Reason.APPROVAL_EXPIRED)
    verdict = Verdict.DECLINED if denied and not draft.may_have_acted else Verdict.NOT_FIXED
    draft.end(RunPhase.FAILED, verdict, reason, message)


def roll_back(draft: Draft) -> None:
    """Undo the steps in reverse order, one at a time; go on past one that can't be put back."""
    if draft.facts.in_flight:
        return
    for step in _to_undo(draft):
        again = draft.record(step).retry_at
        if draft.held:
            return
        if again is not None and again > draft.now:
            draft.wakes.append(again)
            return
        before = draft.record(step)
        draft.begin(step, undo=True)
        if draft.acts or draft.observe:
            return
        told = draft.short(f"could not be put back: {draft.record(step).message}")
        draft.steps[step.name] = before.replace(reason=Reason.ROLLBACK_FAILED.value, message=told)
    _rolled_back(draft)


def _rolled_back(draft: Draft) -> None:
    why = draft.status.message or ""
    broken = [name for name, record in draft.steps.items() if record.reason == Reason.ROLLBACK_FAILED]
    if broken:
        message = f"{why} Not all could be put back: {', '.join(broken)}.".strip()
        draft.end(RunPhase.FAILED, Verdict.NOT_FIXED, Reason.ROLLBACK_FAILED, message)
        return
    reason = Reason(draft.status.reason or Reason.STEP_FAILED)
    if not draft.acted:
        draft.end(RunPhase.FAILED, Verdict.NOT_FIXED, reason, f"{why} The run had changed nothing.".strip())
        return
    message = f"{why} What the run had changed was put back.".strip()
    draft.end(RunPhase.FAILED, Verdict.ROLLED_BACK, reason, message)


def _to_undo(draft: Draft) -> list[PlannedStep]:
    """Return the steps that changed, or may have changed, an object; last one first."""
    found: list[PlannedStep] = []
    for step in reversed(draft.plan.steps):
        record = draft.record(step)
        if step.action is None or step.action.idempotency is Idempotency.READ_ONLY:
            continue
        may_have = record.phase is StepPhase.FAILED and record.attempt > 0
        did = record.phase is StepPhase.SUCCEEDED and record.changed is not None
        if (did or may_have) and record.reason != Reason.ROLLBACK_FAILED:
            found.append(step)
    return found
