"""``DiscoveredPattern`` objects in a cluster, as ``publish`` wants them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from pydantic import ValidationError

from kubernaut.api.names import API_VERSION
from kubernaut.api.pattern import DiscoveredPattern
from kubernaut.core.ports import Manifest, ObjectRef

_KIND = "DiscoveredPattern"


class Objects(Protocol):
    """The part of a cluster's client that patterns are written with."""

    async def list(self, api_version: str, kind: str, namespace: str) -> list[Manifest]:
        """Read all objects of a kind in a namespace."""
        ...

    async def create(self, manifest: Manifest) -> Manifest:
        """Create an object of a fixed name. Raises AlreadyExists."""
        ...

    async def patch_status(self, ref: ObjectRef, body: Manifest, *, resource_version: str) -> Manifest:
        """Merge-patch the status subresource under an optimistic lock."""
        ...


class ClusterPatterns:
    """The patterns of one namespace; fulfils ``publish.PatternSink``."""

    def __init__(self, objects: Objects, namespace: str) -> None:
        self._objects, self._namespace = objects, namespace

    async def list(self) -> Sequence[DiscoveredPattern]:
        """Read all patterns of the namespace. Raises Forbidden, NotFound (no such CRD), Unavailable."""
        found = await self._objects.list(API_VERSION, _KIND, self._namespace)
        return [_read(one) for one in found]

    async def create(self, pattern: DiscoveredPattern) -> DiscoveredPattern:
        """Create an object without status. Raises AlreadyExists, Forbidden, Unavailable."""
        manifest: Manifest = {
            "apiVersion": API_VERSION,
            "kind": _KIND,
            "metadata": {
                "name": pattern.metadata.name,
                "namespace": self._namespace,
                "labels": pattern.metadata.labels,
            },
            "spec": pattern.spec.wire(),
        }
        return _read(await self._objects.create(manifest))

    async def patch_status(self, pattern: DiscoveredPattern, status: dict[str, Any]) -> None:
        """Write the status of the object as it was read. Raises Conflict where it changed since."""
        meta = pattern.metadata
        ref = ObjectRef(API_VERSION, _KIND, self._namespace, meta.name, meta.uid)
        await self._objects.patch_status(ref, {"status": status}, resource_version=meta.resource_version)


def _read(manifest: Manifest) -> DiscoveredPattern:
    """Read an object; what a later version wrote into it stays there, and keeps nothing from being learned."""
    try:
        return DiscoveredPattern.model_validate(manifest, extra="ignore")
    except ValidationError:
        # The status is ours to write anew.
        return DiscoveredPattern.model_validate({**manifest, "status": None}, extra="ignore")
