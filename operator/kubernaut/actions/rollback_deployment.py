"""``rollback_deployment``: give a Deployment the pod template of an earlier revision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final

from pydantic import Field

from kubernaut.actions import fence
from kubernaut.actions.deployments import (
    DeploymentAction,
    DeploymentParameters,
    digest,
    owned_by,
    require_rolling,
    revision_of,
    selector_text,
    template_of,
)
from kubernaut.actions.objects import rights
from kubernaut.api.reasons import Reason
from kubernaut.core.action import StepContext
from kubernaut.core.errors import StepError
from kubernaut.core.marker import StepMark
from kubernaut.core.ports import Cluster, Manifest, ObjectRef, Right

_TEMPLATE: Final = "spec.template"


class RollbackDeploymentParameters(DeploymentParameters):
    """Parameters of ``rollback_deployment``."""

    to_revision: Annotated[
        int | None,
        Field(
            ge=1,
            le=2**31 - 1,
            description="The revision to go back to; by default the newest earlier one that was ever available.",
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class Revisions:
    """The Deployment's ReplicaSets, and the UIDs of those that were ever seen with an available pod."""

    replica_sets: Sequence[Manifest]
    available: frozenset[str]


class RollbackDeployment(DeploymentAction[Revisions]):
    """Gives the Deployment the pod template of an earlier revision, as found in its ReplicaSets.

    Which one: the newest revision, other than the current one, that has an available pod now or was ever seen with
    one; where none was, the newest revision other than the current one, and the message says so; with `toRevision`
    that revision. Only the pod template is taken: annotations of the Deployment stay as they are, because a
    ReplicaSet holds old copies of them, Kubernaut's own markers included. Refused while the Deployment is paused.
    """

    name: ClassVar = "rollback_deployment"
    summary: ClassVar = "Give a Deployment the pod template of the newest revision that was ever available"
    parameters = RollbackDeploymentParameters
    outputs: ClassVar[Mapping[str, str]] = {
        "fromRevision": "The revision before; 0 where its ReplicaSet did not exist yet.",
        "toRevision": "The revision whose template is used now; the deployment controller numbers it anew.",
        "seenAvailable": "Whether that revision was ever seen with an available pod.",
    }

    def rights(self, target: ObjectRef | None, parameters: DeploymentParameters) -> tuple[Right, ...]:
        return (*super().rights(target, parameters), *rights(("list",), "apps/v1", "ReplicaSet", ()))

    async def look(
        self, cluster: Cluster, context: StepContext, parameters: DeploymentParameters, seen: Manifest
    ) -> Revisions:
        owned = await _replica_sets(cluster, seen)
        uids = [one["metadata"]["uid"] for one in owned]
        now = {one["metadata"]["uid"] for one in owned if _available(one)}
        return Revisions(owned, frozenset(now) | await context.evidence.seen_available(uids))

    def plan(
        self,
        seen: Manifest,
        evidence: Revisions,
        parameters: RollbackDeploymentParameters,
        context: StepContext,
    ) -> fence.Change:
        require_rolling(seen)
        former = template_of(seen)
        current = [one for one in evidence.replica_sets if template_of(one) == former]
        others = [one for one in evidence.replica_sets if template_of(one) != former]
        others.sort(key=revision_of, reverse=True)
        here = max(map(revision_of, current), default=0)
        wanted = parameters.to_revision
        if wanted is not None and any(revision_of(one) == wanted for one in current):
            return fence.nothing(f"{ObjectRef.of(seen)} is at revision {wanted} already")
        chosen = _choose(seen, others, evidence.available, wanted)
        known = chosen["metadata"]["uid"] in evidence.available
        template, to = template_of(chosen), revision_of(chosen)
        doubt = "" if known else "; that revision was never seen available"
        return fence.Change(
            {**seen, "spec": {**seen["spec"], "template": template}},
            {_TEMPLATE: {"digest": digest(former), "revision": here}},
            {_TEMPLATE: {"digest": digest(template), "revision": to}},
            f"rolled back from revision {here or 'unknown'} to revision {to}{doubt}",
            {"fromRevision": here, "toRevision": to, "seenAvailable": known},
        )

    async def put_back(self, cluster: Cluster, seen: Manifest, mark: StepMark) -> Manifest:
        after, before = mark.after[_TEMPLATE], mark.before[_TEMPLATE]
        now = digest(template_of(seen))
        if now != after["digest"]:
            raise fence.changed_since(ObjectRef.of(seen), _TEMPLATE, after, {"digest": now})
        for one in await _replica_sets(cluster, seen):
            template = template_of(one)
            if digest(template) == before["digest"]:
                return {**seen, "spec": {**seen["spec"], "template": template}}
        raise StepError(
            f"the ReplicaSet of revision {before['revision']} of {ObjectRef.of(seen)} is gone, and with it the "
            "template that the step replaced; apply the wanted one by hand",
            reason=Reason.NOTHING_TO_ROLL_BACK_TO,
        )


async def _replica_sets(cluster: Cluster, deployment: Manifest) -> list[Manifest]:
    meta, spec = deployment["metadata"], deployment["spec"]
    found = await cluster.list(
        "apps/v1", "ReplicaSet", meta["namespace"], label_selector=selector_text(spec.get("selector"))
    )
    return owned_by(deployment, found)


def _available(replica_set: Manifest) -> bool:
    status: dict[str, Any] = replica_set.get("status") or {}
    return bool(status.get("availableReplicas"))


def _choose(
    seen: Manifest, others: Sequence[Manifest], available: frozenset[str], wanted: int | None
) -> Manifest:
    """Return the ReplicaSet to go back to; ``others`` are sorted, newest first.

    Raises:
        StepError: NothingToRollBackTo, naming the revisions there are.
    """
    if wanted is not None:
        pool = [one for one in others if revision_of(one) == wanted]
    else:
        pool = [one for one in others if one["metadata"]["uid"] in available] or list(others)
    if pool:
        return pool[0]
    if wanted is not None:
        there = ", ".join(str(revision_of(one)) for one in others) or "none"
        message = (
            f"{ObjectRef.of(seen)} has no revision {wanted}; other than the current one there are: {there}"
        )
    else:
        message = f"{ObjectRef.of(seen)} has no revision other than the current one"
    raise StepError(message, reason=Reason.NOTHING_TO_ROLL_BACK_TO)
