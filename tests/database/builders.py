"""Records to store, with everything filled in that matters."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from kubernaut.history.records import RunRecord, StepRecord

MOMENT = datetime(2026, 3, 15, 12, 0, 0, 250_000, tzinfo=UTC)


def a_step(position: int = 0, **changes: Any) -> StepRecord:
    values: dict[str, Any] = {
        "name": f"step-{position}",
        "position": position,
        "phase": "Succeeded",
        "action": "rollback_deployment",
        "attempts": 1,
        "started_at": MOMENT,
        "finished_at": MOMENT + timedelta(seconds=2),
        "duration_seconds": 2.0,
        "outputs": {"restarts": 4, "symptoms": ["CrashLoopBackOff"], "nested": {"a": [1, 2.5, None, True]}},
        "changed": ("Deployment shop/web: revision 2 -> 1",),
        "branch": "high",
        "items": 2,
    }
    return StepRecord(**{**values, **changes})


def a_run(**changes: Any) -> RunRecord:
    values: dict[str, Any] = {
        "uid": str(uuid.uuid4()),
        "namespace": "shop",
        "name": "web-1",
        "workflow": "crash-loop",
        "phase": "Succeeded",
        "created_at": MOMENT,
        "content_hash": "abc",
        "service_account": "kubernaut-repair",
        "verdict": "Remediated",
        "target_kind": "Deployment",
        "target_name": "web",
        "target_uid": "t-1",
        "started_at": MOMENT,
        "finished_at": MOMENT + timedelta(seconds=5),
        "duration_seconds": 5.0,
        "reason": "Completed",
        "message": "done",
        "symptoms": ("CrashLoopBackOff",),
        "parameters": {"deployment": "web"},
        "steps": (a_step(0), a_step(1)),
        "revision": 100,
        "trigger_by": "anna@example.com",
        "trigger_reason": "page 4711",
        "parent_uid": "r-0",
        "outputs": {"restarts": 4},
        "workflow_revision": 3,
        "undone": ("step-1",),
        "priority": 10,
    }
    return RunRecord(**{**values, **changes})


def some_runs(count: int, **changes: Any) -> list[RunRecord]:
    """Return runs a second apart, named in order."""
    return [
        a_run(**{"name": f"run-{at}", "created_at": MOMENT + timedelta(seconds=at), **changes})
        for at in range(count)
    ]
