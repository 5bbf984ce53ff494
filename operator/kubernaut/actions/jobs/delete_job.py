"""``delete_job``: remove one Job with its pods."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, ClassVar, Self

from pydantic import Field, JsonValue, StringConstraints, model_validator

from kubernaut.actions import probing
from kubernaut.actions.fencing import fence, pinned
from kubernaut.actions.jobs import job
from kubernaut.actions.jobs.job import CRON_JOB, JOB, POD
from kubernaut.actions.objects import named, rights
from kubernaut.actions.workloads.workload import owned_by
from kubernaut.api.base import DnsName, Flag
from kubernaut.api.reasons import Reason
from kubernaut.core.action import ActionParameters, Done, Idempotency, Risk, StepContext
from kubernaut.core.errors import StepError
from kubernaut.core.ports import Cluster, Manifest, ObjectRef, Right
from kubernaut.core.probing import Look, Probed, Sight, not_there


class OnlyIf(StrEnum):
    """In what state a Job may be deleted."""

    ANY = "Any"
    FINISHED = "Finished"
    FAILED = "Failed"


class DeleteJobParameters(ActionParameters):
    """Parameters of ``delete_job``: a name, or the worst of the failed and stuck Jobs."""

    name: Annotated[
        DnsName | None, Field(description="The Job; by default the run's target, where that is a Job.")
    ] = None
    failed: Annotated[
        Flag,
        Field(
            description="Choose the worst of the Jobs that failed or are stuck: of the run's target, a CronJob, "
            "or of `selector`; do nothing where there is none."
        ),
    ] = False
    selector: Annotated[
        str | None,
        StringConstraints(min_length=1, max_length=1024),
        Field(description="With `failed`: label selector of the Jobs to choose from, as in app=web."),
    ] = None
    only_if: Annotated[
        OnlyIf, Field(description="The state that the Job must be in right before it is deleted.")
    ] = OnlyIf.ANY

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.name is not None and self.failed:
            raise ValueError("set at most one of name and failed")
        if self.selector is not None and not self.failed:
            raise ValueError("selector needs failed: true")
        return self


class DeleteJob:
    """Deletes one Job, and its pods with it (propagation `Background`). The Job is chosen and its UID stored before
    anything is sent; the UID and what was last read of it are preconditions of the request, so that neither a new Job
    of the same name nor one that has just moved on is touched.

    With `failed: true` the worst of the Jobs of the run's target, a CronJob, or of `selector` is taken: one that is
    stuck first (a pod of it can't be scheduled, can't start, or failed), for it may hold up the next run; then one
    that failed for good; of these the one that began first. One that has completed meanwhile is left alone.

    Refused: a Job that a step of a run made (it goes with its run, which reads its outcome), and one that is not in
    the state that `onlyIf` names.
    """

    name: ClassVar = "delete_job"
    summary: ClassVar = "Delete one Job with its pods: the one named, or the worst that failed or is stuck"
    risk: ClassVar = Risk.HIGH
    idempotency: ClassVar = Idempotency.PINNED
    workload: ClassVar = CRON_JOB
    parameters = DeleteJobParameters
    example: ClassVar = {"failed": True}
    outputs: ClassVar[Mapping[str, str]] = {
        "job": "The name of the Job; empty where none failed or is stuck.",
        "uid": "Its UID.",
    }

    def rights(self, target: ObjectRef | None, parameters: DeleteJobParameters) -> tuple[Right, ...]:
        """Return get and delete on the Job, and what choosing it needs."""
        if not parameters.failed:
            fixed = parameters.name or (target.name if target is not None and target.kind == "Job" else None)
            return rights(("get", "delete"), *JOB, (fixed,) if fixed else ())
        found = [*rights(("get", "delete", "list"), *JOB, ()), *rights(("list",), *POD, ())]
        if parameters.selector is None:
            names = (target.name,) if target is not None and target.kind == "CronJob" else ()
            found += rights(("get",), *CRON_JOB, names)
        return tuple(found)

    async def prepare(
        self, cluster: Cluster, context: StepContext, parameters: DeleteJobParameters
    ) -> Mapping[str, JsonValue] | None:
        """Choose the Job and return its name and UID; both are empty where none failed or is stuck."""
        if parameters.failed:
            chosen = await _worst(cluster, context, parameters.selector)
            if chosen is None:
                return {"name": "", "uid": ""}
        else:
            chosen = await fence.read(
                cluster, context, named(context.namespace, context.target, *JOB, parameters.name)
            )
        _demand(chosen, parameters)
        return {"name": chosen["metadata"]["name"], "uid": chosen["metadata"]["uid"]}

    async def perform(self, cluster: Cluster, context: StepContext, parameters: DeleteJobParameters) -> Done:
        """Delete the pinned Job; one that is gone, going or replaced is done."""
        ref = _pinned(context)
        if ref is None:
            return Done(False, "no Job failed or is stuck", {"job": "", "uid": ""})

        async def check(seen: Manifest) -> None:
            _demand(seen, parameters)

        await pinned.delete(cluster, ref, check)
        # Who deleted it can't be seen afterwards; it was pinned, wanted gone, and is gone.
        told = f"{ref}: deleted, with its pods"
        return Done(True, told, {"job": ref.name, "uid": ref.uid}, (told,))

    def looks_at(self, context: StepContext, parameters: DeleteJobParameters) -> tuple[Look, ...]:
        """Return the pinned Job and the run's target."""
        ref = _pinned(context)
        return () if ref is None else (ref, *probing.judges(context))

    def probe(self, sight: Sight, context: StepContext, parameters: DeleteJobParameters) -> Probed:
        """It happened where the Job with the UID that was chosen is gone or going, whoever deleted it. It helped
        where the run's target is a workload and fares well by its own status; of a Job or a CronJob that is
        Unknown, for no field tells whether the next Job will do.
        """
        ref = _pinned(context)
        if ref is None:
            return not_there("no Job was chosen")
        return probing.gone(sight, [ref], probing.fares(sight, probing.judges(context)))

    async def undo(self, cluster: Cluster, context: StepContext, parameters: DeleteJobParameters) -> Done:
        """Nothing is put back: a Job made anew would do its work again, and what the deleted one did stays done."""
        return Done(False, "a deleted Job can't be taken back, and nothing is left to put back")


def _pinned(context: StepContext) -> ObjectRef | None:
    intent = context.intent or {}
    name, uid = str(intent.get("name", "")), str(intent.get("uid", ""))
    return ObjectRef(*JOB, context.namespace, name, uid) if name else None


async def _worst(cluster: Cluster, context: StepContext, selector: str | None) -> Manifest | None:
    """Return the worst Job that failed or is stuck; None where there is none.

    Raises:
        StepError: InvalidParameters, where there are no Jobs to choose from.
    """
    if selector is not None:
        jobs = await cluster.list(*JOB, context.namespace, label_selector=selector)
    elif context.target.kind == "CronJob":
        owner = await fence.read(cluster, context, context.target)
        jobs = owned_by(owner, await cluster.list(*JOB, context.namespace))
    else:
        raise StepError(
            f"{context.target} is not a CronJob, so it has no Jobs to choose from; name a selector, or a Job under "
            "with.name",
            reason=Reason.INVALID_PARAMETERS,
        )
    mine = [one for one in jobs if not job.owner_run(one)]
    return next(iter(job.worst_first(mine, await cluster.list(*POD, context.namespace))), None)


def _demand(seen: Manifest, parameters: DeleteJobParameters) -> None:
    """Refuse a Job that must not be deleted as it is now.

    Raises:
        StepError: PreconditionFailed.
    """
    ref = ObjectRef.of(seen)
    run = job.owner_run(seen)
    if run:
        raise StepError(
            f"{ref} was made by a step of run {run} and goes with it; cancel that run, or delete it",
            reason=Reason.PRECONDITION_FAILED,
        )
    fits = {
        OnlyIf.ANY: True,
        OnlyIf.FINISHED: job.finished(seen),
        OnlyIf.FAILED: job.failed(seen),
    }
    if parameters.failed and job.finished(seen) and not job.failed(seen):
        raise StepError(
            f"{ref} has completed meanwhile; it was not deleted", reason=Reason.PRECONDITION_FAILED
        )
    if not fits[parameters.only_if]:
        now = "goes on" if not job.finished(seen) else "has completed"
        raise StepError(
            f"{ref} {now}, and is deleted only if {parameters.only_if.value}; nothing was done",
            reason=Reason.PRECONDITION_FAILED,
        )
