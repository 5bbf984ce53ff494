"""How a run ends badly: cancelled, stopped short, given up; and what follows where a step failed."""

from __future__ import annotations

from kubernaut.api.execution import RunPhase, StepPhase, Verdict
from kubernaut.api.reasons import Reason
from kubernaut.api.steps import OnFailure
from kubernaut.core import limits, rolling
from kubernaut.core.closing import close
from kubernaut.core.draft import Draft
from kubernaut.core.features import Feature
from kubernaut.core.plan import ALTERNATE, FINALLY, PlannedStep
from kubernaut.core.policies import policy

# Why a run ends before its steps are done; said in its status while what was begun comes to its end.
STOPS_SHORT = frozenset(
    {
        Reason.RUN_TIMEOUT,
        Reason.TARGET_NOT_FOUND,
        Reason.TARGET_REPLACED,
        Reason.PROTECTED,
        Reason.ALERT_RESOLVED,
    }
)
_DENIED = frozenset(
    {
        Reason.APPROVAL_DENIED,
        Reason.APPROVAL_EXPIRED,
        Reason.APPROVAL_REQUIRED,
        Reason.PROTECTED,
        Reason.KEPT_BY_ANOTHER,
        Reason.PROPOSED,
        Reason.TOO_FEW_HEALTHY,
    }
)


def all_but_finally(draft: Draft) -> list[PlannedStep]:
    """Return all steps but those under finally."""
    last = {step.name for step in draft.shape.below(FINALLY)}
    return [step for step in draft.shape.steps if step.name not in last]


def cancel(draft: Draft) -> None:
    """End the run because a person said so; what was begun is finished first."""
    if close(draft, all_but_finally(draft), Reason.CANCELLED):
        verdict = Verdict.INCONCLUSIVE if draft.may_have_acted else Verdict.DECLINED
        who = "the run that started it, or by a person" if draft.run.depth else "a person"
        message = draft.run.cancelled_for or f"The run was cancelled by {who}."
        reason = Reason.REPLACED if draft.run.cancelled_for else Reason.CANCELLED
        draft.end(RunPhase.CANCELLED, verdict, reason, message)


def stop_short(draft: Draft, reason: Reason, message: str) -> None:
    """Give up before all steps were done; what was begun is finished first."""
    if close(draft, all_but_finally(draft), reason):
        if reason is Reason.ALERT_RESOLVED:
            verdict = Verdict.INCONCLUSIVE if draft.may_have_acted else Verdict.SELF_HEALED
            draft.end(RunPhase.CANCELLED, verdict, reason, message)
        else:
            give_up(draft, reason, message, draft.plan.spec.on_failure is OnFailure.ROLLBACK)
    else:
        draft.status = draft.status.replace(reason=reason.value, message=limits.message(message))


def step_failed(draft: Draft, step: PlannedStep) -> bool:
    """Do what is declared for a step that failed for good; return whether the run's alternate begins."""
    record = draft.record(step)
    reason = Reason(record.reason or Reason.STEP_FAILED)
    message = limits.sentence(f"Step {step.name}: {record.message or record.reason}")
    found = policy(draft, step)
    if found is OnFailure.ALTERNATE:
        draft.steps[ALTERNATE] = draft.steps[ALTERNATE].replace(
            phase=StepPhase.RUNNING, started_at=draft.now, attempt=1, message=draft.short(message)
        )
        draft.grow()
        return True
    give_up(draft, reason, message, found is OnFailure.ROLLBACK)
    return False


def give_up(draft: Draft, reason: Reason, message: str, roll_back: bool) -> None:
    """The run did not help: put things back where the Workflow says so, else end."""
    if roll_back and not draft.run.dry_run and rolling.to_undo(draft):
        if Feature.ROLLBACK not in draft.facts.off:
            rolling.begin(draft, reason, message)
            return
        message = f"{message} Nothing was put back: feature {Feature.ROLLBACK.value} is switched off."
    verdict = Verdict.DECLINED if reason in _DENIED and not draft.may_have_acted else Verdict.NOT_FIXED
    draft.end(RunPhase.FAILED, verdict, reason, message)
