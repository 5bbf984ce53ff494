"""One Kubernetes Event for a finished run; its name is fixed, so it is there once however often it is sent."""

from __future__ import annotations

from datetime import datetime

from kubernaut.api.base import format_time
from kubernaut.api.execution import RunPhase
from kubernaut.api.names import API_VERSION, MANAGER
from kubernaut.core.ports import Manifest
from kubernaut.engine.live import LiveRun


def finished_event(live: LiveRun, now: datetime, instance: str) -> Manifest:
    """Return the Event (events.k8s.io/v1) that says how a run ended."""
    status = live.status
    good = status.phase is RunPhase.SUCCEEDED
    claim, target = status.workflow, status.target
    what = f"{target.kind} {target.name}" if target else "no target"
    by = claim.name if claim else live.execution.spec.workflow_ref.name
    verdict = status.verdict.value if status.verdict else status.phase.value
    note = f"{verdict}: {by} on {what}, steps {status.progress or '0/0'}. {status.message or ''}".strip()
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": f"{live.key.name}.{live.uid[:13]}.done"[-253:], "namespace": live.key.namespace},
        "eventTime": format_time(now),
        "type": "Normal" if good else "Warning",
        "reason": (status.reason or verdict)[:128],
        "action": "Remediate",
        "note": note[:1000],
        "regarding": {
            "apiVersion": API_VERSION,
            "kind": "WorkflowExecution",
            "namespace": live.key.namespace,
            "name": live.key.name,
            "uid": live.uid,
        },
        "reportingController": f"kubernaut.io/{MANAGER}",
        "reportingInstance": instance[:128],
    }
