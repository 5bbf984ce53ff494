"""``delete_resource``: the guarded way to delete an object for which there is no action."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Annotated, ClassVar, Self

from pydantic import Field, JsonValue, model_validator

from kubernaut.actions import guards, probing
from kubernaut.actions.fencing import fence, images, removal
from kubernaut.actions.fencing.removal import PUT_BACK, Removal, delete, irreversible, make_anew
from kubernaut.actions.objects import group_of, rights
from kubernaut.api.base import DnsName
from kubernaut.api.names import GROUP
from kubernaut.api.reasons import Reason
from kubernaut.api.steps import ApiVersion, KindName
from kubernaut.core import fields
from kubernaut.core.action import ActionParameters, Done, Idempotency, Risk, StepContext
from kubernaut.core.errors import StepError
from kubernaut.core.ports import Cluster, Manifest, ObjectRef, Right
from kubernaut.core.probing import Look, Probed, Sight, not_there


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
        if parameters.irreversible is Irreversible.ALLOW and (group_of(what[0]), what[1]) not in PUT_BACK:
            return needed
        return (*needed, *images.RIGHTS, *rights(("create",), *what, ()))

    async def prepare(
        self, cluster: Cluster, context: StepContext, parameters: DeleteResourceParameters
    ) -> Mapping[str, JsonValue] | None:
        """Look at the object and return its UID, and in what Secret it will be kept."""
        seen = await fence.read(cluster, context, _ref(context, parameters))
        _demand(seen, parameters)
        why_not = irreversible(seen)
        if why_not is not None and parameters.irreversible is Irreversible.REFUSE:
            raise StepError(
                f"{ObjectRef.of(seen)} was not deleted, for undo could not make it anew as it was: {why_not}; set "
                "irreversible: Allow to delete it all the same",
                reason=Reason.PRECONDITION_FAILED,
            )
        return Removal.of(context, seen, keep=why_not is None).intent

    async def perform(
        self, cluster: Cluster, context: StepContext, parameters: DeleteResourceParameters
    ) -> Done:
        """Keep the object, and delete it; one that is gone, going or replaced is done."""
        pinned = Removal.stored(context.intent)

        async def check(seen: Manifest) -> None:
            _demand(seen, parameters)

        ref, how = _ref(context, parameters), parameters.propagation.value
        told = await delete(cluster, context, ref, pinned, check, propagation=how)
        return Done(True, told, {"uid": pinned.uid, "kept": pinned.secret}, (told,))

    def looks_at(self, context: StepContext, parameters: DeleteResourceParameters) -> tuple[Look, ...]:
        """Return the object and the run's target."""
        ref = _ref(context, parameters)
        return (ref, *(one for one in probing.judges(context) if one != ref))

    def probe(self, sight: Sight, context: StepContext, parameters: DeleteResourceParameters) -> Probed:
        """It happened where the object with the UID that was chosen is gone or going, whoever deleted it, and was
        not made anew by undo. It helped where the run's target is a workload, an autoscaler or a pod and fares well
        by its own status; of another target, or where the target is what was deleted, that is Unknown.
        """
        ref = _ref(context, parameters)
        pinned = Removal.stored(context.intent)
        if not pinned.uid:
            return not_there(f"{ref} was not chosen")
        others = [one for one in probing.judges(context) if one != ref]
        return removal.probed(sight, context, ref, pinned, probing.fares(sight, others))

    async def undo(
        self, cluster: Cluster, context: StepContext, parameters: DeleteResourceParameters
    ) -> Done:
        """The object is made anew as it was kept, with another UID; refused where somebody else made one of its name.
        Where nothing was kept, nothing is put back.
        """
        ref = _ref(context, parameters)
        return await make_anew(cluster, context, ref, Removal.stored(context.intent))


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
