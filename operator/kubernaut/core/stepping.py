"""How one step moves: begin when its dependencies allow, act, wait, ask a person."""

from __future__ import annotations

from kubernaut.api.duration import format_duration
from kubernaut.api.execution import Decision as Answer
from kubernaut.api.execution import StepPhase
from kubernaut.api.guards import GUARD_APPROVAL
from kubernaut.api.reasons import Reason
from kubernaut.core import awaiting, groups, halting, subflows, unfenced
from kubernaut.core.answered import answered_by
from kubernaut.core.draft import Draft
from kubernaut.core.errors import StepError
from kubernaut.core.features import Feature
from kubernaut.core.guards import gate
from kubernaut.core.parameters import overrides
from kubernaut.core.plan import Kind, PlannedStep
from kubernaut.core.policies import intervention, lets_on
from kubernaut.core.run import Want, Watched

_FEATURES = {Kind.WORKFLOW: Feature.SUBFLOWS, Kind.FOR_EACH: Feature.FOR_EACH}


def drive(draft: Draft, step: PlannedStep) -> None:
    """Move one step as far as it can go now."""
    record = draft.record(step)
    if record.phase.final or step.name in draft.facts.in_flight:
        return
    if record.phase is StepPhase.PENDING:
        _try_begin(draft, step)
        return
    if step.kind.group:
        groups.move(draft, step, drive)
    elif step.kind is Kind.WORKFLOW and record.intent is not None:
        subflows.follow(draft, step)
    elif awaiting.waits(step, record):
        awaiting.follow(draft, step)
    elif step.timed and draft.now >= draft.deadline(step) and halting.halts(step) and draft.in_doubt(step):
        halting.halt(draft, step)
    elif step.timed and draft.now >= draft.deadline(step) and not _may_have_started(draft, step):
        last = f"; last: {record.message}" if record.message else ""
        draft.fail(step, Reason.STEP_TIMEOUT, f"not done within {format_duration(step.timeout)}{last}")
    elif step.action is not None:
        continue_action(draft, step)
    elif step.kind is Kind.WAIT:
        _wait(draft, step)
    else:
        _await_answer(draft, step)


def _may_have_started(draft: Draft, step: PlannedStep) -> bool:
    """Whether a subflow's run may exist: then it is found first, for nobody else would end it."""
    return step.kind is Kind.WORKFLOW and draft.in_doubt(step)


def _try_begin(draft: Draft, step: PlannedStep) -> None:
    if not all(lets_on(draft, need) for need in step.needs) or draft.held:
        return
    if not step.kind.group and draft.full():
        return
    if step.uses_target and draft.facts.target is None:
        draft.observe = True
        if step.name in draft.facts.granted or draft.record(step).reason == Reason.WAITING_FOR_CAPACITY:
            # It keeps its place, and what it was granted, while the target is looked at.
            draft.wants.append(want(step))
        return
    try:
        # What the step may have done already must not decide that it is left out.
        asked = step.when is not None and not draft.begun_before(step)
        if asked and step.when is not None and not step.when.holds(draft.scope(step)):
            draft.skip(step, Reason.WHEN_FALSE)
            return
    except StepError as error:
        # What a person said about an attempt must not hold for this one too, though nothing was begun.
        said = intervention(draft, step) is not None
        draft.set(step, started_at=draft.now, attempt=draft.record(step).attempt + said)
        draft.fail(step, error.reason, str(error))
        return
    if _switched_off(draft, step) or not gate.may_begin(draft, step) or not _granted(draft, step):
        return
    if draft.run.dry_run and step.kind in (Kind.WAIT, Kind.APPROVAL):
        draft.skip(step, Reason.DRY_RUN)
        return
    acts = step.action is not None or step.kind.group
    draft.set(
        step,
        phase=StepPhase.RUNNING if acts else StepPhase.WAITING,
        attempt=draft.record(step).attempt + 1,
        started_at=draft.now,
        # Of the kinds that wait this one waits for a person, which nothing else in the record tells.
        reason=Reason.APPROVAL_REQUIRED.value if step.kind is Kind.APPROVAL else None,
        message=None,
    )
    drive(draft, step)


def _switched_off(draft: Draft, step: PlannedStep) -> bool:
    feature = _FEATURES.get(step.kind)
    if feature is None or feature not in draft.facts.off:
        return False
    message = f"feature {feature.value} is switched off; the step begins once it is on again"
    draft.set(step, reason=Reason.FEATURE_OFF.value, message=draft.short(message))
    return True


def _granted(draft: Draft, step: PlannedStep) -> bool:
    """Whether the step holds the scarce resources it needs; else it is said that it waits for them."""
    if step.kind is Kind.ALTERNATE or not step.spec.resources:
        return True
    if Feature.CAPACITIES in draft.facts.off or draft.run.dry_run:
        return True
    if step.name in draft.facts.granted:
        return True
    draft.wants.append(want(step))
    told = ", ".join(f"{use.amount} of {use.name}" for use in step.spec.resources)
    if draft.begun_before(step):
        return False
    draft.set(step, reason=Reason.WAITING_FOR_CAPACITY.value, message=draft.short(f"waits for {told}"))
    return False


def keep(draft: Draft) -> None:
    """Keep what steps were granted for as long as they go on, be it under way or cut short."""
    if draft.run.dry_run:
        return
    for step in draft.shape.steps:
        if step.spec.resources and step.kind is not Kind.ALTERNATE:
            record = draft.record(step)
            if record.phase is not StepPhase.PENDING and not record.phase.final:
                draft.wants.append(want(step))


def want(step: PlannedStep) -> Want:
    """Return what a step needs of scarce resources."""
    return Want(step.name, tuple(sorted((use.name, use.amount) for use in step.spec.resources)))


def continue_action(draft: Draft, step: PlannedStep) -> None:
    """Begin the step's effect, or its next attempt where that is due."""
    record = draft.record(step)
    if step.timed and draft.now < draft.deadline(step):
        draft.wakes.append(draft.deadline(step))
    if draft.held or unfenced.give_up(draft, step):
        return
    if record.retry_at is not None and record.retry_at > draft.now:
        draft.wakes.append(record.retry_at)
        return
    if record.phase is StepPhase.WAITING:
        if draft.full():
            return
        draft.set(step, phase=StepPhase.RUNNING, retry_at=None)
    draft.begin(step)


def _wait(draft: Draft, step: PlannedStep) -> None:
    wait, record = step.spec.wait, draft.record(step)
    assert wait is not None
    if wait.duration is not None:
        due = (record.started_at or draft.now) + wait.duration
        if draft.now >= due:
            draft.succeed(step)
        else:
            draft.wakes.append(due)
        return
    assert step.until is not None
    draft.wakes.append(draft.deadline(step))
    try:
        more = _object(draft, step)
        if step.uses_target:
            seen = draft.facts.target
            draft.observe = True
            if seen is None or not seen.current:
                return
        if more is not None and step.until.holds(draft.scope(step, more=more)):
            draft.succeed(step)
    except StepError as error:
        # A field that is not there yet may be just what the step waits for; the message says so meanwhile.
        draft.set(step, message=draft.short(str(error)))


def _object(draft: Draft, step: PlannedStep) -> dict[str, object] | None:
    """Return the object that a step waits for, for its expression; None where it was not seen, or is not there."""
    watched = step.spec.wait.object if step.spec.wait else None
    if watched is None or step.object_name is None:
        return {}
    name = step.object_name.render(draft.scope(step))
    key = Watched(watched.api_version, watched.kind, str(name))
    draft.objects.add(key)
    seen = draft.facts.objects.get(key)
    absent = seen is not None and seen.manifest is None
    told = draft.facts.unread.get(key) or (f"{key.kind} {key.name} does not exist" if absent else "")
    if told:
        draft.set(step, message=draft.short(told))
    if seen is None or seen.manifest is None or not seen.current:
        return None
    return {"object": seen.manifest}


def hear(draft: Draft) -> None:
    """Take the answer to what guards asked."""
    record = draft.steps.get(GUARD_APPROVAL)
    if record is not None and record.phase is StepPhase.WAITING:
        _await_answer(draft, draft.shape.by_name[GUARD_APPROVAL])


def _await_answer(draft: Draft, step: PlannedStep) -> None:
    approval, record = step.spec.approval, draft.record(step)
    assert approval is not None
    expiry = (record.started_at or draft.now) + approval.expires_after
    for answer in draft.run.control.approvals:
        if answer.step != step.name:
            continue
        told = f"{answer.decision.value} by {answer.by}" + (f": {answer.reason}" if answer.reason else "")
        if answer.decision is not Answer.APPROVE:
            draft.fail(step, Reason.APPROVAL_DENIED, told)
            return
        if draft.now >= expiry and not answered_by(draft.run.answered, step.name, expiry):
            by = f"{expiry:%Y-%m-%dT%H:%M:%SZ}"
            late = f"{told}; that was too late, or nobody saw it in time: it had to be there by {by}"
            draft.fail(step, Reason.APPROVAL_EXPIRED, late)
            return
        try:
            values = overrides(draft.plan.spec, approval.may_override, answer)
        except StepError as error:
            draft.fail(step, error.reason, str(error))
            return
        if values:
            told += f"; with {', '.join(f'{name}={value}' for name, value in sorted(values.items()))}"
        draft.succeed(step, message=told)
        draft.forget_params()
        return
    if draft.now >= expiry:
        draft.fail(
            step, Reason.APPROVAL_EXPIRED, f"nobody answered within {format_duration(approval.expires_after)}"
        )
    else:
        draft.wakes.append(expiry)
