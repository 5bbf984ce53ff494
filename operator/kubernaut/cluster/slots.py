"""Units of scarce resources as Leases: one object per unit, taken and given back by compare-and-set only.

Whoever writes its name into the Lease of a unit has the unit, whatever replica it is and whatever that replica
believes; nobody takes a unit of an index that the capacity does not have (docs/adr/0017).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from kubernaut.api.names import GROUP
from kubernaut.core.ports import Manifest, ObjectRef

API: Final = "coordination.k8s.io/v1"
PREFIX: Final = "kubernaut-capacity-"
LABEL_CAPACITY: Final = f"{GROUP}/capacity"


class SlotCluster(Protocol):
    """What slots need of a cluster."""

    async def list(
        self, api_version: str, kind: str, namespace: str, *, label_selector: str = ""
    ) -> list[Manifest]: ...

    async def create(self, manifest: Manifest) -> Manifest: ...

    async def patch(self, ref: ObjectRef, body: Manifest, *, resource_version: str) -> Manifest: ...


@dataclass(frozen=True, slots=True)
class Slot:
    """One unit of a resource as read.

    Attributes:
        version: its resourceVersion: what a write is made conditional on.
        holder: UID of a run and path of its step, as in ``<uid>/<step>``; empty where nobody holds the unit.
    """

    resource: str
    index: int
    version: str
    holder: str

    @property
    def name(self) -> str:
        """The name of its Lease."""
        return f"{PREFIX}{self.resource}-{self.index}"

    @property
    def run(self) -> str:
        """The UID of the run that holds it."""
        return self.holder.partition("/")[0]

    @property
    def step(self) -> str:
        """The step that holds it."""
        return self.holder.partition("/")[2]

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> Slot | None:
        """Read a Lease; None where it is none of ours by its name."""
        meta = manifest["metadata"]
        resource, _, index = str(meta["name"]).removeprefix(PREFIX).rpartition("-")
        if not meta["name"].startswith(PREFIX) or not resource or not (index.isascii() and index.isdigit()):
            return None
        holder = (manifest.get("spec") or {}).get("holderIdentity") or ""
        return cls(resource, int(index), meta["resourceVersion"], holder)


class Slots:
    """The units of all resources.

    Every method raises ``core.errors.ClusterError``: Conflict, NotFound or AlreadyExists where somebody was faster,
    UnknownOutcome where a write may have landed.

    Args:
        clock: the time that is written for people to read.
    """

    def __init__(self, cluster: SlotCluster, namespace: str, clock: Callable[[], datetime]) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._clock = clock

    async def read(self) -> list[Slot]:
        """Return all units that were ever taken, from etcd's quorum."""
        found = await self._cluster.list(API, "Lease", self._namespace, label_selector=LABEL_CAPACITY)
        return [slot for slot in map(Slot.of, found) if slot is not None]

    async def create(self, resource: str, index: int, holder: str) -> Slot:
        """Take a unit that nobody ever took."""
        slot = Slot(resource, index, "", holder)
        meta = {"name": slot.name, "namespace": self._namespace, "labels": {LABEL_CAPACITY: resource}}
        spec = {"holderIdentity": holder, "acquireTime": self._now()}
        body = {"apiVersion": API, "kind": "Lease", "metadata": meta, "spec": spec}
        return self._read_back(slot, await self._cluster.create(body))

    async def take(self, seen: Slot, holder: str) -> Slot:
        """Take a unit that is free as seen."""
        return await self._patch(seen, {"holderIdentity": holder, "acquireTime": self._now()})

    async def free(self, seen: Slot) -> Slot:
        """Give a unit back, provided that it is as seen."""
        return await self._patch(seen, {"holderIdentity": None, "acquireTime": None})

    async def _patch(self, seen: Slot, spec: Manifest) -> Slot:
        ref = ObjectRef(API, "Lease", self._namespace, seen.name)
        written = await self._cluster.patch(ref, {"spec": spec}, resource_version=seen.version)
        return self._read_back(seen, written)

    @staticmethod
    def _read_back(slot: Slot, written: Mapping[str, Any]) -> Slot:
        holder = (written.get("spec") or {}).get("holderIdentity") or ""
        return Slot(slot.resource, slot.index, written["metadata"]["resourceVersion"], holder)

    def _now(self) -> str:
        return self._clock().astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
