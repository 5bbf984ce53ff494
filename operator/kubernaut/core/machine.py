"""``advance``: what a run does next, as a pure function of what is stored and what is seen.

It may be called at any time, with any facts lost, doubled or late, and leads to the same end. It never looks at a
clock (``now`` is given), and an effect it asks for twice is fenced so that it happens once.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from kubernaut.api.execution import RunPhase, StepStatus, WorkflowExecutionStatus
from kubernaut.api.reasons import Reason
from kubernaut.core import conditions, ending, outcomes, stepping
from kubernaut.core.draft import Draft, in_doubt
from kubernaut.core.plan import Plan
from kubernaut.core.run import Decision, Facts, Hold, Run
from kubernaut.core.storing import must_store_first
from kubernaut.core.verifying import verify


def advance(run: Run, plan: Plan, facts: Facts, now: datetime) -> Decision:
    """Return the run's next status and the effects to begin.

    Args:
        run: the run; its status holds the claim (workflow, target, startedAt).
        plan: compiled from the snapshot the run claimed.
        facts: what is seen.
        now: the time, with zone.
    """
    if run.status.phase.final:
        return Decision(run.status)
    draft = Draft(run, plan, facts, now)
    for step in plan.steps:
        # An outcome that comes while the step's effect is under way is that of an earlier one.
        if step.name in facts.outcomes and step.name not in facts.in_flight:
            outcomes.take(draft, step, facts.outcomes[step.name])
    if draft.status.phase is RunPhase.ROLLING_BACK:
        ending.roll_back(draft)
    else:
        _forward(draft)
    status = _fold(draft)
    acts = tuple(draft.acts)
    first = bool(acts) and must_store_first(plan, run.stored, status)
    return Decision(status, acts, first, draft.observe, min(draft.wakes, default=None))


def _forward(draft: Draft) -> None:
    if draft.run.control.cancel:
        ending.cancel(draft)
        return
    if draft.status.reason in ending.STOPS_SHORT:
        ending.stop_short(draft, Reason(draft.status.reason), draft.status.message or "")
        return
    timeout = draft.plan.timeout
    deadline = (draft.status.started_at or draft.now) + timeout
    if draft.now >= deadline:
        ending.stop_short(draft, Reason.RUN_TIMEOUT, f"The run took longer than {timeout}.")
        return
    draft.wakes.append(deadline)
    if _target_lost(draft):
        return
    before = dict(draft.steps)
    for step in draft.plan.steps:
        if draft.failed:
            break
        stepping.drive(draft, step)
    if draft.failed:
        _begin_nothing(draft, before)
        ending.step_failed(draft)
    elif draft.all_final:
        verify(draft)


def _begin_nothing(draft: Draft, before: Mapping[str, StepStatus]) -> None:
    """Take back what this decision alone would have begun; settle() asks again for what was begun earlier."""
    draft.acts.clear()
    for name, record in before.items():
        if in_doubt(draft.steps[name]) and not in_doubt(record):
            draft.steps[name] = record


def _target_lost(draft: Draft) -> bool:
    """Stop short where the pinned target is gone, or another object took its name."""
    seen, pinned = draft.facts.target, draft.status.target
    if seen is None or pinned is None or seen.uid == pinned.uid:
        return False
    what = f"{pinned.kind} {pinned.name}"
    if seen.manifest is None:
        ending.stop_short(draft, Reason.TARGET_NOT_FOUND, f"{what} was deleted during the run.")
    else:
        message = f"{what} was deleted and made anew during the run."
        ending.stop_short(draft, Reason.TARGET_REPLACED, message)
    return True


def _fold(draft: Draft) -> WorkflowExecutionStatus:
    """Fold the draft into a status: records of steps that were begun, progress, conditions."""
    records = [draft.record(step) for step in draft.plan.steps]
    begun = [record for record in records if record != StepStatus(name=record.name)]
    final = sum(record.phase.final for record in records)
    status = draft.status.replace(
        observed_generation=draft.run.generation, steps=begun, progress=f"{final}/{len(records)}"
    )
    hold = draft.facts.hold
    if hold is None and draft.run.control.paused:
        hold = Hold(Reason.PAUSED, "The run is paused by a person.")
    return status.replace(conditions=conditions.of_run(status, hold, draft.now, draft.run.generation))


def claim(run: Run, status: WorkflowExecutionStatus, now: datetime) -> WorkflowExecutionStatus:
    """Return the first status of a run that has everything it needs: the claim that precedes every effect."""
    claimed = status.replace(
        phase=RunPhase.RUNNING, started_at=now, observed_generation=run.generation, reason=None, message=None
    )
    return claimed.replace(conditions=conditions.of_run(claimed, None, now, run.generation))
