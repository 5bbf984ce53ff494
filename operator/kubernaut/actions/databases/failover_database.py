"""``failover_database``: have another instance of a replicated Postgres lead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Final

from pydantic import Field, JsonValue

from kubernaut.actions import probing
from kubernaut.actions.databases import cloudnative_pg, patroni
from kubernaut.actions.databases.cloudnative_pg import CLUSTER
from kubernaut.actions.databases.members import DatabaseManager, DatabaseParameters, View, candidate
from kubernaut.actions.fencing import births, fence
from kubernaut.actions.objects import group_of, resource_of, rights
from kubernaut.api.base import UNQUOTED, DnsName, Flag
from kubernaut.api.reasons import Reason
from kubernaut.core import fields
from kubernaut.core.action import Done, Idempotency, Risk, StepContext
from kubernaut.core.errors import Conflict, NotFound, StepError, UnknownOutcome
from kubernaut.core.marker import read_marker
from kubernaut.core.ports import Cluster, Manifest, ObjectRef, Right
from kubernaut.core.probing import Answer, Look, Probed, Said, Sight, not_there, there

_ROUNDS: Final = 8
_ANNOTATIONS: Final = ("metadata", "annotations")


class FailoverDatabaseParameters(DatabaseParameters):
    """Parameters of ``failover_database``."""

    candidate: Annotated[
        DnsName | None,
        Field(description="The instance that is to lead; by default the fit one that is least behind."),
    ] = None
    only_if_failing: Annotated[Flag, Field(description="Do nothing while the primary can be relied on.")] = (
        True
    )
    max_lag_bytes: Annotated[
        int,
        Field(
            ge=0,
            le=2**40,
            description="With Patroni: how far behind the candidate may be, as it last told; CloudNativePG does not "
            "tell.",
        ),
        UNQUOTED,
    ] = 1_048_576


class FailoverDatabase:
    """Asks what keeps a replicated Postgres to have another instance lead, in the way that its own tool does, and
    only where a replica can take over. It decides nothing that the manager would not decide again: CloudNativePG and
    Patroni may refuse, and they alone promote, follow and fence.

    - What is written. CloudNativePG: `status.targetPrimary` of the `Cluster`, with its time, `phase` and
      `phaseReason`, as `kubectl cnpg promote` does. Patroni: `leader` and `member` among the annotations of
      `<scope>-failover`, as its REST API does for `patronictl switchover`.
    - A replica can take over where its pod is ready, and: CloudNativePG counts it among `instancesStatus.healthy`, it
      is on the cluster's timeline, and not fenced off; with Patroni it tells that it runs, on the leader's timeline,
      without the tag `nofailover`, and it is at most `maxLagBytes` behind.
    - The primary fails where its pod is not ready, or: CloudNativePG does not count it as healthy; with Patroni it
      did not renew its lock in time, or tells that it does not run.

    Refused: where a change of the lead is under way or asked for already, and where no replica can take over, with
    what is wrong with each. With `onlyIfFailing` (the default) nothing is done while the primary is well.

    Once. Who leads, who is to, and as of when are stored in the run before anything is sent. What is sent carries the
    resourceVersion that was read, and is decided again on anything else: where the lead has changed since, whoever
    did that, nothing more is done. With Patroni the annotations carry the step's signed mark as well. A status can
    carry none, so with CloudNativePG the time that is written as `targetPrimaryTimestamp` is stored in the run first,
    and is what the step knows its own change by.

    What it costs. Connections to the old primary are cut, and writes wait until the new one leads. What the old
    primary had acknowledged and no replica had received is lost where the old primary can't send it any more; how
    far a CloudNativePG replica is behind stands in no object, so have its readiness probe bound it
    (`spec.probes.readiness.maximumLag`). The step ends when the change is asked for: let the Workflow's `verify`
    demand that the new primary leads. For other databases, `run_job` with their own tool.
    """

    name: ClassVar = "failover_database"
    summary: ClassVar = "Have a healthy replica of a CloudNativePG or Patroni database lead"
    risk: ClassVar = Risk.HIGH
    idempotency: ClassVar = Idempotency.PINNED
    workload: ClassVar = CLUSTER
    parameters = FailoverDatabaseParameters
    example: ClassVar = {"maxLagBytes": 1048576}
    outputs: ClassVar[Mapping[str, str]] = {
        "from": "Who led.",
        "to": "Who is to lead; empty where the primary is well.",
    }

    def __init__(self, finished: fence.Finished = fence.never) -> None:
        self._finished = finished

    def rights(self, target: ObjectRef | None, parameters: FailoverDatabaseParameters) -> tuple[Right, ...]:
        """Return get on what says who leads, list on pods, and patch on where a change is asked for."""
        name = parameters.name or (target.name if target is not None else None)
        listed = rights(("list",), "v1", "Pod", ())
        if parameters.manager is DatabaseManager.CLOUD_NATIVE_PG:
            group, resource = group_of(CLUSTER[0]), resource_of(CLUSTER[1])
            names = (name,) if name else ()
            return (
                Right("get", group, resource, names),
                *listed,
                Right("patch", group, f"{resource}/status", names),
            )
        resource = resource_of(parameters.patroni_objects.value)
        refs = [
            of("", name or "", parameters.patroni_objects).name
            for of in (patroni.lead_ref, patroni.failover_ref)
        ]
        return (
            Right("get", "", resource, tuple(refs) if name else ()),
            *listed,
            Right("patch", "", resource, (refs[1],) if name else ()),
            Right("create", "", resource),
        )

    async def prepare(
        self, cluster: Cluster, context: StepContext, parameters: FailoverDatabaseParameters
    ) -> Mapping[str, JsonValue] | None:
        """Choose who is to lead, and return that with who leads now and as of when."""
        view = await look(cluster, context, parameters)
        if parameters.only_if_failing and not view.primary_trouble:
            return {"from": view.primary, "to": ""}
        demand_calm(view)
        chosen = candidate(view, parameters.candidate, most_lag(parameters))
        found = {"from": view.primary, "to": chosen.name, "epoch": view.epoch, "uid": view.ref.uid}
        return {**found, "at": cloudnative_pg.stamp(context.now)}

    async def perform(
        self, cluster: Cluster, context: StepContext, parameters: FailoverDatabaseParameters
    ) -> Done:
        """Ask for the change, once."""
        intent = context.intent or {}
        if not intent.get("to"):
            return Done(
                False, f"{intent.get('from')} leads and is well", {"from": str(intent.get("from")), "to": ""}
            )
        if parameters.manager is DatabaseManager.CLOUD_NATIVE_PG:
            return await self._promote(cluster, context, parameters)
        return await self._ask_patroni(cluster, context, parameters)

    async def _promote(
        self, cluster: Cluster, context: StepContext, parameters: FailoverDatabaseParameters
    ) -> Done:
        intent = context.intent or {}
        to, at = str(intent["to"]), str(intent["at"])
        doubt: UnknownOutcome | None = None
        for _ in range(_ROUNDS):
            try:
                view, seen = await cloudnative_pg.look(
                    cluster, context.namespace, database(context, parameters)
                )
                _demand_same(view, intent)
                if view.epoch == cloudnative_pg.epoch(to, at):
                    return _asked(view, intent)
                self.decide(view, intent, parameters)
                body = cloudnative_pg.promotion(to, at)
                version = seen["metadata"]["resourceVersion"]
                await cluster.patch(view.ref, body, resource_version=version, subresource="status")
            except UnknownOutcome as error:
                doubt = error
            except Conflict:
                doubt = None
            except StepError as error:
                raise (doubt or error) from error
            else:
                return _asked(view, intent)
        raise doubt or Conflict(
            f"{context.target} was changed by others {_ROUNDS} times between reading and patching it",
            status=409,
        )

    async def _ask_patroni(
        self, cluster: Cluster, context: StepContext, parameters: FailoverDatabaseParameters
    ) -> Done:
        intent = context.intent or {}
        scope = database(context, parameters)
        ref = patroni.failover_ref(context.namespace, scope, parameters.patroni_objects)
        # Who leads acts on it only where it is the one that is named; nobody can be named where nobody leads.
        asked = {"leader": str(intent["from"]) or None, "member": str(intent["to"]), "scheduled_at": None}
        try:
            if births.ours(context, await cluster.get(ref), dict(intent)):
                return _created(ref, intent)
        except NotFound:
            view = await self._decided(cluster, context, parameters)
            await births.create(cluster, context, _bare(ref, view, asked), dict(intent))
            return _created(ref, intent)

        async def decide(seen: Manifest) -> fence.Change:
            await self._decided(cluster, context, parameters)
            desired = seen
            for key, value in asked.items():
                desired = fields.put(desired, (*_ANNOTATIONS, key), value)
            return fence.change(seen, desired, _told(intent), _outputs(intent))

        return await fence.apply(cluster, context, ref, decide, finished=self._finished)

    async def _decided(
        self, cluster: Cluster, context: StepContext, parameters: FailoverDatabaseParameters
    ) -> View:
        intent = context.intent or {}
        view = await look(cluster, context, parameters)
        _demand_same(view, intent)
        self.decide(view, intent, parameters)
        return view

    def decide(
        self, view: View, intent: Mapping[str, JsonValue], parameters: FailoverDatabaseParameters
    ) -> None:
        """Refuse, purely, a change that must not be asked for any more.

        Raises:
            StepError: PreconditionFailed.
        """
        demand_calm(view)
        if view.epoch != intent["epoch"]:
            raise StepError(
                f"{view.ref}: the lead has changed since the step looked at it: {view.primary or 'nobody'} leads; "
                "nothing was done",
                reason=Reason.PRECONDITION_FAILED,
            )
        if parameters.only_if_failing and not view.primary_trouble:
            raise StepError(
                f"{view.ref}: the primary {view.primary} is well again; nothing was done",
                reason=Reason.PRECONDITION_FAILED,
            )
        candidate(view, str(intent["to"]), most_lag(parameters))

    def looks_at(self, context: StepContext, parameters: FailoverDatabaseParameters) -> tuple[Look, ...]:
        """Return what says who leads, and with Patroni that by which a change is asked for."""
        name, where = database(context, parameters), context.namespace
        if parameters.manager is DatabaseManager.CLOUD_NATIVE_PG:
            return (ObjectRef(*CLUSTER, where, name),)
        objects = parameters.patroni_objects
        return (patroni.lead_ref(where, name, objects), patroni.failover_ref(where, name, objects))

    def probe(self, sight: Sight, context: StepContext, parameters: FailoverDatabaseParameters) -> Probed:
        """It happened with CloudNativePG where `status.targetPrimary` and its time are those that the step wrote;
        with Patroni where `<scope>-failover` carries the step's signed mark. A later change of the lead writes over
        either, and then it is Unknown. It helped where the instance that was chosen leads now.
        """
        intent = context.intent or {}
        to = str(intent.get("to") or "")
        if not to:
            return not_there("no instance was chosen to lead")
        lead, *asked = self.looks_at(context, parameters)
        assert isinstance(lead, ObjectRef)
        seen = sight.of(lead)
        if seen is None:
            return probing.lacking(context, f"{lead} is not there")
        if parameters.manager is DatabaseManager.CLOUD_NATIVE_PG:
            status = seen.get("status") or {}
            now, told = str(status.get("currentPrimary") or "nobody"), f"{lead}: status.targetPrimary is {to}"
            at = str(status.get("targetPrimaryTimestamp") or "")
            happened = (status.get("targetPrimary"), at) == (to, str(intent.get("at")))
        else:
            now = str((seen["metadata"].get("annotations") or {}).get("leader") or "nobody")
            told = f"{asked[0]} carries the mark of step {context.step}"
            happened = _marked(sight, context, asked)
        if not happened:
            return probing.lacking(context, f"{lead}: {now} leads, and nothing of the step is there")
        return there(told, Said(Answer.YES if now == to else Answer.NO, f"{now} leads"))

    async def undo(
        self, cluster: Cluster, context: StepContext, parameters: FailoverDatabaseParameters
    ) -> Done:
        """Nothing is put back: to let the former primary lead again is another change of the lead, with cut
        connections and a risk of its own, and it may be the one that failed.
        """
        return Done(False, "a change of the lead is not taken back; where you want it, run another one")


def _marked(sight: Sight, context: StepContext, asked: Sequence[Look]) -> bool:
    """Whether the object by which Patroni is asked carries the step's mark.

    Raises:
        StepError: the mark was forged, or the object can't be read.
    """
    for ref in asked:
        assert isinstance(ref, ObjectRef)
        seen = sight.of(ref)
        if seen is None:
            continue
        if births.ours(context, seen, dict(context.intent or {})):
            return True
        if context.step in read_marker(seen, context.run_uid, context.signer).steps:
            return True
    return False


def database(context: StepContext, parameters: DatabaseParameters) -> str:
    """Return the name of the ``Cluster`` or the scope."""
    return parameters.name or context.target.name


def most_lag(parameters: FailoverDatabaseParameters) -> int | None:
    """Return the bound of the lag, where anybody tells it."""
    return parameters.max_lag_bytes if parameters.manager is DatabaseManager.PATRONI else None


async def look(cluster: Cluster, context: StepContext, parameters: DatabaseParameters) -> View:
    """Return the database as it is now. Raises ClusterError."""
    name = database(context, parameters)
    if parameters.manager is DatabaseManager.CLOUD_NATIVE_PG:
        return (await cloudnative_pg.look(cluster, context.namespace, name))[0]
    return await patroni.look(cluster, context.namespace, name, parameters, context.now)


def demand_calm(view: View) -> None:
    """Refuse while the lead changes.

    Raises:
        StepError: PreconditionFailed.
    """
    if view.busy:
        raise StepError(f"{view.ref}: {view.busy}; nothing was done", reason=Reason.PRECONDITION_FAILED)


def _demand_same(view: View, intent: Mapping[str, JsonValue]) -> None:
    if view.ref.uid != intent["uid"]:
        raise StepError(
            f"{view.ref} was deleted and made anew since the step looked at it; nothing was done",
            reason=Reason.TARGET_REPLACED,
        )


def _bare(ref: ObjectRef, view: View, asked: Mapping[str, str | None]) -> Manifest:
    """Return the object by which Patroni is asked, where there is none yet: as Patroni itself would create it."""
    meta: Manifest = {
        "name": ref.name,
        "namespace": ref.namespace,
        "labels": dict(view.labels),
        "annotations": {key: value for key, value in asked.items() if value is not None},
    }
    return {"apiVersion": ref.api_version, "kind": ref.kind, "metadata": meta}


def _created(ref: ObjectRef, intent: Mapping[str, JsonValue]) -> Done:
    changed = f"{ref}: created: {_told(intent)}"
    return Done(True, f"{ref}: {_told(intent)}", _outputs(intent), (changed,))


def _outputs(intent: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    return {"from": str(intent["from"]), "to": str(intent["to"])}


def _told(intent: Mapping[str, JsonValue]) -> str:
    return f"{intent['to']} is asked to lead in place of {intent['from'] or 'nobody'}"


def _asked(view: View, intent: Mapping[str, JsonValue]) -> Done:
    changed = f"{view.ref}: status.targetPrimary: {intent['from'] or 'nobody'} -> {intent['to']}"
    return Done(True, f"{view.ref}: {_told(intent)}", _outputs(intent), (changed,))
