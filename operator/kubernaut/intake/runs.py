"""The run of an episode."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from kubernaut.api.execution import (
    AlertCause,
    ParameterValue,
    Trigger,
    TriggerType,
    WorkflowExecution,
    WorkflowExecutionSpec,
    WorkflowRef,
)
from kubernaut.api.names import ANNOTATION_ALERTS, FINALIZER, LABEL_ALERT, LABEL_INCIDENT, LABEL_WORKFLOW
from kubernaut.core.errors import StepError
from kubernaut.core.incidents import Episode, alert_label, run_name
from kubernaut.core.ports import Manifest
from kubernaut.intake.matching import Asked

MOST_VALUE: Final = 4096
_BY: Final = "alertmanager"
_MOST_LABELS: Final = 64


def run_of(asked: Asked, episode: Episode) -> Manifest:
    """Return the run of an episode, with the finalizer that keeps it until the history has it.

    Raises:
        StepError: a parameter is longer than a run takes.
    """
    alert, fit = asked.alert, asked.fit
    for name, value in asked.values.items():
        if len(value) > MOST_VALUE:
            raise StepError(
                f"parameter {name!r} would have {len(value)} characters; at most {MOST_VALUE} may be"
            )
    summary = alert.annotations.get("summary") or alert.annotations.get("description") or ""
    cause = AlertCause(
        name=alert.name,
        fingerprint=alert.fingerprint,
        starts_at=datetime.fromisoformat(alert.starts_at),
        labels={name[:128]: value[:1024] for name, value in sorted(alert.labels.items())[:_MOST_LABELS]},
        incident=asked.incident,
        episode=episode.number,
        target_uid=asked.target_uid,
    )
    spec = WorkflowExecutionSpec(
        workflow_ref=WorkflowRef(name=fit.workflow),
        parameters=[ParameterValue(name=name, value=value) for name, value in asked.values.items()],
        trigger=Trigger(
            type=TriggerType.ALERT, by=_BY, reason=f"{alert.name}: {summary}".rstrip(": ")[:1024], alert=cause
        ),
    )
    run: dict[str, Any] = WorkflowExecution(spec=spec).wire()
    run["spec"].pop("control", None)
    run["metadata"] = {
        "name": run_name(fit.workflow, asked.incident, episode.number),
        "namespace": fit.namespace,
        "labels": {
            LABEL_WORKFLOW: fit.workflow,
            LABEL_INCIDENT: asked.incident,
            LABEL_ALERT: alert_label(alert.name),
        },
        "annotations": {ANNOTATION_ALERTS: episode.written()},
        "finalizers": [FINALIZER],
    }
    return run
