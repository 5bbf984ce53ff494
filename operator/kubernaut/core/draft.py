"""A status under change: what the parts of one decision share."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from kubernaut.api.execution import RunPhase, StepPhase, StepStatus, Verdict
from kubernaut.api.reasons import Reason
from kubernaut.core import limits
from kubernaut.core.action import Idempotency
from kubernaut.core.errors import StepError
from kubernaut.core.expressions import Scope
from kubernaut.core.plan import Plan, PlannedStep
from kubernaut.core.run import Act, Facts, Run

_UNKNOWN = frozenset({Reason.UNKNOWN_OUTCOME, Reason.INTERNAL})


class Draft:
    """One decision in the making.

    Attributes:
        status: the status so far (its step records are in ``steps`` until the end).
        acts: effects to begin.
        observe: whether the target must be seen.
        wakes: times at which to decide again.
    """

    def __init__(self, run: Run, plan: Plan, facts: Facts, now: datetime) -> None:
        self.run = run
        self.plan = plan
        self.facts = facts
        self.now = now
        self.status = run.status
        self.steps: dict[str, StepStatus] = {step.name: run.step(step.name) for step in plan.steps}
        self.acts: list[Act] = []
        self.observe = False
        self.wakes: list[datetime] = []

    def record(self, step: PlannedStep) -> StepStatus:
        """Return a step's record as it is now."""
        return self.steps[step.name]

    def set(self, step: PlannedStep, **changes: Any) -> None:
        """Change a step's record."""
        self.steps[step.name] = self.steps[step.name].replace(**changes)

    def fail(self, step: PlannedStep, reason: Reason, message: str) -> None:
        """Record that a step has failed for good."""
        self.set(
            step,
            phase=StepPhase.FAILED,
            finished_at=self.now,
            retry_at=None,
            reason=reason.value,
            message=self.short(message),
        )

    def end(self, phase: RunPhase, verdict: Verdict, reason: Reason, message: str) -> None:
        """End the run: nothing more is begun."""
        self.acts.clear()
        self.observe = False
        self.wakes.clear()
        self.status = self.status.replace(
            phase=phase,
            verdict=verdict,
            reason=reason.value,
            message=limits.message(message),
            finished_at=self.now,
        )

    def begin(self, step: PlannedStep, *, undo: bool = False) -> None:
        """Ask for a step's effect; parameters that do not fit fail the step."""
        assert step.action is not None
        assert step.with_ is not None
        if self.facts.target is None and any(e.uses_target for e in step.with_.expressions):
            self.observe = True
            return
        try:
            parameters = step.with_.render(self.scope())
            step.action.parameters.model_validate(parameters, by_alias=True, by_name=False)
        except StepError as error:
            self.fail(step, error.reason, str(error))
            return
        except ValidationError as error:
            detail = error.errors()[0]
            where = ".".join(("with", *map(str, detail["loc"])))
            self.fail(step, Reason.INVALID_PARAMETERS, f"{step.action.name}: {where}: {detail['msg']}")
            return
        record = self.record(step)
        pinned = step.action.idempotency is Idempotency.PINNED
        prepare = pinned and record.intent is None and not undo
        self.acts.append(
            Act(step, record.attempt, parameters, self.deadline(step), undo, prepare, record.intent)
        )

    def scope(self) -> Scope:
        """Return what expressions may see now."""
        seen = self.facts.target
        status = self.run.status.replace(steps=list(self.steps.values()))
        return replace(self.run, status=status).scope(seen.manifest if seen else None)

    def short(self, text: str) -> str:
        """Cut a message so that the messages of all steps stay within their common bound."""
        return limits.message(text, len(self.plan.steps))

    def deadline(self, step: PlannedStep) -> datetime:
        """Return when a step has taken too long."""
        return (self.record(step).started_at or self.now) + step.timeout

    @property
    def held(self) -> bool:
        """Whether nothing may be begun now; a cancelled run has nothing left that a pause could spare."""
        control = self.run.control
        return self.facts.hold is not None or (control.paused and not control.cancel)

    @property
    def running(self) -> int:
        return sum(record.phase is StepPhase.RUNNING for record in self.steps.values())

    @property
    def busy(self) -> bool:
        """Whether an effect is, or may be, under way."""
        return bool(self.facts.in_flight) or any(map(in_doubt, self.steps.values()))

    @property
    def acted(self) -> bool:
        """Whether any step is known to have changed an object."""
        return any(record.changed for record in self.steps.values())

    @property
    def may_have_acted(self) -> bool:
        """Whether any step changed an object, or failed in a way that leaves it open."""
        return self.acted or any(
            step.action is not None
            and step.action.idempotency is not Idempotency.READ_ONLY
            and self.steps[step.name].phase is StepPhase.FAILED
            and self.steps[step.name].reason in (Reason.INTERNAL, Reason.STEP_TIMEOUT)
            for step in self.plan.steps
        )

    @property
    def failed(self) -> bool:
        return any(record.phase is StepPhase.FAILED for record in self.steps.values())

    @property
    def all_final(self) -> bool:
        return all(record.phase.final for record in self.steps.values())


def in_doubt(record: StepStatus) -> bool:
    """Whether a step was begun and its outcome is not known: its effect may have happened."""
    unknown = record.phase is StepPhase.WAITING and record.reason in _UNKNOWN
    return record.phase is StepPhase.RUNNING or unknown
