"""Runs of the model of a cluster as the history would keep them, to be replayed."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from builders import FakeCatalogue
from kubernaut.api.base import format_time
from kubernaut.api.execution import WorkflowExecution
from kubernaut.api.workflow import WorkflowSpec
from kubernaut.core.content import content_hash
from kubernaut.core.run import Run
from kubernaut.history.facts import content_of
from kubernaut.history.records import RunRecord, record_of
from kubernaut.history.rows import RUN_COLUMNS, STEP_COLUMNS, run_of, run_row, step_of, step_rows
from kubernaut.replaying.recorded import Result
from kubernaut.replaying.replay import Replay


def recorded(run: Run, spec: WorkflowSpec, created: datetime, **parameters: str) -> RunRecord:
    """Return a finished run as it comes back from the history."""
    status = run.status.wire()
    status["workflow"]["contentHash"] = content_hash(spec)
    made = WorkflowExecution.model_validate(
        {
            "metadata": {
                "name": run.name,
                "namespace": run.namespace,
                "uid": run.uid,
                "creationTimestamp": format_time(created),
            },
            "spec": {
                "workflowRef": {"name": "repair"},
                "parameters": [{"name": name, "value": value} for name, value in parameters.items()],
                "control": run.control.wire(),
            },
            "status": status,
        }
    )
    record = record_of(made, spec, content_of(spec))
    steps = [step_of(dict(zip(STEP_COLUMNS, row, strict=True))) for row in step_rows(record)]
    return run_of(dict(zip(RUN_COLUMNS, run_row(record), strict=True)), steps)


def replayed(record: RunRecord, old: WorkflowSpec, new: WorkflowSpec) -> Result:
    """Replay a run that followed one content under another."""
    replay = Replay("repair", record.namespace, new, FakeCatalogue())
    return replay.one(record, replay.content(content_hash(old), content_of(old)))


def again(record: RunRecord, **changes: Any) -> RunRecord:
    """Return a record with some things changed."""
    return replace(record, **changes)
