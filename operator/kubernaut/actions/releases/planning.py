"""From which revision of a release to which, and what that comes to: refused before anything is begun, or planned."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Self

from pydantic import Field, JsonValue, StringConstraints, model_validator

from kubernaut.actions import guards
from kubernaut.actions.fencing import births, fence
from kubernaut.actions.releases import release
from kubernaut.actions.releases.release import Revision
from kubernaut.api.base import UNQUOTED
from kubernaut.api.reasons import Reason
from kubernaut.api.steps import ApiVersion, KindName
from kubernaut.core import fields
from kubernaut.core.action import ActionParameters, StepContext
from kubernaut.core.errors import NotFound, StepError
from kubernaut.core.ports import Cluster, Manifest, ObjectRef

Key = tuple[str, str, str, str]


class KindRef(ActionParameters):
    """A kind of objects."""

    api_version: Annotated[ApiVersion, Field(description="API version, as in apps/v1.")]
    kind: Annotated[KindName, Field(description="Kind, as in Deployment.")]


class HelmRollbackParameters(ActionParameters):
    """Parameters of ``helm_rollback``."""

    release: Annotated[
        str,
        StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=53),
        Field(description="Name of the release, in the run's namespace."),
    ]
    revision: Annotated[
        int | None,
        Field(
            ge=1, description="The revision to go back to; by default the last one before that was deployed."
        ),
        UNQUOTED,
    ] = None
    expect_revision: Annotated[
        int | None,
        Field(ge=1, description="The revision that has to be the newest one; with another, nothing is done."),
        UNQUOTED,
    ] = None
    kinds: Annotated[
        tuple[KindRef, ...],
        Field(
            min_length=1,
            max_length=16,
            description="Kinds whose objects may be changed: `apiVersion` and `kind`. Where an object of another "
            "kind would have to be, nothing is done.",
        ),
    ] = (
        KindRef(api_version="apps/v1", kind="Deployment"),
        KindRef(api_version="v1", kind="ConfigMap"),
        KindRef(api_version="v1", kind="Service"),
    )

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        for one in self.kinds:
            refusal = guards.object_refusal(one.api_version, one.kind, "")
            if refusal is not None:
                raise ValueError(refusal)
        return self


@dataclass(frozen=True, slots=True)
class Rollback:
    """What a rollback comes to.

    Attributes:
        newest: the number of the newest revision that there is.
        deployed: the revisions that are deployed now: mostly one, which need not be the newest.
        changes: the objects that differ, as the newest revision and as the target declare them.
    """

    current: Revision
    target: Revision
    newest: int
    deployed: tuple[int, ...]
    changes: Mapping[Key, tuple[Manifest, Manifest]]

    @property
    def number(self) -> int:
        return self.current.number + 1

    @property
    def outputs(self) -> dict[str, JsonValue]:
        return {"from": self.current.number, "to": self.target.number, "revision": self.number}


def asked(parameters: HelmRollbackParameters) -> dict[str, JsonValue]:
    return {"release": parameters.release, "revision": parameters.revision}


async def records(
    cluster: Cluster, context: StepContext, parameters: HelmRollbackParameters
) -> list[Manifest]:
    """Return the Secrets of the release's revisions, oldest first.

    Raises:
        StepError: NotFound, where there is none.
        ClusterError: as the API server answers.
    """
    found = await cluster.list(
        *release.SECRET, context.namespace, label_selector=f"owner=helm,name={parameters.release}"
    )
    pattern = re.compile(re.escape(release.record_name(parameters.release, 0)[:-1]) + r"([1-9][0-9]*)")
    named = [
        (pattern.fullmatch(one["metadata"]["name"]), one) for one in found if one.get("type") == release.TYPE
    ]
    numbered = sorted(((int(match[1]), one) for match, one in named if match), key=lambda one: one[0])
    if not numbered:
        raise StepError(
            f"there is no release {parameters.release} of Helm 3 in namespace {context.namespace}; `helm list` shows "
            "those there are",
            reason=Reason.NOT_FOUND,
        )
    return [one for _, one in numbered]


async def made(
    cluster: Cluster, context: StepContext, parameters: HelmRollbackParameters, rollback: Rollback
) -> Revision | None:
    """Return the revision that this step has recorded; None where it has not, or Helm has written it anew since."""
    name = release.record_name(parameters.release, rollback.number)
    try:
        secret = await cluster.get(ObjectRef(*release.SECRET, context.namespace, name))
    except NotFound:
        return None
    return release.read(secret) if births.ours(context, secret, asked(parameters)) else None


async def plan(cluster: Cluster, context: StepContext, parameters: HelmRollbackParameters) -> Rollback:
    """Decide from which revision to which, and what differs.

    Raises:
        StepError: PreconditionFailed, where it is refused; NotFound, where there is no such revision.
        ClusterError: as the API server answers.
    """
    revisions = [release.read(one) for one in await records(cluster, context, parameters)]
    current = release.read(await cluster.get(revisions[-1].ref))
    _demand_calm(parameters, current)
    return _between(context, parameters, revisions, current, _target(parameters, current, revisions[:-1]))


async def pinned(cluster: Cluster, context: StepContext, parameters: HelmRollbackParameters) -> Rollback:
    """Return what was decided when the step was prepared.

    Raises:
        StepError: PreconditionFailed, where one of its revisions is gone by now.
        ClusterError: as the API server answers.
    """
    intent = context.intent or {}
    revisions = [release.read(one) for one in await records(cluster, context, parameters)]
    found = {one.number: one for one in revisions}
    pair = [found.get(int(str(intent.get(name, 0)))) for name in ("from", "to")]
    current, target = pair
    if current is None or target is None:
        raise refused(
            f"revision {intent.get('from')} or {intent.get('to')} of {parameters.release} is gone; see `helm history`"
        )
    return _between(context, parameters, revisions, current, target)


def _between(
    context: StepContext,
    parameters: HelmRollbackParameters,
    revisions: Sequence[Revision],
    current: Revision,
    target: Revision,
) -> Rollback:
    for one in (current, target):
        if one.release.get("apply_method") == "ssa":
            raise refused(
                f"revision {one.number} of {parameters.release} is applied on the server's side, as Helm 4 does "
                "unless told otherwise: who patches its objects takes their fields from Helm; run Helm itself"
            )
    deployed = tuple(one.number for one in revisions if one.status == release.DEPLOYED)
    changes = _changes(context, parameters, current, target)
    return Rollback(current, target, revisions[-1].number, deployed, changes)


def _demand_calm(parameters: HelmRollbackParameters, current: Revision) -> None:
    if current.status not in (release.DEPLOYED, release.FAILED):
        raise refused(
            f"revision {current.number} of {parameters.release} is {current.status or 'of no status'}: another "
            "operation of Helm is under way, or was cut off; see `helm history`"
        )
    if parameters.expect_revision not in (None, current.number):
        raise refused(
            f"the newest revision of {parameters.release} is {current.number}, but {parameters.expect_revision} is "
            "expected; nothing was done"
        )


def _target(parameters: HelmRollbackParameters, current: Revision, earlier: Sequence[Revision]) -> Revision:
    if parameters.revision is None:
        # One that failed was never what ran well.
        good = [one for one in earlier if one.status in (release.SUPERSEDED, release.DEPLOYED)]
        if not good:
            raise StepError(
                f"{parameters.release} has no revision before {current.number} that was deployed; apply a good one",
                reason=Reason.NOTHING_TO_ROLL_BACK_TO,
            )
        return good[-1]
    for one in earlier:
        if one.number == parameters.revision:
            return one
    there = ", ".join(str(one.number) for one in earlier) or "none"
    raise StepError(
        f"{parameters.release} has no revision {parameters.revision} before {current.number}; there are: {there}",
        reason=Reason.NOT_FOUND,
    )


def _changes(
    context: StepContext, parameters: HelmRollbackParameters, current: Revision, target: Revision
) -> dict[Key, tuple[Manifest, Manifest]]:
    """Return the objects that differ.

    Raises:
        StepError: PreconditionFailed, where one may not be changed, or would have to be created or deleted.
    """
    before, after = (release.objects(one, context.namespace) for one in (current, target))
    allowed = {(one.api_version, one.kind) for one in parameters.kinds}
    for key in sorted(before.keys() ^ after.keys()):
        what = "create" if key in after else "delete"
        raise refused(
            f"the rollback to revision {target.number} would {what} {key[1]} {key[3]}, which is not done by a step; "
            "run Helm itself"
        )
    found: dict[Key, tuple[Manifest, Manifest]] = {}
    for key, old in before.items():
        new = after[key]
        if fields.same(old, new):
            continue
        refusal = guards.object_refusal(key[0], key[1], key[3])
        if refusal is None and key[2] != context.namespace:
            refusal = f"{key[1]} {key[3]} is in namespace {key[2]}; a step acts in its own"
        if refusal is None and key[:2] not in allowed:
            refusal = f"{key[1]} {key[3]} ({key[0]}) would change, and its kind is not among with.kinds"
        if refusal is not None:
            raise refused(f"the rollback to revision {target.number} was not begun: {refusal}")
        found[key] = (old, new)
    return found


def ref(key: Key) -> ObjectRef:
    api_version, kind, namespace, name = key
    return ObjectRef(api_version, kind, namespace, name)


def decide(rollback: Rollback, key: Key) -> Callable[[Manifest], Awaitable[fence.Change]]:
    """Return what decides the change of one object as read."""
    old, new = rollback.changes[key]

    async def decide(seen: Manifest) -> fence.Change:
        desired = seen
        try:
            for one in fields.diff(old, new):
                desired = fields.put(desired, one.path, one.after)
        except fields.FieldError as error:
            raise refused(f"{ref(key)} is of another shape than its chart declares: {error}") from None
        refusal = guards.patch_refusal(fields.merge_patch(seen, desired))
        refusal = refusal or guards.change_refusal(seen, desired)
        if refusal is not None:
            raise refused(f"{ref(key)} was not changed: {refusal}")
        change = fence.change(seen, desired, f"{ref(key)} is as in revision {rollback.target.number}")
        return replace(change, secret=guards.secretive(seen, desired))

    return decide


def refused(message: str) -> StepError:
    return StepError(message, reason=Reason.PRECONDITION_FAILED)
