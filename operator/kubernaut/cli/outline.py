"""A run beside its Workflow: which steps there are, and what became of each so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kubernaut.api.duration import format_duration
from kubernaut.api.execution import StepPhase, StepStatus, WorkflowExecution
from kubernaut.api.workflow import Step, WorkflowSpec


@dataclass(frozen=True, slots=True)
class Row:
    """One step: its record (an empty one where it has not begun) and what it does in a few words."""

    record: StepStatus
    does: str = ""
    needs: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.record.name


def spec_of(data: Mapping[str, Any] | None) -> WorkflowSpec | None:
    """Return the Workflow's spec from a snapshot's data; None where it can't be read."""
    if not data:
        return None
    try:
        return WorkflowSpec.model_validate(data, extra="ignore")
    except ValueError:
        return None


def rows(run: WorkflowExecution, spec: WorkflowSpec | None) -> list[Row]:
    """Return the steps in the Workflow's order; those only the run knows of come last."""
    records = {record.name: record for record in (run.status.steps if run.status else [])}
    declared = [
        Row(records.pop(step.name, StepStatus(name=step.name)), does(step), tuple(step.depends_on))
        for step in (spec.steps if spec else [])
    ]
    return declared + [Row(record) for record in records.values()]


def does(step: Step) -> str:
    """Return the action's name, or what a step without one waits for."""
    if step.action:
        return step.action
    if step.wait and step.wait.duration is not None:
        return f"wait {format_duration(step.wait.duration)}"
    if step.wait:
        return f"wait until {step.wait.until}"
    return "approval"


def progress(run: WorkflowExecution, steps: Sequence[Row]) -> str:
    """Return ``m/n``: as the operator says, else as counted."""
    if run.status and run.status.progress:
        return run.status.progress
    done = sum(row.record.phase in (StepPhase.SUCCEEDED, StepPhase.SKIPPED) for row in steps)
    return f"{done}/{len(steps)}" if steps else ""
