"""restart_pod: the pinned pod, once, and no other."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from kubernaut.actions.workloads.restart_pod import RestartPod, RestartPodParameters
from kubernaut.api.reasons import Reason
from kubernaut.core.errors import Forbidden, StepError, TooManyRequests, Unavailable, UnknownOutcome
from kubernaut.core.ports import Manifest, ObjectRef, Right
from unit.actions.builders import context, deployment, pod, running, waiting, workload
from unit.actions.fake import FakeCluster, Lost

restart = RestartPod()
PINNED = {"name": "api-1", "uid": "uid-pod-api-1"}
METHODS = ["evict", "delete"]


def wanted(**parameters: Any) -> RestartPodParameters:
    return RestartPodParameters.model_validate(parameters)


def removals(cluster: FakeCluster) -> list[str]:
    return [verb for verb, _, _ in cluster.writes]


async def prepared(cluster: FakeCluster, target: Manifest, **parameters: Any) -> Any:
    return await restart.prepare(cluster, context(target), wanted(**parameters))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("linger", [True, False])
async def test_the_pinned_pod_is_removed_once(method: str, linger: bool) -> None:
    cluster = FakeCluster(linger=linger).add(pod())
    for _ in range(2):
        done = await restart.perform(cluster, context(intent=PINNED), wanted(name="api-1", method=method))
        assert done.acted
        assert done.outputs == {"pod": "api-1", "uid": "uid-pod-api-1"}
    assert removals(cluster) == [method]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("landed", [True, False])
async def test_a_lost_answer_removes_once(method: str, landed: bool) -> None:
    cluster = FakeCluster(troubles={method: [Lost(landed)]}).add(pod())
    assert (await restart.perform(cluster, context(intent=PINNED), wanted(name="api-1", method=method))).acted
    assert removals(cluster) == [method]


@pytest.mark.parametrize("method", METHODS)
async def test_a_new_pod_of_the_same_name_is_never_touched(method: str) -> None:
    cluster = FakeCluster().add(pod())

    def replaced() -> None:
        cluster.drop("Pod", "api-1")
        fresh = pod()
        fresh["metadata"]["uid"] = "fresh"
        cluster.add(fresh)

    cluster.troubles[method] = [replaced]
    done = await restart.perform(cluster, context(intent=PINNED), wanted(name="api-1", method=method))
    assert done.acted
    assert cluster.find("Pod", "api-1")["metadata"]["uid"] == "fresh"
    assert removals(cluster) == []


@pytest.mark.parametrize("method", METHODS)
async def test_a_pod_that_vanishes_under_the_request_is_done(method: str) -> None:
    cluster = FakeCluster().add(pod())
    cluster.troubles[method] = [lambda: cluster.drop("Pod", "api-1")]
    assert (await restart.perform(cluster, context(intent=PINNED), wanted(name="api-1", method=method))).acted


async def test_a_disruption_budget_refuses_and_may_be_tried_again() -> None:
    cluster = FakeCluster(budgets={"api-1"}).add(pod())
    with pytest.raises(StepError, match="disruption budget") as caught:
        await restart.perform(cluster, context(intent=PINNED), wanted(name="api-1"))
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert removals(cluster) == []


async def test_an_api_server_out_of_breath_is_not_a_budget() -> None:
    cluster = FakeCluster(troubles={"evict": [TooManyRequests("too many requests", status=429)]}).add(pod())
    with pytest.raises(TooManyRequests):
        await restart.perform(cluster, context(intent=PINNED), wanted(name="api-1"))


async def test_trouble_after_a_lost_answer_stays_an_unknown_outcome() -> None:
    cluster = FakeCluster(troubles={"evict": [Lost(False)], "get": [None, Unavailable("away")]}).add(pod())
    with pytest.raises(UnknownOutcome):
        await restart.perform(cluster, context(intent=PINNED), wanted(name="api-1"))


async def test_a_missing_right_is_passed_on() -> None:
    cluster = FakeCluster(forbidden={"evict Pod"}).add(pod())
    with pytest.raises(Forbidden, match="evict Pod"):
        await restart.perform(cluster, context(intent=PINNED), wanted(name="api-1"))


async def test_prepare_pins_the_pod_named_or_the_target() -> None:
    cluster = FakeCluster().add(pod(), pod("api-2"))
    assert await prepared(cluster, deployment(), name="api-2") == {"name": "api-2", "uid": "uid-pod-api-2"}
    assert await prepared(cluster, pod()) == PINNED
    assert cluster.writes == []


async def test_prepare_refuses_a_target_made_anew() -> None:
    fresh = pod()
    fresh["metadata"]["uid"] = "fresh"
    with pytest.raises(StepError) as caught:
        await prepared(FakeCluster().add(fresh), pod())
    assert caught.value.reason is Reason.TARGET_REPLACED


async def test_prepare_refuses_a_pod_that_nobody_would_make_anew() -> None:
    with pytest.raises(StepError, match="has no controller") as caught:
        await prepared(FakeCluster().add(pod(controlled=False)), pod())
    assert caught.value.reason is Reason.PRECONDITION_FAILED


async def test_prepare_refuses_a_static_pod_though_its_node_counts_as_its_controller() -> None:
    static = pod()
    static["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "0a1b"}
    with pytest.raises(StepError, match="its kubelet runs it from a file") as caught:
        await prepared(FakeCluster().add(static), static)
    assert caught.value.reason is Reason.PRECONDITION_FAILED


async def test_prepare_wants_a_name_where_the_target_is_no_pod() -> None:
    with pytest.raises(StepError, match="not a Pod; name the Pod") as caught:
        await prepared(FakeCluster().add(deployment()), deployment())
    assert caught.value.reason is Reason.INVALID_PARAMETERS


HEALTHY = pod("a-healthy")
UNREADY = pod("b-unready", ready=False)
RESTARTED = pod("c-restarted", running(restarts=9), ready=False)
CRASHING = pod("d-crashing", waiting("CrashLoopBackOff", restarts=2, exitCode=1), ready=False)
STARTING = pod("e-starting", waiting("ContainerCreating"), ready=False)
LEAVING = pod("f-leaving", waiting("CrashLoopBackOff", restarts=99), ready=False)
LEAVING["metadata"]["deletionTimestamp"] = "2026-03-01T00:00:00Z"


@pytest.mark.parametrize(
    ("there", "chosen"),
    [
        ([HEALTHY, UNREADY, RESTARTED, CRASHING, STARTING, LEAVING], "d-crashing"),
        ([HEALTHY, UNREADY, RESTARTED, LEAVING], "c-restarted"),
        ([HEALTHY, UNREADY, STARTING], "b-unready"),
        ([HEALTHY, LEAVING], ""),
        ([], ""),
    ],
)
async def test_the_worst_pod_of_the_target_is_chosen(there: list[Manifest], chosen: str) -> None:
    cluster = FakeCluster().add(deployment(), *there)
    pinned = await prepared(cluster, deployment(), unhealthy=True)
    assert pinned == {"name": chosen, "uid": f"uid-pod-{chosen}" if chosen else ""}


def owned(name: str, kind: str, owner: str, **more: Any) -> Manifest:
    """Return a pod that crashes, with the target's labels and a controller."""
    made = pod(name, waiting("CrashLoopBackOff", restarts=9, exitCode=1), ready=False, **more)
    (ref,) = made["metadata"]["ownerReferences"]
    ref |= {"kind": kind, "name": owner, "uid": f"uid-{kind.lower()}-{owner}"}
    made["metadata"]["labels"] = {"app": "api", "pod-template-hash": owner.rpartition("-")[2]}
    return made


OURS = owned("ours", "ReplicaSet", "api-5f7b")
CANARY = owned("canary", "ReplicaSet", "api-canary-77d9")
ADOPTED = owned("adopted", "ReplicaSet", "frontend")
ADOPTED["metadata"]["labels"]["pod-template-hash"] = "5f7b"
DAEMON = owned("daemon", "DaemonSet", "api")
#: what the kubelet leaves of a pod that it evicted; its ReplicaSet has made another
LEFT = owned("left", "ReplicaSet", "api-5f7b", phase="Failed")


@pytest.mark.parametrize(
    ("others", "chosen"),
    [
        ([CANARY], "b-unready"),
        ([DAEMON], "b-unready"),
        ([LEFT], "b-unready"),
        ([ADOPTED], "adopted"),
        ([OURS], "ours"),
    ],
)
async def test_a_pod_of_another_workload_with_the_same_labels_is_never_chosen(
    others: list[Manifest], chosen: str
) -> None:
    """Nor one that is replaced already."""
    cluster = FakeCluster().add(deployment(), HEALTHY, UNREADY, *others)
    pinned = await prepared(cluster, deployment(), unhealthy=True)
    assert pinned["name"] == chosen


async def test_a_stateful_set_chooses_among_its_own_pods() -> None:
    target = workload("StatefulSet")
    ours, theirs = owned("api-0", "StatefulSet", "api"), owned("other-0", "StatefulSet", "other")
    pinned = await prepared(FakeCluster().add(target, ours, theirs), target, unhealthy=True)
    assert pinned["name"] == "api-0"


@pytest.mark.parametrize("target", [deployment(), pod("d-crashing")], ids=["Deployment", "Pod"])
async def test_no_pod_is_chosen_of_a_target_made_anew(target: Manifest) -> None:
    fresh = CRASHING if target["kind"] == "Pod" else deployment()
    fresh = {**fresh, "metadata": {**fresh["metadata"], "uid": "fresh"}}
    cluster = FakeCluster().add(fresh, *([] if target["kind"] == "Pod" else [CRASHING]))
    with pytest.raises(StepError, match="deleted and made anew") as caught:
        await prepared(cluster, target, unhealthy=True)
    assert caught.value.reason is Reason.TARGET_REPLACED


async def test_where_all_are_healthy_nothing_is_done() -> None:
    cluster = FakeCluster().add(deployment(), HEALTHY)
    pinned = await prepared(cluster, deployment(), unhealthy=True)
    done = await restart.perform(cluster, context(intent=pinned), wanted(unhealthy=True))
    assert (done.acted, done.message) == (False, "no pod of Deployment shop/api is unhealthy")
    assert cluster.writes == []


async def test_a_target_without_a_selector_has_no_worst_pod() -> None:
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "c", "namespace": "shop", "uid": "u"},
    }
    with pytest.raises(StepError, match="selects no pods"):
        await prepared(FakeCluster().add(config), config, unhealthy=True)


async def test_undo_has_nothing_to_put_back() -> None:
    cluster = FakeCluster().add(pod())
    done = await restart.undo(cluster, context(intent=PINNED), wanted(name="api-1"))
    assert (done.acted, cluster.requests) == (False, [])


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"name": "a", "unhealthy": True}, "at most one of name and unhealthy"),
        ({"name": "a", "gracePeriodSeconds": 5}, "needs method: delete"),
        ({"name": "a", "method": "kill"}, "'evict' or 'delete'"),
        ({"name": "a", "method": "delete", "gracePeriodSeconds": 0}, "greater than or equal to 1"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(parameters: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        wanted(**parameters)


def test_rights_depend_on_how_the_pod_is_chosen_and_removed() -> None:
    target = ObjectRef("apps/v1", "Deployment", "shop", "api")
    assert restart.rights(target, wanted(name="api-1")) == (
        Right("get", "", "pods", ("api-1",)),
        Right("create", "", "pods/eviction", ("api-1",)),
    )
    assert restart.rights(target, wanted(unhealthy=True, method="delete")) == (
        Right("get", "", "pods"),
        Right("delete", "", "pods"),
        Right("list", "", "pods"),
        Right("get", "apps", "deployments", ("api",)),
    )
