"""run_job: one Job for each attempt, restricted, and how it ended."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from kubernaut.actions.jobs.job_spec import RunJobParameters, asked, job_ref
from kubernaut.actions.jobs.run_job import MAX_LOG, RunJob
from kubernaut.api.reasons import Reason
from kubernaut.core.action import Awaits, StepContext
from kubernaut.core.errors import (
    ClusterError,
    EffectFailed,
    Forbidden,
    Invalid,
    NotFound,
    StepError,
    Unavailable,
    UnknownOutcome,
)
from kubernaut.core.ports import Manifest, Right
from unit.actions.builders import NOW, context, deployment, ended, running, waiting
from unit.actions.fake import FakeCluster, Lost
from unit.actions.jobs import pod_of

run = RunJob()
HERE = replace(context(), account="repair", deadline=NOW + timedelta(minutes=5))
NAME = job_ref(HERE).name


def wanted(**parameters: Any) -> RunJobParameters:
    return RunJobParameters.model_validate({"image": "tools:1", **parameters})


def a_cluster(**more: Any) -> FakeCluster:
    """Return a cluster in which the run's target is there."""
    texts: dict[str, str | ClusterError] = {f"{NAME}/job": NotFound("no such pod", status=404)}
    return FakeCluster(log_texts=texts, **more).add(deployment())


async def created(cluster: FakeCluster, parameters: RunJobParameters | None = None) -> StepContext:
    """Return the context of the step once the engine has stored what it waits for."""
    done = await run.perform(cluster, HERE, parameters or wanted())
    assert done.awaits is not None
    return replace(HERE, intent={"uid": done.awaits.uid, "name": done.awaits.name})


def ends(cluster: FakeCluster, state: str, code: int | None = 0, log: str = "all is well") -> None:
    """Let the Job come to its end as its controller and the kubelet would tell it."""
    condition = {
        "type": state,
        "status": "True",
        "reason": "BackoffLimitExceeded",
        "message": "it has failed",
    }
    cluster.edit_status("Job", NAME, {"conditions": [condition]})
    if code is None:
        return
    statuses = [ended(exitCode=77, name="injected"), ended(exitCode=code, name="job")]
    cluster.add(
        labelled(pod_of(cluster.find("Job", NAME), f"{NAME}-x", phase="Failed", containerStatuses=statuses))
    )
    cluster.log_texts[f"{NAME}-x/job"] = log


def labelled(pod: Manifest) -> Manifest:
    return {**pod, "metadata": {**pod["metadata"], "labels": {"batch.kubernetes.io/job-name": NAME}}}


def jobs(cluster: FakeCluster) -> list[str]:
    return [what for verb, what, _ in cluster.writes if verb == "create"]


@pytest.mark.parametrize("landed", [True, False])
async def test_one_job_is_created_though_answers_are_lost(landed: bool) -> None:
    cluster = a_cluster(troubles={"create": [Lost(landed)]})
    first = await run.perform(cluster, HERE, wanted())
    again = await run.perform(cluster, HERE, wanted())
    assert first.acted
    assert (first.awaits, first.changed) == (again.awaits, again.changed)
    assert jobs(cluster) == [f"Job shop/{NAME}"]


async def test_each_attempt_has_its_own_job() -> None:
    cluster = a_cluster()
    await created(cluster)
    second = replace(HERE, attempt=2)
    cluster.log_texts[f"{job_ref(second).name}/job"] = NotFound("no such pod", status=404)
    await run.perform(cluster, second, wanted())
    assert len(jobs(cluster)) == len(set(jobs(cluster))) == 2


async def test_it_waits_until_the_job_has_ended_and_reads_only() -> None:
    cluster = a_cluster()
    step = await created(cluster)
    cluster.requests.clear()
    done = await run.perform(cluster, step, wanted())
    assert done.awaits is not None
    assert cluster.requests == [f"get Job {NAME}"]
    assert not run.ended(cluster.find("Job", NAME))
    ends(cluster, "Complete")
    assert run.ended(cluster.find("Job", NAME))
    assert isinstance(run, Awaits)


async def test_how_it_ended_is_kept() -> None:
    cluster = a_cluster()
    step = await created(cluster)
    ends(cluster, "Complete")
    done = await run.perform(cluster, step, wanted())
    again = await run.perform(cluster, step, wanted())
    uid = cluster.find("Job", NAME)["metadata"]["uid"]
    assert done.outputs == {
        "job": NAME,
        "uid": uid,
        "pod": f"{NAME}-x",
        "exitCode": 0,
        "log": "all is well",
    }
    assert (done.acted, done.awaits, done.changed) == (True, None, (f"Job shop/{NAME}: created",))
    assert done == again


async def test_a_job_that_fails_fails_the_step_and_tells_all_the_same() -> None:
    cluster = a_cluster()
    step = await created(cluster)
    ends(cluster, "Failed", 3, "disk full")
    with pytest.raises(EffectFailed, match=r"failed with exit code 3 \(BackoffLimitExceeded") as caught:
        await run.perform(cluster, step, wanted())
    assert caught.value.reason is Reason.JOB_FAILED
    assert (caught.value.outputs["exitCode"], caught.value.outputs["log"]) == (3, "disk full")
    assert "disk full" not in str(caught.value)


async def test_a_job_without_a_pod_has_no_exit_code() -> None:
    cluster = a_cluster()
    step = await created(cluster)
    ends(cluster, "Failed", None)
    with pytest.raises(EffectFailed) as caught:
        await run.perform(cluster, step, wanted())
    assert (caught.value.outputs["pod"], caught.value.outputs["exitCode"]) == ("", None)


async def test_of_a_long_log_the_end_is_kept() -> None:
    cluster = a_cluster()
    step = await created(cluster)
    ends(cluster, "Complete", log="ä" * 10_000 + "!")
    log = str((await run.perform(cluster, step, wanted())).outputs["log"])
    assert len(log.encode()) <= MAX_LOG
    assert log.endswith("ä!")
    assert log.startswith("ä")


async def test_what_a_log_calls_a_secret_is_not_kept() -> None:
    cluster = a_cluster()
    step = await created(cluster)
    ends(cluster, "Complete", log="starting\npassword=hunter2\nAuthorization: Bearer hunter22hunter22\ndone")
    log = str((await run.perform(cluster, step, wanted())).outputs["log"])
    assert log == "starting\npassword=***\nAuthorization: Bearer ***\ndone"


async def test_no_log_is_read_where_none_is_wanted() -> None:
    cluster = FakeCluster().add(deployment())
    step = await created(cluster, wanted(tailLines=0))
    ends(cluster, "Complete")
    assert (await run.perform(cluster, step, wanted(tailLines=0))).outputs["log"] == ""
    assert not [one for one in cluster.requests if one.startswith("log")]
    assert "pods/log" not in [right.resource for right in run.rights(None, wanted(tailLines=0))]


async def test_a_log_that_can_not_be_read_hides_nothing() -> None:
    cluster = a_cluster()
    step = await created(cluster)
    ends(cluster, "Complete")
    cluster.log_texts[f"{NAME}-x/job"] = Unavailable("no kubelet")
    done = await run.perform(cluster, step, wanted())
    assert done.outputs["exitCode"] == 0
    assert "could not be read: no kubelet" in done.message


@pytest.mark.parametrize("lacks", ["list Pod", "log Pod", "create Job"])
async def test_who_could_not_tell_its_end_begins_no_job(lacks: str) -> None:
    cluster = a_cluster(forbidden={lacks})
    with pytest.raises(Forbidden):
        await run.perform(cluster, HERE, wanted())
    assert cluster.writes == []


def target_goes(cluster: FakeCluster, how: str) -> None:
    cluster.drop("Deployment", "api")
    if how == "replaced":
        anew = deployment()
        cluster.add({**anew, "metadata": {**anew["metadata"], "uid": "another"}})


GONE = [("deleted", Reason.TARGET_NOT_FOUND), ("replaced", Reason.TARGET_REPLACED)]


@pytest.mark.parametrize(("how", "reason"), GONE)
async def test_no_job_is_created_for_a_target_that_is_gone(how: str, reason: Reason) -> None:
    cluster = a_cluster()
    target_goes(cluster, how)
    with pytest.raises(StepError, match="no Job was created; set whenTargetGone: Act") as caught:
        await run.perform(cluster, HERE, wanted())
    assert caught.value.reason is reason
    assert cluster.writes == []


@pytest.mark.parametrize(("how", "reason"), GONE)
async def test_a_job_that_was_created_goes_on_though_its_target_is_gone(how: str, reason: Reason) -> None:
    """Also where the operator did not learn that it was created."""
    cluster = a_cluster()
    step = await created(cluster)
    target_goes(cluster, how)
    for here in (HERE, step):
        assert (await run.perform(cluster, here, wanted())).awaits is not None
    assert len(jobs(cluster)) == 1


async def test_a_job_may_be_meant_for_a_target_that_is_gone_and_then_does_not_look() -> None:
    cluster = a_cluster()
    target_goes(cluster, "deleted")
    assert (await run.perform(cluster, HERE, wanted(whenTargetGone="Act"))).acted
    assert "get Deployment api" not in cluster.requests


def test_the_target_is_read_by_whom_it_matters_to() -> None:
    reads = Right("get", "apps", "deployments", ("api",))
    assert reads in run.rights(HERE.target, wanted())
    assert reads not in run.rights(HERE.target, wanted(whenTargetGone="Act"))


async def test_a_job_of_an_operator_that_knew_no_such_choice_is_still_ours() -> None:
    asked_for = asked(HERE, wanted())
    assert "whenTargetGone" not in asked_for
    assert asked_for == asked(HERE, wanted(whenTargetGone="Act"))


@pytest.mark.parametrize("by", ["deleted", "replaced"])
async def test_a_job_that_somebody_took_away_is_not_run_again(by: str) -> None:
    cluster = a_cluster()
    step = await created(cluster)
    job = cluster.find("Job", NAME)
    cluster.drop("Job", NAME)
    if by == "replaced":
        cluster.add({**job, "metadata": {**job["metadata"], "uid": "another"}})
    with pytest.raises(EffectFailed, match="was deleted by somebody") as caught:
        await run.perform(cluster, step, wanted())
    assert caught.value.reason is Reason.JOB_FAILED
    assert len(jobs(cluster)) == 1


@pytest.mark.parametrize("theirs", ["unmarked", "another step", "other parameters"])
async def test_somebody_elses_job_of_that_name_is_left_alone(theirs: str) -> None:
    other = a_cluster()
    match theirs:
        case "another step":
            elsewhere = replace(HERE, step="other")
            other.log_texts[f"{job_ref(elsewhere).name}/job"] = NotFound("", status=404)
            await run.perform(other, elsewhere, wanted())
        case _:
            await run.perform(other, HERE, wanted(args=["--force"]))
    (job,) = (one for key, one in other.objects.items() if key[0] == "Job")
    meta = {**job["metadata"], "name": NAME}
    if theirs == "unmarked":
        meta["annotations"] = {}
    cluster = a_cluster().add({**job, "metadata": meta})
    with pytest.raises(StepError, match="was not created by this attempt of step repair") as caught:
        await run.perform(cluster, HERE, wanted())
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert await run.recall(cluster, HERE, wanted()) is None
    assert not (await run.undo(cluster, HERE, wanted())).acted
    assert not (await run.fence(cluster, HERE, wanted())).acted
    assert cluster.writes == []


async def test_trouble_after_a_lost_answer_stays_an_unknown_outcome() -> None:
    rejected = Invalid("exceeded quota", status=422)
    cluster = a_cluster(troubles={"create": [Lost(landed=False), rejected]})
    with pytest.raises(UnknownOutcome):
        await run.perform(cluster, HERE, wanted())


async def test_one_that_exists_and_can_not_be_read_is_an_unknown_outcome() -> None:
    cluster = a_cluster()
    await created(cluster)
    cluster.troubles["get"] = [Unavailable("away")]
    with pytest.raises(UnknownOutcome, match="whose it is could not be read"):
        await run.perform(cluster, HERE, wanted(whenTargetGone="Act"))


async def test_after_a_crash_the_job_is_found_again() -> None:
    cluster = a_cluster()
    assert await run.recall(cluster, HERE, wanted()) is None
    await created(cluster)
    found = await run.recall(cluster, HERE, wanted())
    assert found is not None
    assert found.acted
    assert found.awaits is not None
    cluster.troubles["get"] = [Unavailable("away")]
    with pytest.raises(Unavailable):
        await run.recall(cluster, HERE, wanted())


@pytest.mark.parametrize("landed", [True, False])
async def test_once_its_name_is_taken_a_late_create_runs_nothing(landed: bool) -> None:
    cluster = a_cluster(troubles={"create": [Lost(landed)]})
    for _ in range(2):
        assert not (await run.fence(cluster, HERE, wanted())).acted
    with pytest.raises(StepError, match="was not created by this attempt"):
        await run.perform(cluster, HERE, wanted())
    stub = cluster.find("Job", NAME)["spec"]
    assert (stub["suspend"], stub["parallelism"]) == (True, 0)
    assert len(jobs(cluster)) == 1


async def test_a_job_that_was_quicker_than_the_fence_is_found() -> None:
    cluster = a_cluster()
    await created(cluster)
    found = await run.fence(cluster, HERE, wanted())
    assert found.acted
    assert found.awaits is not None


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ({"containerStatuses": [waiting("ErrImagePull")]}, ", app: ErrImagePull)"),
        (
            {
                "conditions": [
                    {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"}
                ]
            },
            ", it has no node: 0/1 nodes are available)",
        ),
        ({"containerStatuses": [running()]}, ""),
    ],
)
async def test_a_job_that_is_stopped_tells_for_what_its_pod_waited(status: Any, told: str) -> None:
    """Its pod goes with it, so nobody could look afterwards."""
    cluster = a_cluster()
    step = await created(cluster)
    made = pod_of(cluster.find("Job", NAME), f"{NAME}-x")
    cluster.add(labelled({**made, "status": {"phase": "Pending", **status}}))
    done = await run.undo(cluster, step, wanted())
    assert done.acted
    assert told in done.message
    assert ("waited" in done.message) is bool(told)


@pytest.mark.parametrize("linger", [True, False])
async def test_undo_stops_a_job_that_runs_once(linger: bool) -> None:
    cluster = a_cluster(linger=linger)
    step = await created(cluster)
    assert (await run.undo(cluster, step, wanted())).acted
    await run.undo(cluster, step, wanted())
    assert cluster.writes[1:] == [("delete", f"Job shop/{NAME}", "Background")]


async def test_undo_leaves_alone_what_has_ended_or_is_gone() -> None:
    cluster = a_cluster()
    step = await created(cluster)
    cluster.troubles["delete"] = [lambda: ends(cluster, "Complete")]
    for _ in range(2):
        done = await run.undo(cluster, step, wanted())
        assert (done.acted, len(cluster.writes)) == (False, 1)
        assert "what it did can't be taken back" in done.message
    cluster.drop("Job", NAME)
    assert not (await run.undo(cluster, step, wanted())).acted


async def test_the_pod_is_restricted_and_runs_as_the_workflows_account() -> None:
    cluster = a_cluster()
    key = {"name": "db", "key": "password"}
    env = [{"name": "LEVEL", "value": "info"}, {"name": "PASSWORD", "secretKeyRef": key}]
    await created(cluster, wanted(command=["check"], env=env, runAsUser=1000))
    job = cluster.find("Job", NAME)
    pod = job["spec"]["template"]["spec"]
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
        "runAsUser": 1000,
    }
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert (pod["serviceAccountName"], pod["automountServiceAccountToken"]) == ("repair", False)
    assert container["env"][1] == {"name": "PASSWORD", "valueFrom": {"secretKeyRef": key}}
    assert (container["command"], "args" in container) == (["check"], False)
    assert (job["spec"]["backoffLimit"], job["spec"]["activeDeadlineSeconds"]) == (0, 305)
    assert "ttlSecondsAfterFinished" not in job["spec"]
    (owner,) = job["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("WorkflowExecution", "run-1")


def test_a_long_name_is_one_that_a_job_may_have() -> None:
    long = replace(HERE, run_name="r" * 253, step="each/17/" + "s" * 200)
    names = {job_ref(replace(long, attempt=at)).name for at in range(1, 12)}
    assert len(names) == 11
    assert all(len(name) <= 63 for name in names)


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"privileged": True}, "Extra inputs"),
        ({"hostNetwork": True}, "Extra inputs"),
        ({"serviceAccountName": "admin"}, "Extra inputs"),
        ({"securityContext": {"runAsUser": 0}}, "Extra inputs"),
        ({"volumes": []}, "Extra inputs"),
        ({"ttlSecondsAfterFinished": 1}, "Extra inputs"),
        ({"runAsUser": 0}, "greater than or equal to 1"),
        ({"image": "a b"}, "should match pattern"),
        ({"backoffLimit": 7}, "less than or equal to 6"),
        ({"activeDeadlineSeconds": 0}, "greater than or equal to 1"),
        ({"tailLines": 501}, "less than or equal to 500"),
        ({"limits": {"nvidia.com/gpu": "1"}}, "can't be asked for"),
        ({"limits": {"memory": "0"}}, "is not above zero"),
        ({"env": [{"name": "A"}]}, "exactly one of value and secretKeyRef"),
        ({"env": [{"name": "DB_PASSWORD", "value": "x"}]}, "name that under secretKeyRef"),
        ({"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}, "A is there twice"),
        ({"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {}}}]}, "Extra inputs"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(parameters: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        wanted(**parameters)


def test_rights() -> None:
    assert [str(right) for right in run.rights(None, wanted())] == [
        *(f"{verb} jobs.batch" for verb in ("create", "get", "list", "watch", "delete")),
        "list pods",
        "get pods/log",
    ]
    assert Right("get", "", "pods/log") in run.rights(None, wanted())
