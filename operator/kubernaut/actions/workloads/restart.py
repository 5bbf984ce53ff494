"""``restart_deployment``, ``restart_statefulset``, ``restart_daemonset``: replace all pods of a workload."""

from __future__ import annotations

from datetime import UTC
from typing import ClassVar, Final

from kubernaut.actions.fencing import fence
from kubernaut.actions.objects import DAEMON_SET, DEPLOYMENT, STATEFUL_SET
from kubernaut.actions.workloads.workload import (
    WorkloadAction,
    WorkloadParameters,
    partition,
    require_rolling,
)
from kubernaut.core import fields
from kubernaut.core.action import Done, Risk, StepContext
from kubernaut.core.ports import Cluster, Manifest

_PATH: Final = fields.parse('spec.template.metadata.annotations["kubectl.kubernetes.io/restartedAt"]')


class RestartWorkloadParameters(WorkloadParameters):
    """Parameters of an action that replaces all pods of a workload."""


class RestartWorkload(WorkloadAction[None]):
    """Sets the annotation that ``kubectl rollout restart`` sets."""

    risk: ClassVar = Risk.HIGH
    parameters = RestartWorkloadParameters

    async def look(
        self, cluster: Cluster, context: StepContext, parameters: WorkloadParameters, seen: Manifest
    ) -> None:
        return None

    def plan(
        self, seen: Manifest, evidence: None, parameters: WorkloadParameters, context: StepContext
    ) -> fence.Change:
        return restarted(seen, context)

    async def undo(self, cluster: Cluster, context: StepContext, parameters: WorkloadParameters) -> Done:
        """Nothing is put back: pods that were replaced can't come back, and removing the annotation would replace
        them once more.
        """
        return Done(False, "a restart can't be taken back, and nothing is left to put back")


def restarted(seen: Manifest, context: StepContext) -> fence.Change:
    """Return the change that has all pods of a workload replaced.

    Raises:
        StepError: PreconditionFailed, where its controller would not do so.
    """
    require_rolling(seen)
    now = context.now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    first = partition(seen)
    which = f"the pods from number {first} on (its partition) are" if first else "the pods are"
    return fence.change(seen, fields.put(seen, _PATH, now), f"{which} being replaced")


class RestartDeployment(RestartWorkload):
    """Sets the annotation `kubectl.kubernetes.io/restartedAt` of the pod template to the time at which the step
    began. The deployment controller then replaces the pods by the Deployment's own strategy, so that
    availability is kept as far as the strategy keeps it. Refused while the Deployment is paused.
    """

    name: ClassVar = "restart_deployment"
    summary: ClassVar = "Replace all pods of a Deployment, by its own rollout strategy"
    workload: ClassVar = DEPLOYMENT


class RestartStatefulSet(RestartWorkload):
    """Sets the annotation `kubectl.kubernetes.io/restartedAt` of the pod template to the time at which the step
    began. The controller then replaces the pods one after another, from the highest number down, and waits for each
    to be ready; with a partition only those from its number on, which the message says. Refused where the update
    strategy is `OnDelete`: nothing would be replaced.
    """

    name: ClassVar = "restart_statefulset"
    summary: ClassVar = "Replace all pods of a StatefulSet, one after another"
    workload: ClassVar = STATEFUL_SET


class RestartDaemonSet(RestartWorkload):
    """Sets the annotation `kubectl.kubernetes.io/restartedAt` of the pod template to the time at which the step
    began. The controller then replaces the pods node by node, within the DaemonSet's own `maxUnavailable` and
    `maxSurge`. Refused where the update strategy is `OnDelete`: nothing would be replaced.
    """

    name: ClassVar = "restart_daemonset"
    summary: ClassVar = "Replace all pods of a DaemonSet, node by node"
    workload: ClassVar = DAEMON_SET
