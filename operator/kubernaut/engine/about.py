"""Which object a worker is with, for the log."""

from __future__ import annotations

from kubernaut.engine.keys import Departure, Heartbeat, RunKey, WorkflowKey
from kubernaut.engine.known import Known
from kubernaut.speaking import About


def about(key: RunKey | WorkflowKey | Departure | Heartbeat, known: Known) -> About | None:
    """Return what lines of a reconciliation are about; None where that is no object."""
    if isinstance(key, Heartbeat):
        return None
    if isinstance(key, WorkflowKey):
        workflow = known.workflows.get(key)
        uid = workflow["metadata"]["uid"] if workflow is not None else ""
        return About("Workflow", key.namespace, key.name, uid)
    if isinstance(key, Departure):
        return About("WorkflowExecution", key.namespace, key.name, key.uid)
    seen = known.version(key)
    return About("WorkflowExecution", key.namespace, key.name, seen[0] if seen else "")
