"""What somebody outside does for a run that waits: a label, a cancellation, an approval."""

from __future__ import annotations

import contextlib

from faults.oracle import Trial
from faults.shapes.model import Manifest, Nudge
from kubernaut.cluster.account import OperatorCluster
from kubernaut.core.errors import ClusterError, Conflict
from kubernaut.core.ports import ObjectRef


async def nudge(admin: OperatorCluster, trial: Trial, run: Manifest) -> None:
    """Do what a run's shape asks for, once its step waits; what fails is seen again next time."""
    if trial.shape.nudge is None:
        return
    name, what = trial.shape.nudge
    steps = {step["name"]: step.get("phase") for step in (run.get("status") or {}).get("steps", [])}
    if steps.get(name) != "Waiting":
        return
    with contextlib.suppress(ClusterError):
        if what is Nudge.LABEL:
            await _label(admin, ObjectRef("apps/v1", "Deployment", run["metadata"]["namespace"], trial.name))
            return
        answer = {"step": name, "decision": "Approve", "by": "admin"}
        control = {"cancel": True} if what is Nudge.CANCEL else {"approvals": [answer]}
        version = run["metadata"]["resourceVersion"]
        await admin.patch(ObjectRef.of(run), {"spec": {"control": control}}, resource_version=version)


async def _label(admin: OperatorCluster, ref: ObjectRef) -> None:
    while True:
        seen = await admin.get(ref)
        if seen["metadata"]["labels"].get("go"):
            return
        with contextlib.suppress(Conflict):
            version = seen["metadata"]["resourceVersion"]
            await admin.patch(ref, {"metadata": {"labels": {"go": "yes"}}}, resource_version=version)
