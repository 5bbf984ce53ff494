"""A finished run as the history keeps it, and how it is made from the custom resource."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from kubernaut.api.execution import StepPhase, StepStatus, WorkflowExecution
from kubernaut.api.workflow import WorkflowSpec
from kubernaut.core.paths import DeclaredSteps, Order, items_below
from kubernaut.history.facts import facts_of, kept

MAX_SYMPTOMS = 64
# Behind all that the Workflow declares.
_UNDECLARED = 1_000


@dataclass(frozen=True, slots=True)
class RunKey:
    """Where a run is found in the cluster; ``uid`` alone identifies it.

    Attributes:
        fresh: whether it has just finished; one that has not may be stored already.
    """

    uid: str
    namespace: str
    name: str
    fresh: bool = field(default=True, compare=False)


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step of a run.

    Attributes:
        name: its path, as in each/0/restart.
        position: its place in the run, in the order of the Workflow; unique within the run.
        action: the action's name, or None for steps of other kinds and where the snapshot is not known.
        changed: what the step changed, in words.
        branch: the case that a switch took.
        items: how many items of a forEach were begun.
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
    branch: str | None = None
    items: int | None = None


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run.

    Attributes:
        created_at: the object's creationTimestamp; never changes, so it chooses the partition.
        duration_seconds: from the start to the end; None where the run never started.
        symptoms: sorted, unique; from the steps' outputs.
        parameters: as given; what is called a secret and is none by reference is not kept.
        revision: the object's resourceVersion; of two records of a run the higher one is kept.
        trigger_by, trigger_reason: who started it, and why in words; empty where nobody said.
        retry_from: name of the run whose failed part it repeats.
        parent_uid: the run that started it as a subflow.
        outputs: what the Workflow declares as outputs of the whole run.
        workflow_revision: the Workflow's revision that the run followed.
        undone: the steps that were put back, in the order of the Workflow.
        priority: the Workflow's.
        facts: what a replay needs beside (see ``facts``); None of a run that an earlier version stored.
        content: the Workflow's content as it is kept, for the writer; None where it is not known, or is kept already.
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
    trigger_by: str = ""
    trigger_reason: str = ""
    dry_run: bool = False
    retry_from: str | None = None
    parent_uid: str | None = None
    outputs: Mapping[str, Any] = field(default_factory=dict)
    workflow_revision: int | None = None
    undone: tuple[str, ...] = ()
    priority: int = 0
    facts: Mapping[str, Any] | None = None
    content: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)

    @property
    def key(self) -> RunKey:
        return RunKey(self.uid, self.namespace, self.name)


def record_of(
    run: WorkflowExecution, spec: WorkflowSpec | None = None, content: Mapping[str, Any] | None = None
) -> RunRecord:
    """Return the record of a run.

    Args:
        run: the run as read from the API server.
        spec: its Workflow as it was when the run began (the snapshot); without it the actions stay unknown.
        content: the same as it is kept (``facts.content_of``).

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
        parameters={name: kept(name, text) for name, text in run.given().items()},
        steps=steps,
        revision=_revision(meta.resource_version),
        trigger_by=run.spec.trigger.by,
        trigger_reason=run.spec.trigger.reason,
        dry_run=run.spec.dry_run,
        retry_from=run.spec.retry_from.name if run.spec.retry_from else None,
        parent_uid=run.spec.parent.uid if run.spec.parent else None,
        outputs=dict(status.outputs or {}) if status else {},
        workflow_revision=workflow.revision if workflow else None,
        undone=tuple(step.name for step in steps if step.phase == StepPhase.ROLLED_BACK.value),
        priority=spec.priority if spec else 0,
        facts=facts_of(run),
        content=content,
    )


def _revision(resource_version: str) -> int:
    # Kubernetes promises since 1.35 that these are growing decimal numbers; before, etcd made them so.
    return int(resource_version) if resource_version.isascii() and resource_version.isdigit() else 0


def _seconds(started: datetime | None, finished: datetime | None) -> float | None:
    if started is None or finished is None:
        return None
    return max((finished - started).total_seconds(), 0.0)


def _steps(records: list[StepStatus], spec: WorkflowSpec | None) -> tuple[StepRecord, ...]:
    declared = DeclaredSteps(spec) if spec else None
    items = items_below([record.name for record in records])
    found: list[tuple[Order, str | None, StepStatus]] = []
    for at, record in enumerate(records):
        step = declared.find(record.name) if declared else None
        found.append((step.order, step.step.action, record) if step else ((_UNDECLARED, at), None, record))
    found.sort(key=lambda one: one[0])
    return tuple(_step(at, action, record, items) for at, (_, action, record) in enumerate(found))


def _step(position: int, action: str | None, record: StepStatus, items: Mapping[str, int]) -> StepRecord:
    return StepRecord(
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
        branch=record.branch,
        items=items.get(record.name),
    )


def _symptoms(steps: tuple[StepRecord, ...]) -> tuple[str, ...]:
    found: set[str] = set()
    for step in steps:
        symptoms = step.outputs.get("symptoms")
        if isinstance(symptoms, list):
            found.update(symptom for symptom in symptoms if isinstance(symptom, str) and symptom)
    return tuple(sorted(found)[:MAX_SYMPTOMS])
