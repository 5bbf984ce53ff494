"""A replica's session: one lease that it renews, and by which everything that names the session is its.

As in Chubby and ZooKeeper, only the session is renewed, not each of the things held by it: what a replica writes at
rest does not grow with what it holds.
"""

from __future__ import annotations

import hashlib
import logging
import re
import uuid
from collections.abc import Callable
from typing import Final

from kubernaut.cluster.leases import Holder, Lease, Leases, boottime
from kubernaut.core.errors import AlreadyExists, Conflict, NotFound

log = logging.getLogger(__name__)
PREFIX: Final = "kubernaut-member-"


def member_name(identity: str) -> str:
    """Return the name of the lease of a replica's session."""
    name = re.sub(r"[^a-z0-9.-]+", "-", identity.lower()).strip("-.")
    if name != identity or len(name) > 200:
        name = f"{name[:180]}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}".strip("-.")
    return PREFIX + name


class Session:
    """The own session. It is over for good once its lease does not name it any more, and another one begins then.

    Args:
        identity: who we are; the same after a restart, and nobody else's.
        shards: how many shards we know; written for others to see.
        duration: seconds for which a renewal counts, from the moment it was sent.
        monotonic: a clock that runs on while the process is stopped.
    """

    def __init__(
        self,
        leases: Leases,
        identity: str,
        shards: int,
        duration: float,
        monotonic: Callable[[], float] = boottime,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        self._leases = leases
        self._shards = shards
        self._duration = duration
        self._monotonic = monotonic
        self._new_id = new_id
        self._lease: Lease | None = None
        self._until = float("-inf")
        self._looked = False
        self._earlier = ""
        self._closed = False
        self.identity = identity
        self.name = member_name(identity)
        self.id = new_id()
        self.twin = False
        #: is told each version of the own lease that was written
        self.written: Callable[[str], None] = lambda _: None

    @property
    def valid(self) -> bool:
        """Whether nobody can have ended the session: exact at any moment, after the process was stopped too."""
        return self._monotonic() < self._until

    @property
    def joined(self) -> bool:
        """Whether the session has a lease, as far as is known."""
        return self._lease is not None

    @property
    def holder(self) -> Holder:
        """Who writes leases in this session."""
        return Holder(self.identity, self.id, self._shards, self._duration)

    async def join(self, seen: Lease | None) -> bool:
        """Begin the session, given the lease of our name as just read (None: there is none).

        A lease of an earlier life of ours is taken over at once. One that appeared later belongs to another process
        under our name: it is left alone until it is stale, and ``twin`` says so.

        Raises:
            ClusterError: it is not known whether the session began; look again.
        """
        if not self._looked:
            self._looked, self._earlier = True, seen.session if seen else ""
        self.twin = seen is not None and seen.session not in (self.id, self._earlier)
        if self.twin or self._closed:
            return False
        sent = self._monotonic()
        try:
            self._lease = await self._leases.take(self.name, seen, self.holder)
        except (AlreadyExists, Conflict, NotFound):
            return False
        self._until = sent + self._duration
        self.written(self._lease.version)
        return True

    async def renew(self) -> bool:
        """Renew; return False where the session is over, and another one must be begun.

        Raises:
            ClusterError: it could not be renewed now; the last renewal counts on until its time is over.
        """
        assert self._lease is not None
        for _ in range(2):
            # The moment of sending counts: others may see the renewal at any time after it.
            sent = self._monotonic()
            try:
                self._lease = await self._leases.renew(self._lease)
            except (Conflict, NotFound):
                found = (await self._leases.read()).get(self.name)
                if found is None or found.session != self.id:
                    self.end()
                    return False
                self._lease = found  # a renewal whose answer was lost
                continue
            self._until = sent + self._duration
            self.written(self._lease.version)
            return True
        raise Conflict(f"lease {self.name} keeps being changed by others", status=409)

    def end(self) -> None:
        """Take note that the session is over."""
        log.warning("the session of this replica is over", extra={"lease": self.name, "session": self.id})
        self._lease, self._until = None, float("-inf")
        self.id = self._new_id()

    async def close(self) -> None:
        """End the session by deleting its lease: whatever names it is free at once.

        Raises:
            ClusterError: it could not be deleted; others wait until it is stale.
        """
        lease, self._lease = self._lease, None
        self._until, self._closed = float("-inf"), True
        for _ in range(2):
            if lease is None:
                return
            try:
                await self._leases.remove(lease)
            except NotFound:
                return
            except Conflict:
                # A renewal that was broken off with its answer under way made the lease newer than we know.
                found = (await self._leases.read()).get(self.name)
                lease = found if found is not None and found.session == self.id else None
            else:
                return
        if lease is not None:
            raise Conflict(f"lease {self.name} keeps being changed by others", status=409)
