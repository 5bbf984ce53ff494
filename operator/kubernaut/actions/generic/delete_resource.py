"""``delete_resource``: the guarded way to delete an object for which there is no action."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Annotated, ClassVar, Final, Self

from pydantic import Field, JsonValue, model_validator

from kubernaut.actions import guards
from kubernaut.actions.fencing import births, fence, images, pinned
from kubernaut.actions.objects import group_of, rights
from kubernaut.api.base import DnsName
from kubernaut.api.names import GROUP
from kubernaut.api.reasons import Reason
from kubernaut.api.steps import ApiVersion, KindName
from kubernaut.core import fields
from kubernaut.core.action import ActionParameters, Done, Idempotency, Risk, StepContext
from kubernaut.core.errors import AlreadyExists, NotFound, StepError, UnknownOutcome
from kubernaut.core.marker import KeptImages, StepMark
from kubernaut.core.ports import Cluster, Manifest, ObjectRef, Right

_ROUNDS: Final = 4
_IMAGE: Final = "object"
# Of these the declaration is all there is: made anew from it, they are as they were but for their UID.
_PUT_BACK: Final = frozenset(
    {
        ("", "ConfigMap"),
        ("", "LimitRange"),
        ("", "ResourceQuota"),
        ("", "Service"),
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


class Propagation(StrEnum):
    """What becomes of the objects that the deleted one owns."""

    BACKGROUND = "Background"
    FOREGROUND = "Foreground"
    ORPHAN = "Orphan"


class Irreversible(StrEnum):
    """What to do where the object could not be made anew as it was."""

    REFUSE = "Refuse"
    ALLOW = "Allow"


class DeleteResourceParameters(ActionParameters):
    """Parameters of ``delete_resource``."""

    api_version: Annotated[ApiVersion, Field(description="API version, as in networking.k8s.io/v1.")]
    kind: Annotated[KindName, Field(description="Kind, as in NetworkPolicy.")]
    name: Annotated[DnsName, Field(description="Name of the object, in the run's namespace.")]
    expect: Annotated[
        dict[str, JsonValue],
        Field(
            max_length=16,
            description="Field paths, as in `spec.replicas`, and the values they must have right before the "
            "object is deleted; null means absent.",
        ),
    ] = Field(default_factory=dict)
    propagation: Annotated[
        Propagation,
        Field(
            description="What becomes of the objects it owns: deleted after it, deleted before it, or left without "
            "an owner."
        ),
    ] = Propagation.BACKGROUND
    irreversible: Annotated[
        Irreversible,
        Field(
            description="Where undo could not make the object anew as it was: refuse, or delete it all the same."
        ),
    ] = Irreversible.REFUSE

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        refusal = guards.object_refusal(self.api_version, self.kind, self.name)
        if refusal is not None:
            raise ValueError(refusal)
        for path in self.expect:
            fields.parse(path)
        return self


class DeleteResource:
    """Deletes one namespaced object of the run's namespace. Its UID is stored before anything is sent; the UID and
    the resourceVersion that was last read are preconditions of the request, so what was looked at is what is deleted.

    Never deleted: what [patch_resource](patch_resource.md) never patches (Secrets, ServiceAccounts, Nodes and
    Namespaces; everything of RBAC, admission, certificates, storage classes and the like; Kubernaut's own), and what
    belongs to a run. `expect` names values that must be there right before it is deleted; where one is not, nothing
    is done.

    The object is kept first, as people declared it, in a Secret that belongs to the run and goes with it; the account
    needs `create` and `get` on secrets for that. Undo makes it anew from there: with another UID, without a status,
    and without what it owned, unless that is made by its controller again. Where that would be no honest undo the
    step is refused: an object with an owner or finalizers, a StatefulSet whose volumes go with it, and every kind but
    ConfigMap, CronJob, DaemonSet, Deployment, HorizontalPodAutoscaler, Ingress, LimitRange, NetworkPolicy,
    PodDisruptionBudget, ResourceQuota, Service and StatefulSet. `irreversible: Allow` deletes it all the same; then
    nothing is kept, and nothing can be put back.
    """

    name: ClassVar = "delete_resource"
    summary: ClassVar = "Delete one object, guarded, and keep it for being made anew"
    risk: ClassVar = Risk.HIGH
    idempotency: ClassVar = Idempotency.PINNED
    parameters = DeleteResourceParameters
    example: ClassVar = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "name": "deny-all"}
    outputs: ClassVar[Mapping[str, str]] = {
        "uid": "The UID of the object.",
        "kept": "Name of the Secret that holds it; empty where nothing is kept.",
    }

    def rights(self, target: ObjectRef | None, parameters: DeleteResourceParameters) -> tuple[Right, ...]:
        """Return get and delete on the object; to keep it, create and get on secrets; to undo, create on its kind."""
        what = (parameters.api_version, parameters.kind)
        needed = rights(("get", "delete"), *what, (parameters.name,))
        if parameters.irreversible is Irreversible.ALLOW and (group_of(what[0]), what[1]) not in _PUT_BACK:
            return needed
        return (*needed, *images.RIGHTS, *rights(("create",), *what, ()))

    async def prepare(
        self, cluster: Cluster, context: StepContext, parameters: DeleteResourceParameters
    ) -> Mapping[str, JsonValue] | None:
        """Look at the object and return its UID, and in what Secret it will be kept."""
        seen = await fence.read(cluster, context, _ref(context, parameters))
        _demand(seen, parameters)
        uid = seen["metadata"]["uid"]
        why_not = irreversible(seen)
        if why_not is None:
            kept = images.named(context, seen, _image(seen))
            return {"uid": uid, "secret": kept.secret, "digest": kept.digest}
        if parameters.irreversible is Irreversible.REFUSE:
            raise StepError(
                f"{ObjectRef.of(seen)} was not deleted, for undo could not make it anew as it was: {why_not}; set "
                "irreversible: Allow to delete it all the same",
                reason=Reason.PRECONDITION_FAILED,
            )
        return {"uid": uid, "secret": "", "digest": ""}

    async def perform(
        self, cluster: Cluster, context: StepContext, parameters: DeleteResourceParameters
    ) -> Done:
        """Keep the object, and delete it; one that is gone, going or replaced is done."""
        intent = context.intent or {}
        secret, digest = str(intent.get("secret", "")), str(intent.get("digest", ""))
        ref = replace(_ref(context, parameters), uid=str(intent.get("uid", "")))

        async def check(seen: Manifest) -> None:
            _demand(seen, parameters)
            if not secret:
                return
            if images.named(context, seen, _image(seen)).digest != digest:
                raise StepError(
                    f"{ref} was changed since the step looked at it; nothing was done",
                    reason=Reason.PRECONDITION_FAILED,
                )
            await images.keep(cluster, context, seen, _image(seen))

        await pinned.delete(cluster, ref, check, propagation=parameters.propagation.value)
        # Who deleted it can't be seen afterwards; it was pinned, wanted gone, and is gone.
        told = f"{ref}: deleted" + (f" (it is kept in Secret {secret})" if secret else "")
        return Done(True, told, {"uid": ref.uid, "kept": secret}, (told,))

    async def undo(
        self, cluster: Cluster, context: StepContext, parameters: DeleteResourceParameters
    ) -> Done:
        """The object is made anew as it was kept, with another UID; refused where somebody else made one of its name.
        Where nothing was kept, nothing is put back.
        """
        intent = context.intent or {}
        uid, secret, digest = (str(intent.get(key, "")) for key in ("uid", "secret", "digest"))
        ref = _ref(context, parameters)
        for _ in range(_ROUNDS):
            try:
                return _undone(context, await cluster.get(ref), uid, digest)
            except NotFound:
                pass
            if not secret:
                return Done(False, f"{ref} was not kept and can't be made anew")
            body = births.marked(context, await _kept(cluster, context, uid, secret, digest), digest)
            try:
                await cluster.create(body)
            except (AlreadyExists, UnknownOutcome):
                continue
            told = f"{ref}: made anew"
            return Done(True, told, changed=(told,))
        raise UnknownOutcome(f"whether {ref} was made anew could not be found out")


def irreversible(seen: Manifest) -> str | None:
    """Return why an object could not be made anew as it was, or None."""
    meta, what = seen["metadata"], (group_of(seen["apiVersion"]), seen["kind"])
    for owner in meta.get("ownerReferences") or ():
        return f"it belongs to {owner['kind']} {owner['name']}"
    if meta.get("finalizers"):
        return f"it has finalizers ({', '.join(meta['finalizers'])}), by which something else goes with it"
    if what not in _PUT_BACK:
        return f"a {seen['kind']} is more than its declaration"
    if fields.get(seen, _RETENTION) == "Delete":
        return "its volumes go with it (spec.persistentVolumeClaimRetentionPolicy.whenDeleted)"
    return None


def _ref(context: StepContext, parameters: DeleteResourceParameters) -> ObjectRef:
    ref = ObjectRef(parameters.api_version, parameters.kind, context.namespace, parameters.name)
    target = context.target
    same = (target.api_version, target.kind, target.name) == (ref.api_version, ref.kind, ref.name)
    return replace(ref, uid=target.uid) if same else ref


def _demand(seen: Manifest, parameters: DeleteResourceParameters) -> None:
    """Refuse an object that must not be deleted as it is now.

    Raises:
        StepError: PreconditionFailed.
    """
    ref = ObjectRef.of(seen)
    for owner in seen["metadata"].get("ownerReferences") or ():
        if group_of(owner["apiVersion"]) == GROUP:
            raise StepError(
                f"{ref} belongs to {owner['kind']} {owner['name']} and goes with it; nothing was done",
                reason=Reason.PRECONDITION_FAILED,
            )
    refusal = guards.expect_refusal(seen, parameters.expect)
    if refusal is not None:
        raise StepError(f"{ref}: {refusal}; nothing was done", reason=Reason.PRECONDITION_FAILED)


def _image(seen: Manifest) -> StepMark:
    """Return what is kept of an object: what people declared of it."""
    meta = seen["metadata"]
    annotations = {
        key: text
        for key, text in (meta.get("annotations") or {}).items()
        if not key.partition("/")[0].endswith(GROUP)
    }
    kept = {"name": meta["name"], "namespace": meta["namespace"], "labels": meta.get("labels") or {}}
    rest = {key: value for key, value in seen.items() if key not in ("metadata", "status")}
    return StepMark(1, {_IMAGE: {**rest, "metadata": {**kept, "annotations": annotations}}}, {})


async def _kept(cluster: Cluster, context: StepContext, uid: str, secret: str, digest: str) -> Manifest:
    mark = StepMark(1, {}, {}, kept=KeptImages(secret, digest, ()))
    found = await images.fetch(cluster, context, {"metadata": {"uid": uid}}, mark)
    manifest: Manifest = found.before[_IMAGE]
    return manifest


def _undone(context: StepContext, seen: Manifest, uid: str, digest: str) -> Done:
    """Say what an object that is there means for undo.

    Raises:
        StepError: ChangedSince, where it is another one; Unavailable, where it is the former one, still going.
    """
    ref, meta = ObjectRef.of(seen), seen["metadata"]
    if meta["uid"] == uid:
        if not meta.get("deletionTimestamp"):
            return Done(False, f"{ref} was not deleted")
        raise StepError(
            f"{ref} is still being deleted; it is made anew once it is gone", reason=Reason.UNAVAILABLE
        )
    if digest and births.ours(context, seen, digest):
        return Done(True, f"{ref} was made anew before", changed=(f"{ref}: made anew",))
    raise StepError(
        f"another {ref} was created since and is left alone; the former one is in the Secret of the run",
        reason=Reason.CHANGED_SINCE,
    )
