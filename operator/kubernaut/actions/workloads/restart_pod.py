"""``restart_pod``: have one pod replaced by its controller."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, ClassVar, Final, Self

from pydantic import Field, JsonValue, model_validator

from kubernaut.actions import pods, probing
from kubernaut.actions.objects import rights
from kubernaut.actions.workloads.choosing import (
    NONE,
    PodParameters,
    choice_rights,
    choose,
    known_pod,
    pinned,
)
from kubernaut.api.reasons import Reason
from kubernaut.core.action import Done, Idempotency, Risk, StepContext
from kubernaut.core.errors import Conflict, NotFound, StepError, TooManyRequests, UnknownOutcome
from kubernaut.core.ports import Cluster, ObjectRef, Right
from kubernaut.core.probing import Look, Probed, Sight, not_there

_ROUNDS: Final = 4


class Method(StrEnum):
    """How the pod is removed."""

    EVICT = "evict"
    DELETE = "delete"


class RestartPodParameters(PodParameters):
    """Parameters of ``restart_pod``: a name, or the worst pod of the run's target."""

    method: Annotated[
        Method,
        Field(description="`evict` respects PodDisruptionBudgets; `delete` does not."),
    ] = Method.EVICT
    grace_period_seconds: Annotated[
        int | None,
        Field(
            ge=1, le=3600, description="With `delete`: how long the pod may take to end; else its own value."
        ),
    ] = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.grace_period_seconds is not None and self.method is not Method.DELETE:
            raise ValueError("gracePeriodSeconds needs method: delete")
        return self


class RestartPod:
    """Evicts or deletes one pod, so that its controller makes it anew. The pod is chosen and its UID stored before
    anything is sent, and the UID is a precondition of the request: a new pod of the same name is never touched.

    With `unhealthy: true` the worst pod of the run's target is taken: one with a failing container first, then one
    that is not ready, then the one with most restarts; where every pod is ready and none fails, nothing is done.
    Pods of other workloads that have its labels, too, are not among them, nor what an eviction has left of a pod.
    Refused for a pod without a controller, which nobody would make anew, for a static pod, which its kubelet runs
    from a file, and where a PodDisruptionBudget does not allow the eviction (which a retry may find changed).
    """

    name: ClassVar = "restart_pod"
    summary: ClassVar = "Evict or delete one pod, so that its controller makes it anew"
    risk: ClassVar = Risk.HIGH
    idempotency: ClassVar = Idempotency.PINNED
    parameters = RestartPodParameters
    example: ClassVar = {"unhealthy": True}
    outputs: ClassVar[Mapping[str, str]] = {
        "pod": "The name of the pod; empty where none was unhealthy.",
        "uid": "Its UID.",
    }

    def rights(self, target: ObjectRef | None, parameters: RestartPodParameters) -> tuple[Right, ...]:
        """Return get on pods, the verb of the method, and what the choice of the worst pod needs."""
        names = known_pod(target, parameters)
        evict = Right("create", "", "pods/eviction", names)
        return (
            *rights(("get",), "v1", "Pod", names),
            evict if parameters.method is Method.EVICT else Right("delete", "", "pods", names),
            *choice_rights(target, parameters),
        )

    async def prepare(
        self, cluster: Cluster, context: StepContext, parameters: RestartPodParameters
    ) -> Mapping[str, JsonValue] | None:
        """Choose the pod and return its name and UID; both are empty where no pod is unhealthy."""
        pod = await choose(cluster, context, parameters)
        if pod is None:
            return NONE
        if pods.is_static(pod):
            raise StepError(
                f"{ObjectRef.of(pod)} is static: its kubelet runs it from a file on the node, and deleting what the "
                "API server shows of it restarts nothing; change or move the file there",
                reason=Reason.PRECONDITION_FAILED,
            )
        if pods.controller_of(pod) is None:
            raise StepError(
                f"{ObjectRef.of(pod)} has no controller: nobody would make it anew",
                reason=Reason.PRECONDITION_FAILED,
            )
        return {"name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}

    async def perform(self, cluster: Cluster, context: StepContext, parameters: RestartPodParameters) -> Done:
        """Remove the pinned pod; one that is gone, going or replaced is done."""
        ref = pinned(context)
        if ref is None:
            return Done(False, f"no pod of {context.target} is unhealthy", {"pod": "", "uid": ""})
        doubt: UnknownOutcome | None = None
        for _ in range(_ROUNDS):
            try:
                if await _gone(cluster, ref):
                    return _done(ref)
                await _remove(cluster, ref, parameters)
            except UnknownOutcome as error:
                doubt = error
            except (NotFound, Conflict):
                continue
            except StepError as error:
                raise (doubt or error) from error
            else:
                return _done(ref)
        raise doubt or Conflict(
            f"{ref} could not be removed in {_ROUNDS} tries; look at its events", status=409
        )

    def looks_at(self, context: StepContext, parameters: RestartPodParameters) -> tuple[Look, ...]:
        """Return the pinned pod and the run's target."""
        ref = pinned(context)
        return () if ref is None else (ref, *probing.judges(context))

    def probe(self, sight: Sight, context: StepContext, parameters: RestartPodParameters) -> Probed:
        """It happened where the pod with the UID that was chosen is gone or going, whoever removed it. It helped
        where the run's target, a workload or a pod of that name, fares well by its own status; of another target
        that is Unknown.
        """
        ref = pinned(context)
        if ref is None:
            return not_there("no pod was chosen")
        return probing.gone(sight, [ref], probing.fares(sight, probing.judges(context)))

    async def undo(self, cluster: Cluster, context: StepContext, parameters: RestartPodParameters) -> Done:
        """Nothing is put back: the pod that was removed can't come back, and its controller has made a new one."""
        return Done(False, "a restarted pod can't be taken back, and nothing is left to put back")


async def _gone(cluster: Cluster, ref: ObjectRef) -> bool:
    try:
        meta = (await cluster.get(ref))["metadata"]
    except NotFound:
        return True
    return meta["uid"] != ref.uid or bool(meta.get("deletionTimestamp"))


async def _remove(cluster: Cluster, ref: ObjectRef, parameters: RestartPodParameters) -> None:
    if parameters.method is Method.DELETE:
        await cluster.delete(ref, uid=ref.uid, grace_period_seconds=parameters.grace_period_seconds)
        return
    try:
        await cluster.evict(ref, uid=ref.uid)
    except TooManyRequests as error:
        # Only a budget's 429 speaks of budgets; any other is a server that is short of breath.
        if "disruption budget" not in str(error):
            raise
        raise StepError(
            f"{ref} may not be evicted now: {error}; wait until more pods are ready, or use method: delete",
            reason=Reason.PRECONDITION_FAILED,
        ) from error


def _done(ref: ObjectRef) -> Done:
    # Who removed a pod can't be seen afterwards; it was pinned, wanted gone, and is gone.
    told = f"{ref}: removed, to be made anew by its controller"
    return Done(True, told, {"pod": ref.name, "uid": ref.uid}, (told,))
