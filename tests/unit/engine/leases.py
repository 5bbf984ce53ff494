"""Leases in memory: compare-and-set, and requests whose answers are lost."""

from __future__ import annotations

import copy
from typing import Any

from kubernaut.cluster.slots import LABEL_CAPACITY, Slots
from kubernaut.core.errors import AlreadyExists, Conflict, UnknownOutcome
from kubernaut.core.ports import Manifest, ObjectRef
from unit.engine.world import EPOCH


class LeaseServer:
    """An API server that knows Leases only."""

    def __init__(self) -> None:
        self.objects: dict[str, Manifest] = {}
        self.requests: list[str] = []
        self.losses: list[bool] = []
        """For each next write: whether its answer is lost once it has landed."""
        self.most: dict[str, int] = {}
        """Most units of each resource that were held at once."""
        self._version = 0

    def units(self) -> Slots:
        return Slots(self, "system", lambda: EPOCH)

    def holders(self) -> dict[str, str]:
        """Return who holds which unit, by its name without prefix."""
        found = {
            name.removeprefix("kubernaut-capacity-"): one["spec"].get("holderIdentity")
            for name, one in self.objects.items()
        }
        return {name: holder for name, holder in found.items() if holder}

    async def list(
        self, api_version: str, kind: str, namespace: str, *, label_selector: str = ""
    ) -> list[Manifest]:
        self.requests.append("list")
        assert label_selector == LABEL_CAPACITY
        return copy.deepcopy(list(self.objects.values()))

    async def create(self, manifest: Manifest) -> Manifest:
        name = manifest["metadata"]["name"]
        self.requests.append(f"create {name}")
        if name in self.objects:
            raise AlreadyExists(name, status=409)
        return self._store(name, copy.deepcopy(manifest))

    async def patch(self, ref: ObjectRef, body: Manifest, *, resource_version: str) -> Manifest:
        self.requests.append(f"patch {ref.name}")
        old = self.objects[ref.name]
        if old["metadata"]["resourceVersion"] != resource_version:
            raise Conflict(ref.name, status=409)
        spec: dict[str, Any] = {**old["spec"], **body["spec"]}
        kept = {key: value for key, value in spec.items() if value is not None}
        return self._store(ref.name, {**old, "metadata": dict(old["metadata"]), "spec": kept})

    def _store(self, name: str, manifest: Manifest) -> Manifest:
        self._version += 1
        manifest["metadata"]["resourceVersion"] = str(self._version)
        self.objects[name] = manifest
        resource = manifest["metadata"]["labels"][LABEL_CAPACITY]
        held = [unit for unit in self.holders() if unit.rpartition("-")[0] == resource]
        self.most[resource] = max(self.most.get(resource, 0), len(held))
        if self.losses and self.losses.pop(0):
            raise UnknownOutcome("no answer")
        return copy.deepcopy(manifest)
