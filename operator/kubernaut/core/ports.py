"""What the layers above core are given from outside, as Protocols."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """One object of the cluster; ``namespace`` is empty for cluster-scoped kinds."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str = ""

    def __str__(self) -> str:
        where = f"{self.namespace}/" if self.namespace else ""
        return f"{self.kind} {where}{self.name}"

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> ObjectRef:
        """Return the reference of an object as read from the API server."""
        meta = manifest["metadata"]
        return cls(
            manifest["apiVersion"],
            manifest["kind"],
            meta.get("namespace", ""),
            meta["name"],
            meta.get("uid", ""),
        )


@dataclass(frozen=True, slots=True)
class Right:
    """One right a step needs, in RBAC's terms; empty ``names`` means any object.

    ``everywhere`` says that it is needed in all namespaces, for objects that belong to some.
    """

    verb: str
    group: str
    resource: str
    names: tuple[str, ...] = ()
    everywhere: bool = False

    def __str__(self) -> str:
        group = f".{self.group}" if self.group else ""
        return f"{self.verb} {self.resource}{group}"


class Cluster(Protocol):
    """A cluster as one account sees it. Every method raises ``core.errors.ClusterError`` subclasses.

    Objects are plain JSON (``dict``) with apiVersion and kind set. Every mutation carries a precondition.
    """

    async def get(self, ref: ObjectRef) -> Manifest:
        """Read one object, quorum read. Raises NotFound, Forbidden, Unavailable."""
        ...

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
        """Read all objects that match, paged by ``limit``; apiVersion and kind are set on each item."""
        ...

    async def patch(
        self,
        ref: ObjectRef,
        body: Manifest,
        *,
        resource_version: str,
        strategic: bool = False,
        subresource: str = "",
        dry_run: bool = False,
    ) -> Manifest:
        """Merge-patch an object; ``resource_version`` is put into the patch as its precondition.

        Args:
            subresource: ``status`` or ``ephemeralcontainers``, where what is changed can be written there alone.
                The API server ignores anything else in the patch then, a marker included.
        """
        ...

    async def create(self, manifest: Manifest, *, dry_run: bool = False) -> Manifest:
        """Create an object of a fixed name (the precondition). Raises AlreadyExists."""
        ...

    async def delete(
        self,
        ref: ObjectRef,
        *,
        uid: str,
        resource_version: str = "",
        grace_period_seconds: int | None = None,
        propagation: str = "Background",
        dry_run: bool = False,
    ) -> None:
        """Delete the object with this UID; Conflict if it is another, NotFound if it is gone.

        Args:
            resource_version: where given, Conflict too if the object changed since.
            propagation: what becomes of what it owns: Background, Foreground or Orphan.
        """
        ...

    async def evict(self, ref: ObjectRef, *, uid: str, dry_run: bool = False) -> None:
        """Evict a pod with this UID by the Eviction API; TooManyRequests if a disruption budget refuses."""
        ...

    async def logs(
        self,
        ref: ObjectRef,
        *,
        container: str,
        previous: bool = False,
        tail_lines: int = 100,
        limit_bytes: int = 65536,
    ) -> str:
        """Read a container's log."""
        ...

    def watch(self, ref: ObjectRef) -> AsyncIterator[Manifest | None]:
        """Yield the object now and after each change; None where it does not exist. Ends with an error."""
        ...


class RevisionEvidence(Protocol):
    """What was seen of ReplicaSets over time; the API server itself keeps no such memory."""

    async def seen_available(self, uids: Sequence[str]) -> frozenset[str]:
        """Return those of the ReplicaSet UIDs that were ever seen with an available replica. Never raises."""
        ...
