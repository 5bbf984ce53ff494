"""Steps that are groups: a decision, the same for each item, an alternate."""

from __future__ import annotations

from typing import Any

from kubernaut.api.duration import format_duration
from kubernaut.api.execution import MAX_ANSWERS, MAX_RECORDS, StepPhase
from kubernaut.api.reasons import Reason
from kubernaut.core import limits, scopes
from kubernaut.core.closing import close
from kubernaut.core.draft import Draft
from kubernaut.core.errors import StepError
from kubernaut.core.plan import Kind, PlannedStep
from kubernaut.core.unfolding import ITEMS, items_of


def move(draft: Draft, step: PlannedStep, drive: scopes.Drive) -> None:
    """Move a group that was begun: find out what its steps are, then move them."""
    if step.timed and draft.now >= draft.deadline(step):
        if _all_done(draft, step):
            draft.succeed(step)
        elif close(draft, draft.shape.below(step.name), Reason.STEP_TIMEOUT):
            draft.fail(step, Reason.STEP_TIMEOUT, f"not done within {format_duration(step.timeout)}")
        return
    if step.timed:
        draft.wakes.append(draft.deadline(step))
    if not _known(draft, step, drive):
        return
    match scopes.move(draft, step.name, drive):
        case scopes.State.DONE:
            draft.succeed(step)
        case scopes.State.FAILED:
            failed = scopes.failure(draft, step.name)
            assert failed is not None
            record = draft.record(failed)
            reason = Reason(record.reason or Reason.STEP_FAILED)
            draft.fail(step, reason, f"{failed.name}: {record.message or reason.value}")
        case scopes.State.SUSPENDED:
            draft.suspended = True


def _all_done(draft: Draft, step: PlannedStep) -> bool:
    """Whether the group's work is done: after a crash that may be seen only when its time is over."""
    record = draft.record(step)
    known = record.branch is not None or items_of(record) is not None
    return known and scopes.done(draft, step.name)


def _known(draft: Draft, step: PlannedStep, drive: scopes.Drive) -> bool:
    """Find out what steps a group has; return whether they are known now."""
    try:
        match step.kind:
            case Kind.SWITCH:
                return _decide(draft, step)
            case Kind.FOR_EACH:
                return _gather(draft, step)
            case _:
                return _unfolded(draft, step)
    except StepError as error:
        draft.fail(step, error.reason, str(error))
        return False


def _decide(draft: Draft, step: PlannedStep) -> bool:
    if draft.record(step).branch is not None:
        return True
    if draft.facts.target is None and any(when.uses_target for _, when in step.cases):
        draft.observe = True
        return False
    assert step.spec.switch is not None
    scope = draft.scope(step)
    branch = next((name for name, when in step.cases if when.holds(scope)), None)
    if branch is None and step.spec.switch.default is None:
        draft.succeed(step, Reason.NO_CASE, "no case held, and there is no default")
        return False
    draft.set(step, branch=branch or "default")
    return _unfolded(draft, step, branch=None)


def _gather(draft: Draft, step: PlannedStep) -> bool:
    record, each = draft.record(step), step.spec.for_each
    assert each is not None
    if items_of(record) is not None:
        return True
    if step.action is not None:
        _select(draft, step)
        return False
    assert step.items is not None
    if draft.facts.target is None and any(e.uses_target for e in step.items.expressions):
        draft.observe = True
        return False
    items = step.items.render(draft.scope(step))
    if not isinstance(items, list):
        told = f"itemsFrom gave a value of type {type(items).__name__}, not a list"
        raise StepError(told, reason=Reason.EXPRESSION_FAILED)
    if len(items) > each.max_items:
        raise StepError(
            f"there are {len(items)} items; at most {each.max_items} are allowed",
            reason=Reason.TOO_MANY_ITEMS,
        )
    outputs = {ITEMS: items}
    if limits.size(outputs) > limits.outputs_left(draft.steps.values()):
        raise StepError(f"the {len(items)} items are too large", reason=Reason.OUTPUT_TOO_LARGE)
    draft.set(step, outputs=outputs)
    return _unfolded(draft, step, outputs=None)


def _unfolded(draft: Draft, step: PlannedStep, **before: Any) -> bool:
    """Take up the steps of a group; more than a run can record fail the group before any is begun.

    Args:
        before: what is put back into the group's record then, so that it has no steps.
    """
    draft.grow()
    message = _too_many(draft)
    if message is None:
        return True
    draft.set(step, **before)
    draft.grow()
    draft.fail(step, Reason.TOO_MANY_ITEMS, message)
    return False


def _too_many(draft: Draft) -> str | None:
    """Return of what there is too much for one run, or None."""
    steps = len(draft.steps)
    if steps <= MAX_ANSWERS:
        return None
    if steps > MAX_RECORDS:
        return f"with these the run has {steps} steps; at most {MAX_RECORDS} are allowed"
    if not limits.records_fit(draft.steps):
        return f"the records of {steps} steps do not fit into a status; give the steps shorter names"
    approvals = sum(one.kind is Kind.APPROVAL for one in draft.shape.steps)
    if approvals > MAX_ANSWERS:
        return f"with these the run asks for {approvals} approvals; at most {MAX_ANSWERS} are allowed"
    return None


def _select(draft: Draft, step: PlannedStep) -> None:
    """Have the objects listed; the outcome brings the items."""
    record = draft.record(step)
    if draft.held:
        return
    if record.retry_at is not None and record.retry_at > draft.now:
        draft.wakes.append(record.retry_at)
        return
    draft.set(step, phase=StepPhase.RUNNING, retry_at=None)
    draft.begin(step)


def gathered(draft: Draft, step: PlannedStep) -> None:
    """Go on with the items that a selection found."""
    draft.set(step, phase=StepPhase.RUNNING, finished_at=None)
    _unfolded(draft, step, outputs=None)
