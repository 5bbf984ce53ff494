"""Whether a step that failed is tried again: its limit, its condition, and the feature's flag."""

from __future__ import annotations

from datetime import datetime

from kubernaut.api.reasons import Reason, explain
from kubernaut.core import retry
from kubernaut.core.draft import Draft
from kubernaut.core.errors import StepError
from kubernaut.core.expressions import FAILURE
from kubernaut.core.features import Feature
from kubernaut.core.plan import PlannedStep


def try_again(draft: Draft, step: PlannedStep, reason: Reason, message: str) -> datetime | None:
    """Return when a step that failed is tried again, or None where it has failed for good."""
    attempt = draft.record(step).attempt
    key = f"{draft.run.uid}\n{step.name}"
    later = retry.retry_at(step.spec.retry, _attempts(draft, step), reason, draft.now, key)
    if later is None or Feature.RETRIES in draft.facts.off:
        return None
    if step.retry_when is None:
        return later
    info = explain(reason.value)
    failure = {
        "reason": reason.value,
        "category": info.category.value if info else "",
        "message": message,
        "transient": info.transient if info else False,
        "attempt": attempt,
    }
    try:
        return later if step.retry_when.holds(draft.scope(step, more={FAILURE: failure})) else None
    except StepError:
        return None


def _attempts(draft: Draft, step: PlannedStep) -> int:
    """Return how many attempts count against the limit: those since a person last said to try again."""
    attempt = draft.record(step).attempt
    given = [
        said.attempt
        for said in draft.run.control.interventions
        if said.step == step.name and said.attempt < attempt
    ]
    return attempt - max(given, default=0)
