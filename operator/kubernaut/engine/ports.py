"""What the engine needs from the layers below, as Protocols: the seams at which tests put other things."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from kubernaut.cluster.collections import Event
from kubernaut.core.guards.deciding import Alerts
from kubernaut.core.guards.levels import Level
from kubernaut.core.ports import Cluster, Manifest, ObjectRef
from kubernaut.core.run import MetricSeen


class OperatorCluster(Cluster, Protocol):
    """A cluster as the operator's own account sees it."""

    async def patch_status(self, ref: ObjectRef, body: Manifest, *, resource_version: str) -> Manifest:
        """Merge-patch the status subresource under an optimistic lock."""
        ...

    def list_pages(
        self,
        api_version: str,
        kind: str,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 500,
    ) -> AsyncIterator[list[Manifest]]:
        """Yield pages of objects of all namespaces (or one)."""
        ...

    def watch_all(
        self, api_version: str, kind: str, *, field_selector: str = "", label_selector: str = ""
    ) -> AsyncIterator[Event]:
        """Yield what happens to objects of all namespaces from now on, a GAP first and where some was missed."""
        ...

    async def create_event(self, event: Manifest) -> None:
        """Create a Kubernetes Event of a fixed name; one that exists already is fine."""
        ...


class Accounts(Protocol):
    """Clusters by account."""

    def own(self) -> OperatorCluster:
        """Return the cluster as the operator itself sees it."""
        ...

    def as_account(self, namespace: str, service_account: str) -> Cluster:
        """Return the cluster as a ServiceAccount sees it, by impersonation."""
        ...


class Switch(Protocol):
    """Whether acting is allowed in this cluster right now."""

    def acting_allowed(self) -> bool: ...

    def refusal(self) -> str:
        """Say why not, in one sentence."""
        ...


class WiderGuards(Protocol):
    """The guards of the cluster and of its namespaces."""

    def levels(self, namespace: str) -> tuple[Level, ...]:
        """Return those that hold in a namespace, the namespace's own first; none where nobody declared any."""
        ...


class MetricSource(Protocol):
    """Where metrics are known."""

    async def ask(self, query: str, namespace: str) -> MetricSeen:
        """Return what a query of a run in a namespace gives now, or why not. Never raises, answers within seconds."""
        ...


class AlertSource(Protocol):
    """Where it is known which alerts fire."""

    async def look(self) -> Alerts:
        """Return what fires now, or why that is not known. Never raises, and answers within seconds."""
        ...
