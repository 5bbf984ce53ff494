"""Guards at the steps of a run: whether one that changes something may begin, and whether a person is asked first."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from kubernaut.api.execution import RunPhase, StepPhase, StepStatus
from kubernaut.api.guards import GUARD_APPROVAL
from kubernaut.api.reasons import Reason
from kubernaut.api.steps import Approval
from kubernaut.core.draft import MAY_HAVE_ACTED, Draft
from kubernaut.core.guards import health
from kubernaut.core.guards.levels import Refusal, most_unavailable
from kubernaut.core.guards.risk import GIVES_BACK, acts
from kubernaut.core.plan import PlannedStep

#: what only looking again can tell is looked at so often
LOOK_AGAIN: Final = timedelta(seconds=10)
#: how long a person may take to answer
APPROVAL_TIME: Final = Approval().expires_after
_MOST_RISKY: Final = 32


def may_begin(draft: Draft, step: PlannedStep) -> bool:
    """Whether a step may begin: where guards say no it is said why, or a person is asked."""
    if draft.run.dry_run or not acts(step):
        return True
    guarded = draft.facts.guards
    if guarded is not None:
        if guarded.refusal is not None and not begun(draft):
            return _held(draft, step, guarded.refusal)
        if not _healthy_enough(draft, step) or not _approved(draft, step):
            return False
    return not _healed(draft)


def _healed(draft: Draft) -> bool:
    """Whether there is nothing left to repair: the run's alerts have ended, and it has changed nothing yet.

    Asked last, immediately before the first effect: while a person or a guard is waited for, an alert may fire again.
    """
    if not draft.facts.healed or draft.status.phase is RunPhase.FINALIZING or begun(draft):
        return False
    draft.healed = True
    return True


def begun(draft: Draft) -> bool:
    """Whether the run has begun to change anything: then it goes on, for half a repair helps nobody."""
    return any(acts(step) and _begun(draft, step) for step in draft.shape.steps)


def _begun(draft: Draft, step: PlannedStep) -> bool:
    """Whether a step has changed something, or may have; one that failed before it could has not."""
    record = draft.record(step)
    if record.reason == Reason.CARRIED_OVER:
        return False
    if record.changed or record.intent is not None or _under_way(draft, step) or draft.begun_before(step):
        return True
    return record.phase is StepPhase.FAILED and record.attempt > 0 and record.reason in MAY_HAVE_ACTED


def _held(draft: Draft, step: PlannedStep, refusal: Refusal) -> bool:
    if draft.status.phase is RunPhase.FINALIZING:
        # Nothing bounds how long steps under finally may wait.
        draft.set(step, message=draft.short(refusal.message))
        draft.skip(step, refusal.reason)
        return False
    draft.guard = draft.guard or refusal
    draft.wakes.append(refusal.until if refusal.until is not None else draft.now + LOOK_AGAIN)
    return False


def _healthy_enough(draft: Draft, step: PlannedStep) -> bool:
    """Whether enough of the target is there; then steps begin one by one, each on a target seen after the last."""
    assert draft.facts.guards is not None
    said = most_unavailable(draft.facts.guards.levels)
    if said is None or (step.action is not None and step.action.name in GIVES_BACK):
        return True
    if _another_acts(draft, step):
        return False
    seen = draft.facts.target
    draft.observe = True
    if seen is None or not seen.current:
        return False
    counted = health.unavailable(seen.manifest) if seen.manifest is not None else None
    if counted is None:
        return True
    percent, level = said
    if not health.too_many(*counted, percent):
        return True
    down, of = counted
    pinned = draft.status.target
    name = f"{pinned.kind} {pinned.name}" if pinned is not None else "the target"
    message = (
        f"maxUnavailablePercent {percent} of {level}: {down} of {of} replicas of {name} are unavailable, and at "
        f"most {of * percent // 100} may be; until more are available."
    )
    return _held(draft, step, Refusal(Reason.TOO_FEW_HEALTHY, message))


def _another_acts(draft: Draft, step: PlannedStep) -> bool:
    return any(
        acts(other) and other.name != step.name and _under_way(draft, other) for other in draft.shape.steps
    )


def _under_way(draft: Draft, step: PlannedStep) -> bool:
    return step.name in draft.facts.in_flight or draft.in_doubt(step)


def why_asked(draft: Draft, step: PlannedStep) -> str:
    """Return why a person is asked before a step begins; empty where nobody is."""
    guarded = draft.facts.guards
    if guarded is None or step.action is None:
        return ""
    if guarded.asks_always:
        return guarded.asks_always
    told = guarded.tripped.get(step.action.name, "") if step.high else ""
    if not told and step.high and guarded.asks_on_risk:
        told = f"{step.action.name} is of high risk, and {guarded.asks_on_risk}"
    return told


def _approved(draft: Draft, step: PlannedStep) -> bool:
    why = why_asked(draft, step)
    if not why:
        return True
    record = draft.steps.get(GUARD_APPROVAL)
    if record is not None and record.phase is StepPhase.SUCCEEDED:
        return True
    told = f"Step {step.name} needs an approval: {why}."
    if record is not None and record.phase is StepPhase.FAILED:
        _not_approved(draft, step, Reason(record.reason or Reason.APPROVAL_DENIED), record.message or told)
    elif draft.status.phase is RunPhase.FINALIZING:
        _not_approved(draft, step, Reason.APPROVAL_REQUIRED, f"{told} Under finally nobody is asked.")
    else:
        if record is None:
            draft.ask(told)
            draft.wakes.append(draft.now + APPROVAL_TIME)
        waiting = draft.steps[GUARD_APPROVAL].message or told
        draft.guard = draft.guard or Refusal(Reason.APPROVAL_REQUIRED, waiting)
    return False


def settle(draft: Draft) -> None:
    """Ask nobody any more once nothing is begun any more."""
    record = draft.steps.get(GUARD_APPROVAL)
    if record is None or record.phase.final:
        return
    if draft.status.phase.final or draft.status.phase in (RunPhase.ROLLING_BACK, RunPhase.FINALIZING):
        draft.skip(draft.shape.by_name[GUARD_APPROVAL], Reason.CANCELLED)


def risky(draft: Draft) -> list[str] | None:
    """Return the actions of high risk that the run has begun."""
    found = {
        step.action.name
        for step in draft.shape.steps
        if step.high and step.action is not None and _tried(draft.record(step))
    }
    return sorted(found)[:_MOST_RISKY] or None


def _tried(record: StepStatus) -> bool:
    if record.reason == Reason.CARRIED_OVER:
        return False
    return record.attempt > 0 and record.phase not in (StepPhase.PENDING, StepPhase.SKIPPED)


def _not_approved(draft: Draft, step: PlannedStep, reason: Reason, message: str) -> None:
    draft.set(step, started_at=draft.now)
    draft.fail(step, reason, message)
