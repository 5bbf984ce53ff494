"""What a run waits for a person to say: by which step, why, until when, and what is done once it is said. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from kubernaut.api.execution import RunPhase, StepPhase, StepStatus
from kubernaut.api.guards import GUARD_APPROVAL
from kubernaut.api.reasons import Reason
from kubernaut.core.draft import Draft
from kubernaut.core.errors import StepError
from kubernaut.core.expressions import Compiled
from kubernaut.core.guards.risk import acts
from kubernaut.core.plan import Kind, Plan, PlannedStep
from kubernaut.core.policies import undecided
from kubernaut.core.redacting import HIDDEN, named_secret, redacted
from kubernaut.core.run import Facts, Run

#: effects that are told of one wait; of more it is said how many there are
MOST_EFFECTS: Final = 20
_MOST_VALUE: Final = 120
_MOST_VALUES: Final = 8


class Asks(StrEnum):
    """Who wants to know: a step of the Workflow, a guard, or a step that failed with onFailure Manual."""

    APPROVAL = "Approval"
    GUARD = "Guard"
    REMEDY = "Remedy"


@dataclass(frozen=True, slots=True)
class Asked:
    """One thing that a run waits for.

    Attributes:
        question: what the Workflow's author asks; empty where nothing is asked in words.
        why: why there is a question at all, where that is not the author's wish.
        until: when silence is an answer, or the run's time is over.
        effects: what would be done next, a line each.
        may_set: parameters that the approver may give other values.
    """

    asks: Asks
    step: str
    attempt: int
    question: str
    why: str
    since: datetime
    until: datetime
    effects: tuple[str, ...]
    may_set: tuple[str, ...] = ()

    def id_in(self, uid: str) -> str:
        """Return what tells this wait from all others, in any life of any replica."""
        return f"{uid}/{self.asks.value.lower()}/{self.step}/{self.attempt}"


def awaits_approval(record: StepStatus) -> bool:
    """Whether a step waits for somebody to approve."""
    return record.phase is StepPhase.WAITING and record.reason == Reason.APPROVAL_REQUIRED


def waits(run_phase: RunPhase, record: StepStatus) -> bool:
    """Whether a step's record, by itself, may be one that a person is waited for; cheap."""
    return awaits_approval(record) or (run_phase is RunPhase.SUSPENDED and record.phase is StepPhase.FAILED)


def asked(run: Run, plan: Plan, now: datetime) -> list[Asked]:
    """Return all that a run waits for a person to say, as its stored status has it."""
    status = run.stored
    if status.phase.final or not any(waits(status.phase, record) for record in status.steps):
        return []
    draft = Draft(replace(run, status=status), plan, Facts(), now)
    return list(_asked(draft))


def _asked(draft: Draft) -> Iterator[Asked]:
    begun = draft.status.started_at or draft.now
    deadline = begun + draft.plan.timeout
    answered = {answer.step for answer in draft.run.control.approvals}
    for step in draft.shape.steps:
        record = draft.record(step)
        if not waits(draft.status.phase, record):
            continue
        if step.kind is Kind.APPROVAL and record.phase is StepPhase.WAITING:
            if step.name not in answered:
                yield _approval(draft, step, record, deadline)
        elif undecided(draft, step):
            since = record.finished_at or begun
            why = redacted(f"{step.name} failed: {record.message or record.reason or 'it is not known why'}")
            effects = _effects(draft, (step, *_following(draft, step)))
            yield Asked(Asks.REMEDY, step.name, record.attempt, "", why, since, deadline, effects)


def _approval(draft: Draft, step: PlannedStep, record: StepStatus, deadline: datetime) -> Asked:
    approval = step.spec.approval
    assert approval is not None
    guard = step.name == GUARD_APPROVAL
    since = record.started_at or draft.now
    return Asked(
        Asks.GUARD if guard else Asks.APPROVAL,
        step.name,
        record.attempt,
        redacted(approval.message),
        redacted(record.message or "") if guard else "",
        since,
        min(since + approval.expires_after, deadline),
        _effects(draft, None if guard else _following(draft, step)),
        tuple(approval.may_override),
    )


def _following(draft: Draft, first: PlannedStep) -> tuple[PlannedStep, ...]:
    """Return the steps that can begin only once a step is done: they need it, or a step around it."""
    parts = first.name.split("/")
    around = {"/".join(parts[:end]) for end in range(1, len(parts))}
    freed = {first.name}
    found = []
    for step in draft.shape.steps:
        if step.name not in around and (step.parent in freed or (freed | around).intersection(step.needs)):
            freed.add(step.name)
            found.append(step)
    return tuple(found)


def _effects(draft: Draft, steps: tuple[PlannedStep, ...] | None) -> tuple[str, ...]:
    """Return what steps would do, in order; without any named, all that are still to come."""
    wanted = draft.shape.steps if steps is None else steps
    named = steps is not None
    told = [
        _effect(draft, step)
        for step in wanted
        if (acts(step) or step.kind in (Kind.WORKFLOW, Kind.SWITCH, Kind.FOR_EACH))
        and (not draft.record(step).phase.final or (named and draft.record(step).phase is StepPhase.FAILED))
    ]
    if len(told) > MOST_EFFECTS:
        more = len(told) - MOST_EFFECTS + 1
        told = [*told[: MOST_EFFECTS - 1], f"and {more} more steps"]
    return tuple(told)


def _effect(draft: Draft, step: PlannedStep) -> str:
    """Return what one step would do: its action, and its parameters as far as they hang on the run's own alone.

    What a parameter takes from objects is not told: who reads a notification need not be allowed to read these.
    """
    spec = step.spec
    if spec.workflow is not None:
        return f"{step.name}: runs Workflow {spec.workflow.name}"
    if spec.switch is not None:
        return f"{step.name}: decides between {', '.join(case.name for case in spec.switch.cases)}"
    if spec.for_each is not None:
        return f"{step.name}: {spec.for_each.template} for each item"
    told = f"{step.name}: {spec.action}"
    values = _values(draft, step)
    return f"{told} ({values})" if values else told


def _values(draft: Draft, step: PlannedStep) -> str:
    declared = step.spec.with_
    if step.with_ is None or declared is None:
        return ""
    plain = not step.uses_target and not step.outputs_used and not step.each
    found = []
    for name, node in step.with_.tree.items() if isinstance(step.with_.tree, Mapping) else ():
        value: Any = declared.get(name)
        if isinstance(node, Compiled) and plain:
            try:
                value = node.evaluate(draft.scope(step))
            except StepError:
                value = declared.get(name)
        text = HIDDEN if named_secret(name) else redacted(_text(value))
        found.append(f"{name}: {text[:_MOST_VALUE]}{'…' if len(text) > _MOST_VALUE else ''}")
    more = len(found) - _MOST_VALUES
    return ", ".join(found[:_MOST_VALUES]) + (f", and {more} more" if more > 0 else "")


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_text(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_text, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)
