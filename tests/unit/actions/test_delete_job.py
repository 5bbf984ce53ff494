"""delete_job: the pinned Job, once, and no other."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from kubernaut.actions.jobs.delete_job import DeleteJob, DeleteJobParameters
from kubernaut.api.names import API_VERSION
from kubernaut.api.reasons import Reason
from kubernaut.core.errors import Conflict, Forbidden, StepError, Unavailable, UnknownOutcome
from kubernaut.core.ports import Manifest, ObjectRef, Right
from unit.actions.builders import context, deployment, waiting
from unit.actions.fake import FakeCluster, Lost
from unit.actions.jobs import cron_job, job, pod_of

delete = DeleteJob()
PINNED = {"name": "report-1", "uid": "uid-job-report-1"}
NAMED: dict[str, Any] = {"name": "report-1"}
DELETED = ("delete", "Job shop/report-1", "Background")
CRON = cron_job()


def wanted(**parameters: Any) -> DeleteJobParameters:
    return DeleteJobParameters.model_validate(parameters)


async def performed(cluster: FakeCluster, **parameters: Any) -> Any:
    return await delete.perform(cluster, context(CRON, intent=PINNED), wanted(**(NAMED | parameters)))


async def chosen(cluster: FakeCluster, target: Manifest = CRON, **parameters: Any) -> Any:
    return await delete.prepare(cluster, context(target), wanted(**parameters))


@pytest.mark.parametrize("linger", [True, False])
async def test_the_pinned_job_is_deleted_once_with_its_pods(linger: bool) -> None:
    cluster = FakeCluster(linger=linger).add(job(state="Failed"))
    for _ in range(2):
        done = await performed(cluster)
        assert (done.acted, done.outputs) == (True, {"job": "report-1", "uid": "uid-job-report-1"})
    assert cluster.writes == [DELETED]


@pytest.mark.parametrize("landed", [True, False])
async def test_a_lost_answer_deletes_once(landed: bool) -> None:
    cluster = FakeCluster(troubles={"delete": [Lost(landed)]}).add(job())
    assert (await performed(cluster)).acted
    assert cluster.writes == [DELETED]


async def test_trouble_after_a_lost_answer_stays_an_unknown_outcome() -> None:
    troubles: dict[str, list[Any]] = {"delete": [Lost(landed=False)], "get": [None, Unavailable("away")]}
    with pytest.raises(UnknownOutcome):
        await performed(FakeCluster(troubles=troubles).add(job()))


async def test_a_new_job_of_the_same_name_is_never_touched() -> None:
    cluster = FakeCluster().add(job())

    def replaced() -> None:
        cluster.drop("Job", "report-1")
        fresh = job()
        fresh["metadata"]["uid"] = "fresh"
        cluster.add(fresh)

    cluster.troubles["delete"] = [replaced]
    assert (await performed(cluster)).acted
    assert cluster.find("Job", "report-1")["metadata"]["uid"] == "fresh"
    assert cluster.writes == []


async def test_what_moves_on_right_before_the_request_is_looked_at_again() -> None:
    cluster = FakeCluster().add(job(state="Failed"))
    completed = job(state="Complete")["status"]
    cluster.troubles["delete"] = [lambda: cluster.edit_status("Job", "report-1", completed)]
    with pytest.raises(StepError, match="has completed, and is deleted only if Failed") as caught:
        await performed(cluster, onlyIf="Failed")
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert cluster.writes == []


async def test_a_job_that_others_change_all_the_time_is_given_up() -> None:
    cluster = FakeCluster().add(job())
    cluster.troubles["delete"] = [lambda: cluster.edit_status("Job", "report-1", {})] * 20
    with pytest.raises(Conflict, match="was changed by others"):
        await performed(cluster)


@pytest.mark.parametrize(
    ("state", "only_if", "lets"),
    [
        ("", "Any", True),
        ("Complete", "Any", True),
        ("", "Finished", False),
        ("Complete", "Finished", True),
        ("Failed", "Finished", True),
        ("", "Failed", False),
        ("Complete", "Failed", False),
        ("Failed", "Failed", True),
    ],
)
async def test_only_a_job_in_the_state_that_is_named_is_deleted(state: str, only_if: str, lets: bool) -> None:
    cluster = FakeCluster().add(job(state=state))
    if lets:
        assert (await performed(cluster, onlyIf=only_if)).acted
        return
    for call in (performed(cluster, onlyIf=only_if), chosen(cluster, onlyIf=only_if, **NAMED)):
        with pytest.raises(StepError, match="nothing was done"):
            await call
    assert cluster.writes == []


async def test_a_job_that_a_step_of_a_run_made_is_left_to_its_run() -> None:
    run = {"apiVersion": API_VERSION, "kind": "WorkflowExecution", "metadata": {"name": "heal-7", "uid": "u"}}
    cluster = FakeCluster().add(cron_job(), job(state="Failed", owner=run, app="web"))
    with pytest.raises(StepError, match="was made by a step of run heal-7") as caught:
        await chosen(cluster, **NAMED)
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert (await chosen(cluster, failed=True, selector="app=web"))["name"] == ""
    with pytest.raises(StepError, match="was made by a step"):
        await performed(cluster)


async def test_prepare_pins_the_job_named_or_the_target() -> None:
    cluster = FakeCluster().add(job(), job("report-2"))
    assert await chosen(cluster, name="report-2") == {"name": "report-2", "uid": "uid-job-report-2"}
    assert await chosen(cluster, job()) == PINNED
    fresh = job()
    fresh["metadata"]["uid"] = "fresh"
    with pytest.raises(StepError, match="deleted and made anew"):
        await chosen(FakeCluster().add(fresh), job())


async def test_without_a_name_the_target_has_to_be_a_job() -> None:
    with pytest.raises(StepError, match="not a Job; name the Job"):
        await chosen(FakeCluster().add(CRON))


LATE = job("d-late", "Failed", at="2026-03-01T10:30:00Z", owner=CRON)
EARLY = job("c-early", "Failed", at="2026-03-01T10:10:00Z", owner=CRON)
STUCK = job("b-stuck", at="2026-03-01T11:00:00Z", owner=CRON)
RUNS = job("a-runs", at="2026-03-01T09:00:00Z", owner=CRON)
ENDED = job("e-ended", "Complete", at="2026-03-01T08:00:00Z", owner=CRON)
FOREIGN = job("f-foreign", "Failed", at="2026-03-01T07:00:00Z", app="web")
PENDING = [{"type": "PodScheduled", "status": "False"}]
TROUBLED = {
    "unschedulable": pod_of(STUCK, phase="Pending", ready=False, conditions=PENDING),
    "no image": pod_of(STUCK, "b-stuck-y", phase="Pending"),
    "failing": pod_of(STUCK, phase="Failed", ready=False),
}
TROUBLED["no image"]["status"]["containerStatuses"] = [waiting("ImagePullBackOff")]


@pytest.mark.parametrize("trouble", TROUBLED)
@pytest.mark.parametrize(
    ("there", "name"),
    [
        ([LATE, EARLY, STUCK, RUNS, ENDED, FOREIGN], "b-stuck"),
        ([LATE, EARLY, RUNS, ENDED, FOREIGN], "c-early"),
        ([LATE, RUNS], "d-late"),
        ([RUNS, ENDED, FOREIGN], ""),
        ([], ""),
    ],
)
async def test_the_worst_job_of_the_target_is_chosen(there: list[Manifest], name: str, trouble: str) -> None:
    cluster = FakeCluster().add(CRON, *there, pod_of(RUNS), TROUBLED[trouble])
    pinned = await chosen(cluster, failed=True)
    assert pinned == {"name": name, "uid": f"uid-job-{name}" if name else ""}


async def test_a_suspended_job_is_not_stuck() -> None:
    paused = job("paused", owner=CRON)
    paused["spec"]["suspend"] = True
    cluster = FakeCluster().add(CRON, paused, pod_of(paused, phase="Failed", ready=False))
    assert (await chosen(cluster, failed=True))["name"] == ""


async def test_jobs_can_be_chosen_by_their_labels() -> None:
    cluster = FakeCluster().add(deployment(), FOREIGN, EARLY)
    assert (await chosen(cluster, deployment(), failed=True, selector="app=web"))["name"] == "f-foreign"
    with pytest.raises(StepError, match="is not a CronJob, so it has no Jobs to choose from") as caught:
        await chosen(cluster, deployment(), failed=True)
    assert caught.value.reason is Reason.INVALID_PARAMETERS


async def test_where_none_failed_nothing_is_done() -> None:
    cluster = FakeCluster().add(CRON, RUNS)
    intent = await chosen(cluster, failed=True)
    done = await delete.perform(cluster, context(CRON, intent=intent), wanted(failed=True))
    assert (done.acted, done.outputs, cluster.writes) == (False, {"job": "", "uid": ""}, [])


async def test_a_stuck_job_that_completed_meanwhile_is_left_alone() -> None:
    cluster = FakeCluster().add(job(state="Complete"))
    with pytest.raises(StepError, match="has completed meanwhile"):
        await delete.perform(cluster, context(CRON, intent=PINNED), wanted(failed=True))
    assert cluster.writes == []


async def test_a_missing_right_is_passed_on() -> None:
    with pytest.raises(Forbidden, match="delete Job"):
        await performed(FakeCluster(forbidden={"delete Job"}).add(job()))


async def test_undo_has_nothing_to_put_back() -> None:
    cluster = FakeCluster().add(job())
    done = await delete.undo(cluster, context(CRON, intent=PINNED), wanted(**NAMED))
    assert (done.acted, cluster.requests) == (False, [])


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"name": "a", "failed": True}, "at most one of name and failed"),
        ({"selector": "a=b"}, "selector needs failed: true"),
        ({"failed": True, "selector": ""}, "at least 1 character"),
        ({"onlyIf": "Running"}, "'Any', 'Finished' or 'Failed'"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(parameters: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        wanted(**parameters)


def test_rights_depend_on_how_the_job_is_chosen() -> None:
    target = ObjectRef("batch/v1", "CronJob", "shop", "report")
    assert delete.rights(target, wanted(**NAMED)) == (
        Right("get", "batch", "jobs", ("report-1",)),
        Right("delete", "batch", "jobs", ("report-1",)),
    )
    choosing = delete.rights(target, wanted(failed=True))
    assert Right("list", "", "pods") in choosing
    assert Right("get", "batch", "cronjobs", ("report",)) in choosing
    by_labels = delete.rights(target, wanted(failed=True, selector="a=b"))
    assert [right.resource for right in by_labels] == ["jobs", "jobs", "jobs", "pods"]
