"""Which steps of a run acted, as what, and what their probes say now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from kubernaut.api.execution import StepStatus
from kubernaut.core.action import Action, Done, StepContext
from kubernaut.core.draft import Draft, of_subflow
from kubernaut.core.errors import StepError
from kubernaut.core.plan import Plan, PlannedStep
from kubernaut.core.ports import Cluster
from kubernaut.core.probing import Probed, see, unknown
from kubernaut.core.run import Facts, Run, Seen


@dataclass(frozen=True, slots=True)
class Acted:
    """A step that acted, as it is recorded.

    Attributes:
        parameters: those of its action, as its expressions give them now; or why they can't be told any more.
    """

    step: PlannedStep
    record: StepStatus
    parameters: Mapping[str, Any] | str

    @property
    def done(self) -> Done:
        """What the step is recorded to have done."""
        record = self.record
        return Done(True, record.message or "", record.outputs or {}, tuple(record.changed or ()))


def acted(run: Run, plan: Plan, target: Seen | None, now: datetime) -> list[Acted]:
    """Return the steps that changed something, in the order of the plan.

    Args:
        target: the run's target as it is now, for what hangs on it; None where it can't be seen.
    """
    draft = Draft(run, plan, Facts(target=target), now)
    found = []
    for step in draft.shape.steps:
        record = draft.record(step)
        if step.action is not None and record.changed:
            found.append(Acted(step, record, _parameters(draft, step)))
    return found


def _parameters(draft: Draft, step: PlannedStep) -> Mapping[str, Any] | str:
    assert step.action is not None
    assert step.with_ is not None
    if draft.facts.target is None and any(one.uses_target for one in step.with_.expressions):
        return "what it acted on hangs on the target, which can't be seen now"
    attempt = max(draft.record(step).attempt, 1)
    try:
        given = of_subflow(draft.run, step, attempt, step.with_.render(draft.scope(step)))
        step.action.parameters.model_validate(given, by_alias=True, by_name=False)
    except (StepError, ValidationError):
        return "with what parameters it acted can't be told any more"
    return given


async def ask(action: Action[Any], cluster: Cluster, context: StepContext, parameters: Any) -> Probed:
    """Read what an action's probe has to see, and ask it; what stands in the way is its answer. Never raises."""
    try:
        return await _asked(action, cluster, context, parameters)
    except StepError as error:
        return unknown(str(error))


async def _asked(action: Action[Any], cluster: Cluster, context: StepContext, parameters: Any) -> Probed:
    try:
        sight = await see(cluster, action.looks_at(context, parameters))
        return action.probe(sight, context, parameters)
    except StepError:
        raise
    except Exception as error:
        # An installed action may be wrong about itself; who asks of others still gets their answers.
        raise StepError(f"{action.name} can't tell: {type(error).__name__}: {error}") from error
