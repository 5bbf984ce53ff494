"""Effects that can't be fenced: that one is about to be sent is stored first, and what then is not known is decided.

Such a step is performed only once its intent is stored. Who finds an intent without an outcome (another process sent
it, or was about to) can't know whether it happened; the same is true of an answer that was lost. Then the step's
``onUnknown`` says what follows.
"""

from __future__ import annotations

from kubernaut.api.execution import StepStatus
from kubernaut.api.reasons import Reason
from kubernaut.api.steps import OnUnknown
from kubernaut.core.action import Idempotency
from kubernaut.core.draft import Draft
from kubernaut.core.plan import Plan, PlannedStep
from kubernaut.core.run import Run
from kubernaut.core.unfolding import unfold

#: in an intent: doing it once more does no harm
REPEATABLE = "repeatable"
_MAY_HAVE_BEEN_SENT = frozenset({Reason.UNKNOWN_OUTCOME, Reason.INTERNAL})


def is_unfenced(step: PlannedStep) -> bool:
    """Whether a step's effect can't be fenced."""
    return step.action is not None and step.action.idempotency is Idempotency.INTENT


def left_behind(run: Run, plan: Plan) -> frozenset[str]:
    """Return the steps whose effect an earlier life of the operator may have sent."""
    records = {record.name: record for record in run.status.steps}
    steps = unfold(plan, records).steps
    return frozenset(step.name for step in steps if is_unfenced(step) and _open(run.step(step.name)))


def fails(step: PlannedStep, record: StepStatus, reason: Reason) -> bool:
    """Whether a step ends with an outcome that is not known, rather than doing it once more."""
    if not is_unfenced(step) or reason not in _MAY_HAVE_BEEN_SENT:
        return False
    again = step.spec.on_unknown is OnUnknown.RETRY or (record.intent or {}).get(REPEATABLE) is True
    return not again


def in_doubt(draft: Draft, step: PlannedStep) -> bool:
    """Whether an earlier life of the operator may have sent it, and its outcome is not known."""
    return is_unfenced(step) and step.name in draft.unfenced and _open(draft.record(step))


def give_up(draft: Draft, step: PlannedStep) -> bool:
    """Fail a step that an earlier life of the operator may have sent, where it is not to be sent again."""
    record = draft.record(step)
    if not in_doubt(draft, step) or not fails(step, record, Reason.UNKNOWN_OUTCOME):
        return False
    told = "the operator ended while it was about to be sent; whether it was is not known"
    draft.fail(step, Reason.UNKNOWN_OUTCOME, told)
    return True


def _open(record: StepStatus) -> bool:
    return record.intent is not None and not record.phase.final
