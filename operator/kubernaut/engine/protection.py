"""Objects that guards protect, whatever step reaches for them: asked before each request that would change one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kubernaut.api.reasons import Reason
from kubernaut.core.errors import StepError, TooManyRequests
from kubernaut.core.guards.levels import Level, protected_labels, protected_namespace
from kubernaut.core.ports import Cluster, Manifest, ObjectRef


class Protection:
    """What may not be changed by one effect.

    Labels are those that the action itself has read, for that is what its precondition speaks of; an object that it
    did not read is read here, as the same account.
    """

    def __init__(self, levels: Sequence[Level], cluster: Cluster) -> None:
        self._levels = levels
        self._cluster = cluster
        self._by_labels = any(level.guards.protected_labels for level in levels)
        self._budgets = next((level for level in levels if level.guards.respect_budgets), None)
        self._labels: dict[ObjectRef, Mapping[str, str]] = {}

    def note(self, manifest: Manifest) -> None:
        """Take note of an object that was read."""
        if self._by_labels and "metadata" in manifest:
            self._labels[_key(ObjectRef.of(manifest))] = manifest["metadata"].get("labels") or {}

    async def demand_namespace(self, namespace: str, what: str) -> None:
        """Let something be created in a namespace.

        Raises:
            StepError: Protected, where that namespace is.
        """
        told = protected_namespace(self._levels, namespace) if namespace else ""
        if told:
            raise StepError(f"{what} was not sent: {told}", reason=Reason.PROTECTED)

    async def demand(self, ref: ObjectRef, what: str) -> None:
        """Let an object be changed.

        Raises:
            StepError: Protected, where it is, or its namespace.
            ClusterError: its labels can't be read.
        """
        await self.demand_namespace(ref.namespace, what)
        if not self._by_labels:
            return
        if _key(ref) not in self._labels:
            self.note(await self._cluster.get(ref))
        told = protected_labels(self._levels, self._labels[_key(ref)])
        if told:
            raise StepError(f"{what} was not sent: {told}", reason=Reason.PROTECTED)

    async def demand_deletion(self, ref: ObjectRef, uid: str, what: str) -> None:
        """Let an object be deleted; of a pod its disruption budgets are asked, by an eviction that is a dry run.

        Raises:
            StepError: PreconditionFailed, where a budget would not let it be evicted; or Protected.
            ClusterError: that can't be found out.
        """
        await self.demand(ref, what)
        if self._budgets is None or (ref.api_version, ref.kind) != ("v1", "Pod"):
            return
        try:
            await self._cluster.evict(ref, uid=uid, dry_run=True)
        except TooManyRequests as error:
            if "disruption budget" not in str(error):
                raise
            message = f"{what} was not sent: {error} (respectBudgets of {self._budgets})"
            raise StepError(message, reason=Reason.PRECONDITION_FAILED) from error


def _key(ref: ObjectRef) -> ObjectRef:
    return ObjectRef(ref.api_version, ref.kind, ref.namespace, ref.name)
