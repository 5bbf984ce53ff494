"""suspend_cronjob and resume_cronjob: on what evidence, once, and put back."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from kubernaut.actions.jobs.suspend import (
    ResumeCronJob,
    ResumeCronJobParameters,
    SuspendCronJob,
    SuspendCronJobParameters,
)
from kubernaut.api.reasons import Reason
from kubernaut.core.errors import Forbidden, StepError
from kubernaut.core.ports import Manifest, ObjectRef, Right
from unit.actions.builders import context, deployment
from unit.actions.fake import FakeCluster
from unit.actions.jobs import cron_job, job
from unit.actions.once import check_once_and_undone, check_undo_refuses

suspend, resume = SuspendCronJob(), ResumeCronJob()
HERE = context(cron_job())


def wanted(**parameters: Any) -> SuspendCronJobParameters:
    return SuspendCronJobParameters.model_validate(parameters)


def by(minute: int, state: str) -> Manifest:
    return job(f"report-{minute}", state, at=f"2026-03-01T10:{minute:02}:00Z", owner=cron_job())


async def test_a_suspended_cron_job_is_resumed_once_and_put_back() -> None:
    cluster = FakeCluster().add(cron_job(suspend=True))
    done = await check_once_and_undone(cluster, resume, HERE, ResumeCronJobParameters(), "CronJob", "report")
    assert done.changed == ("CronJob shop/report: spec.suspend: true -> false",)
    assert done.outputs == {"schedule": "0 3 * * *", "lastScheduleTime": ""}


@pytest.mark.parametrize(("deadline", "told"), [(None, True), (60, False)])
async def test_resuming_says_whether_a_missed_run_is_made_up_for(deadline: int | None, told: bool) -> None:
    cluster = FakeCluster().add(cron_job(suspend=True, startingDeadlineSeconds=deadline))
    done = await resume.perform(cluster, HERE, ResumeCronJobParameters())
    assert ("is made up for at once" in done.message) is told


async def test_a_cron_job_that_is_not_suspended_is_not_resumed() -> None:
    cluster = FakeCluster().add(cron_job())
    done = await resume.perform(cluster, HERE, ResumeCronJobParameters())
    assert (done.acted, done.message, cluster.writes) == (False, "CronJob shop/report is not suspended", [])


async def test_undo_of_a_resume_refuses_where_somebody_suspended_it_since() -> None:
    cluster = FakeCluster().add(cron_job(suspend=True))
    patch = {"spec": {"suspend": True}}
    await check_undo_refuses(cluster, resume, HERE, ResumeCronJobParameters(), patch)


async def test_a_cron_job_is_suspended_once_and_put_back() -> None:
    cluster = FakeCluster().add(cron_job(active=("report-7",)))
    done = await check_once_and_undone(cluster, suspend, HERE, wanted(), "CronJob", "report")
    assert done.outputs == {"active": ["report-7"], "failed": []}
    assert [one for one in cluster.requests if one.startswith("list")] == []


async def test_a_cron_job_that_is_suspended_is_left_as_it_is() -> None:
    cluster = FakeCluster().add(cron_job(suspend=True))
    done = await suspend.perform(cluster, HERE, wanted())
    assert (done.acted, cluster.writes) == (False, [])


@pytest.mark.parametrize("action", [suspend, resume])
async def test_a_cron_job_that_is_being_deleted_is_refused(action: Any) -> None:
    leaving = cron_job(suspend=action is resume)
    leaving["metadata"]["deletionTimestamp"] = "2026-03-01T12:00:00Z"
    cluster = FakeCluster().add(leaving)
    with pytest.raises(StepError, match="is being deleted") as caught:
        await action.perform(cluster, HERE, action.parameters())
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert cluster.writes == []


async def test_it_is_suspended_where_its_last_jobs_failed() -> None:
    jobs = [by(1, "Complete"), by(2, "Failed"), by(3, "Failed"), by(4, "")]
    others = [job("other", "Complete", at="2026-03-01T11:00:00Z")]
    cluster = FakeCluster().add(cron_job(failedJobsHistoryLimit=3), *jobs, *others)
    done = await suspend.perform(cluster, HERE, wanted(failures=2))
    assert done.acted
    assert done.outputs["failed"] == ["report-3", "report-2"]


@pytest.mark.parametrize(
    "jobs", [[], [by(1, "Failed")], [by(1, "Failed"), by(2, "Failed"), by(3, "Complete")], [by(1, "")]]
)
async def test_it_goes_on_where_its_last_jobs_did_not_all_fail(jobs: list[Manifest]) -> None:
    cluster = FakeCluster().add(cron_job(failedJobsHistoryLimit=3), *jobs)
    with pytest.raises(StepError, match="it was not suspended") as caught:
        await suspend.perform(cluster, HERE, wanted(failures=2))
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert cluster.writes == []


async def test_more_failures_than_are_kept_can_not_be_asked_for() -> None:
    cluster = FakeCluster().add(cron_job(), by(1, "Failed"))
    with pytest.raises(StepError, match=r"keeps 1 failed Jobs \(spec.failedJobsHistoryLimit\)") as caught:
        await suspend.perform(cluster, HERE, wanted(failures=2))
    assert caught.value.reason is Reason.INVALID_PARAMETERS


async def test_who_may_not_list_jobs_suspends_nothing_on_their_evidence() -> None:
    cluster = FakeCluster(forbidden={"list Job"}).add(cron_job(), by(1, "Failed"))
    with pytest.raises(Forbidden):
        await suspend.perform(cluster, HERE, wanted(failures=1))
    assert cluster.writes == []


async def test_a_target_of_another_kind_needs_a_name() -> None:
    with pytest.raises(StepError, match="not a CronJob; name the CronJob"):
        await resume.perform(FakeCluster().add(deployment()), context(), ResumeCronJobParameters())


def test_rights_to_list_jobs_are_needed_for_evidence_only() -> None:
    target = ObjectRef("batch/v1", "CronJob", "shop", "report")
    own = tuple(Right(verb, "batch", "cronjobs", ("report",)) for verb in ("get", "patch"))
    assert suspend.rights(target, wanted()) == own
    assert suspend.rights(target, wanted(failures=1)) == (*own, Right("list", "batch", "jobs"))


@pytest.mark.parametrize("failures", [0, 21, "2"])
def test_failures_are_bounded(failures: Any) -> None:
    with pytest.raises(ValidationError):
        wanted(failures=failures)
