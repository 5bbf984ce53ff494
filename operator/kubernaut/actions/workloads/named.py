"""A workload as a parameter names it, for actions that look at one or restart one beside what they change."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from kubernaut.actions.objects import rights
from kubernaut.api.base import DnsName
from kubernaut.core.action import ActionParameters
from kubernaut.core.ports import ObjectRef, Right

APPS: str = "apps/v1"


class WorkloadKind(StrEnum):
    """Kinds that keep pods running and roll changes of their template out."""

    DEPLOYMENT = "Deployment"
    STATEFUL_SET = "StatefulSet"
    DAEMON_SET = "DaemonSet"


class NamedWorkload(ActionParameters):
    """One workload of the run's namespace."""

    kind: Annotated[WorkloadKind, Field(description="Its kind.")] = WorkloadKind.DEPLOYMENT
    name: Annotated[DnsName, Field(description="Its name.")]

    def ref(self, namespace: str) -> ObjectRef:
        """Return the reference of the workload."""
        return ObjectRef(APPS, self.kind.value, namespace, self.name)

    def rights(self, *verbs: str) -> tuple[Right, ...]:
        """Return rights on this workload."""
        return rights(verbs, APPS, self.kind.value, (self.name,))
