"""``restore_last_known_good``: give an object that is not well the fields it had when it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final

from pydantic import Field, JsonValue, StringConstraints, field_validator

from kubernaut.actions import guards, pods
from kubernaut.actions.fencing import fence, images
from kubernaut.actions.fencing.marked import MarkedAction
from kubernaut.actions.knowngood import declaration, health
from kubernaut.actions.knowngood.declaration import KINDS, RememberedKind
from kubernaut.actions.knowngood.difference import Difference, differences, restored
from kubernaut.actions.objects import DEPLOYMENT, group_of, kind_scaling_rights, known_name, named, rights
from kubernaut.api.base import DnsName
from kubernaut.api.duration import Duration, format_duration
from kubernaut.api.names import LABEL_REMEMBER
from kubernaut.api.reasons import Reason
from kubernaut.core.action import ActionParameters, Done, Risk, StepContext
from kubernaut.core.errors import StepError
from kubernaut.core.memory import KnownGood
from kubernaut.core.ports import Cluster, Manifest, ObjectRef, Right

_TOLD: Final = 16
_LONGEST: Final = timedelta(days=90)
Manager = Annotated[str, StringConstraints(min_length=1, max_length=128)]


class Privileges(StrEnum):
    """What to do about fields by which pods would get back rights that they do not have now."""

    REFUSE = "Refuse"
    RESTORE = "Restore"


class RestoreLastKnownGoodParameters(ActionParameters):
    """Parameters of ``restore_last_known_good``."""

    kind: Annotated[
        RememberedKind | None, Field(description="Kind of the object; by default that of the run's target.")
    ] = None
    name: Annotated[
        DnsName | None,
        Field(description="The object; by default the run's target, where that is of the kind."),
    ] = None
    max_age: Annotated[
        Duration,
        Field(description="Refuse where the object was last seen well longer ago than this; at most 2160h."),
    ] = timedelta(days=7)
    good_for: Annotated[
        Duration,
        Field(
            description="Only what the object was well with for at least so long, such as 6h, where what broke it "
            "was well for a while, too; at most 2160h."
        ),
    ] = timedelta(0)
    leave_managers: Annotated[
        tuple[Manager, ...],
        Field(
            max_length=16,
            description="Fields last written by these managers, as `managedFields` name them, are left alone; such "
            "as `argocd-controller`, which would write them again.",
        ),
    ] = ()
    privileges: Annotated[
        Privileges,
        Field(
            description="Where pods would get back rights they do not have now (a service account, a privilege, a "
            "reference to a Secret): `Refuse`, or `Restore` them, too."
        ),
    ] = Privileges.REFUSE

    @field_validator("max_age")
    @classmethod
    def _bounded(cls, value: timedelta) -> timedelta:
        if not timedelta(minutes=1) <= value <= _LONGEST:
            raise ValueError(
                f"maxAge is from 1m to {format_duration(_LONGEST)}, not {format_duration(value)}"
            )
        return value

    @field_validator("good_for")
    @classmethod
    def _not_for_ever(cls, value: timedelta) -> timedelta:
        if value > _LONGEST:
            raise ValueError(f"goodFor is at most {format_duration(_LONGEST)}, not {format_duration(value)}")
        return value


@dataclass(frozen=True, slots=True)
class Evidence:
    """How the object fares, and what it was like when it was well; that is not asked for where it is well now."""

    finding: health.Finding
    good: KnownGood | None


class RestoreLastKnownGood(MarkedAction[RestoreLastKnownGoodParameters, Evidence]):
    """Gives an object that is not well those fields back that changed since it was, and no others.

    The operator remembers what objects with the label `kubernaut.io/remember: "true"` are like while they are well
    ([known good](../known-good.md)): ConfigMap, DaemonSet, Deployment, HorizontalPodAutoscaler, Ingress,
    NetworkPolicy, Service and StatefulSet. The step reads the object as the Workflow's account; only then, and by the
    UID that was read, is it told what is remembered of it.

    Nothing is done where the object is well. Workloads and autoscalers say so by their status; one with a container
    that ended within ten minutes is not well, though it may run just now. A ConfigMap is as well as the remembered
    workloads that use it, a Service and a NetworkPolicy as those whose pods they select, and where that can't be told
    as all of the namespace. Refused where nobody can say how it fares, where nothing of it has changed (then the
    cause is elsewhere), and where it was last seen well longer ago than `maxAge`.

    Each field is compared by itself, lists of named elements element by element, and `managedFields` say who wrote it
    and when. Left alone, and told with the reason: what an autoscaler or another controller writes, such as replicas;
    fields of `leaveManagers`; values that may hold a secret, which are never remembered. Others' changes in other
    fields stay. Where pods would get rights back that they do not have now, the step is refused without
    `privileges: Restore`.

    It is one patch, with the version that was read. What it replaces is remembered for putting it back: up to 2 KiB
    on the object itself; more, or what may be secret, such as environment variables, in a Secret of the run, for
    which the account needs `create` and `get` on secrets. Without Postgres the step fails with `HistoryAway` and
    does not wait for it; where a key is missing that the memory was encrypted with, with `MemoryUnreadable`.

    Pods of a StatefulSet that never got ready are not replaced by their controller: let `restart_pod` follow. What
    pods took from a ConfigMap when they were started they take again when they are started anew.
    """

    name: ClassVar = "restore_last_known_good"
    summary: ClassVar = "Give an object that is not well the fields back that changed since it was"
    # Which fields these are nobody has said before.
    risk: ClassVar = Risk.HIGH
    parameters = RestoreLastKnownGoodParameters
    example: ClassVar = {"kind": "ConfigMap", "name": "settings"}
    outputs: ClassVar[Mapping[str, str]] = {
        "lastSeen": "When it was last seen well.",
        "since": "Since when it was known to be well as it is now again.",
        "why": "How it fared.",
        "fields": "What was restored, at most 16 of them: path, `by` whom and `at` what time it had been changed.",
        "left": "What differs and was left alone, at most 16 of them: path and why.",
    }

    def ref(self, namespace: str, target: ObjectRef, parameters: RestoreLastKnownGoodParameters) -> ObjectRef:
        api_version, kind = _kind(target, parameters)
        return named(namespace, target, api_version, kind, parameters.name)

    def rights(
        self, target: ObjectRef | None, parameters: RestoreLastKnownGoodParameters
    ) -> tuple[Right, ...]:
        """Return get and patch on the object, what its health is told by, and what keeping former values may take.

        Replicas may be among what is restored, so who scales the object is looked for.
        """
        api_version, kind = _kind_or_any(target, parameters)
        own = rights(("get", "patch"), api_version, kind, known_name(target, kind, parameters.name))
        others = () if kind in health.WORKLOADS else health.WORKLOADS
        listed = (right for other in others for right in rights(("list",), KINDS[other], other, ()))
        # How much differs, and what it is, is not known before.
        scaling = kind_scaling_rights([(api_version, kind)])
        return (*own, *rights(("list",), "v1", "Pod", ()), *listed, *scaling, *images.RIGHTS)

    async def perform(
        self, cluster: Cluster, context: StepContext, parameters: RestoreLastKnownGoodParameters
    ) -> Done:
        """Read, decide and patch, once."""
        # What is remembered is for those who may read the object now, not for those who could a moment ago.
        context.recent.take(self.ref(context.namespace, context.target, parameters))
        return await super().perform(cluster, context, parameters)

    async def look(
        self,
        cluster: Cluster,
        context: StepContext,
        parameters: RestoreLastKnownGoodParameters,
        seen: Manifest,
    ) -> Evidence:
        about = health.facts(seen)
        own, selector = about.kind in health.WORKLOADS, pods.selector_of(seen) or ""
        workloads = [about] if own else await _workloads(cluster, context.namespace)
        there = await cluster.list("v1", "Pod", context.namespace, label_selector=selector if own else "")
        workloads = [health.looked_into(one, there, context.now) for one in workloads]
        finding = health.judge(workloads[0] if own else about, workloads)
        if finding.health in (health.Health.HEALTHY, health.Health.UNSEEN):
            return Evidence(finding, None)
        good = await context.memory.last_known_good(ObjectRef.of(seen), parameters.good_for)
        return Evidence(finding, good)

    def plan(
        self,
        seen: Manifest,
        evidence: Evidence,
        parameters: RestoreLastKnownGoodParameters,
        context: StepContext,
    ) -> fence.Change:
        ref, finding, good = ObjectRef.of(seen), evidence.finding, evidence.good
        if finding.health is health.Health.HEALTHY:
            return fence.nothing(f"{ref} is well and was left alone: {finding.why}", {"why": finding.why})
        if good is None:
            raise _refused(f"how {ref} fares can't be told: {finding.why}; nothing was done")
        if context.now - good.last_seen > parameters.max_age:
            raise _refused(
                f"{ref} was last seen well at {_time(good.last_seen)}, which is longer ago than maxAge "
                f"({format_duration(parameters.max_age)}); raise maxAge where that is to be restored"
            )
        found = differences(good.content, seen, parameters.leave_managers)
        wanted, left = [one for one in found if not one.left], [one for one in found if one.left]
        if not wanted:
            raise _refused(_nothing_changed(ref, good, finding, left))
        if seen.get("immutable"):
            raise _refused(f"{ref} is immutable; delete it and make it anew, with the pods that use it")
        desired = restored(seen, wanted, good.content)
        refusal = guards.gain_refusal(seen, desired)
        if refusal is not None and parameters.privileges is Privileges.REFUSE:
            raise _refused(f"{ref} was left alone: {refusal}; set privileges: Restore where that is meant")
        told = f"{ref}: {len(wanted)} fields are as when it was last seen well, at {_time(good.last_seen)}"
        change = fence.change(seen, desired, f"{told} ({finding.why})", _outputs(good, finding, wanted, left))
        # A list is recorded as a whole, with what did not change in it.
        values = (*change.before.values(), *change.after.values())
        secret = guards.secretive(seen, desired) or any(map(declaration.may_hold_secret, values))
        return replace(change, secret=secret)


def _kind_or_any(target: ObjectRef | None, parameters: RestoreLastKnownGoodParameters) -> tuple[str, str]:
    """Return API version and kind as far as they are known before a run."""
    remembered = target is not None and target.kind in KINDS
    return _kind(target, parameters) if remembered or parameters.kind is not None else DEPLOYMENT


def _kind(target: ObjectRef | None, parameters: RestoreLastKnownGoodParameters) -> tuple[str, str]:
    """Return API version and kind of what is restored.

    Raises:
        StepError: InvalidParameters, where the run's target is of no kind that is remembered.
    """
    if parameters.kind is not None:
        return KINDS[str(parameters.kind)], str(parameters.kind)
    if target is not None and group_of(KINDS.get(target.kind, "-/")) == group_of(target.api_version):
        return KINDS[target.kind], target.kind
    raise StepError(
        f"the run's target is {target}, which is of no kind that is remembered; name one under with.kind and "
        f"with.name ({', '.join(sorted(KINDS))})",
        reason=Reason.INVALID_PARAMETERS,
    )


async def _workloads(cluster: Cluster, namespace: str) -> list[health.Facts]:
    selector = f"{LABEL_REMEMBER}=true"
    return [
        health.facts(one)
        for kind in health.WORKLOADS
        for one in await cluster.list(KINDS[kind], kind, namespace, label_selector=selector)
    ]


def _nothing_changed(
    ref: ObjectRef, good: KnownGood, finding: health.Finding, left: Sequence[Difference]
) -> str:
    since = f"{ref} is not well ({finding.why})"
    if not left:
        return f"{since}, but as declared when it was, at {_time(good.last_seen)}; the cause is elsewhere"
    told = "; ".join(f"{one.text}: {one.left}" for one in left[:_TOLD])
    return f"{since}, and all that differs since {_time(good.last_seen)} is left alone: {told}"


def _outputs(
    good: KnownGood, finding: health.Finding, wanted: Sequence[Difference], left: Sequence[Difference]
) -> dict[str, JsonValue]:
    changed: list[Any] = [{"path": one.text, "by": one.by, "at": one.at} for one in wanted[:_TOLD]]
    others: list[Any] = [{"path": one.text, "why": one.left} for one in left[:_TOLD]]
    return {
        "lastSeen": _time(good.last_seen),
        "since": _time(good.first_seen),
        "why": finding.why,
        "fields": changed,
        "left": others,
    }


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _refused(message: str) -> StepError:
    return StepError(message, reason=Reason.PRECONDITION_FAILED)
