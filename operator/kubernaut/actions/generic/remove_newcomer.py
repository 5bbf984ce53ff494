"""``remove_newcomer``: take away the one object that came just before a fault and blocks the workload."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import Field, JsonValue, StringConstraints, field_validator, model_validator

from kubernaut.actions import probing
from kubernaut.actions.fencing import fence, images, removal
from kubernaut.actions.newcomers.guarding import SYSTEM_NAMESPACES, refusal
from kubernaut.actions.newcomers.suspects import Blocker, Suspect, suspects
from kubernaut.actions.newcomers.trouble import Window, trouble
from kubernaut.actions.nodes.taint import (
    UntaintNode,
    UntaintNodeParameters,
    find_taint,
    plain,
    taint_text,
    taints_of,
)
from kubernaut.actions.objects import known_name, named, rights
from kubernaut.actions.workloads.any_workload import AnyWorkloadParameters, kind_of
from kubernaut.api.base import Time
from kubernaut.api.duration import Duration, format_duration
from kubernaut.api.reasons import Reason
from kubernaut.core.action import Done, Idempotency, Risk, StepContext
from kubernaut.core.errors import StepError
from kubernaut.core.ports import Cluster, Manifest, ObjectRef, Right
from kubernaut.core.probing import Look, Probed, Sight, not_there, there
from kubernaut.core.selectors import selector_text

_TOLD: Final = 8
_DEPLOYMENT: Final = "Deployment"
_NAMESPACED: Final = (Blocker.NETWORK_POLICY, Blocker.RESOURCE_QUOTA, Blocker.LIMIT_RANGE)
# By pods it is seen whether these block; by what the API server said of those to be created, the others.
_BY_PODS: Final = frozenset({Blocker.NETWORK_POLICY, Blocker.TAINT})
Label = Annotated[str, StringConstraints(max_length=317)]


class RemoveNewcomerParameters(AnyWorkloadParameters):
    """Parameters of ``remove_newcomer``: the workload that is blocked, and what may be taken away."""

    blockers: Annotated[
        tuple[Blocker, ...],
        Field(
            min_length=1,
            max_length=len(Blocker),
            description="What may be removed: `NetworkPolicy`, `ResourceQuota`, `LimitRange`, and, for which the "
            "namespace needs the label kubernaut.io/cluster-scoped, `ValidatingWebhookConfiguration`, "
            "`MutatingWebhookConfiguration`, `Taint`.",
        ),
    ] = _NAMESPACED
    window: Annotated[
        Duration,
        Field(description="How long before the fault it may have come, from 1m to 168h."),
    ] = timedelta(hours=1)
    onset: Annotated[
        Time | None,
        Field(
            description="When the fault began, such as an alert's start; by default as the pods and the workload's "
            "conditions tell."
        ),
    ] = None
    max_age: Annotated[
        Duration, Field(description="What is older than this is never removed, from 1m to 168h.")
    ] = timedelta(hours=24)
    keep_labels: Annotated[
        dict[Label, Label],
        Field(
            max_length=16,
            description="What has one of these labels is never removed; an empty value stands for any.",
        ),
    ] = Field(default_factory=dict)

    @field_validator("window", "max_age")
    @classmethod
    def _bounded(cls, value: timedelta) -> timedelta:
        if not timedelta(minutes=1) <= value <= timedelta(days=7):
            raise ValueError(f"it is from 1m to 168h, not {format_duration(value)}")
        return value

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if len(set(self.blockers)) < len(self.blockers):
            raise ValueError("blockers names something twice; name each once")
        return self


@dataclass(frozen=True, slots=True)
class _Pinned:
    """The suspect as stored before anything is sent; one without a name says that there was none."""

    ref: ObjectRef
    removal: removal.Removal
    taint: Mapping[str, Any] | None
    why: str

    @classmethod
    def stored(cls, intent: Mapping[str, JsonValue] | None) -> _Pinned:
        found: Mapping[str, Any] = intent or {}
        ref = ObjectRef(
            *(str(found.get(key, "")) for key in ("apiVersion", "kind", "namespace", "name", "uid"))
        )
        return cls(ref, removal.Removal.stored(intent), found.get("taint"), str(found.get("why", "")))

    @property
    def identity(self) -> tuple[str, str]:
        which = "" if self.taint is None else taint_text(self.taint)
        return self.ref.uid, which


class RemoveNewcomer:
    """Takes away the one object that came just before a workload was in trouble and is shown to block it.

    What counts as blocking:

    - a NetworkPolicy that selects the pods and restricts a direction which no policy before it did, where pods are
      not ready or `onset` tells of the fault;
    - a ResourceQuota for which the API server refuses pods, with a limit that it still has;
    - a LimitRange by one of whose limits the API server refuses pods;
    - a ValidatingWebhookConfiguration or MutatingWebhookConfiguration with a webhook that can't be called, for which
      the API server refuses pods; one that *denies* them does its work, and is never taken for a fault;
    - a taint that pods do not tolerate, on a node that their `nodeSelector` allows, where the scheduler finds no node
      because of a taint.

    What the API server refuses is read from the Deployment's condition ReplicaFailure, of StatefulSets and DaemonSets
    from Events. It must have come within `window` before that showed (or before `onset`), and not longer than
    `maxAge` ago. Where nothing blocks, nothing is done. Where there are several suspects, none is removed: the step
    fails with `SeveralSuspects` and names them.

    Never removed, even as the only suspect: what carries `kubernaut.io/protected` or one of `keepLabels`; what
    belongs to an owner or has finalizers; taints under `kubernetes.io` and the like, which say how the node fares.
    Nothing is removed by Workflows in `kube-system`, `kube-public`, `kube-node-lease` and the operator's namespace.

    The object is pinned by its UID; right before it is deleted everything is looked at again, and its version is a
    precondition of the request. It is kept first in a Secret of the run, for which the account needs `create` and
    `get` on secrets; a taint is taken off by one marked patch of the node and kept on it.
    """

    name: ClassVar = "remove_newcomer"
    summary: ClassVar = "Take away the one object that came just before a fault and blocks the workload"
    risk: ClassVar = Risk.HIGH
    idempotency: ClassVar = Idempotency.PINNED
    parameters = RemoveNewcomerParameters
    example: ClassVar = {"window": "30m"}
    outputs: ClassVar[Mapping[str, str]] = {
        "removed": "What was removed; empty where nothing was.",
        "uid": "The UID of the object.",
        "why": "What it did.",
        "kept": "Name of the Secret that holds it; empty for a taint, which is kept on its node.",
    }

    def __init__(self, finished: fence.Finished = fence.never) -> None:
        self._finished = finished

    def rights(self, target: ObjectRef | None, parameters: RemoveNewcomerParameters) -> tuple[Right, ...]:
        """Return get on the workload, what it is judged by, and list, get and delete on what may be removed; to keep
        it create and get on secrets; to undo create.
        """
        api_version, kind = kind_of(target, parameters)
        needed = rights(("get",), api_version, kind, known_name(target, kind, parameters.name))
        if _BY_PODS & set(parameters.blockers):
            needed += rights(("list",), "v1", "Pod", ())
        if kind != _DEPLOYMENT and set(parameters.blockers) - _BY_PODS:
            needed += rights(("list",), "v1", "Event", ())
        for one in parameters.blockers:
            verbs = ("list", "get", "patch") if one is Blocker.TAINT else ("list", "get", "delete", "create")
            needed += rights(verbs, *one.kind, ())
        kept = set(parameters.blockers) != {Blocker.TAINT}
        return (*needed, *images.RIGHTS) if kept else needed

    async def prepare(
        self, cluster: Cluster, context: StepContext, parameters: RemoveNewcomerParameters
    ) -> Mapping[str, JsonValue] | None:
        """Look for the one suspect and return its UID, and in what Secret it will be kept."""
        suspect = await self._suspect(cluster, context, parameters)
        if suspect is None:
            return {"why": "nothing that came just before the fault blocks it"}
        ref = ObjectRef.of(suspect.manifest)
        pinned = removal.Removal.of(context, suspect.manifest, keep=suspect.taint is None)
        where = {
            "apiVersion": ref.api_version,
            "kind": ref.kind,
            "namespace": ref.namespace,
            "name": ref.name,
        }
        taint: dict[str, JsonValue] = {} if suspect.taint is None else {"taint": dict(suspect.taint)}
        return {**where, **pinned.intent, **taint, "why": suspect.why}

    async def perform(
        self, cluster: Cluster, context: StepContext, parameters: RemoveNewcomerParameters
    ) -> Done:
        """Keep the object, and delete it; one that is gone, going or replaced is done."""
        pinned = _Pinned.stored(context.intent)
        if not pinned.ref.name:
            return Done(False, f"{self._ref(context, parameters)}: {pinned.why}", _outputs("", pinned))

        async def check(seen: Manifest) -> None:
            suspect = await self._suspect(cluster, context, parameters)
            if suspect is None or suspect.identity != pinned.identity:
                raise StepError(
                    f"{pinned.ref} no longer is what blocks {self._ref(context, parameters)}; nothing was done",
                    reason=Reason.PRECONDITION_FAILED,
                )

        if pinned.taint is not None:
            untaint, step, wanted = self._untainting(context, pinned, check)
            done = await untaint.perform(cluster, step, wanted)
            return replace(
                done, outputs=_outputs(f"taint {taint_text(pinned.taint)} of {pinned.ref}", pinned)
            )
        told = await removal.delete(cluster, context, pinned.ref, pinned.removal, check)
        return Done(True, f"{told}: {pinned.why}", _outputs(str(pinned.ref), pinned), (told,))

    async def undo(
        self, cluster: Cluster, context: StepContext, parameters: RemoveNewcomerParameters
    ) -> Done:
        """The object is made anew as it was kept, with another UID, and the taint put back on its node; refused where
        somebody else made one of the same name, or changed the taint.
        """
        pinned = _Pinned.stored(context.intent)
        if not pinned.ref.name:
            return Done(False, "nothing was removed")
        if pinned.taint is not None:
            untaint, step, wanted = self._untainting(context, pinned)
            return await untaint.undo(cluster, step, wanted)
        return await removal.make_anew(cluster, context, pinned.ref, pinned.removal)

    def looks_at(self, context: StepContext, parameters: RemoveNewcomerParameters) -> tuple[Look, ...]:
        """Return the pinned object, the workload and the run's target."""
        pinned = _Pinned.stored(context.intent)
        if not pinned.ref.name:
            return ()
        return (pinned.ref, *probing.judges(context, self._ref(context, parameters)))

    def probe(self, sight: Sight, context: StepContext, parameters: RemoveNewcomerParameters) -> Probed:
        """It happened where the object with the UID that was chosen is gone or going, whoever deleted it, and was
        not made anew by undo; of a taint, where its node carries the step's signed mark and was not put back. It
        helped where the workload, and the run's target, fare well by their own status.
        """
        pinned = _Pinned.stored(context.intent)
        if not pinned.ref.name:
            return not_there("nothing was chosen")
        helped = probing.fares(sight, probing.judges(context, self._ref(context, parameters)))
        if pinned.taint is None:
            return removal.probed(sight, context, pinned.ref, pinned.removal, helped)
        found = probing.mark_on(sight, pinned.ref, context)
        if isinstance(found, Probed):
            return found
        return there(probing.carries(pinned.ref, found[1], context), helped)

    async def fence(
        self, cluster: Cluster, context: StepContext, parameters: RemoveNewcomerParameters
    ) -> Done:
        """See to it that the patch of a node can't land any more; a delete is found out by its UID."""
        pinned = _Pinned.stored(context.intent)
        if pinned.taint is None:
            return Done(False)
        untaint, step, wanted = self._untainting(context, pinned)
        return await untaint.fence(cluster, step, wanted)

    def _ref(self, context: StepContext, parameters: RemoveNewcomerParameters) -> ObjectRef:
        api_version, kind = kind_of(context.target, parameters)
        return named(context.namespace, context.target, api_version, kind, parameters.name)

    def _untainting(
        self, context: StepContext, pinned: _Pinned, check: Any = None
    ) -> tuple[UntaintNode, StepContext, UntaintNodeParameters]:
        assert pinned.taint is not None
        wanted = UntaintNodeParameters.model_validate(
            {"name": pinned.ref.name, "key": pinned.taint["key"], "effect": pinned.taint["effect"]}
        )
        step = replace(context, target=pinned.ref)
        return _Untainting(self._finished, pinned.taint, check), step, wanted

    async def _suspect(
        self, cluster: Cluster, context: StepContext, parameters: RemoveNewcomerParameters
    ) -> Suspect | None:
        """Return the one that is to be removed, or None where nothing blocks.

        Raises:
            StepError: SeveralSuspects; PreconditionFailed, where the only one must not be removed.
        """
        if context.namespace in SYSTEM_NAMESPACES:
            raise StepError(
                f"nothing is removed by Workflows in {context.namespace}; look for it by hand",
                reason=Reason.PRECONDITION_FAILED,
            )
        found = await self._suspects(cluster, context, parameters)
        if len(found) > 1:
            told = "; ".join(f"{one} ({one.why})" for one in found[:_TOLD])
            more = f"; and {len(found) - _TOLD} more" if len(found) > _TOLD else ""
            raise StepError(
                f"{len(found)} suspects came just before the fault, and none was removed: {told}{more}",
                reason=Reason.SEVERAL_SUSPECTS,
            )
        if not found:
            return None
        why_not = refusal(found[0], parameters.keep_labels, context.now - parameters.max_age)
        if why_not is not None:
            raise StepError(
                f"{found[0]} was not removed, though {found[0].why}: {why_not}",
                reason=Reason.PRECONDITION_FAILED,
            )
        return found[0]

    async def _suspects(
        self, cluster: Cluster, context: StepContext, parameters: RemoveNewcomerParameters
    ) -> Sequence[Suspect]:
        blockers, where = set(parameters.blockers), context.namespace
        workload = await fence.read(cluster, context, self._ref(context, parameters))
        events: Sequence[Manifest] = ()
        if workload["kind"] != _DEPLOYMENT and blockers - _BY_PODS:
            events = await cluster.list("v1", "Event", where, field_selector="reason=FailedCreate")
        of_it: Sequence[Manifest] = ()
        if blockers & _BY_PODS:
            selector = selector_text(workload["spec"].get("selector"))
            of_it = await cluster.list("v1", "Pod", where, label_selector=selector)
        suffered = trouble(workload, events, of_it)
        window = Window(parameters.window, parameters.onset)
        found: list[Suspect] = []
        for blocker in parameters.blockers:
            objects = await cluster.list(*blocker.kind, where if blocker.namespaced else "")
            found += suspects(blocker, objects, suffered, window)
        return found


class _Untainting(UntaintNode):
    """Takes one pinned taint off, where it still is what it was and still blocks."""

    def __init__(self, finished: fence.Finished, taint: Mapping[str, Any], check: Any) -> None:
        super().__init__(finished)
        self._taint = dict(taint)
        self._check = check

    async def look(self, cluster: Cluster, context: StepContext, parameters: Any, seen: Manifest) -> None:
        there = plain(find_taint(taints_of(seen), self._taint["key"], self._taint["effect"]))
        if there != self._taint:
            raise StepError(
                f"{ObjectRef.of(seen)} has not the taint {taint_text(self._taint)} any more; nothing was done",
                reason=Reason.PRECONDITION_FAILED,
            )
        await self._check(seen)


def _outputs(removed: str, pinned: _Pinned) -> dict[str, JsonValue]:
    why = pinned.why if removed else ""
    return {"removed": removed, "uid": pinned.ref.uid, "why": why, "kept": pinned.removal.secret}
