"""``advance``: what a run does next, as a pure function of what is stored and what is seen.

It may be called at any time, with any facts lost, doubled or late, and leads to the same end. It never looks at a
clock (``now`` is given), and an effect it asks for twice is fenced so that it happens once.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from kubernaut.api.duration import format_duration
from kubernaut.api.execution import RunPhase, StepPhase, WorkflowExecutionStatus, unbegun
from kubernaut.api.reasons import Reason
from kubernaut.core import conditions, ending, limits, outcomes, rolling, scopes, stepping
from kubernaut.core.draft import Draft
from kubernaut.core.finalizing import finalize
from kubernaut.core.guards import gate
from kubernaut.core.plan import ALTERNATE, MAIN, Plan
from kubernaut.core.policies import dormant, undecided
from kubernaut.core.run import Decision, Facts, Hold, OutcomeKind, Run
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
    _take(draft)
    if draft.status.phase is RunPhase.ROLLING_BACK:
        rolling.roll_back(draft)
    elif draft.status.phase is not RunPhase.FINALIZING:
        _forward(draft)
        if draft.healed and draft.status.phase is RunPhase.RUNNING:
            draft.acts.clear()
            ending.stop_short(draft, Reason.ALERT_RESOLVED, draft.facts.healed)
    if draft.status.phase is RunPhase.FINALIZING:
        finalize(draft, stepping.drive)
    gate.settle(draft)
    stepping.keep(draft)
    status = _fold(draft)
    acts = tuple(draft.acts)
    first = bool(acts) and must_store_first(draft.shape.steps, run.stored, status)
    return Decision(
        status,
        acts,
        first,
        draft.observe,
        frozenset(draft.objects),
        tuple(draft.wants),
        min(draft.wakes, default=None),
        frozenset(draft.queries),
    )


def noted(run: Run, plan: Plan, facts: Facts, now: datetime) -> WorkflowExecutionStatus:
    """Return the run's status with the outcomes of its effects, with nothing begun upon them; else as ``advance``.

    What was but prepared counts as not begun: with an intent stored, it could have been sent.
    """
    if run.status.phase.final:
        return run.status
    known = {k: v for k, v in facts.outcomes.items() if v.kind is not OutcomeKind.PREPARED}
    draft = Draft(run, plan, replace(facts, outcomes=known), now)
    _take(draft)
    return _fold(draft)


def _take(draft: Draft) -> None:
    for step in draft.shape.steps:
        # An outcome that comes while the step's effect is under way is that of an earlier one.
        if step.name in draft.facts.outcomes and step.name not in draft.facts.in_flight:
            outcomes.take(draft, step, draft.facts.outcomes[step.name])


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
        ending.stop_short(draft, Reason.RUN_TIMEOUT, f"The run took longer than {format_duration(timeout)}.")
        return
    draft.wakes.append(deadline)
    if _target_lost(draft) or _declined(draft):
        return
    stepping.hear(draft)
    if _alternate_begun(draft):
        _follow_alternate(draft)
        _tell_suspension(draft)
        return
    match scopes.move(draft, MAIN, stepping.drive):
        case scopes.State.DONE:
            verify(draft)
        case scopes.State.FAILED:
            failed = scopes.failure(draft, MAIN)
            assert failed is not None
            if ending.step_failed(draft, failed):
                _follow_alternate(draft)
        case scopes.State.SUSPENDED:
            draft.suspended = True
    _tell_suspension(draft)


def _alternate_begun(draft: Draft) -> bool:
    record = draft.steps.get(ALTERNATE)
    step = draft.shape.by_name.get(ALTERNATE)
    return (
        record is not None
        and step is not None
        and step.parent != MAIN
        and record.phase is not StepPhase.PENDING
    )


def _follow_alternate(draft: Draft) -> None:
    """Move the template that stands in for the whole Workflow."""
    step = draft.shape.by_name[ALTERNATE]
    state = scopes.move(draft, ALTERNATE, stepping.drive)
    if state is scopes.State.DONE:
        if not draft.record(step).phase.final:
            draft.succeed(step, message=draft.record(step).message)
        verify(draft)
    elif state is scopes.State.FAILED:
        failed = scopes.failure(draft, ALTERNATE)
        assert failed is not None
        record = draft.record(failed)
        reason = Reason(record.reason or Reason.STEP_FAILED)
        told = f"Step {failed.name}: {record.message or record.reason}"
        draft.fail(step, reason, told)
        ending.give_up(draft, reason, limits.sentence(told), roll_back=False)
    elif state is scopes.State.SUSPENDED:
        draft.suspended = True


def _tell_suspension(draft: Draft) -> None:
    """Say that a person has to decide, or that one has."""
    phase = draft.status.phase
    if draft.suspended and phase in (RunPhase.RUNNING, RunPhase.SUSPENDED):
        failed = [step.name for step in draft.shape.steps if undecided(draft, step)]
        draft.status = draft.status.replace(
            phase=RunPhase.SUSPENDED,
            reason=Reason.NEEDS_PERSON.value,
            message=limits.message(
                f"Failed, and a person has to say what becomes of it: {', '.join(failed)}."
            ),
        )
    elif not draft.suspended and phase is RunPhase.SUSPENDED:
        draft.status = draft.status.replace(phase=RunPhase.RUNNING, reason=None, message=None)


def _declined(draft: Draft) -> bool:
    """Stop short where a guard says that nothing may be changed, however long one waits."""
    guarded = draft.facts.guards
    refusal = guarded.refusal if guarded is not None and not draft.run.dry_run else None
    if refusal is None or not refusal.final or gate.begun(draft):
        return False
    ending.stop_short(draft, refusal.reason, refusal.message)
    return True


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
    records = [draft.record(step) for step in draft.shape.steps]
    begun = [
        record
        for record in records
        if record.phase is not StepPhase.PENDING or record != unbegun(record.name)
    ]
    counted = [step for step in draft.shape.steps if not dormant(draft, step)]
    final = sum(draft.record(step).phase.final for step in counted)
    status = draft.status.replace(
        observed_generation=draft.run.generation, steps=limits.fit(begun), progress=f"{final}/{len(counted)}"
    )
    if draft.plan.high:
        status = status.replace(high_risk=gate.risky(draft))
    hold = draft.hold
    if hold is None and draft.guard is not None and not status.phase.final:
        hold = Hold(draft.guard.reason, draft.guard.message)
    if draft.run.control.paused and draft.hold is None:
        hold = Hold(Reason.PAUSED, "The run is paused by a person.")
        if draft.run.paused_for:
            hold = Hold(Reason.MIGRATION_REFUSED, draft.run.paused_for)
    return status.replace(conditions=conditions.of_run(status, hold, draft.now, draft.run.generation))


def claim(run: Run, status: WorkflowExecutionStatus, now: datetime) -> WorkflowExecutionStatus:
    """Return the first status of a run that has everything it needs: the claim that precedes every effect."""
    claimed = status.replace(
        phase=RunPhase.RUNNING, started_at=now, observed_generation=run.generation, reason=None, message=None
    )
    return claimed.replace(conditions=conditions.of_run(claimed, None, now, run.generation))
