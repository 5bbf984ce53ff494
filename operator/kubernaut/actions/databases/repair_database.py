"""``repair_database``: have a broken replica of a replicated Postgres made anew from the primary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final

from pydantic import Field, JsonValue

from kubernaut.actions import pods, probing
from kubernaut.actions.databases import patroni
from kubernaut.actions.databases.cloudnative_pg import CLUSTER, OF_CLUSTER, OF_INSTANCE
from kubernaut.actions.databases.failover_database import database, demand_calm, look
from kubernaut.actions.databases.members import DatabaseManager, DatabaseParameters, Member, View
from kubernaut.actions.fencing import pinned
from kubernaut.actions.objects import group_of, resource_of, rights
from kubernaut.api.base import DnsName
from kubernaut.api.reasons import Reason
from kubernaut.core.action import Done, Idempotency, Risk, StepContext
from kubernaut.core.errors import StepError
from kubernaut.core.ports import Cluster, Manifest, ObjectRef, Right
from kubernaut.core.probing import Answer, Look, Probed, Said, Sight, not_there

_CLAIM: Final = ("v1", "PersistentVolumeClaim")
_POD: Final = ("v1", "Pod")
_NOTHING: Final[Mapping[str, JsonValue]] = {"instance": "", "pod": "", "claims": [], "uid": ""}


class RepairDatabaseParameters(DatabaseParameters):
    """Parameters of ``repair_database``."""

    instance: Annotated[
        DnsName | None,
        Field(
            description="The replica, by the name of its pod; by default the first that can't be relied on."
        ),
    ] = None


class RepairDatabase:
    """Deletes the volumes and the pod of one broken replica, so that what keeps the database makes it anew and
    clones it from the primary: what `kubectl cnpg destroy` does, and for Patroni what `patronictl reinit` comes to
    where a member's files can't be used any more (its StatefulSet makes pod and claims again).

    Everything on that replica is lost, so it is done only where nothing else is: the primary can be relied on, no
    change of the lead is under way, and the replica can't be relied on, by the same signs as in `failover_database`.
    All that is asked again right before each of the deletions. The primary, and who is to become it, is never
    touched, nor is a replica that is well.

    The replica is chosen and the UIDs of its pod and claims are stored before anything is sent; each is a
    precondition of its deletion, so nothing that was made anew is ever deleted. The claims go first: Kubernetes lets
    them go only with the pod, so the new pod never finds the old files. Only claims of that instance alone go: those
    that CloudNativePG labelled with its name, or whose name ends in the pod's, as a StatefulSet names them.

    A volume of the reclaim policy `Retain` stays, unused. How long the clone takes depends on the size of the
    database; let the Workflow's `verify` wait for it. For other databases, `run_job` with their own tool.
    """

    name: ClassVar = "repair_database"
    summary: ClassVar = "Have a broken replica of a CloudNativePG or Patroni database cloned anew"
    risk: ClassVar = Risk.HIGH
    idempotency: ClassVar = Idempotency.PINNED
    workload: ClassVar = CLUSTER
    parameters = RepairDatabaseParameters
    example: ClassVar = {"instance": "db-2"}
    outputs: ClassVar[Mapping[str, str]] = {
        "instance": "The replica; empty where every replica is well.",
        "claims": "Its PersistentVolumeClaims.",
    }

    def rights(self, target: ObjectRef | None, parameters: RepairDatabaseParameters) -> tuple[Right, ...]:
        """Return get on what says who leads, list on pods and claims, and get and delete on both."""
        name = parameters.name or (target.name if target is not None else None)
        cnpg = parameters.manager is DatabaseManager.CLOUD_NATIVE_PG
        if cnpg:
            says = Right("get", group_of(CLUSTER[0]), resource_of(CLUSTER[1]), (name,) if name else ())
        else:
            refs = (
                of("", name or "", parameters.patroni_objects).name
                for of in (patroni.lead_ref, patroni.failover_ref)
            )
            says = Right(
                "get", "", resource_of(parameters.patroni_objects.value), tuple(refs) if name else ()
            )
        instance = (parameters.instance,) if parameters.instance else ()
        return (
            says,
            *rights(("list",), *_POD, ()),
            *rights(("list",) if cnpg else (), *_CLAIM, ()),
            *rights(("get", "delete"), *_CLAIM, ()),
            *rights(("get", "delete"), *_POD, instance),
        )

    async def prepare(
        self, cluster: Cluster, context: StepContext, parameters: RepairDatabaseParameters
    ) -> Mapping[str, JsonValue] | None:
        """Choose the replica; return it with the UIDs of its pod and claims, all empty where every one is well."""
        view = await look(cluster, context, parameters)
        chosen = broken(view, parameters.instance)
        if chosen is None:
            return _NOTHING
        claims = await _claims(cluster, context, parameters, chosen)
        return {
            "instance": chosen.name,
            "pod": chosen.pod["metadata"]["uid"] if chosen.pod else "",
            "claims": [{"name": name, "uid": uid} for name, uid in claims],
            "uid": view.ref.uid,
        }

    async def perform(
        self, cluster: Cluster, context: StepContext, parameters: RepairDatabaseParameters
    ) -> Done:
        """Delete the pinned claims and the pinned pod; what is gone, going or replaced is done."""
        intent: Mapping[str, Any] = context.intent or _NOTHING
        instance = str(intent["instance"])
        if not instance:
            return Done(False, "every replica is well", {"instance": "", "claims": []})

        async def check(seen: Manifest) -> None:
            view = await look(cluster, context, parameters)
            if view.ref.uid != intent["uid"]:
                raise StepError(
                    f"{view.ref} was deleted and made anew since the step looked at it; no more was done",
                    reason=Reason.TARGET_REPLACED,
                )
            demand_broken(view, instance)

        names, refs = [str(one["name"]) for one in intent["claims"]], _pinned(context)
        for ref in refs:
            await pinned.delete(cluster, ref, check)
        told = tuple(f"{ref}: deleted" for ref in refs)
        return Done(
            True,
            f"instance {instance} is made anew, without what was in {', '.join(names) or 'no claim'}",
            {"instance": instance, "claims": [*names]},
            told[:16],
        )

    def looks_at(self, context: StepContext, parameters: RepairDatabaseParameters) -> tuple[Look, ...]:
        """Return the pinned claims and pod, and the replica's pod as it is now."""
        return (*_pinned(context), *_replica(context))

    def probe(self, sight: Sight, context: StepContext, parameters: RepairDatabaseParameters) -> Probed:
        """It happened where the claims and the pod with the UIDs that were chosen are gone or going, whoever
        deleted them. It helped where a pod of the replica's name is ready again; CloudNativePG gives the new
        replica another name, and then that is Unknown.
        """
        refs = _pinned(context)
        if not refs:
            return not_there("no replica was chosen")
        return probing.gone(sight, refs, _again(sight, context))

    async def undo(
        self, cluster: Cluster, context: StepContext, parameters: RepairDatabaseParameters
    ) -> Done:
        """Nothing is put back: what was on the replica is gone, and a new one takes its place."""
        return Done(False, "a replica that was deleted can't be taken back, and nothing is left to put back")


def _pinned(context: StepContext) -> list[ObjectRef]:
    """Return the claims and the pod that were stored as the step's intent."""
    intent: Mapping[str, Any] = context.intent or _NOTHING
    refs = [
        ObjectRef(*_CLAIM, context.namespace, str(one["name"]), str(one["uid"])) for one in intent["claims"]
    ]
    if intent["pod"]:
        refs.append(ObjectRef(*_POD, context.namespace, str(intent["instance"]), str(intent["pod"])))
    return refs


def _replica(context: StepContext) -> tuple[ObjectRef, ...]:
    instance = str((context.intent or {}).get("instance", ""))
    return (ObjectRef(*_POD, context.namespace, instance),) if instance else ()


def _again(sight: Sight, context: StepContext) -> Said:
    intent: Mapping[str, Any] = context.intent or _NOTHING
    for ref in _replica(context):
        pod = sight.of(ref)
        if pod is not None and pod["metadata"]["uid"] != intent["pod"]:
            ready = pods.ready(pod)
            return Said(
                Answer.YES if ready else Answer.NO,
                f"{ref}, made anew: condition Ready {'holds' if ready else 'does not hold'}",
            )
    return Said(Answer.UNKNOWN, "no pod of the replica's name is there anew")


def broken(view: View, wanted: str | None) -> Member | None:
    """Return the replica that is to be made anew; None where every replica is well.

    Raises:
        StepError: PreconditionFailed, where it must not be.
    """
    if wanted is not None:
        return demand_broken(view, wanted)
    failing = next((one for one in view.members if not one.primary and one.unfit), None)
    return None if failing is None else demand_broken(view, failing.name)


def demand_broken(view: View, name: str) -> Member:
    """Refuse an instance that must not be deleted as things stand now.

    Raises:
        StepError: PreconditionFailed.
    """
    demand_calm(view)
    member = view.member(name)
    if member is None:
        told = f"there is no instance {name}"
    elif member.primary:
        told = f"{name} is the primary"
    elif view.primary_trouble:
        told = f"a new replica could not be cloned: {view.primary_trouble}"
    elif not member.unfit:
        told = f"{name} is well"
    else:
        return member
    raise StepError(f"{view.ref}: {told}; nothing was deleted", reason=Reason.PRECONDITION_FAILED)


async def _claims(
    cluster: Cluster, context: StepContext, parameters: RepairDatabaseParameters, member: Member
) -> Sequence[tuple[str, str]]:
    """Return name and UID of the claims of one instance alone."""
    if parameters.manager is DatabaseManager.CLOUD_NATIVE_PG:
        selector = f"{OF_CLUSTER}={database(context, parameters)},{OF_INSTANCE}={member.name}"
        found = await cluster.list(*_CLAIM, context.namespace, label_selector=selector)
        return sorted((one["metadata"]["name"], one["metadata"]["uid"]) for one in found)
    volumes = ((member.pod or {}).get("spec") or {}).get("volumes") or ()
    names = [(one.get("persistentVolumeClaim") or {}).get("claimName", "") for one in volumes]
    pinned_claims = []
    for name in sorted(name for name in names if name.endswith(f"-{member.name}")):
        seen = await cluster.get(ObjectRef(*_CLAIM, context.namespace, name))
        pinned_claims.append((name, seen["metadata"]["uid"]))
    return pinned_claims
