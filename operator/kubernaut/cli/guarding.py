"""The guards that hold for a Workflow, as far as a person may read them."""

from __future__ import annotations

import os
from typing import Protocol

from kubernaut.api.names import SWITCH_CONFIGMAP, SYSTEM_NAMESPACE
from kubernaut.api.workflow import Workflow
from kubernaut.cluster.levels import LevelGuards
from kubernaut.core.errors import ClusterError
from kubernaut.core.guards.levels import Level, Reach
from kubernaut.core.ports import Manifest, ObjectRef


class Reads(Protocol):
    """What reads objects."""

    async def get(self, ref: ObjectRef) -> Manifest: ...


async def levels_of(cluster: Reads, namespace: str, workflow: Workflow) -> tuple[tuple[Level, ...], str]:
    """Return the levels that have guards, the Workflow's own first; and why wider ones are not known, if so."""
    wider, problem = LevelGuards(), ""
    try:
        ref = ObjectRef("v1", "ConfigMap", SYSTEM_NAMESPACE, SWITCH_CONFIGMAP)
        wider.see((await cluster.get(ref)).get("data") or {})
    except ClusterError as error:
        problem = str(error)
    found = wider.levels(namespace)
    if workflow.spec.guards is not None:
        found = (Level(Reach.WORKFLOW, workflow.metadata.name, workflow.spec.guards), *found)
    return found, problem


def argo_namespace() -> str:
    """Return where Argo CD keeps Applications that name no namespace; the operator is told by the same variable."""
    return os.environ.get("KUBERNAUT_ARGOCD_NAMESPACE", "argocd")
