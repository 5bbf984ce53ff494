"""What a run's trace consists of: itself, its steps; each told once its end is stored."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from kubernaut import tracing
from kubernaut.api.execution import RunPhase, StepPhase, StepStatus, TriggerType, WorkflowExecutionStatus
from kubernaut.core.tracing import intake_span, span_id, step_span, trace_id
from kubernaut.engine.live import LiveRun
from kubernaut.tracing import Span

_MESSAGE: Final = 256


def tell(live: LiveRun, before: WorkflowExecutionStatus) -> None:
    """Tell of all that has ended by what was just stored of a run."""
    if tracing.wanted():
        for span in ended(live, before):
            tracing.end(span)


def ended(live: LiveRun, before: WorkflowExecutionStatus) -> Iterator[Span]:
    """Yield spans of steps, and of the run, that have ended since an earlier status."""
    after = live.stored
    over = {record.name for record in before.steps if record.phase.final}
    names = {record.name for record in after.steps}
    for record in after.steps:
        if record.phase.final and record.name not in over and record.started_at is not None:
            yield _step(live, record, names)
    if after.phase.final and not before.phase.final:
        yield _run(live, after)


def _step(live: LiveRun, record: StepStatus, names: set[str]) -> Span:
    assert record.started_at is not None
    parts = record.name.split("/")
    around = ("/".join(parts[:end]) for end in range(len(parts) - 1, 0, -1))
    outer = next((name for name in around if name in names), "")
    attributes: dict[str, str | int | bool] = {
        "kubernaut.step": record.name,
        "kubernaut.step.phase": record.phase.value,
        "kubernaut.step.attempts": record.attempt,
    }
    if record.reason:
        attributes["kubernaut.step.reason"] = record.reason
    action = _action(live, record)
    if action:
        attributes["kubernaut.action"] = action
    failed = record.phase is StepPhase.FAILED
    return Span(
        f"step {record.name}",
        trace_id(live.uid),
        step_span(live.uid, record.name),
        step_span(live.uid, outer) if outer else span_id(live.uid),
        _ns(record.started_at),
        _ns(record.finished_at or record.started_at),
        attributes,
        error=(record.message or record.reason or "failed")[:_MESSAGE] if failed else "",
    )


def _action(live: LiveRun, record: StepStatus) -> str:
    steps = live.plan.steps if live.plan is not None else ()
    return next((one.action.name for one in steps if one.name == record.name and one.action is not None), "")


def _run(live: LiveRun, status: WorkflowExecutionStatus) -> Span:
    spec, created = live.execution.spec, live.execution.metadata.creation_timestamp
    at_end = status.finished_at or created
    began = status.started_at or created or at_end
    ended = at_end or began
    attributes: dict[str, str | int | bool] = {
        "k8s.namespace.name": live.key.namespace,
        "kubernaut.run": live.key.name,
        "kubernaut.run.uid": live.uid,
        "kubernaut.workflow": spec.workflow_ref.name,
        "kubernaut.trigger": spec.trigger.type.value,
        "kubernaut.phase": status.phase.value,
        "kubernaut.dry_run": spec.dry_run,
    }
    if status.verdict is not None:
        attributes["kubernaut.verdict"] = status.verdict.value
    if status.reason:
        attributes["kubernaut.reason"] = status.reason
    if status.target is not None:
        target = status.target
        attributes |= {
            "kubernaut.target.kind": target.kind,
            "kubernaut.target.name": target.name,
            "kubernaut.target.uid": target.uid,
        }
    parent = spec.parent
    return Span(
        f"run {spec.workflow_ref.name}",
        trace_id(live.uid),
        span_id(live.uid),
        intake_span(live.uid) if spec.trigger.type is TriggerType.ALERT else "",
        _ns(began),
        _ns(ended),
        attributes,
        error=_error(status),
        link=(trace_id(parent.uid), step_span(parent.uid, parent.step)) if parent is not None else None,
    )


def _error(status: WorkflowExecutionStatus) -> str:
    if status.phase is not RunPhase.FAILED:
        return ""
    return (status.message or status.reason or "failed")[:_MESSAGE]


def _ns(at: datetime | None) -> int:
    return 0 if at is None else int(at.timestamp() * 1_000_000) * 1000
