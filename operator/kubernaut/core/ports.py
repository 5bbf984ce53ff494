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

    async def apply(
        self,
        manifest: Manifest,
        *,
        uid: str,
        resource_version: str,
        manager: str,
        force: bool = False,
        dry_run: bool = False,
    ) -> Manifest:
        """Apply the fields of a manifest to an object that exists, on the server's side; they are the manager's then.

        UID and resourceVersion are preconditions. Raises OwnedByOthers where others own a field that would change,
        unless forced.
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

    def watch(self, ref: ObjectRef, *, since: str = "") -> AsyncIterator[Manifest | None]:
        """Yield the object now and after each change; None where it does not exist. Ends with an error.

        Args:
            since: resourceVersion of the object as it is known already: it is told of from then on, not as it is now.
        """
        ...


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One HTTP request to somebody else than the API server.

    Attributes:
        timeout: seconds for everything.
        most: of the answer's body, so many bytes are read.
        reads: whether it changes nothing, so that it may be sent again.
        beyond: whether it concerns more than the run's namespace, which that has to be allowed.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = b""
    timeout: float = 10.0
    most: int = 64 * 1024
    reads: bool = False
    beyond: bool = False


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """The answer.

    Attributes:
        status: 0 where nothing was sent, because the run is a dry one.
        whole: whether ``body`` is all of it.
    """

    status: int
    body: bytes = b""
    whole: bool = True


class Web(Protocol):
    """Sends HTTP requests where the operator's settings allow it.

    Attributes:
        alertmanager: the URL of the Alertmanager that the settings name; empty where they name none.
    """

    @property
    def alertmanager(self) -> str: ...

    async def send(self, request: HttpRequest) -> HttpAnswer:
        """Send it once; redirects are not followed.

        Raises:
            StepError: AddressRefused, where it may not go there.
            Unavailable: it certainly was not sent, or may be sent again.
            UnknownOutcome: it was, or may have been, sent, and there was no whole answer.
        """
        ...


class NoWeb:
    """For what has no way out."""

    alertmanager = ""

    async def send(self, request: HttpRequest) -> HttpAnswer:
        """Refuse."""
        raise NotImplementedError("no HTTP requests can be sent from here")


class RevisionEvidence(Protocol):
    """What was seen of ReplicaSets over time; the API server itself keeps no such memory."""

    async def seen_available(self, uids: Sequence[str]) -> frozenset[str]:
        """Return those of the ReplicaSet UIDs that were ever seen with an available replica. Never raises."""
        ...
