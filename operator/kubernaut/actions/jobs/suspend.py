"""``suspend_cronjob``, ``resume_cronjob``: stop a CronJob from starting Jobs, and let it go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Final

from pydantic import Field

from kubernaut.actions.fencing import fence
from kubernaut.actions.fencing.marked import E
from kubernaut.actions.jobs import job
from kubernaut.actions.jobs.job import CRON_JOB, JOB
from kubernaut.actions.objects import rights
from kubernaut.actions.workloads.workload import WorkloadAction, WorkloadParameters, owned_by
from kubernaut.api.base import UNQUOTED
from kubernaut.api.reasons import Reason
from kubernaut.core import fields
from kubernaut.core.action import StepContext
from kubernaut.core.errors import StepError
from kubernaut.core.ports import Cluster, Manifest, ObjectRef, Right
from kubernaut.core.probing import Answer, Probed, Said, Sight

_SUSPEND: Final = fields.parse("spec.suspend")


class ResumeCronJobParameters(WorkloadParameters):
    """Parameters of ``resume_cronjob``."""


class SuspendCronJobParameters(WorkloadParameters):
    """Parameters of ``suspend_cronjob``."""

    failures: Annotated[
        int | None,
        Field(
            ge=1,
            le=20,
            description="Suspend only where its last so many finished Jobs all failed; by default its Jobs are not "
            "looked at.",
        ),
        UNQUOTED,
    ] = None


class SuspendAction(WorkloadAction[E]):
    """An action that suspends a CronJob or lets it go on."""

    workload: ClassVar = CRON_JOB

    def probe(self, sight: Sight, context: StepContext, parameters: WorkloadParameters) -> Probed:
        """It happened where the CronJob carries the step's signed mark and was not put back. It helped as long as
        `spec.suspend` is as the step set it, for its controller goes by that alone.
        """
        return super().probe(sight, context, parameters)

    def helped(
        self, sight: Sight, seen: Manifest, context: StepContext, parameters: WorkloadParameters
    ) -> Said:
        return Said(Answer.YES, "it is as the step set it")


class ResumeCronJob(SuspendAction[None]):
    """Sets `spec.suspend` of a suspended CronJob to `false`, so that it starts Jobs by its schedule again.

    Runs that were due meanwhile count as missed. Where `spec.startingDeadlineSeconds` is not set, the controller
    makes up for the last of them at once, whatever time of the day it is; the message says so. A CronJob that is not
    suspended is left as it is; one that is being deleted is refused.
    """

    name: ClassVar = "resume_cronjob"
    summary: ClassVar = "Let a suspended CronJob start Jobs again"
    parameters = ResumeCronJobParameters
    outputs: ClassVar[Mapping[str, str]] = {
        "schedule": "Its schedule.",
        "lastScheduleTime": "When it last started a Job; empty where it never did.",
    }

    async def look(
        self, cluster: Cluster, context: StepContext, parameters: WorkloadParameters, seen: Manifest
    ) -> None:
        return None

    def plan(
        self, seen: Manifest, evidence: None, parameters: WorkloadParameters, context: StepContext
    ) -> fence.Change:
        ref = _staying(seen)
        spec = seen["spec"]
        outputs = {
            "schedule": spec["schedule"],
            "lastScheduleTime": (seen.get("status") or {}).get("lastScheduleTime") or "",
        }
        if not spec.get("suspend"):
            return fence.nothing(f"{ref} is not suspended", outputs)
        told = f"{ref} starts Jobs again ({spec['schedule']})"
        if spec.get("startingDeadlineSeconds") is None:
            told += (
                "; a run that was due meanwhile is made up for at once: startingDeadlineSeconds is not set"
            )
        return fence.change(seen, fields.put(seen, _SUSPEND, False), told, outputs)


class SuspendCronJob(SuspendAction[Sequence[Manifest]]):
    """Sets `spec.suspend` of a CronJob to `true`, so that it starts no more Jobs. Those that run go on; their names
    are an output.

    With `failures` that is done only where the last so many finished Jobs of the CronJob all failed, which is for
    CronJobs that do harm each time they fail. A CronJob keeps no more failed Jobs than
    `spec.failedJobsHistoryLimit` says (1 by default); where that is less than `failures` the step is refused, because
    it could never come to pass. One that is suspended is left as it is; one that is being deleted is refused.
    """

    name: ClassVar = "suspend_cronjob"
    summary: ClassVar = "Stop a CronJob from starting Jobs, on demand or because they fail"
    parameters = SuspendCronJobParameters
    example: ClassVar = {"failures": 1}
    outputs: ClassVar[Mapping[str, str]] = {
        "active": "Names of its Jobs that go on.",
        "failed": "With `failures`: names of its last Jobs that failed in a row, newest first.",
    }

    def rights(self, target: ObjectRef | None, parameters: WorkloadParameters) -> tuple[Right, ...]:
        own = super().rights(target, parameters)
        looks = getattr(parameters, "failures", None) is not None
        return (*own, *rights(("list",), *JOB, ())) if looks else own

    async def look(
        self, cluster: Cluster, context: StepContext, parameters: SuspendCronJobParameters, seen: Manifest
    ) -> Sequence[Manifest]:
        if parameters.failures is None:
            return ()
        return owned_by(seen, await cluster.list(*JOB, context.namespace))

    def plan(
        self,
        seen: Manifest,
        evidence: Sequence[Manifest],
        parameters: SuspendCronJobParameters,
        context: StepContext,
    ) -> fence.Change:
        ref = _staying(seen)
        active = [one["name"] for one in (seen.get("status") or {}).get("active") or ()]
        outputs = {"active": active, "failed": _failed_in_a_row(evidence)}
        if seen["spec"].get("suspend"):
            return fence.nothing(f"{ref} is suspended already", outputs)
        if parameters.failures is not None:
            _demand(ref, seen, outputs["failed"], parameters.failures)
        told = f"{ref} starts no more Jobs"
        if active:
            told += f"; {len(active)} that run go on"
        return fence.change(seen, fields.put(seen, _SUSPEND, True), told, outputs)


def _staying(seen: Manifest) -> ObjectRef:
    ref = ObjectRef.of(seen)
    if seen["metadata"].get("deletionTimestamp"):
        raise StepError(
            f"{ref} is being deleted; wait until it is gone, or name another",
            reason=Reason.PRECONDITION_FAILED,
        )
    return ref


def _failed_in_a_row(jobs: Sequence[Manifest]) -> list[str]:
    """Return the Jobs that failed since the last one completed, newest first."""
    names = []
    for one in sorted(filter(job.finished, jobs), key=job.ended_at, reverse=True):
        if not job.failed(one):
            break
        names.append(one["metadata"]["name"])
    return names


def _demand(ref: ObjectRef, seen: Manifest, failed: Sequence[str], wanted: int) -> None:
    """Refuse where not enough Jobs failed in a row.

    Raises:
        StepError: PreconditionFailed; InvalidParameters, where so many can't be seen.
    """
    limit = seen["spec"].get("failedJobsHistoryLimit", 1)
    if limit < wanted:
        raise StepError(
            f"{ref} keeps {limit} failed Jobs (spec.failedJobsHistoryLimit), so {wanted} failures in a row can't be "
            "seen; raise that limit, or lower failures",
            reason=Reason.INVALID_PARAMETERS,
        )
    if len(failed) < wanted:
        raise StepError(
            f"the last {len(failed)} finished Jobs of {ref} failed, not {wanted}; it was not suspended",
            reason=Reason.PRECONDITION_FAILED,
        )
