"""The cluster and namespace that a command works in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from kubernaut.cluster.account import OperatorCluster
from kubernaut.cluster.client import ApiConnection


@dataclass(frozen=True, slots=True)
class Place:
    """A cluster as the person's own account sees it, and the namespace meant."""

    connection: ApiConnection
    cluster: OperatorCluster
    namespace: str

    async def whoami(self) -> str:
        """Return the name by which the API server knows us; raises ClusterError."""
        return await self.connection.whoami()


def within(kubeconfig: str, context: str, namespace: str, work: Callable[[Place], Awaitable[int]]) -> int:
    """Do some work in the cluster that the options name; empty ones mean what kubectl would take.

    Raises:
        ClusterError: there is no such cluster, or it refuses.
    """

    path = Path(kubeconfig).expanduser() if kubeconfig else None

    async def connected() -> int:
        async with await ApiConnection.load(path, context=context or None) as connection:
            return await work(Place(connection, connection.own(), namespace or connection.namespace))

    return asyncio.run(connected())
