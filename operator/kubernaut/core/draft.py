"""A status under change: what the parts of one decision share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from kubernaut.api.execution import RunPhase, StepPhase, StepStatus, Verdict, unbegun
from kubernaut.api.guards import GUARD_APPROVAL
from kubernaut.api.reasons import Reason
from kubernaut.core import limits
from kubernaut.core.action import Idempotency
from kubernaut.core.errors import StepError
from kubernaut.core.expressions import INDEX, ITEM, Scope, Template
from kubernaut.core.guards.levels import Refusal
from kubernaut.core.naming import child_run
from kubernaut.core.parameters import overrides
from kubernaut.core.plan import DEFAULT_TIMEOUT, FINALLY, Kind, Plan, PlannedStep
from kubernaut.core.run import Act, Facts, Hold, Run, Want, Watched
from kubernaut.core.unfolding import Unfolded, items_of, unfold

# How a step may fail though its effect happened.
MAY_HAVE_ACTED = frozenset({Reason.INTERNAL, Reason.STEP_TIMEOUT, Reason.UNKNOWN_OUTCOME})
_UNKNOWN = frozenset({Reason.UNKNOWN_OUTCOME, Reason.INTERNAL, Reason.IN_PROGRESS})


class Draft:
    """One decision in the making.

    Attributes:
        status: the status so far (its step records are in ``steps`` until the end).
        shape: the steps that the run has; more as switches decide and forEach find their items.
        steps: the records of these steps by name.
        acts: effects to begin.
        observe: whether the target must be seen.
        suspended: whether a failed step waits for a person to say what becomes of it.
        quiet: whether steps that are looked at now may not be begun, for a person has to decide first.
        crowded: whether a step was refused for want of room.
        objects: other objects that must be seen.
        wakes: times at which to decide again.
        queries: what has to be asked of Prometheus.
        unfenced: steps that an earlier owner may have begun still, as far as is known now.
        guard: why a guard keeps a step from beginning, or None.
        healed: whether a step did not begin because what it would repair is over.
    """

    def __init__(self, run: Run, plan: Plan, facts: Facts, now: datetime) -> None:
        self.run = run
        self.plan = plan
        self.facts = facts
        self.now = now
        self.status = run.status
        records = {record.name: record for record in run.status.steps}
        self.shape: Unfolded = unfold(plan, records)
        self.steps: dict[str, StepStatus] = {
            step.name: records.get(step.name) or unbegun(step.name) for step in self.shape.steps
        }
        self.acts: list[Act] = []
        self.observe = False
        self.suspended = False
        self.quiet = False
        self.crowded = False
        self.objects: set[Watched] = set()
        self.wants: list[Want] = []
        self.wakes: list[datetime] = []
        self.queries: set[str] = set()
        self.guard: Refusal | None = None
        self.healed = False
        self._params: dict[str, Any] | None = None
        self.unfenced = facts.unfenced - {
            name for name, outcome in facts.outcomes.items() if not outcome.transient
        }

    def record(self, step: PlannedStep) -> StepStatus:
        """Return a step's record as it is now."""
        return self.steps[step.name]

    def set(self, step: PlannedStep, **changes: Any) -> None:
        """Change a step's record."""
        self.steps[step.name] = self.steps[step.name].replace(**changes)

    def grow(self) -> None:
        """Take up the steps of a group that has just begun."""
        self.shape = unfold(self.plan, self.steps)
        self.steps = {step.name: self.steps.get(step.name) or unbegun(step.name) for step in self.shape.steps}

    def ask(self, told: str) -> None:
        """Ask a person, as guards demand; the answer is heard like that to an approval step."""
        self.steps[GUARD_APPROVAL] = StepStatus(
            name=GUARD_APPROVAL,
            phase=StepPhase.WAITING,
            attempt=1,
            started_at=self.now,
            reason=Reason.APPROVAL_REQUIRED.value,
            message=self.short(told),
        )
        self.grow()

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

    def succeed(self, step: PlannedStep, reason: Reason | None = None, message: str | None = None) -> None:
        """Record that a step that performs no action is done."""
        self.set(
            step,
            phase=StepPhase.SUCCEEDED,
            finished_at=self.now,
            reason=reason.value if reason else None,
            message=self.short(message) if message else None,
        )

    def skip(self, step: PlannedStep, reason: Reason) -> None:
        """Record that a step is not done."""
        self.set(step, phase=StepPhase.SKIPPED, finished_at=self.now, retry_at=None, reason=reason.value)

    def end(self, phase: RunPhase, verdict: Verdict, reason: Reason, message: str) -> None:
        """End the run, or let its steps under finally begin: nothing else is begun any more."""
        self.acts.clear()
        self.wants.clear()
        self.observe = False
        self.objects.clear()
        self.wakes.clear()
        self.queries.clear()
        outputs = self.status.outputs
        if phase is RunPhase.SUCCEEDED and outputs is None and not self.run.dry_run:
            try:
                outputs = self._outputs()
            except StepError as error:
                phase, reason, message = RunPhase.FAILED, error.reason, f"{message} {error}".strip()
        last = bool(self.shape.of.get(FINALLY)) and self.status.phase is not RunPhase.FINALIZING
        self.status = self.status.replace(
            phase=RunPhase.FINALIZING if last else phase,
            outcome=phase if last else None,
            outputs=outputs,
            verdict=verdict,
            reason=reason.value,
            message=limits.message(message),
            finished_at=None if last else self.now,
        )

    def _outputs(self) -> dict[str, Any] | None:
        """Return what the run as a whole gives; raises StepError where an output can't be had or is too large."""
        values: dict[str, Any] = {}
        for name, value in self.plan.outputs:
            names = [step for e in value.expressions for step in e.steps]
            values[name] = value.render(self.scope(names=names))
        if limits.size(values) > limits.outputs_left(self.steps.values()):
            raise StepError("the run's outputs are too large", reason=Reason.OUTPUT_TOO_LARGE)
        return values or None

    def begin(self, step: PlannedStep, *, undo: bool = False, fence: bool = False) -> None:
        """Ask for a step's effect, or for its opposite; parameters that do not fit fail the step."""
        assert step.action is not None
        assert step.with_ is not None
        if self.facts.target is None and any(e.uses_target for e in step.with_.expressions):
            self.observe = True
            return
        record = self.record(step)
        # What was begun without a word of it being stored was the first attempt.
        attempt = max(record.attempt, 1) if fence else record.attempt
        try:
            parameters = of_subflow(self.run, step, attempt, step.with_.render(self.scope(step)))
            step.action.parameters.model_validate(parameters, by_alias=True, by_name=False)
        except StepError as error:
            self.fail(step, error.reason, str(error))
            return
        except ValidationError as error:
            self.fail(step, Reason.INVALID_PARAMETERS, f"{step.action.name}: {_unfit(step.with_, error)}")
            return
        pinned = step.action.idempotency in (Idempotency.PINNED, Idempotency.INTENT)
        prepare = pinned and record.intent is None and not undo and not fence
        # Starting a run is no matter of how long that run may take.
        deadline = self.now + DEFAULT_TIMEOUT if step.kind is Kind.WORKFLOW else self.deadline(step)
        if fence:
            deadline = self.now + step.timeout
        intent = None if fence else record.intent
        beyond = self._beyond_fence
        self.acts.append(Act(step, attempt, parameters, deadline, undo, prepare, intent, fence, beyond))

    @property
    def _beyond_fence(self) -> bool:
        """Whether steps may have been fenced off, and the run goes on all the same: at its end, or after a failure.

        That they are over is stored before; an earlier owner of the run, for whom the fence is, does not know of it.
        """
        failed = any(record.phase is StepPhase.FAILED for record in self.steps.values())
        return failed or self.status.phase is RunPhase.FINALIZING or bool(self.run.control.interventions)

    def scope(
        self,
        step: PlannedStep | None = None,
        names: Iterable[str] = (),
        more: Mapping[str, Any] | None = None,
    ) -> Scope:
        """Return what a step's expressions may see now; without a step, an expression that names these steps."""
        uses = step.uses if step is not None else {name: name for name in names}
        steps = {}
        for short, full in uses.items():
            record = self.steps.get(full)
            if record is not None:
                steps[short] = {"phase": record.phase.value, "outputs": record.outputs or {}}
        run = {"uid": self.run.uid, "namespace": self.run.namespace, "name": self.run.name}
        if self.status.phase is RunPhase.FINALIZING:
            run["outcome"] = self.status.outcome.value if self.status.outcome else ""
            run["verdict"] = self.status.verdict.value if self.status.verdict else ""
        if step is not None and step.each and step.index is not None:
            items = items_of(self.steps[step.each]) or []
            more = {**(more or {}), ITEM: items[step.index], INDEX: step.index}
        seen = self.facts.target
        return Scope(self.params, steps, run, seen.manifest if seen else None, more or {})

    @property
    def params(self) -> dict[str, Any]:
        """The run's parameters, with what approvers put in their place."""
        if self._params is None:
            self._params = effective_params(self.run, self.plan, self.steps, self.shape.steps)
        return self._params

    def forget_params(self) -> None:
        """Have the parameters looked at anew, because an approver's answer was taken."""
        self._params = None

    def short(self, text: str) -> str:
        """Cut a message so that the messages of all steps stay within their common bound."""
        return limits.message(text, len(self.steps))

    def deadline(self, step: PlannedStep) -> datetime:
        """Return when a step has taken too long."""
        return (self.record(step).started_at or self.now) + step.timeout

    @property
    def hold(self) -> Hold | None:
        """Why nothing may be done for this run now, or None."""
        hold = self.facts.hold
        return hold if hold is not None and hold.binds(dry_run=self.run.dry_run) else None

    @property
    def held(self) -> bool:
        """Whether nothing may be begun now; a cancelled run has nothing left that a pause could spare."""
        control = self.run.control
        return self.hold is not None or (control.paused and not control.cancel)

    @property
    def running(self) -> int:
        return sum(
            record.phase is StepPhase.RUNNING and not self.shape.by_name[name].kind.group
            for name, record in self.steps.items()
        )

    def full(self) -> bool:
        """Whether as many steps run as the Workflow's parallelism allows."""
        if self.running < self.plan.spec.parallelism:
            return False
        self.crowded = True
        return True

    def in_doubt(self, step: PlannedStep) -> bool:
        """Whether a step was begun and its outcome is not known: its effect may have happened."""
        return in_doubt(step, self.record(step))

    def begun_before(self, step: PlannedStep) -> bool:
        """Whether a step that is to be begun anew may have had its effect already."""
        record = self.record(step)
        return record.phase is StepPhase.PENDING and record.reason in MAY_HAVE_ACTED

    def busy(self, steps: Iterable[PlannedStep]) -> bool:
        """Whether an effect of these steps is, or may be, under way."""
        return any(step.name in self.facts.in_flight or self.in_doubt(step) for step in steps)

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
            and self.steps[step.name].reason in MAY_HAVE_ACTED
            for step in self.shape.steps
        )


def in_doubt(step: PlannedStep, record: StepStatus) -> bool:
    """Whether a step was begun and its outcome is not known: its effect may have happened."""
    if step.action is None:
        return False
    if step.kind is Kind.WORKFLOW and record.intent is not None:
        return False
    if step.kind is Kind.FOR_EACH and items_of(record) is not None:
        return False
    unknown = record.phase is StepPhase.WAITING and record.reason in _UNKNOWN
    return record.phase is StepPhase.RUNNING or unknown


def effective_params(
    run: Run, plan: Plan, records: dict[str, StepStatus], steps: Iterable[PlannedStep]
) -> dict[str, Any]:
    """Return a run's parameters, with what approvers put in their place."""
    values = dict(run.params)
    answers = {answer.step: answer for answer in run.control.approvals if answer.parameters}
    if not answers:
        return values
    for step in steps:
        answer, record = answers.get(step.name), records[step.name]
        approved = step.kind is Kind.APPROVAL and record.phase is StepPhase.SUCCEEDED
        # What was approved in an earlier run is not asked in this one; an answer that comes all the same is none.
        approved = approved and record.reason != Reason.CARRIED_OVER
        if answer is not None and approved and step.spec.approval is not None:
            values |= overrides(plan.spec, step.spec.approval.may_override, answer)
    return values


def of_subflow(run: Run, step: PlannedStep, attempt: int, parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of a step's action; a subflow's hold the fixed name of the run that it starts."""
    if step.kind is not Kind.WORKFLOW:
        return parameters
    # A null is a parameter that is not given.
    given = [
        {**one, "value": _text(one["value"])} for one in parameters["parameters"] if one["value"] is not None
    ]
    name = child_run(run.name, run.uid, step.name, attempt)
    return {**parameters, "parameters": given, "name": name, "depth": run.depth + 1}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)


def _unfit(with_: Template, error: ValidationError) -> str:
    """Say which parameter does not fit and why; not what it is, where that was read from the cluster."""
    detail = error.errors()[0]
    where = ".".join(("with", *map(str, detail["loc"])))
    read = {
        str(path[0])
        for path, one in zip(with_.paths, with_.expressions, strict=True)
        if path and (one.uses_target or one.steps)
    }
    # Checks of an action's own quote what they refuse.
    if detail["type"] == "value_error" and (not detail["loc"] or str(detail["loc"][0]) in read) and read:
        return (
            f"{where}: what the expression gives does not fit; it was read from the cluster and is not told"
        )
    return f"{where}: {detail['msg']}"
