"""A cluster in memory with the API server's optimistic locks: enough for what keeps one object."""

from __future__ import annotations

import copy
from typing import Any

from kubernaut.core.errors import AlreadyExists, Conflict, NotFound
from kubernaut.core.ports import Manifest, ObjectRef


class MemoryCluster:
    """Objects by reference; ``trouble`` is raised by the next call of a method, once for each entry."""

    def __init__(self, *manifests: Manifest) -> None:
        self.objects: dict[ObjectRef, Manifest] = {}
        self.trouble: dict[str, list[Exception]] = {}
        self.calls: list[str] = []
        self._version = 0
        for manifest in manifests:
            self._store(manifest)

    def _store(self, manifest: Manifest) -> Manifest:
        self._version += 1
        stored = copy.deepcopy(manifest)
        stored["metadata"]["resourceVersion"] = str(self._version)
        self.objects[self._key(stored)] = stored
        return copy.deepcopy(stored)

    @staticmethod
    def _key(manifest: Manifest) -> ObjectRef:
        meta = manifest["metadata"]
        return ObjectRef(manifest["apiVersion"], manifest["kind"], meta.get("namespace", ""), meta["name"])

    def _begin(self, method: str) -> None:
        self.calls.append(method)
        if self.trouble.get(method):
            raise self.trouble[method].pop(0)

    def edit(self, ref: ObjectRef, **fields: Any) -> None:
        """Change an object as somebody else."""
        self._store({**self.objects[ref], **fields})

    async def get(self, ref: ObjectRef, **_: Any) -> Manifest:
        self._begin("get")
        if ref not in self.objects:
            raise NotFound(f"{ref}", status=404)
        return copy.deepcopy(self.objects[ref])

    async def create(self, manifest: Manifest, *, dry_run: bool = False) -> Manifest:
        self._begin("create")
        if self._key(manifest) in self.objects:
            raise AlreadyExists("it exists", status=409)
        return self._store(manifest)

    async def patch(
        self,
        ref: ObjectRef,
        body: Manifest,
        *,
        resource_version: str,
        strategic: bool = False,
        dry_run: bool = False,
    ) -> Manifest:
        self._begin("patch")
        current = await self.get(ref)
        if current["metadata"]["resourceVersion"] != resource_version:
            raise Conflict("changed", status=409)
        return self._store(_merged(current, body))


def _merged(old: Any, new: Any) -> Any:
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    merged = {**old, **{key: _merged(old.get(key), value) for key, value in new.items()}}
    return {key: value for key, value in merged.items() if value is not None}
