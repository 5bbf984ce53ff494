"""Leases in coordination.k8s.io: read together, and written by compare-and-set only.

The age of a lease runs on the reader's own clock since it last saw the lease change. Times written into leases are
for people: clocks of different machines are never compared.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol, TypeVar

from kubernaut.api.names import GROUP, LABEL_PART_OF
from kubernaut.core.errors import Unavailable, UnknownOutcome
from kubernaut.core.ports import Manifest, ObjectRef

API: Final = "coordination.k8s.io/v1"
SESSION_ANNOTATION: Final = f"{GROUP}/session"
SHARDS_ANNOTATION: Final = f"{GROUP}/shards"
LABELS: Final = {LABEL_PART_OF: "kubernaut"}
T = TypeVar("T")


class LeaseCluster(Protocol):
    """What leases need of a cluster."""

    async def list(
        self, api_version: str, kind: str, namespace: str, *, label_selector: str = ""
    ) -> list[Manifest]: ...

    async def create(self, manifest: Manifest) -> Manifest: ...

    async def patch(self, ref: ObjectRef, body: Manifest, *, resource_version: str) -> Manifest: ...

    async def delete(self, ref: ObjectRef, *, uid: str, resource_version: str) -> None: ...


def boottime() -> float:
    """Return seconds of a clock that nobody sets and that runs on while the machine or the process sleeps."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease as read.

    Attributes:
        version: its resourceVersion: what a write is made conditional on.
        holder: the identity of its holder; empty where it was given up.
        session: the holder's session (``cluster.session``); empty where none was written.
        shards: how many shards its writer knows; None where none was written.
        seconds: for how long after its last change it must be left to its holder.
    """

    name: str
    uid: str
    version: str
    holder: str
    session: str
    shards: int | None
    seconds: float
    transitions: int

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> Lease:
        """Read a manifest; what people may have written into it by hand never raises."""
        meta, spec = manifest["metadata"], manifest.get("spec") or {}
        notes = meta.get("annotations") or {}
        shards = str(notes.get(SHARDS_ANNOTATION, ""))
        return cls(
            meta["name"],
            meta["uid"],
            meta["resourceVersion"],
            spec.get("holderIdentity") or "",
            notes.get(SESSION_ANNOTATION, ""),
            int(shards) if shards.isascii() and shards.isdigit() else None,
            float(spec.get("leaseDurationSeconds") or 0),
            int(spec.get("leaseTransitions") or 0),
        )


@dataclass(frozen=True, slots=True)
class Holder:
    """Who writes a lease. ``seconds`` is for how long it is to be left to it after each change."""

    identity: str
    session: str
    shards: int
    seconds: float


class Leases:
    """The leases of one namespace that are ours (by their label).

    Every method raises ``core.errors.ClusterError``: Conflict, NotFound or AlreadyExists where somebody was faster,
    UnknownOutcome where a write may have landed.

    Args:
        clock: the time that is written for people to read.
        timeout: seconds that one request may take.
    """

    def __init__(
        self, cluster: LeaseCluster, namespace: str, clock: Callable[[], datetime], timeout: float
    ) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._clock = clock
        self._timeout = timeout

    async def read(self) -> dict[str, Lease]:
        """Return all leases by name, from etcd's quorum."""
        selector = ",".join(f"{key}={value}" for key, value in LABELS.items())
        try:
            async with asyncio.timeout(self._timeout):
                found = await self._cluster.list(API, "Lease", self._namespace, label_selector=selector)
        except TimeoutError:
            raise Unavailable(f"the leases were not read within {self._timeout:g} s") from None
        return {lease.name: lease for lease in map(Lease.of, found)}

    async def take(self, name: str, seen: Lease | None, holder: Holder) -> Lease:
        """Make a lease the holder's: the one as seen, or a new one where none was."""
        now = self._now()
        notes = {SESSION_ANNOTATION: holder.session, SHARDS_ANNOTATION: str(holder.shards)}
        spec: dict[str, Any] = {
            "holderIdentity": holder.identity,
            "leaseDurationSeconds": max(1, math.ceil(holder.seconds)),
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": seen.transitions + 1 if seen else 0,
        }
        if seen is None:
            meta = {"name": name, "namespace": self._namespace, "labels": LABELS, "annotations": notes}
            body = {"apiVersion": API, "kind": "Lease", "metadata": meta, "spec": spec}
            return Lease.of(await self._write(name, self._cluster.create(body)))
        return await self._patch(seen, {"metadata": {"annotations": notes}, "spec": spec})

    async def renew(self, seen: Lease) -> Lease:
        """Change a lease so that everybody sees that its holder lives."""
        return await self._patch(seen, {"spec": {"renewTime": self._now()}})

    async def give_up(self, seen: Lease) -> Lease:
        """Leave a lease to whoever wants it."""
        notes = {SESSION_ANNOTATION: None}
        return await self._patch(seen, {"metadata": {"annotations": notes}, "spec": {"holderIdentity": ""}})

    async def remove(self, seen: Lease) -> None:
        """Delete a lease, provided that it is as seen."""
        ref = ObjectRef(API, "Lease", self._namespace, seen.name, seen.uid)
        await self._write(seen.name, self._cluster.delete(ref, uid=seen.uid, resource_version=seen.version))

    async def _patch(self, seen: Lease, body: Manifest) -> Lease:
        ref = ObjectRef(API, "Lease", self._namespace, seen.name)
        written = self._cluster.patch(ref, body, resource_version=seen.version)
        return Lease.of(await self._write(seen.name, written))

    async def _write(self, name: str, request: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._timeout):
                return await request
        except TimeoutError:
            message = f"no answer within {self._timeout:g} s to a write of lease {name}; it may have landed"
            raise UnknownOutcome(message) from None

    def _now(self) -> str:
        return self._clock().astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class Ages:
    """For how long each lease has been seen unchanged, on the reader's own clock."""

    def __init__(self, monotonic: Callable[[], float] = boottime) -> None:
        self._monotonic = monotonic
        self._seen: dict[str, tuple[str, float]] = {}

    def note(self, leases: Iterable[Lease]) -> None:
        """Take note of leases that were just read; call it after the answer, never with an older one."""
        now = self._monotonic()
        known, self._seen = self._seen, {}
        for lease in leases:
            before = known.get(lease.name)
            same = before is not None and before[0] == lease.version
            self._seen[lease.name] = before if before is not None and same else (lease.version, now)

    def left(self, lease: Lease) -> float:
        """Return for how many more seconds a lease must be left to its holder; none or less: it is stale."""
        version, since = self._seen.get(lease.name, ("", 0.0))
        if version != lease.version:
            return lease.seconds
        return since + lease.seconds - self._monotonic()
