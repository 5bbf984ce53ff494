"""A Lease for each sync that a run has paused: where to look for what is to be let go on, whatever becomes of it.

It is written before the pause, and deleted after it was lifted. Whoever lists Leases finds every pause, also after a
crash and where run and Workflow are gone; what is to be put back is on the paused object itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from kubernaut.api.guards import Resume
from kubernaut.api.names import LABEL_PAUSE, TICKET_ANNOTATION
from kubernaut.core.errors import AlreadyExists, Conflict, NotFound
from kubernaut.core.ports import Manifest, ObjectRef

API: Final = "coordination.k8s.io/v1"
PREFIX: Final = "kubernaut-pause-"


class TicketCluster(Protocol):
    """What tickets need of the operator's own cluster."""

    async def list(
        self, api_version: str, kind: str, namespace: str, *, label_selector: str = ""
    ) -> list[Manifest]: ...

    async def create(self, manifest: Manifest) -> Manifest: ...

    async def delete(self, ref: ObjectRef, *, uid: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Ticket:
    """One pause of one run.

    Attributes:
        owner: the paused object, UID included.
        namespace: the run's.
        account: the ServiceAccount of that namespace as which it was paused.
        resume: when it is let go on.
        uid: that of the Lease; empty while it is not known.
    """

    owner: ObjectRef
    namespace: str
    account: str
    run: str
    run_uid: str
    until: datetime
    resume: Resume
    uid: str = ""

    @property
    def name(self) -> str:
        """The name of the Lease: one for each run and object."""
        key = f"{self.run_uid}\n{self.owner.uid}"
        return f"{PREFIX}{hashlib.sha256(key.encode()).hexdigest()[:20]}"

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> Ticket | None:
        """Read a Lease; None where it says nothing that can be understood."""
        meta = manifest["metadata"]
        try:
            told = json.loads((meta.get("annotations") or {})[TICKET_ANNOTATION])
            owner = ObjectRef(**told["owner"])
            until, resume = datetime.fromisoformat(told["until"]), Resume(told["resume"])
            if until.tzinfo is None:
                # It is written with a zone; who edits it by hand may leave that off.
                until = until.replace(tzinfo=UTC)
            return cls(
                owner,
                told["namespace"],
                told["account"],
                told["run"],
                told["runUid"],
                until,
                resume,
                meta["uid"],
            )
        except (ValueError, KeyError, TypeError):
            return None

    def manifest(self, namespace: str) -> Manifest:
        """Return the Lease."""
        owner = {
            "api_version": self.owner.api_version,
            "kind": self.owner.kind,
            "namespace": self.owner.namespace,
            "name": self.owner.name,
            "uid": self.owner.uid,
        }
        told = {
            "owner": owner,
            "namespace": self.namespace,
            "account": self.account,
            "run": self.run,
            "runUid": self.run_uid,
            "until": self.until.astimezone(UTC).isoformat(),
            "resume": self.resume.value,
        }
        meta = {
            "name": self.name,
            "namespace": namespace,
            "labels": {LABEL_PAUSE: "true"},
            "annotations": {TICKET_ANNOTATION: json.dumps(told, sort_keys=True)},
        }
        return {
            "apiVersion": API,
            "kind": "Lease",
            "metadata": meta,
            "spec": {"holderIdentity": self.run_uid},
        }


class Tickets:
    """All tickets. Every method raises ``core.errors.ClusterError``."""

    def __init__(self, cluster: TicketCluster, namespace: str) -> None:
        self._cluster = cluster
        self._namespace = namespace

    async def read(self) -> list[Ticket]:
        """Return all there are, from etcd's quorum."""
        found = await self._cluster.list(API, "Lease", self._namespace, label_selector=f"{LABEL_PAUSE}=true")
        return [ticket for ticket in map(Ticket.of, found) if ticket is not None]

    async def write(self, ticket: Ticket) -> Ticket | None:
        """Write a ticket; one that the run wrote before for the object stays as it is, and None is returned."""
        try:
            made = await self._cluster.create(ticket.manifest(self._namespace))
        except AlreadyExists:
            return None
        return replace(ticket, uid=made["metadata"]["uid"])

    async def tear(self, ticket: Ticket) -> None:
        """Delete a ticket as read; one that is gone is fine."""
        try:
            await self._cluster.delete(ObjectRef(API, "Lease", self._namespace, ticket.name), uid=ticket.uid)
        except (NotFound, Conflict):
            return
