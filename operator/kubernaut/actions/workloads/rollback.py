"""``rollback_deployment``, ``rollback_statefulset``, ``rollback_daemonset``: go back to an earlier pod template."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final

from pydantic import Field

from kubernaut.actions import pods
from kubernaut.actions.fencing import fence
from kubernaut.actions.objects import DAEMON_SET, DEPLOYMENT, STATEFUL_SET, rights
from kubernaut.actions.workloads.workload import (
    WorkloadAction,
    WorkloadParameters,
    digest,
    owned_by,
    require_rolling,
    revision_of,
    template_of,
)
from kubernaut.api.reasons import Reason
from kubernaut.core.action import StepContext
from kubernaut.core.errors import StepError
from kubernaut.core.marker import StepMark
from kubernaut.core.ports import Cluster, Manifest, ObjectRef, Right
from kubernaut.core.selectors import selector_text

_TEMPLATE: Final = "spec.template"
_REVISION_HASH: Final = "controller-revision-hash"


class RollbackParameters(WorkloadParameters):
    """Parameters of an action that goes back to an earlier revision."""

    to_revision: Annotated[
        int | None,
        Field(
            ge=1,
            le=2**31 - 1,
            description="The revision to go back to; by default the newest earlier one that was ever available.",
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class Revision:
    """One revision of a workload, as its controller keeps it.

    Attributes:
        name: of the ReplicaSet or ControllerRevision that holds it.
        available: whether a pod of it is or ever was available, as far as anybody knows.
    """

    number: int
    name: str
    template: Mapping[str, Any]
    available: bool


class RollbackWorkload(WorkloadAction[Sequence[Revision]]):
    """Gives a workload the pod template of an earlier revision; subclasses know where its controller keeps them."""

    parameters = RollbackParameters
    outputs: ClassVar[Mapping[str, str]] = {
        "fromRevision": "The revision before; 0 where the controller had not numbered it yet.",
        "fromName": "The name of the ReplicaSet or ControllerRevision that holds it; empty where there is none yet.",
        "toRevision": "The revision whose template is used now; the controller numbers it anew.",
        "seenAvailable": "Whether that revision was ever seen with an available pod.",
    }

    @abstractmethod
    async def revisions(
        self, cluster: Cluster, context: StepContext | None, seen: Manifest
    ) -> Sequence[Revision]:
        """Return all revisions there are; without a context, none of them counts as available."""

    async def look(
        self, cluster: Cluster, context: StepContext, parameters: WorkloadParameters, seen: Manifest
    ) -> Sequence[Revision]:
        return await self.revisions(cluster, context, seen)

    def plan(
        self,
        seen: Manifest,
        evidence: Sequence[Revision],
        parameters: RollbackParameters,
        context: StepContext,
    ) -> fence.Change:
        require_rolling(seen)
        former, wanted = template_of(seen), parameters.to_revision
        current = [one for one in evidence if one.template == former]
        others = sorted((one for one in evidence if one.template != former), key=lambda one: -one.number)
        newest = max(current, key=lambda one: one.number, default=None)
        here = newest.number if newest else 0
        if wanted is not None and any(one.number == wanted for one in current):
            return fence.nothing(f"{ObjectRef.of(seen)} is at revision {wanted} already")
        chosen = _choose(seen, others, wanted)
        doubt = "" if chosen.available else "; that revision was never seen available"
        return fence.Change(
            {**seen, "spec": {**seen["spec"], "template": dict(chosen.template)}},
            {_TEMPLATE: {"digest": digest(former), "revision": here}},
            {_TEMPLATE: {"digest": digest(chosen.template), "revision": chosen.number}},
            f"rolled back from revision {here or 'unknown'} to revision {chosen.number}{doubt}",
            {
                "fromRevision": here,
                "fromName": newest.name if newest else "",
                "toRevision": chosen.number,
                "seenAvailable": chosen.available,
            },
        )

    def changed_since(self, seen: Manifest, mark: StepMark) -> str | None:
        same = digest(template_of(seen)) == mark.after[_TEMPLATE]["digest"]
        return None if same else _TEMPLATE

    async def put_back(self, cluster: Cluster, seen: Manifest, mark: StepMark) -> Manifest:
        after, before = mark.after[_TEMPLATE], mark.before[_TEMPLATE]
        now = digest(template_of(seen))
        if now != after["digest"]:
            raise fence.changed_since(ObjectRef.of(seen), _TEMPLATE, after, {"digest": now})
        for one in await self.revisions(cluster, None, seen):
            if digest(one.template) == before["digest"]:
                return {**seen, "spec": {**seen["spec"], "template": dict(one.template)}}
        raise StepError(
            f"revision {before['revision']} of {ObjectRef.of(seen)} is gone, and with it the template that the step "
            "replaced; apply the wanted one by hand",
            reason=Reason.NOTHING_TO_ROLL_BACK_TO,
        )


class RollbackDeployment(RollbackWorkload):
    """Gives the Deployment the pod template of an earlier revision, as found in its ReplicaSets.

    Which one: the newest revision, other than the current one, that has an available pod now or was ever seen with
    one; where none was, the newest revision other than the current one, and the message says so; with `toRevision`
    that revision. Only the pod template is taken: annotations of the Deployment stay as they are, because a
    ReplicaSet holds old copies of them, Kubernaut's own markers included. Refused while the Deployment is paused.
    """

    name: ClassVar = "rollback_deployment"
    summary: ClassVar = "Give a Deployment the pod template of the newest revision that was ever available"
    workload: ClassVar = DEPLOYMENT

    def rights(self, target: ObjectRef | None, parameters: WorkloadParameters) -> tuple[Right, ...]:
        return (*super().rights(target, parameters), *rights(("list",), "apps/v1", "ReplicaSet", ()))

    async def revisions(
        self, cluster: Cluster, context: StepContext | None, seen: Manifest
    ) -> Sequence[Revision]:
        meta, spec = seen["metadata"], seen["spec"]
        found = await cluster.list(
            "apps/v1", "ReplicaSet", meta["namespace"], label_selector=selector_text(spec.get("selector"))
        )
        owned = owned_by(seen, found)
        uids = [one["metadata"]["uid"] for one in owned]
        known = await context.evidence.seen_available(uids) if context is not None else frozenset()
        return [
            Revision(
                revision_of(one),
                one["metadata"]["name"],
                template_of(one),
                one["metadata"]["uid"] in known or bool((one.get("status") or {}).get("availableReplicas")),
            )
            for one in owned
        ]


class RollbackByControllerRevisions(RollbackWorkload):
    """Gives a workload the pod template of an earlier ControllerRevision."""

    def rights(self, target: ObjectRef | None, parameters: WorkloadParameters) -> tuple[Right, ...]:
        own = super().rights(target, parameters)
        return (
            *own,
            *rights(("list",), "apps/v1", "ControllerRevision", ()),
            *rights(("list",), "v1", "Pod", ()),
        )

    async def revisions(
        self, cluster: Cluster, context: StepContext | None, seen: Manifest
    ) -> Sequence[Revision]:
        namespace, selector = seen["metadata"]["namespace"], selector_text(seen["spec"].get("selector"))
        found = await cluster.list("apps/v1", "ControllerRevision", namespace, label_selector=selector)
        available = {str((seen.get("status") or {}).get("currentRevision", ""))}
        if context is not None:
            there = await cluster.list("v1", "Pod", namespace, label_selector=selector)
            labels = (pod["metadata"].get("labels") or {} for pod in owned_by(seen, there) if pods.ready(pod))
            hashes = {str(one.get(_REVISION_HASH, "")) for one in labels}
            # A StatefulSet's pods bear the revision's whole name, a DaemonSet's only its end.
            available |= hashes | {f"{seen['metadata']['name']}-{one}" for one in hashes}
        return [
            Revision(int(one["revision"]), name, template_of(one["data"]), name in available)
            for one in owned_by(seen, found)
            for name in (str(one["metadata"]["name"]),)
        ]


class RollbackStatefulSet(RollbackByControllerRevisions):
    """Gives the StatefulSet the pod template of an earlier revision, as found in its ControllerRevisions.

    Which one: the newest revision, other than the current one, that was rolled out as a whole
    (`status.currentRevision`) or has a ready pod now; where none has, the newest revision other than the current
    one, and the message says so; with `toRevision` that revision. Volume claim templates can't be changed and are
    not. Refused where the update strategy is `OnDelete`.

    A StatefulSet with `podManagementPolicy: OrderedReady` waits for a pod that is not ready, and does not replace it
    whatever the template says by then. Let its pods of the former revision be evicted after the rollback: they have
    the label `controller-revision-hash` with `fromName` as value, as in the sample `stateful-bad-rollout`.
    """

    name: ClassVar = "rollback_statefulset"
    summary: ClassVar = "Give a StatefulSet the pod template of the newest revision that was ever ready"
    workload: ClassVar = STATEFUL_SET


class RollbackDaemonSet(RollbackByControllerRevisions):
    """Gives the DaemonSet the pod template of an earlier revision, as found in its ControllerRevisions.

    Which one: the newest revision, other than the current one, that has a ready pod now; where none has, the newest
    revision other than the current one, and the message says so; with `toRevision` that revision. Refused where the
    update strategy is `OnDelete`.
    """

    name: ClassVar = "rollback_daemonset"
    summary: ClassVar = "Give a DaemonSet the pod template of the newest revision that has a ready pod"
    workload: ClassVar = DAEMON_SET


def _choose(seen: Manifest, others: Sequence[Revision], wanted: int | None) -> Revision:
    """Return the revision to go back to; ``others`` are sorted, newest first.

    Raises:
        StepError: NothingToRollBackTo, naming the revisions there are.
    """
    if wanted is not None:
        pool = [one for one in others if one.number == wanted]
    else:
        pool = [one for one in others if one.available] or list(others)
    if pool:
        return pool[0]
    if wanted is not None:
        there = ", ".join(str(one.number) for one in others) or "none"
        message = (
            f"{ObjectRef.of(seen)} has no revision {wanted}; other than the current one there are: {there}"
        )
    else:
        message = f"{ObjectRef.of(seen)} has no revision other than the current one"
    raise StepError(message, reason=Reason.NOTHING_TO_ROLL_BACK_TO)
