"""``restart_deployment``: replace all pods of a Deployment, as ``kubectl rollout restart`` does."""

from __future__ import annotations

from datetime import UTC
from typing import ClassVar, Final

from kubernaut.actions import fence
from kubernaut.actions.deployments import DeploymentAction, DeploymentParameters, require_rolling
from kubernaut.core import fields
from kubernaut.core.action import Done, Risk, StepContext
from kubernaut.core.ports import Cluster, Manifest

_PATH: Final = fields.parse('spec.template.metadata.annotations["kubectl.kubernetes.io/restartedAt"]')


class RestartDeploymentParameters(DeploymentParameters):
    """Parameters of ``restart_deployment``."""


class RestartDeployment(DeploymentAction[None]):
    """Sets the annotation `kubectl.kubernetes.io/restartedAt` of the pod template to the time at which the step
    began. The deployment controller then replaces the pods by the Deployment's own strategy, so that
    availability is kept as far as the strategy keeps it. Refused while the Deployment is paused.
    """

    name: ClassVar = "restart_deployment"
    summary: ClassVar = "Replace all pods of a Deployment, by its own rollout strategy"
    risk: ClassVar = Risk.HIGH
    parameters = RestartDeploymentParameters

    async def look(
        self, cluster: Cluster, context: StepContext, parameters: DeploymentParameters, seen: Manifest
    ) -> None:
        return None

    def plan(
        self, seen: Manifest, evidence: None, parameters: DeploymentParameters, context: StepContext
    ) -> fence.Change:
        require_rolling(seen)
        now = context.now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return fence.change(seen, fields.put(seen, _PATH, now), "the pods are being replaced")

    async def undo(self, cluster: Cluster, context: StepContext, parameters: DeploymentParameters) -> Done:
        """Nothing is put back: pods that were replaced can't come back, and removing the annotation would replace
        them once more.
        """
        return Done(False, "a restart can't be taken back, and nothing is left to put back")
