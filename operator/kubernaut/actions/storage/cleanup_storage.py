"""``cleanup_storage``: delete pods and Jobs that ended long ago."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, ClassVar, Final

from pydantic import Field, JsonValue

from kubernaut.actions import pods, probing
from kubernaut.actions.fencing import pinned
from kubernaut.actions.objects import rights
from kubernaut.api.duration import Duration
from kubernaut.api.reasons import Reason
from kubernaut.core.action import ActionParameters, Done, Idempotency, Risk, StepContext
from kubernaut.core.errors import StepError
from kubernaut.core.ports import Cluster, Manifest, ObjectRef, Right
from kubernaut.core.probing import Look, Probed, Sight, not_there

_ENDED: Final = frozenset({"Succeeded", "Failed"})
_MOST_TOLD: Final = 16


class What(StrEnum):
    """What is cleaned up."""

    FINISHED_PODS = "FinishedPods"
    FINISHED_JOBS = "FinishedJobs"


_KINDS: Final = {What.FINISHED_PODS: ("v1", "Pod"), What.FINISHED_JOBS: ("batch/v1", "Job")}


class CleanupStorageParameters(ActionParameters):
    """Parameters of ``cleanup_storage``."""

    what: Annotated[
        tuple[What, ...],
        Field(
            min_length=1,
            max_length=2,
            description="`FinishedPods`: pods that succeeded, failed or were evicted, other than those of Jobs; "
            "`FinishedJobs`: Jobs that completed or failed, other than those of CronJobs, with their pods.",
        ),
    ] = (What.FINISHED_PODS,)
    older_than: Annotated[
        Duration, Field(description="Only what ended at least so long ago, such as 24h.")
    ] = timedelta(hours=24)
    max_count: Annotated[
        int, Field(ge=1, le=50, description="At most so many objects, those that ended first.")
    ] = 20
    label_selector: Annotated[
        str, Field(max_length=256, description="Only objects with these labels, such as app=batch,tier!=db.")
    ] = ""


@dataclass(frozen=True, slots=True)
class _Ended:
    ref: ObjectRef
    at: datetime


class CleanupStorage:
    """Deletes pods and Jobs of the run's namespace that ended long ago: with a pod go its logs, its containers'
    layers and its `emptyDir` volumes on the node's disk, with a Job its pods. Only what has ended for good is taken,
    so nothing that runs can be hit. The objects are chosen, those that ended first before others, and their UIDs
    stored before anything is sent; each UID is a precondition of its request, and each object is looked at once more
    right before it is deleted.

    Left alone: pods of Jobs, which are the Job's record of its tries, and Jobs of CronJobs, for which the CronJob's
    own limits count. Old ReplicaSets are not cleaned up: those of a Deployment are what `rollback_deployment` goes
    back to, and `revisionHistoryLimit` bounds them. PersistentVolumeClaims are not either: whether their data is
    still wanted can't be seen.
    """

    name: ClassVar = "cleanup_storage"
    summary: ClassVar = "Delete pods and Jobs that ended long ago, a bounded number of them"
    risk: ClassVar = Risk.HIGH
    idempotency: ClassVar = Idempotency.PINNED
    parameters = CleanupStorageParameters
    example: ClassVar = {"what": ["FinishedPods"], "olderThan": "6h", "maxCount": 50}
    outputs: ClassVar[Mapping[str, str]] = {
        "deleted": "How many objects were deleted.",
        "left": "How many more had ended long enough ago, beyond `maxCount`.",
    }

    def rights(self, target: ObjectRef | None, parameters: CleanupStorageParameters) -> tuple[Right, ...]:
        """Return list, get and delete on each kind that is cleaned up."""
        kinds = [_KINDS[what] for what in dict.fromkeys(parameters.what)]
        return tuple(right for kind in kinds for right in rights(("list", "get", "delete"), *kind, ()))

    async def prepare(
        self, cluster: Cluster, context: StepContext, parameters: CleanupStorageParameters
    ) -> Mapping[str, JsonValue] | None:
        """Choose the objects and return kind, name and UID of each, with the number of those that are left."""
        found: list[_Ended] = []
        for what in dict.fromkeys(parameters.what):
            listed = await cluster.list(
                *_KINDS[what], context.namespace, label_selector=parameters.label_selector
            )
            found += chosen(listed, context.now - parameters.older_than)
        found.sort(key=lambda one: (one.at, one.ref.name))
        objects: list[JsonValue] = [
            f"{one.ref.kind}/{one.ref.name}/{one.ref.uid}" for one in found[: parameters.max_count]
        ]
        return {"objects": objects, "left": max(0, len(found) - parameters.max_count)}

    async def perform(
        self, cluster: Cluster, context: StepContext, parameters: CleanupStorageParameters
    ) -> Done:
        """Delete the pinned objects; those that are gone, going or replaced are done."""
        intent, refs = context.intent or {}, _all_pinned(context)
        for ref in refs:
            await pinned.delete(cluster, ref, _still_ended)
        outputs = {"deleted": len(refs), "left": intent.get("left", 0)}
        if not refs:
            return Done(False, f"nothing ended longer ago than {parameters.older_than}", outputs)
        told = [f"{ref}: deleted" for ref in refs]
        if len(told) > _MOST_TOLD:
            told = [*told[: _MOST_TOLD - 1], f"{len(told) - _MOST_TOLD + 1} more: deleted"]
        return Done(True, f"deleted {len(refs)} objects that had ended", outputs, tuple(told))

    def looks_at(self, context: StepContext, parameters: CleanupStorageParameters) -> tuple[Look, ...]:
        """Return the pinned objects."""
        return _all_pinned(context)

    def probe(self, sight: Sight, context: StepContext, parameters: CleanupStorageParameters) -> Probed:
        """It happened where all objects with the UIDs that were chosen are gone or going, whoever deleted them.
        Whether it helped is Unknown: how much room they took, no object tells.
        """
        refs = _all_pinned(context)
        if not refs:
            return not_there("no object was chosen")
        return probing.gone(sight, refs, probing.fares(sight, ()))

    async def undo(
        self, cluster: Cluster, context: StepContext, parameters: CleanupStorageParameters
    ) -> Done:
        """Nothing is put back: what was deleted had ended, and can't be made to have run."""
        return Done(False, "what was deleted had ended, and can't be put back")


def chosen(objects: Sequence[Manifest], before: datetime) -> list[_Ended]:
    """Return those of the objects that ended before a time and are nobody else's to delete."""
    found = []
    for one in objects:
        at, owner = ended_at(one), pods.controller_of(one)
        keeper = "Job" if one["kind"] == "Pod" else "CronJob"
        kept = owner is not None and owner["kind"] == keeper
        if at is not None and at <= before and not kept and not one["metadata"].get("deletionTimestamp"):
            found.append(_Ended(ObjectRef.of(one), at))
    return found


def ended_at(manifest: Manifest) -> datetime | None:
    """Return when a pod or a Job ended; None where it has not."""
    status = manifest.get("status") or {}
    conditions = status.get("conditions") or ()
    if manifest["kind"] == "Job":
        over = [
            one for one in conditions if one["type"] in ("Complete", "Failed") and one["status"] == "True"
        ]
        times = [one.get("lastTransitionTime") for one in over]
        return _last(times or [manifest["metadata"].get("creationTimestamp")] if over else [])
    if status.get("phase") not in _ENDED:
        return None
    # A pod that was evicted before it began has no container that ended, only conditions.
    ends = [one.ended_at for one in pods.containers(manifest)]
    return _last([*ends, *(one.get("lastTransitionTime") for one in conditions)]) or _last(
        [manifest["metadata"].get("creationTimestamp")]
    )


def _last(times: Sequence[str | None]) -> datetime | None:
    return max((datetime.fromisoformat(text) for text in times if text), default=None)


def _strings(value: JsonValue) -> list[JsonValue]:
    return value if isinstance(value, list) else []


def _all_pinned(context: StepContext) -> tuple[ObjectRef, ...]:
    objects = _strings((context.intent or {}).get("objects"))
    return tuple(_pinned(context, str(one)) for one in objects)


def _pinned(context: StepContext, text: str) -> ObjectRef:
    kind, name, uid = text.split("/")
    version = next(version for version, known in _KINDS.values() if known == kind)
    return ObjectRef(version, kind, context.namespace, name, uid)


async def _still_ended(seen: Manifest) -> None:
    """Refuse an object that goes on after all.

    Raises:
        StepError: PreconditionFailed.
    """
    if ended_at(seen) is None:
        raise StepError(
            f"{ObjectRef.of(seen)} has not ended, though it had when it was chosen; nothing more is deleted",
            reason=Reason.PRECONDITION_FAILED,
        )
