"""What an effect takes down, asked before each request: no more than guards let be unavailable."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from kubernaut.api.reasons import Reason
from kubernaut.core.errors import NotFound, StepError
from kubernaut.core.fields import apply_merge_patch
from kubernaut.core.gitops.changing import merged
from kubernaut.core.guards.disrupting import (
    WORKLOADS,
    Takes,
    by_change,
    by_deletion,
    by_removal,
    refused,
    selects,
)
from kubernaut.core.guards.levels import Level, most_unavailable
from kubernaut.core.ports import Cluster, Manifest, ObjectRef


class Disruption:
    """How much one effect may take down.

    A workload is judged as the action itself has read it, for that is what its precondition speaks of; one that it
    did not read is read here, as the same account. Which workload a pod belongs to follows from the run's target,
    where that selects it, and else from the pod's controller.
    """

    def __init__(self, levels: Sequence[Level], cluster: Cluster, target: ObjectRef) -> None:
        self._said = most_unavailable(levels)
        self._cluster = cluster
        self._target = target
        self._seen: dict[ObjectRef, Manifest] = {}
        self._removed: dict[str, set[str]] = defaultdict(set)
        self._one_by_one = asyncio.Lock()

    def note(self, manifest: Manifest) -> None:
        """Take note of an object that was read."""
        kind = manifest.get("kind")
        if self._said is not None and "metadata" in manifest and (kind in WORKLOADS or kind == "Pod"):
            self._seen[_key(ObjectRef.of(manifest))] = manifest

    async def demand_change(self, ref: ObjectRef, body: Manifest, version: str, what: str) -> None:
        """Let an object be patched, or a manifest be applied to it.

        Raises:
            StepError: TooFewHealthy, where that would take down too much.
            ClusterError: that can't be found out.
        """
        if self._said is None or not (ref.kind in WORKLOADS or ref.kind == "Pod"):
            return
        seen = self._seen.get(_key(ref))
        if seen is None or (version and seen["metadata"].get("resourceVersion") != version):
            seen = await self._cluster.get(_key(ref))
        desired = merged(seen, body) if "kind" in body else apply_merge_patch(seen, body)
        if ref.kind in WORKLOADS:
            self._demand(by_change(seen, desired), what)
            return
        workload = await self._workload(seen)
        # A pod that is selected no longer is missing, whatever becomes of it.
        if workload is not None and selects(workload, seen) and not selects(workload, desired):
            self._demand(by_removal(seen, workload), what)

    async def demand_deletion(self, ref: ObjectRef, uid: str, propagation: str, what: str) -> None:
        """Let an object be deleted; raises as ``demand_change``."""
        if self._said is None:
            return
        if ref.kind == "Pod":
            await self.demand_removal(ref, uid, what)
        elif ref.kind in WORKLOADS:
            self._demand(by_deletion(await self._read(ref), propagation), what)

    async def demand_removal(self, ref: ObjectRef, uid: str, what: str) -> None:
        """Let a pod be evicted or deleted; raises as ``demand_change``.

        Those that this effect removes at the same time count before its workload's status tells of them.
        """
        if self._said is None:
            return
        async with self._one_by_one:
            pod = await self._read(ref)
            if pod["metadata"]["uid"] != uid or (workload := await self._workload(pod)) is None:
                return
            removed = self._removed[workload["metadata"]["uid"]]
            takes = by_removal(pod, workload, len(removed - {uid}))
            self._demand(takes, what)
            if takes is not None and takes.replicas:
                removed.add(uid)

    def not_removed(self, uid: str) -> None:
        """Take note that a pod was not removed after all."""
        for removed in self._removed.values():
            removed.discard(uid)

    def _demand(self, takes: Takes | None, what: str) -> None:
        if takes is None or self._said is None:
            return
        told = refused(takes, *self._said)
        if told:
            raise StepError(f"{what} was not sent: {told}", reason=Reason.TOO_FEW_HEALTHY)

    async def _read(self, ref: ObjectRef) -> Manifest:
        seen = self._seen.get(_key(ref))
        return seen if seen is not None else await self._cluster.get(_key(ref))

    async def _workload(self, pod: Manifest) -> Manifest | None:
        """Return the workload that a pod belongs to, as it is now; None where none tells how many it has."""
        if self._target.kind in WORKLOADS and self._target.namespace == pod["metadata"].get("namespace"):
            target = await self._found(_key(self._target))
            if target is not None and selects(target, pod):
                return target
        owners = pod["metadata"].get("ownerReferences") or ()
        owner = next((one for one in owners if one.get("controller")), None)
        if owner is None or owner["kind"] not in WORKLOADS:
            return None
        where = pod["metadata"]["namespace"]
        return await self._found(ObjectRef(owner["apiVersion"], owner["kind"], where, owner["name"]))

    async def _found(self, ref: ObjectRef) -> Manifest | None:
        try:
            return await self._cluster.get(ref)
        except NotFound:
            return None


def _key(ref: ObjectRef) -> ObjectRef:
    return replace(ref, uid="")
