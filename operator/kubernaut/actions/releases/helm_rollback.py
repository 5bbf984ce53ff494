"""``helm_rollback``: a release of Helm back to an earlier revision, object by object."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Final

from pydantic import JsonValue

from kubernaut.actions import probing
from kubernaut.actions.fencing import births, fence
from kubernaut.actions.objects import kind_scaling_rights, rights
from kubernaut.actions.releases import planning, release
from kubernaut.actions.releases.planning import HelmRollbackParameters, Rollback
from kubernaut.actions.releases.release import Revision
from kubernaut.api.names import GROUP
from kubernaut.api.reasons import Reason
from kubernaut.core import fields
from kubernaut.core.action import Done, Idempotency, Risk, StepContext
from kubernaut.core.errors import Conflict, NotFound, StepError, UnknownOutcome
from kubernaut.core.ports import Cluster, ObjectRef, Right
from kubernaut.core.probing import Answer, Look, Probed, Said, Sight, not_there, there

_ROUNDS: Final = 8
_OVER: Final = "Rollback put back"
# On the step's record: the revisions that were deployed before it, which undo makes so again.
_FORMER: Final = f"{GROUP}/deployed-before"


class HelmRollback:
    """Takes a release of Helm 3 back to an earlier revision, as `helm rollback` does, without Helm.

    What differs between the manifests of the newest revision and of the one to go back to is changed, field by
    field, on the objects as they are; what others changed beside these fields stays (Helm, too, leaves fields alone
    that the chart does not set). Which revisions these are is stored in the run first: where Helm makes a newer one
    before the step has begun, nothing is done. Each object is patched with the step's mark and the resourceVersion
    that was read. Before the first a new revision is recorded as Helm records it (`pending-rollback`), under its
    fixed name: while it is there neither `helm upgrade` nor another run begins anything with the release. After the
    last it is `deployed` and the former one `superseded`, so `helm history` and the next `helm upgrade` go on from
    it.

    Every change is sent as a dry run first, so that what would be refused, or a right that lacks, is found before
    anything is changed. Refused, naming why: a release in the middle of another operation; one that Helm 4 applies
    on the server's side; a rollback that would create or delete an object; one that would change an object of a kind
    that is not among `kinds`, of another namespace, or of those that [patch_resource](patch_resource.md) never
    patches, or fields that give a pod more rights. For these there is Helm itself, in a [run_job](run_job.md).

    Hooks of the chart are not run; where the revision has any for a rollback, the step's message names them.
    Releases that Helm keeps elsewhere than in Secrets are not found. The account can read and write Secrets of its
    namespace, for Helm keeps releases there; what is in them is told nowhere, and fields that may hold a secret are
    kept for undo in a Secret of the run.
    """

    name: ClassVar = "helm_rollback"
    summary: ClassVar = "Take a release of Helm back to an earlier revision"
    risk: ClassVar = Risk.LOW
    idempotency: ClassVar = Idempotency.PINNED
    halts: ClassVar = True
    parameters = HelmRollbackParameters
    example: ClassVar = {
        "release": "shop",
        "kinds": [{"apiVersion": "apps/v1", "kind": "Deployment"}, {"apiVersion": "v1", "kind": "ConfigMap"}],
    }
    outputs: ClassVar[Mapping[str, str]] = {
        "from": "The revision that was the newest one.",
        "to": "The revision whose manifest holds again.",
        "revision": "The revision that records this.",
    }

    def __init__(self, finished: fence.Finished = fence.never) -> None:
        self._finished = finished

    def rights(self, target: ObjectRef | None, parameters: HelmRollbackParameters) -> tuple[Right, ...]:
        """Return list, get, create and patch on secrets, get and patch on the kinds that may be changed, and list on
        autoscalers where one of these may have replicas.
        """
        own = rights(("list", "get", "create", "patch"), *release.SECRET, ())
        kinds = [(one.api_version, one.kind) for one in parameters.kinds]
        changing = (right for kind in kinds for right in rights(("get", "patch"), *kind, ()))
        return (*own, *changing, *kind_scaling_rights(kinds))

    async def prepare(
        self, cluster: Cluster, context: StepContext, parameters: HelmRollbackParameters
    ) -> Mapping[str, JsonValue] | None:
        """Decide which revision it will be, and what it comes to; that is what is done, whatever Helm does meanwhile.

        Raises:
            StepError: PreconditionFailed, where it is refused.
        """
        return (await planning.plan(cluster, context, parameters)).outputs

    async def perform(
        self, cluster: Cluster, context: StepContext, parameters: HelmRollbackParameters
    ) -> Done:
        """Record the new revision, change each object once, and record that it is deployed.

        Raises:
            StepError: PreconditionFailed, where it is refused; what ``fence.apply`` raises.
            UnknownOutcome: whether a request landed could not be found out.
            ClusterError: as the API server answers.
        """
        rollback = await planning.pinned(cluster, context, parameters)
        if not rollback.changes:
            told = f"revisions {rollback.current.number} and {rollback.target.number} are alike"
            return Done(False, f"nothing to do: {told}", rollback.outputs)
        made = await planning.made(cluster, context, parameters, rollback)
        if made is None:
            before = await _found(cluster, context, rollback)
            if len(before) == len(rollback.changes):
                # Helm writes records anew, without the mark; on the objects it is left.
                return _done(parameters, rollback, [text for done in before for text in done.changed])
            if before or rollback.newest != rollback.current.number:
                raise planning.refused(
                    f"{parameters.release} has revision {rollback.newest} by now, which is not the step's; see "
                    "`helm history`"
                )
            await self._try(cluster, context, rollback)
            body = release.rolled_back(rollback.current, rollback.target, context.now)
            body["metadata"]["annotations"] = {_FORMER: ",".join(map(str, rollback.deployed))}
            made = release.read(await births.create(cluster, context, body, planning.asked(parameters)))
        changed: list[str] = []
        for key in rollback.changes:
            done = await fence.apply(
                cluster, context, planning.ref(key), planning.decide(rollback, key), finished=self._finished
            )
            changed += done.changed
        for ref in _former(made):
            await _tell(cluster, context, ref, {release.DEPLOYED}, release.SUPERSEDED)
        await _tell(cluster, context, made.ref, {release.PENDING}, release.DEPLOYED)
        return _done(parameters, rollback, changed)

    async def undo(self, cluster: Cluster, context: StepContext, parameters: HelmRollbackParameters) -> Done:
        """Every field that was changed gets its former value, last object first; refused where one was changed since,
        or where a newer revision was made. What was `deployed` before is so again, and what the step recorded is
        `failed`.
        """
        if context.intent is None:
            return Done(False, "the step chose no revision")
        rollback = await planning.pinned(cluster, context, parameters)
        made = await planning.made(cluster, context, parameters, rollback)
        if made is None and not await _found(cluster, context, rollback):
            return Done(False, f"the step recorded no revision of {parameters.release}")
        if made is None or rollback.newest > made.number:
            raise StepError(
                f"{parameters.release} has revision {rollback.newest} by now, made since; nothing is put back",
                reason=Reason.CHANGED_SINCE,
            )
        changed: list[str] = []
        for key in reversed(list(rollback.changes)):
            if made.status == release.PENDING:
                # A patch that was sent before must not come after all.
                await fence.fence_off(cluster, context, planning.ref(key))
            done = await fence.restore(cluster, context, planning.ref(key), fence.put_fields_back)
            changed += done.changed
        await _tell(cluster, context, made.ref, {release.PENDING, release.DEPLOYED}, release.FAILED, _OVER)
        for ref in _former(made):
            await _tell(cluster, context, ref, {release.SUPERSEDED}, release.DEPLOYED)
        told = f"{parameters.release} is at revision {rollback.current.number} again"
        return Done(True, told, changed=tuple(changed[:16]))

    def looks_at(self, context: StepContext, parameters: HelmRollbackParameters) -> tuple[Look, ...]:
        """Return the record of the revision that the step makes, and the run's target."""
        record = _record(context, parameters)
        return () if record is None else (record, *probing.judges(context))

    def probe(self, sight: Sight, context: StepContext, parameters: HelmRollbackParameters) -> Probed:
        """It happened where the record of the revision that the step made is there with its signed mark, and says
        `deployed`, or `superseded` by a later revision; one that says `failed` was put back. It helped where the
        run's target is a workload and fares well by its own status; of another target that is Unknown.
        """
        ref = _record(context, parameters)
        if ref is None:
            return not_there("no revision was chosen")
        seen = probing.created(sight, ref, context, planning.asked(parameters))
        if isinstance(seen, Probed):
            return seen
        status = (seen["metadata"].get("labels") or {}).get("status", "")
        told = f"{ref}: label status is {status}"
        if status == release.FAILED:
            return not_there(told)
        if status == release.SUPERSEDED:
            return there(told, Said(Answer.UNKNOWN, "a later revision holds"))
        return there(told, probing.fares(sight, probing.judges(context)))

    async def _try(self, cluster: Cluster, context: StepContext, rollback: Rollback) -> None:
        """Send every change as a dry run.

        Raises:
            StepError: what stands in its way.
        """
        for key in rollback.changes:
            seen = await fence.read(cluster, context, planning.ref(key))
            wanted = await planning.decide(rollback, key)(seen)
            body = fields.merge_patch(seen, wanted.desired or seen)
            version = seen["metadata"]["resourceVersion"]
            await cluster.patch(planning.ref(key), body, resource_version=version, dry_run=True)
        body = release.status_patch(rollback.current, release.SUPERSEDED, None, context.now)
        version = rollback.current.secret["metadata"]["resourceVersion"]
        await cluster.patch(rollback.current.ref, body, resource_version=version, dry_run=True)


def _record(context: StepContext, parameters: HelmRollbackParameters) -> ObjectRef | None:
    """Return the Secret of the revision that the step makes."""
    number = (context.intent or {}).get("revision")
    if not isinstance(number, int):
        return None
    return ObjectRef(*release.SECRET, context.namespace, release.record_name(parameters.release, number))


def _former(made: Revision) -> list[ObjectRef]:
    """Return the records of the revisions that were deployed before the step's own."""
    text = (made.secret["metadata"].get("annotations") or {}).get(_FORMER, "")
    name = str(made.release["name"])
    names = [release.record_name(name, int(number)) for number in text.split(",") if number.isdigit()]
    return [replace(made.ref, name=one, uid="") for one in names]


async def _tell(
    cluster: Cluster,
    context: StepContext,
    ref: ObjectRef,
    former: Collection[str],
    status: str,
    description: str | None = None,
) -> None:
    """Give a revision's record another status; one that has it, or one that others gave it, is left alone.

    Raises:
        Conflict: others kept changing it.
        UnknownOutcome: whether it was written could not be found out.
        ClusterError: as the API server answers.
    """
    last: StepError | None = None
    for _ in range(_ROUNDS):
        try:
            seen = release.read(await cluster.get(ref))
        except NotFound:
            return
        if seen.status not in former:
            return
        body = release.status_patch(seen, status, description, context.now)
        try:
            await cluster.patch(ref, body, resource_version=seen.secret["metadata"]["resourceVersion"])
        except (Conflict, UnknownOutcome) as error:
            last = error
        else:
            return
    assert last is not None
    raise last


async def _found(cluster: Cluster, context: StepContext, rollback: Rollback) -> list[Done]:
    """Return what the step's marks on the objects tell, of those that carry one."""
    found = [await fence.recall(cluster, context, planning.ref(key)) for key in rollback.changes]
    return [done for done in found if done is not None]


def _done(parameters: HelmRollbackParameters, rollback: Rollback, changed: Sequence[str]) -> Done:
    told = f"{parameters.release} is rolled back to revision {rollback.target.number}, as revision {rollback.number}"
    names = release.hooks(rollback.target)
    if names:
        told += f"; hooks were not run: {', '.join(names[:8])}"
    record = f"release {parameters.release}: revision {rollback.number} deployed"
    return Done(True, told, rollback.outputs, (*changed[:15], record))
