"""After a restart: what a run may have done that its stored status does not tell.

Marked steps run ahead of the stored status by design. Before a run that was taken up again is decided anew, the
objects of such steps are looked at: a mark says that the step is done. Else a run that ends early (cancelled, out of
time, failed) would tell of a step as skipped that had its effect, and would not put it back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from kubernaut.api.execution import RunPhase, StepPhase, unbegun
from kubernaut.core.action import Idempotency
from kubernaut.core.draft import effective_params, of_subflow
from kubernaut.core.errors import StepError
from kubernaut.core.expressions import INDEX, ITEM, Scope
from kubernaut.core.plan import Plan, PlannedStep
from kubernaut.core.run import Act, Outcome, Run
from kubernaut.core.unfolding import items_of, unfold


def to_recall(run: Run, plan: Plan, now: datetime) -> list[Act]:
    """Return the acts that may have happened unrecorded; they are to be looked up, not performed."""
    if run.dry_run or run.status.phase.final or run.status.phase is RunPhase.ROLLING_BACK:
        return []
    records = {record.name: record for record in run.status.steps}
    shape = unfold(plan, records)
    everything = {step.name: records.get(step.name) or unbegun(step.name) for step in shape.steps}
    params = effective_params(run, plan, everything, shape.steps)
    acts = (_act(run, params, step, now) for step in shape.steps if _may_have_acted(run, step))
    return [act for act in acts if act is not None]


def recalled(run: Run, plan: Plan, found: Mapping[str, Outcome], now: datetime) -> Run:
    """Return the run with the steps that were found as begun, so that ``advance`` takes their outcomes."""
    known = {record.name: record for record in run.status.steps}
    records = {step.name: run.step(step.name) for step in unfold(plan, known).steps}
    for name in found:
        record = records[name]
        if record.phase is not StepPhase.RUNNING:
            records[name] = record.replace(
                phase=StepPhase.RUNNING,
                attempt=max(record.attempt, 1),
                started_at=record.started_at or now,
                retry_at=None,
            )
    steps = [record for name, record in records.items() if name in known or name in found]
    return replace(run, status=run.status.replace(steps=steps))


def _may_have_acted(run: Run, step: PlannedStep) -> bool:
    """Whether the step could begin without a word of it being stored (see ``storing``)."""
    record = run.step(step.name)
    if step.action is None or record.phase.final:
        return False
    if step.action.idempotency is Idempotency.NAMED:
        return record.intent is None and (record.phase is not StepPhase.PENDING or not step.hangs)
    return step.action.idempotency is Idempotency.MARKED and not step.hangs


def _act(run: Run, params: Mapping[str, Any], step: PlannedStep, now: datetime) -> Act | None:
    assert step.action is not None
    assert step.with_ is not None
    try:
        place = {"uid": run.uid, "namespace": run.namespace, "name": run.name}
        more: dict[str, Any] = {}
        if step.each and step.index is not None:
            more = {ITEM: (items_of(run.step(step.each)) or [])[step.index], INDEX: step.index}
        attempt = max(run.step(step.name).attempt, 1)
        parameters = step.with_.render(Scope(params, {}, place, None, more))
        parameters = of_subflow(run, step, attempt, parameters)
        step.action.parameters.model_validate(parameters)
    except (StepError, ValidationError):
        return None  # it could not have been begun either
    return Act(step, attempt, parameters, now + step.timeout)
