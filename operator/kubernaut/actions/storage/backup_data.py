"""``backup_data``: a snapshot of a volume, taken and ready."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final

from pydantic import Field, JsonValue

from kubernaut.actions import probing
from kubernaut.actions.fencing import births, created, fence
from kubernaut.actions.objects import known_name, named, rights
from kubernaut.api.base import DnsName
from kubernaut.api.reasons import Reason
from kubernaut.core.action import ActionParameters, Done, Idempotency, Risk, StepContext
from kubernaut.core.errors import EffectFailed, NotFound, StepError
from kubernaut.core.naming import child_job
from kubernaut.core.ports import Cluster, Manifest, ObjectRef, Right
from kubernaut.core.probing import Answer, Look, Probed, Said, Sight, there

CLAIM: Final = ("v1", "PersistentVolumeClaim")
SNAPSHOT: Final = ("snapshot.storage.k8s.io/v1", "VolumeSnapshot")
_STUB: Final = "this name can't be used any more"


class BackupDataParameters(ActionParameters):
    """Parameters of ``backup_data``."""

    name: Annotated[
        DnsName | None,
        Field(description="The PersistentVolumeClaim; by default the run's target, where that is one."),
    ] = None
    snapshot_class: Annotated[
        DnsName | None,
        Field(description="The VolumeSnapshotClass; by default that of the cluster for the volume's driver."),
    ] = None


class BackupData:
    """Takes a snapshot of a volume as a VolumeSnapshot, and waits until its driver says that it is ready to use.

    The claim has to be bound and not on its way out. The snapshot's name follows from run, step and attempt, and it
    carries the step's signed mark: created again, it is found to be there. While it is not ready the step waits, and
    no worker with it; the step's `timeout` bounds that, and a snapshot that is not ready by then is deleted, as
    where the run is cancelled. What the driver tells of an error is told then; it may try again by itself, so an
    error alone does not end the step.

    A snapshot is as the volume is at that moment, as after a power cut: what an application still holds in memory is
    not in it. An application that has to be quiet first is made so by a step before. The snapshot is nobody's: it
    outlives the run, and who wants to be rid of it deletes it. To restore it, make a new claim with it as
    `dataSource`.

    The cluster needs a CSI driver that can take snapshots, and the snapshot controller with its kinds; without them
    the step says so. For what a snapshot can't do (a dump of a database, a copy elsewhere) there is
    [run_job](run_job.md).
    """

    name: ClassVar = "backup_data"
    summary: ClassVar = "Take a snapshot of a volume, and wait until it is ready"
    risk: ClassVar = Risk.LOW
    idempotency: ClassVar = Idempotency.NAMED
    workload: ClassVar = CLAIM
    parameters = BackupDataParameters
    example: ClassVar = {"name": "data-db-0", "snapshotClass": "fast"}
    outputs: ClassVar[Mapping[str, str]] = {
        "snapshot": "Name of the VolumeSnapshot.",
        "uid": "Its UID.",
        "content": "Name of the VolumeSnapshotContent that it is bound to.",
        "takenAt": "When the driver took it; empty where it does not tell.",
        "restoreSize": "How large a volume it takes to restore it; empty where the driver does not tell.",
    }

    def rights(self, target: ObjectRef | None, parameters: BackupDataParameters) -> tuple[Right, ...]:
        """Return get on the claim, and what creating, watching and deleting the snapshot needs."""
        claim = rights(("get",), *CLAIM, known_name(target, CLAIM[1], parameters.name))
        return (*claim, *rights(("create", "get", "list", "watch", "delete"), *SNAPSHOT, ()))

    async def prepare(
        self, cluster: Cluster, context: StepContext, parameters: BackupDataParameters
    ) -> Mapping[str, JsonValue] | None:
        """Return None: the name is all that is pinned."""
        return None

    async def perform(self, cluster: Cluster, context: StepContext, parameters: BackupDataParameters) -> Done:
        """Create the snapshot, or look how it fares where it is there.

        Raises:
            EffectFailed: PreconditionFailed, where it was deleted before it was ready.
            StepError: PreconditionFailed, where the claim is not bound, or another snapshot has the name.
            UnknownOutcome: whether it was created could not be found out.
            ClusterError: as the API server answers.
        """
        uid = str((context.intent or {}).get("uid", ""))
        if uid:
            seen = await _created(cluster, snapshot_ref(context), uid)
        else:
            claim = await _bound(cluster, context, parameters)
            body = _snapshot(context, claim, parameters)
            seen = await births.create(cluster, context, body, _asked(context, parameters))
        if not self.ended(seen):
            return _going_on(seen)
        return _ready(seen)

    def ended(self, manifest: Mapping[str, Any]) -> bool:
        """Return whether the snapshot is ready to use; of an error the driver may recover."""
        return bool((manifest.get("status") or {}).get("readyToUse"))

    async def recall(
        self, cluster: Cluster, context: StepContext, parameters: BackupDataParameters
    ) -> Done | None:
        """Look for the snapshot; None where there is none of this attempt.

        Raises:
            ClusterError: that can't be seen now.
        """
        seen = await created.recalled(cluster, context, snapshot_ref(context), _asked(context, parameters))
        return None if seen is None else _going_on(seen)

    async def fence(self, cluster: Cluster, context: StepContext, parameters: BackupDataParameters) -> Done:
        """Take the snapshot's name with one of nothing, which goes with the run: a create that was sent before finds
        it. Returns the snapshot, where it was created.

        Raises:
            UnknownOutcome: whether the name is taken could not be found out.
            ClusterError: as the API server answers.
        """
        ref = snapshot_ref(context)
        stub = _named(ref, {"source": {"volumeSnapshotContentName": f"{ref.name}-none"}})
        stub = births.owned_by_run(context, stub)
        if (taken := await created.take_name(cluster, context, stub, _STUB)) is not None:
            found = await self.recall(cluster, context, parameters)
            return found or Done(False, f"{ref} can't be created any more: {taken}")
        return Done(False, f"{ref} can't be created any more: its name is taken")

    def looks_at(self, context: StepContext, parameters: BackupDataParameters) -> tuple[Look, ...]:
        """Return the snapshot."""
        return (snapshot_ref(context),)

    def probe(self, sight: Sight, context: StepContext, parameters: BackupDataParameters) -> Probed:
        """It happened where the VolumeSnapshot is there with the step's signed mark. It helped where its status
        says that it is ready to use.
        """
        seen = probing.created(sight, snapshot_ref(context), context, _asked(context, parameters))
        if isinstance(seen, Probed):
            return seen
        ready = self.ended(seen)
        told = f"{ObjectRef.of(seen)} carries the mark of step {context.step}"
        state = f"status.readyToUse is {'true' if ready else f'not true{_trouble(seen)}'}"
        return there(told, Said(Answer.YES if ready else Answer.NO, state))

    async def undo(self, cluster: Cluster, context: StepContext, parameters: BackupDataParameters) -> Done:
        """A snapshot that is ready is kept: it changed nothing, and may be what is needed now. One that is not ready
        yet is deleted.
        """
        ref, what = snapshot_ref(context), _asked(context, parameters)
        try:
            found = await created.withdraw(
                cluster, context, ref, what, self.ended, kept=f"{ref} is ready, and is kept"
            )
        except NotFound:
            return Done(False, f"{ref} is gone")
        if isinstance(found, Done):
            return found
        told = f"{ref}: deleted, for it was not ready{_trouble(found)}"
        return Done(True, told, changed=(told,))


def snapshot_ref(context: StepContext) -> ObjectRef:
    """Return the snapshot of this attempt of this step."""
    name = child_job(context.run_name, context.run_uid, context.step, context.attempt)
    return ObjectRef(*SNAPSHOT, context.namespace, name)


def _asked(context: StepContext, parameters: BackupDataParameters) -> dict[str, JsonValue]:
    """Return what the step's mark holds for; of the snapshot itself its controller may fill in more."""
    claim = named(context.namespace, context.target, *CLAIM, parameters.name)
    return {"claim": claim.name, "class": parameters.snapshot_class}


def _snapshot(context: StepContext, claim: Manifest, parameters: BackupDataParameters) -> Manifest:
    spec: dict[str, Any] = {"source": {"persistentVolumeClaimName": claim["metadata"]["name"]}}
    if parameters.snapshot_class is not None:
        spec["volumeSnapshotClassName"] = parameters.snapshot_class
    return _named(snapshot_ref(context), spec)


def _named(ref: ObjectRef, spec: Mapping[str, Any]) -> Manifest:
    meta = {"name": ref.name, "namespace": ref.namespace}
    return {"apiVersion": ref.api_version, "kind": ref.kind, "metadata": meta, "spec": dict(spec)}


async def _bound(cluster: Cluster, context: StepContext, parameters: BackupDataParameters) -> Manifest:
    """Read the claim.

    Raises:
        StepError: PreconditionFailed, where there is no volume to take a snapshot of.
        ClusterError: as the API server answers.
    """
    ref = named(context.namespace, context.target, *CLAIM, parameters.name)
    claim = await fence.read(cluster, context, ref)
    phase = (claim.get("status") or {}).get("phase") or "Pending"
    leaving = bool(claim["metadata"].get("deletionTimestamp"))
    if phase != "Bound" or leaving:
        why = "is being deleted" if leaving else f"is {phase}, not Bound"
        raise StepError(f"{ref} {why}; no snapshot was taken", reason=Reason.PRECONDITION_FAILED)
    return claim


async def _created(cluster: Cluster, ref: ObjectRef, uid: str) -> Manifest:
    """Read the snapshot that this step is known to have created."""
    seen = await created.still_there(cluster, ref, uid)
    if seen is None:
        raise EffectFailed(
            f"{ref} was deleted by somebody before it was ready",
            reason=Reason.PRECONDITION_FAILED,
            outputs={"snapshot": ref.name, "uid": uid, "content": "", "takenAt": "", "restoreSize": ""},
        )
    return seen


def _going_on(seen: Manifest) -> Done:
    ref = ObjectRef.of(seen)
    told = f"{ref} was created and is not ready yet{_trouble(seen)}"
    return Done(True, told, changed=(f"{ref}: created",), awaits=ref)


def _trouble(seen: Manifest) -> str:
    message = ((seen.get("status") or {}).get("error") or {}).get("message")
    return f" (its driver says: {str(message)[:200]})" if message else ""


def _ready(seen: Manifest) -> Done:
    ref, status = ObjectRef.of(seen), seen["status"]
    outputs: dict[str, JsonValue] = {
        "snapshot": ref.name,
        "uid": ref.uid,
        "content": str(status.get("boundVolumeSnapshotContentName") or ""),
        "takenAt": str(status.get("creationTime") or ""),
        "restoreSize": str(status.get("restoreSize") or ""),
    }
    return Done(True, f"{ref} is ready", outputs, (f"{ref}: created",))
