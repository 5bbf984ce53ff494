"""Snapshots that nobody needs any more are deleted; a run keeps its own as long as its object exists."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from kubernaut.api.names import LABEL_MANAGED_BY, MANAGER
from kubernaut.core.errors import Conflict, NotFound
from kubernaut.core.ports import Manifest, ObjectRef
from kubernaut.engine.ports import OperatorCluster
from kubernaut.metrics import WRITES

log = logging.getLogger(__name__)
Snapshot = tuple[str, str]


class SnapshotSweep:
    """Deletes snapshots that no run and no Workflow refers to.

    A young one is spared: a run may be about to claim it.
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
            ClusterError: they can't be listed or deleted; what is left is swept the next time.
        """
        deleted = 0
        selector = f"{LABEL_MANAGED_BY}={MANAGER}"
        pages = self._cluster.list_pages("apps/v1", "ControllerRevision", label_selector=selector)
        async for page in pages:
            needed = used()
            for manifest in page:
                if not self._young(manifest) and _name(manifest) not in needed:
                    deleted += await self._delete(manifest)
        if deleted:
            log.info("deleted snapshots that nobody needs", extra={"snapshots": deleted})
        return deleted

    async def _delete(self, manifest: Manifest) -> bool:
        ref = ObjectRef.of(manifest)
        self._forget(*_name(manifest))
        try:
            WRITES.labels("snapshot").inc()
            await self._cluster.delete(ref, uid=ref.uid)
        except (NotFound, Conflict):
            return False
        return True

    def _young(self, manifest: Manifest) -> bool:
        made = datetime.fromisoformat(manifest["metadata"]["creationTimestamp"])
        return self._clock() - made < self._spare_for


def _name(manifest: Manifest) -> Snapshot:
    return manifest["metadata"]["namespace"], manifest["metadata"]["name"]
