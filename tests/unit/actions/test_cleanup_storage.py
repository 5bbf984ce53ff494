"""cleanup_storage."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from kubernaut.actions.storage.cleanup_storage import CleanupStorage, CleanupStorageParameters
from kubernaut.api.reasons import Reason
from kubernaut.core.action import Done
from kubernaut.core.errors import Forbidden, StepError, UnknownOutcome
from kubernaut.core.ports import Manifest, Right
from unit.actions.builders import NOW, context, ended, pod
from unit.actions.fake import FakeCluster, Lost

cleanup = CleanupStorage()
PODS = {"what": ["FinishedPods"]}
JOBS = {"what": ["FinishedJobs"]}


def before(hours: float) -> str:
    return (NOW - timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")


def dead(name: str, hours: float = 48, phase: str = "Failed", owner: str = "ReplicaSet") -> Manifest:
    one = pod(name, ended(exitCode=1, reason="Error", finishedAt=before(hours)), phase=phase, ready=False)
    one["metadata"]["ownerReferences"][0]["kind"] = owner
    return one


def evicted(name: str, hours: float = 48) -> Manifest:
    one = pod(name, phase="Failed", reason="Evicted", ready=False)
    one["status"]["containerStatuses"] = []
    one["status"]["conditions"][0]["lastTransitionTime"] = before(hours)
    return one


def job(name: str, hours: float = 48, condition: str = "Complete", owner: str | None = None) -> Manifest:
    owners = [{"kind": owner, "name": "nightly", "uid": "uid-nightly", "controller": True}] if owner else []
    over = {"type": condition, "status": "True", "lastTransitionTime": before(hours)}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": "shop", "uid": f"uid-job-{name}", "ownerReferences": owners},
        "spec": {},
        "status": {"conditions": [over]},
    }


async def chosen(cluster: FakeCluster, **parameters: Any) -> list[str]:
    intent = await cleanup.prepare(cluster, context(), CleanupStorageParameters.model_validate(parameters))
    assert intent is not None
    objects = intent["objects"]
    assert isinstance(objects, list)
    return [str(one) for one in objects]


async def cleaned(cluster: FakeCluster, **parameters: Any) -> Done:
    given = CleanupStorageParameters.model_validate(parameters)
    intent = await cleanup.prepare(cluster, context(), given)
    return await cleanup.perform(cluster, context(intent=intent), given)


async def test_only_pods_that_ended_long_ago_and_are_nobody_else_s_are_chosen_oldest_first() -> None:
    going = dead("going")
    going["metadata"]["deletionTimestamp"] = before(1)
    cluster = FakeCluster().add(
        pod("busy"),
        dead("young", 23),
        dead("old", 25),
        dead("done", 30, phase="Succeeded"),
        evicted("evicted", 72),
        dead("of-a-job", owner="Job"),
        going,
    )
    assert await chosen(cluster) == [
        "Pod/evicted/uid-pod-evicted",
        "Pod/done/uid-pod-done",
        "Pod/old/uid-pod-old",
    ]
    assert "Pod/young/uid-pod-young" in await chosen(cluster, olderThan="1h")


async def test_only_jobs_that_ended_long_ago_and_are_no_cron_job_s_are_chosen() -> None:
    running = job("running", condition="Suspended")
    cluster = FakeCluster().add(
        job("done"), job("gave-up", 50, "Failed"), job("young", 1), job("nightly-1", owner="CronJob"), running
    )
    assert await chosen(cluster, **JOBS) == ["Job/gave-up/uid-job-gave-up", "Job/done/uid-job-done"]


async def test_no_more_than_the_bound_are_deleted_and_the_rest_is_told() -> None:
    cluster = FakeCluster(linger=False).add(*(dead(f"old-{n:02}", 30 + n) for n in range(30)))
    done = await cleaned(cluster, maxCount=18)
    assert done.outputs == {"deleted": 18, "left": 12}
    assert len(cluster.writes) == 18
    assert ("delete", "Pod shop/old-29") in [write[:2] for write in cluster.writes]
    assert (len(done.changed), done.changed[-1]) == (16, "3 more: deleted")


async def test_what_was_deleted_is_not_deleted_again_though_an_answer_was_lost() -> None:
    cluster = FakeCluster(linger=False).add(dead("one"), dead("two"))
    given = CleanupStorageParameters()
    intent = await cleanup.prepare(cluster, context(), given)
    cluster.troubles["delete"] = [Lost(landed=True), Lost(landed=False)]
    for _ in range(2):
        done = await cleanup.perform(cluster, context(intent=intent), given)
        assert (done.acted, done.outputs) == (True, {"deleted": 2, "left": 0})
    assert len(cluster.writes) == 2


async def test_a_new_pod_of_the_same_name_is_never_touched() -> None:
    cluster = FakeCluster().add(dead("old"))
    intent = await cleanup.prepare(cluster, context(), CleanupStorageParameters())
    cluster.drop("Pod", "old")
    new = pod("old")
    new["metadata"]["uid"] = "another"
    cluster.add(new)
    assert (await cleanup.perform(cluster, context(intent=intent), CleanupStorageParameters())).acted
    assert cluster.writes == []


async def test_a_pod_that_has_not_ended_after_all_stops_it() -> None:
    cluster = FakeCluster().add(dead("old"))
    intent = await cleanup.prepare(cluster, context(), CleanupStorageParameters())
    cluster.edit_status("Pod", "old", {"phase": "Running"})
    with pytest.raises(StepError, match="has not ended") as caught:
        await cleanup.perform(cluster, context(intent=intent), CleanupStorageParameters())
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert cluster.writes == []


async def test_an_outcome_that_can_not_be_found_out_is_told_as_such() -> None:
    cluster = FakeCluster().add(dead("old"))
    cluster.troubles["delete"] = [Lost(landed=False)] * 20
    with pytest.raises(UnknownOutcome):
        await cleaned(cluster)


async def test_nothing_to_clean_up_is_no_error() -> None:
    done = await cleaned(FakeCluster().add(pod("busy")))
    assert (done.acted, done.outputs) == (False, {"deleted": 0, "left": 0})


async def test_labels_narrow_what_is_chosen() -> None:
    other = dead("other")
    other["metadata"]["labels"] = {"app": "other"}
    cluster = FakeCluster().add(dead("old"), other)
    assert await chosen(cluster, labelSelector="app=other") == ["Pod/other/uid-pod-other"]


async def test_a_right_that_lacks_is_named() -> None:
    cluster = FakeCluster().add(dead("old"))
    cluster.forbidden.add("delete Pod")
    with pytest.raises(Forbidden):
        await cleaned(cluster)


async def test_undo_changes_nothing_and_says_why() -> None:
    done = await cleanup.undo(FakeCluster(), context(), CleanupStorageParameters())
    assert not done.acted
    assert "can't be put back" in done.message


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"what": []}, "at least 1"),
        ({"what": ["Volumes"]}, "FinishedPods"),
        ({"maxCount": 51}, "less than or equal to 50"),
        ({"olderThan": "a while"}, "is not a duration"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(parameters: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        CleanupStorageParameters.model_validate(parameters)


def test_rights_are_those_on_what_is_cleaned_up() -> None:
    found = cleanup.rights(None, CleanupStorageParameters.model_validate(JOBS))
    assert found == tuple(Right(verb, "batch", "jobs") for verb in ("list", "get", "delete"))
    both = CleanupStorageParameters.model_validate({"what": ["FinishedPods", "FinishedJobs"]})
    assert len(cleanup.rights(None, both)) == 6
