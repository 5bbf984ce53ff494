"""Writing a run's status: with optimistic lock, and only when there is something to tell."""

from __future__ import annotations

from typing import Any

from kubernaut.api.base import ApiModel
from kubernaut.api.execution import WorkflowExecutionStatus
from kubernaut.core.errors import ClusterError, Conflict, NotFound, Unavailable, UnknownOutcome
from kubernaut.core.ports import Manifest
from kubernaut.engine import traces
from kubernaut.engine.live import LiveRun, alike, parse_status
from kubernaut.engine.ports import OperatorCluster
from kubernaut.metrics import WRITES


class StatusStore:
    """Stores statuses of runs and notices when somebody else did."""

    def __init__(self, cluster: OperatorCluster) -> None:
        self._cluster = cluster

    async def store(self, live: LiveRun) -> bool:
        """Write the run's status; return False where somebody else has stored another, which is taken up then.

        Raises:
            ClusterError: the API server refused or is away.
            Unreadable: what another replica stored meanwhile can't be read here.
        """
        held = live.lease()
        if held is not None:
            raise Unavailable(f"the status of {live.ref} was not written: {held.message}")
        body = {"status": merge_patch_of(live.status)}
        wanted, before = live.status, live.stored
        for _ in range(5):
            if live.moved is not None:
                live.take_over(live.moved)
                return False
            live.sent = wanted
            try:
                WRITES.labels("status").inc()
                written = await self._cluster.patch_status(
                    live.ref, body, resource_version=live.resource_version
                )
            except (Conflict, UnknownOutcome):
                fresh = await self._read(live)
                if fresh is None:
                    return False
                stored = parse_status(fresh)
                live.observe(fresh)
                if alike(stored, wanted):
                    return self._done(live, wanted, before)
                if not alike(stored, live.stored):
                    # Another replica moved the run on: what it stored is the truth.
                    live.take_over(stored)
                    return False
                continue
            except NotFound:
                live.gone = True
                return False
            live.observe(written, own=True)
            return self._done(live, wanted, before)
        raise ClusterError(f"the status of {live.ref} could not be written: it keeps being changed by others")

    @staticmethod
    def _done(live: LiveRun, wanted: WorkflowExecutionStatus, before: WorkflowExecutionStatus) -> bool:
        """Take note that a status is stored; False where a watch has brought one that somebody stored upon it."""
        live.stored = wanted
        traces.tell(live, before)
        if live.moved is None:
            return True
        live.take_over(live.moved)
        return False

    async def _read(self, live: LiveRun) -> Manifest | None:
        try:
            fresh = await self._cluster.get(live.ref)
        except NotFound:
            live.gone = True
            return None
        if fresh["metadata"]["uid"] != live.uid:
            live.gone = True
            return None
        return fresh


def merge_patch_of(status: ApiModel) -> dict[str, Any]:
    """Return a merge patch that makes the stored status equal to this one: what is unset is removed."""
    wire = status.wire()
    fields = type(status).model_fields
    unset = {field.alias or name: None for name, field in fields.items() if getattr(status, name) is None}
    return {**wire, **unset}
