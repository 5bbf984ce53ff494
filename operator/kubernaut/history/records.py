"""A finished run as the history keeps it, and how it is made from the custom resource."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from kubernaut.api.execution import StepStatus, WorkflowExecution
from kubernaut.api.workflow import WorkflowSpec

MAX_SYMPTOMS = 64


@dataclass(frozen=True, slots=True)
class RunKey:
    """Where a run is found in the cluster; ``uid`` alone identifies it."""

    uid: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step of a run.

    Attributes:
        position: index of the step in its Workflow, unique within the run.
        action: the action's name, or None for waits and approvals and where the snapshot is not known.
        changed: what the step changed, in words.
    """

    name: str
    position: int
    phase: str
    action: str | None = None
    attempts: int = 0
    reason: str | None = None
    message: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    duration_seconds: float | None = None
    outputs: Mapping[str, Any] = field(default_factory=dict)
    changed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run.

    Attributes:
        created_at: the object's creationTimestamp; never changes, so it chooses the partition.
        duration_seconds: from the start to the end; None where the run never started.
        symptoms: sorted, unique; from the steps' outputs.
        parameters: as given.
        revision: the object's resourceVersion; of two records of a run the higher one is kept.
    """

    uid: str
    namespace: str
    name: str
    workflow: str
    phase: str
    created_at: datetime
    content_hash: str | None = None
    service_account: str | None = None
    trigger: str = "Manual"
    verdict: str | None = None
    target_kind: str | None = None
    target_name: str | None = None
    target_uid: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    duration_seconds: float | None = None
    reason: str | None = None
    message: str | None = None
    symptoms: tuple[str, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)
    steps: tuple[StepRecord, ...] = ()
    revision: int = 0

    @property
    def key(self) -> RunKey:
        return RunKey(self.uid, self.namespace, self.name)


def record_of(run: WorkflowExecution, spec: WorkflowSpec | None = None) -> RunRecord:
    """Return the record of a run.

    Args:
        run: the run as read from the API server.
        spec: its Workflow as it was when the run began (the snapshot); without it the actions stay unknown.

    Raises:
        ValueError: the object has no uid or no creationTimestamp, so it was never stored by an API server.
    """
    meta, status = run.metadata, run.status
    if not meta.uid or meta.creation_timestamp is None:
        raise ValueError(
            f"run {meta.namespace}/{meta.name} has no uid or creationTimestamp; read it from the API server"
        )
    steps = _steps(status.steps if status else [], spec)
    workflow = status.workflow if status else None
    target = status.target if status else None
    started, finished = (status.started_at, status.finished_at) if status else (None, None)
    return RunRecord(
        uid=meta.uid,
        namespace=meta.namespace,
        name=meta.name,
        workflow=run.spec.workflow_ref.name,
        phase=status.phase.value if status else "Pending",
        created_at=meta.creation_timestamp,
        content_hash=workflow.content_hash if workflow else None,
        service_account=workflow.service_account_name if workflow else None,
        trigger=run.spec.trigger.type.value,
        verdict=status.verdict.value if status and status.verdict else None,
        target_kind=target.kind if target else None,
        target_name=target.name if target else None,
        target_uid=target.uid if target else None,
        started_at=started,
        finished_at=finished,
        duration_seconds=_seconds(started, finished),
        reason=status.reason if status else None,
        message=status.message if status else None,
        symptoms=_symptoms(steps),
        parameters=run.given(),
        steps=steps,
        revision=_revision(meta.resource_version),
    )


def _revision(resource_version: str) -> int:
    # Kubernetes promises since 1.35 that these are growing decimal numbers; before, etcd made them so.
    return int(resource_version) if resource_version.isascii() and resource_version.isdigit() else 0


def _seconds(started: datetime | None, finished: datetime | None) -> float | None:
    if started is None or finished is None:
        return None
    return max((finished - started).total_seconds(), 0.0)


def _steps(records: list[StepStatus], spec: WorkflowSpec | None) -> tuple[StepRecord, ...]:
    declared = {step.name: (at, step.action) for at, step in enumerate(spec.steps)} if spec else {}
    beyond = len(declared)
    steps = []
    for at, record in enumerate(records):
        position, action = declared.get(record.name, (beyond + at, None))
        steps.append(
            StepRecord(
                name=record.name,
                position=position,
                phase=record.phase.value,
                action=action,
                attempts=record.attempt,
                reason=record.reason,
                message=record.message,
                started_at=record.started_at,
                finished_at=record.finished_at,
                duration_seconds=_seconds(record.started_at, record.finished_at),
                outputs=dict(record.outputs or {}),
                changed=tuple(record.changed or ()),
            )
        )
    return tuple(sorted(steps, key=lambda step: step.position))


def _symptoms(steps: tuple[StepRecord, ...]) -> tuple[str, ...]:
    found: set[str] = set()
    for step in steps:
        symptoms = step.outputs.get("symptoms")
        if isinstance(symptoms, list):
            found.update(symptom for symptom in symptoms if isinstance(symptom, str) and symptom)
    return tuple(sorted(found)[:MAX_SYMPTOMS])
