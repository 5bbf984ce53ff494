"""Deleting an object once and keeping it for being made anew: what is kept, where, and how it comes back.

The object is pinned by its UID as the step's intent, together with the name and digest of the Secret that will hold
it; nothing is deleted that is not what was looked at.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from pydantic import JsonValue

from kubernaut.actions import probing
from kubernaut.actions.fencing import births, images, pinned
from kubernaut.actions.objects import group_of
from kubernaut.api.names import GROUP
from kubernaut.api.reasons import Reason
from kubernaut.core import fields
from kubernaut.core.action import Done, StepContext
from kubernaut.core.errors import AlreadyExists, NotFound, StepError, UnknownOutcome
from kubernaut.core.marker import KeptImages, StepMark
from kubernaut.core.ports import Cluster, Manifest, ObjectRef
from kubernaut.core.probing import Probed, Said, Sight, not_there

_ROUNDS: Final = 4
_IMAGE: Final = "object"
# Of these the declaration is all there is: made anew from it, they are as they were but for their UID.
PUT_BACK: Final = frozenset(
    {
        ("", "ConfigMap"),
        ("", "LimitRange"),
        ("", "ResourceQuota"),
        ("", "Service"),
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"),
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"),
        ("apps", "DaemonSet"),
        ("apps", "Deployment"),
        ("apps", "StatefulSet"),
        ("autoscaling", "HorizontalPodAutoscaler"),
        ("batch", "CronJob"),
        ("networking.k8s.io", "Ingress"),
        ("networking.k8s.io", "NetworkPolicy"),
        ("policy", "PodDisruptionBudget"),
    }
)
_RETENTION: Final = fields.parse("spec.persistentVolumeClaimRetentionPolicy.whenDeleted")


@dataclass(frozen=True, slots=True)
class Removal:
    """What a step means to delete, as stored before it does; without a Secret nothing is kept."""

    uid: str
    secret: str
    digest: str

    @classmethod
    def of(cls, context: StepContext, seen: Manifest, *, keep: bool) -> Removal:
        """Pin an object as read.

        Raises:
            StepError: OutputTooLarge, where it is to be kept and is larger than 700 KiB.
        """
        uid = seen["metadata"]["uid"]
        if not keep:
            return cls(uid, "", "")
        kept = images.named(context, seen, _image(seen))
        return cls(uid, kept.secret, kept.digest)

    @classmethod
    def stored(cls, intent: Mapping[str, JsonValue] | None) -> Removal:
        """Return what a step's intent says."""
        intent = intent or {}
        return cls(*(str(intent.get(key, "")) for key in ("uid", "secret", "digest")))

    @property
    def intent(self) -> dict[str, JsonValue]:
        """What is stored."""
        return {"uid": self.uid, "secret": self.secret, "digest": self.digest}


async def delete(
    cluster: Cluster,
    context: StepContext,
    ref: ObjectRef,
    removal: Removal,
    check: Callable[[Manifest], Awaitable[None]],
    *,
    propagation: str = "Background",
) -> str:
    """Keep the pinned object and delete it; return a sentence. One that is gone, going or replaced is done.

    Args:
        check: raises StepError where the object as read must not be deleted.

    Raises:
        StepError: what ``check`` raises; PreconditionFailed, where the object changed since it was pinned.
        ClusterError: as the API server answers.
    """
    pinned_ref = replace(ref, uid=removal.uid)

    async def look(seen: Manifest) -> None:
        await check(seen)
        if not removal.secret:
            return
        if images.named(context, seen, _image(seen)).digest != removal.digest:
            raise StepError(
                f"{ref} was changed since the step looked at it; nothing was done",
                reason=Reason.PRECONDITION_FAILED,
            )
        await images.keep(cluster, context, seen, _image(seen))

    await pinned.delete(cluster, pinned_ref, look, propagation=propagation)
    # Who deleted it can't be seen afterwards; it was pinned, wanted gone, and is gone.
    return f"{ref}: deleted" + (f" (it is kept in Secret {removal.secret})" if removal.secret else "")


async def make_anew(cluster: Cluster, context: StepContext, ref: ObjectRef, removal: Removal) -> Done:
    """Make the object anew as it was kept, once.

    Raises:
        StepError: ChangedSince, where another of its name is there; Unavailable, where the former one is still going;
            what the Secret that holds it gives rise to.
        UnknownOutcome: whether it was made could not be found out.
        ClusterError: as the API server answers.
    """
    for _ in range(_ROUNDS):
        try:
            return _undone(context, await cluster.get(ref), removal)
        except NotFound:
            pass
        if not removal.secret:
            return Done(False, f"{ref} was not kept and can't be made anew")
        body = births.marked(context, await _kept(cluster, context, removal), removal.digest)
        try:
            await cluster.create(body)
        except (AlreadyExists, UnknownOutcome):
            continue
        told = f"{ref}: made anew"
        return Done(True, told, changed=(told,))
    raise UnknownOutcome(f"whether {ref} was made anew could not be found out")


def probed(sight: Sight, context: StepContext, ref: ObjectRef, removal: Removal, helped: Said) -> Probed:
    """Say whether the pinned object is gone, and was not made anew by the step's undo."""
    seen = sight.of(ref)
    if seen is not None and removal.digest and births.ours(context, seen, removal.digest):
        return not_there(f"{ref} was made anew, as the mark of step {context.step} on it says")
    return probing.gone(sight, [replace(ref, uid=removal.uid)], helped)


def irreversible(seen: Manifest) -> str | None:
    """Return why an object could not be made anew as it was, or None."""
    meta, what = seen["metadata"], (group_of(seen["apiVersion"]), seen["kind"])
    for owner in meta.get("ownerReferences") or ():
        return f"it belongs to {owner['kind']} {owner['name']}"
    if meta.get("finalizers"):
        return f"it has finalizers ({', '.join(meta['finalizers'])}), by which something else goes with it"
    if what not in PUT_BACK:
        return f"a {seen['kind']} is more than its declaration"
    if fields.get(seen, _RETENTION) == "Delete":
        return "its volumes go with it (spec.persistentVolumeClaimRetentionPolicy.whenDeleted)"
    return None


def _image(seen: Manifest) -> StepMark:
    """Return what is kept of an object: what people declared of it."""
    meta = seen["metadata"]
    annotations = {
        key: text
        for key, text in (meta.get("annotations") or {}).items()
        if not key.partition("/")[0].endswith(GROUP)
    }
    where = {"namespace": meta["namespace"]} if meta.get("namespace") else {}
    kept = {"name": meta["name"], **where, "labels": meta.get("labels") or {}, "annotations": annotations}
    rest = {key: value for key, value in seen.items() if key not in ("metadata", "status")}
    return StepMark(1, {_IMAGE: {**rest, "metadata": kept}}, {})


async def _kept(cluster: Cluster, context: StepContext, removal: Removal) -> Manifest:
    mark = StepMark(1, {}, {}, kept=KeptImages(removal.secret, removal.digest, ()))
    found = await images.fetch(cluster, context, {"metadata": {"uid": removal.uid}}, mark)
    manifest: Manifest = found.before[_IMAGE]
    return manifest


def _undone(context: StepContext, seen: Manifest, removal: Removal) -> Done:
    """Say what an object that is there means for undo.

    Raises:
        StepError: ChangedSince, where it is another one; Unavailable, where it is the former one, still going.
    """
    ref, meta = ObjectRef.of(seen), seen["metadata"]
    if meta["uid"] == removal.uid:
        if not meta.get("deletionTimestamp"):
            return Done(False, f"{ref} was not deleted")
        raise StepError(
            f"{ref} is still being deleted; it is made anew once it is gone", reason=Reason.UNAVAILABLE
        )
    if removal.digest and births.ours(context, seen, removal.digest):
        return Done(True, f"{ref} was made anew before", changed=(f"{ref}: made anew",))
    raise StepError(
        f"another {ref} was created since and is left alone; the former one is in the Secret of the run",
        reason=Reason.CHANGED_SINCE,
    )
