"""Reads that are passed on as they are, for clusters in front of another one."""

from __future__ import annotations

from collections.abc import AsyncIterator

from kubernaut.core.ports import Cluster, Manifest, ObjectRef


class ReadsThrough:
    """Reads from another cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def get(self, ref: ObjectRef) -> Manifest:
        return await self._cluster.get(ref)

    async def list(
        self,
        api_version: str,
        kind: str,
        namespace: str,
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 500,
    ) -> list[Manifest]:
        return await self._cluster.list(
            api_version,
            kind,
            namespace,
            label_selector=label_selector,
            field_selector=field_selector,
            limit=limit,
        )

    async def logs(
        self,
        ref: ObjectRef,
        *,
        container: str,
        previous: bool = False,
        tail_lines: int = 100,
        limit_bytes: int = 65536,
    ) -> str:
        return await self._cluster.logs(
            ref, container=container, previous=previous, tail_lines=tail_lines, limit_bytes=limit_bytes
        )

    def watch(self, ref: ObjectRef, *, since: str = "") -> AsyncIterator[Manifest | None]:
        return self._cluster.watch(ref, since=since)
