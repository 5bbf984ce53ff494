"""Snapshots that nobody needs any more are deleted; a run keeps its own as long as its object exists."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from kubernaut.api.names import LABEL_MANAGED_BY, LABEL_WORKFLOW, MANAGER
from kubernaut.core.errors import ClusterError, Conflict, NotFound
from kubernaut.core.ports import Manifest, ObjectRef
from kubernaut.engine.backoff import AWAY
from kubernaut.engine.ports import OperatorCluster
from kubernaut.engine.turns import turn
from kubernaut.metrics import WRITES

log = logging.getLogger(__name__)
Snapshot = tuple[str, str]


KEPT: Final = 10


@dataclass(frozen=True, slots=True)
class _Kept:
    """A snapshot as far as it matters here."""

    ref: ObjectRef
    workflow: str
    revision: int
    made: datetime

    @property
    def name(self) -> Snapshot:
        return self.ref.namespace, self.ref.name


class SnapshotSweep:
    """Deletes snapshots that no run and no Workflow refers to.

    A young one is spared: a run may be about to claim it. So are the newest ten of a Workflow that exists, for people
    who want to go back to one.
    """

    def __init__(
        self,
        cluster: OperatorCluster,
        forget: Callable[[str, str], None],
        clock: Callable[[], datetime],
        spare_for: timedelta = timedelta(minutes=10),
    ) -> None:
        self._cluster = cluster
        self._forget = forget
        self._clock = clock
        self._spare_for = spare_for

    async def __call__(self, used: Callable[[], set[Snapshot]]) -> int:
        """Sweep once; return how many were deleted.

        Raises:
            ClusterError: they can't be listed, or the API server is away; what is left is swept the next time.
        """
        found: dict[tuple[str, str], list[_Kept]] = {}
        selector = f"{LABEL_MANAGED_BY}={MANAGER}"
        pages = self._cluster.list_pages("apps/v1", "ControllerRevision", label_selector=selector)
        async for page in pages:
            for one in map(_kept, page):
                found.setdefault((one.ref.namespace, one.workflow), []).append(one)
        # To gather what is used looks at every run: once for all, and anew only where something would be deleted.
        deleted, needed = 0, used()
        for snapshots in found.values():
            await turn()
            if not self._unneeded(snapshots, needed):
                continue
            needed = used()
            for one in self._unneeded(snapshots, needed):
                deleted += await self._delete(one.ref)
        if deleted:
            log.info("deleted snapshots that nobody needs", extra={"snapshots": deleted})
        return deleted

    def _unneeded(self, snapshots: list[_Kept], needed: set[Snapshot]) -> list[_Kept]:
        newest = sorted(snapshots, key=lambda one: (one.revision, one.made), reverse=True)
        in_use = any(one.name in needed for one in snapshots)
        old = newest[KEPT:] if in_use else newest
        return [one for one in old if one.name not in needed and not self._young(one)]

    async def _delete(self, ref: ObjectRef) -> bool:
        self._forget(ref.namespace, ref.name)
        try:
            WRITES.labels("snapshot").inc()
            await self._cluster.delete(ref, uid=ref.uid)
        except (NotFound, Conflict):
            return False
        except AWAY:
            raise
        except ClusterError as error:
            # Whoever refuses this one, as a webhook may for ever, must not keep those behind it.
            log.warning("a snapshot could not be deleted", extra={"snapshot": str(ref), "error": str(error)})
            return False
        return True

    def _young(self, one: _Kept) -> bool:
        return self._clock() - one.made < self._spare_for


def _kept(manifest: Manifest) -> _Kept:
    meta = manifest["metadata"]
    labels = meta.get("labels") or {}
    made = datetime.fromisoformat(meta["creationTimestamp"])
    return _Kept(
        ObjectRef.of(manifest), labels.get(LABEL_WORKFLOW, ""), int(manifest.get("revision", 0)), made
    )
