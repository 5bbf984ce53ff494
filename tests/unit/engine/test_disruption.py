"""No more is taken down than guards let be unavailable, whatever action does it and however many at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kubernaut.api.guards import Guards
from kubernaut.api.reasons import Reason
from kubernaut.core.errors import Forbidden, StepError, TooManyRequests
from kubernaut.core.guards.levels import Level, Reach
from kubernaut.core.ports import Manifest, ObjectRef
from kubernaut.engine.disruption import Disruption
from kubernaut.engine.gated import GatedCluster
from unit.actions.builders import deployment, pod
from unit.actions.fake import FakeCluster

API = ObjectRef("apps/v1", "Deployment", "shop", "api")
NODE = ObjectRef("v1", "Node", "", "n1")


async def _beyond(namespace: str, what: str) -> None:
    return None


def gated(cluster: FakeCluster, percent: int | None, target: ObjectRef = API) -> GatedCluster:
    levels = [Level(Reach.CLUSTER, "", Guards(max_unavailable_percent=percent))]
    return GatedCluster(
        cluster, lambda: None, "shop", _beyond, disruption=Disruption(levels, cluster, target)
    )


def api(replicas: int, up: int, **spec: Any) -> Manifest:
    counts = {"replicas": replicas, "readyReplicas": up, "availableReplicas": up}
    return {**deployment(replicas=replicas, **spec), "status": counts}


def replica_set(replicas: int, up: int) -> Manifest:
    meta = {"name": "api-1", "namespace": "shop", "uid": "uid-rs-1"}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": "api"}}}
    status = {"availableReplicas": up}
    return {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": meta, "spec": spec, "status": status}


def ref(name: str) -> ObjectRef:
    return ObjectRef("v1", "Pod", "shop", name, f"uid-pod-{name}")


async def evict(cluster: GatedCluster, name: str) -> None:
    await cluster.evict(ref(name), uid=f"uid-pod-{name}")


async def test_a_ready_pod_stays_where_one_more_would_be_too_many_and_a_bad_one_may_go() -> None:
    cluster = FakeCluster().add(api(4, 3), pod("api-1"), pod("api-2", ready=False))
    with pytest.raises(StepError) as caught:
        await evict(gated(cluster, 25), "api-1")
    assert caught.value.reason is Reason.TOO_FEW_HEALTHY
    assert str(caught.value) == (
        "the eviction of Pod shop/api-1 was not sent: maxUnavailablePercent 25 of the cluster: it would take down "
        "1 of 4 replicas of Deployment api beside 1 that are unavailable, and at most 1 may be"
    )
    with pytest.raises(StepError, match="the delete of Pod shop/api-1 was not sent"):
        await gated(cluster, 25).delete(ref("api-1"), uid="uid-pod-api-1")
    assert cluster.writes == []
    await evict(gated(cluster, 25), "api-2")
    await evict(gated(cluster, 50), "api-1")
    assert len(cluster.writes) == 2


async def test_those_that_go_at_the_same_time_count_before_any_status_tells_of_them() -> None:
    names = [f"api-{at}" for at in range(1, 5)]
    cluster = FakeCluster().add(api(4, 4), *(pod(name) for name in names))
    one = gated(cluster, 50)
    answers = await asyncio.gather(*(evict(one, name) for name in names), return_exceptions=True)
    assert [isinstance(answer, StepError) for answer in answers] == [False, False, True, True]
    assert len(cluster.writes) == 2


async def test_a_pod_that_a_budget_held_does_not_count() -> None:
    cluster = FakeCluster().add(api(4, 4), pod("api-1"), pod("api-2"))
    cluster.budgets.add("api-1")
    one = gated(cluster, 25)
    with pytest.raises(TooManyRequests):
        await evict(one, "api-1")
    await evict(one, "api-2")


async def test_a_pod_of_another_workload_is_counted_with_its_controller_which_has_to_be_readable() -> None:
    cluster = FakeCluster().add(replica_set(2, 2), pod("api-1"), pod("lonely", controlled=False))
    with pytest.raises(StepError, match="1 of 2 replicas of ReplicaSet api-1"):
        await evict(gated(cluster, 25, NODE), "api-1")
    cluster.forbidden.add("get ReplicaSet")
    with pytest.raises(Forbidden):
        await evict(gated(cluster, 25, NODE), "api-1")
    await evict(gated(cluster, 25, NODE), "lonely")
    # Where no level says anything, nothing is read either.
    cluster.requests.clear()
    await evict(gated(cluster, None, NODE), "api-1")
    assert cluster.requests == ["evict Pod api-1"]


async def patched(cluster: GatedCluster, body: Manifest) -> None:
    seen = await cluster.get(API)
    await cluster.patch(API, body, resource_version=seen["metadata"]["resourceVersion"])


async def test_a_patch_is_judged_by_what_the_action_has_read() -> None:
    cluster = FakeCluster().add(api(4, 4, strategy={"type": "Recreate"}))
    with pytest.raises(StepError, match="2 of 4 replicas of Deployment api beside 0"):
        await patched(gated(cluster, 25), {"spec": {"replicas": 2}})
    again = {"spec": {"template": {"metadata": {"annotations": {"again": "yes"}}}}}
    with pytest.raises(StepError, match="4 of 4 replicas"):
        await patched(gated(cluster, 75), again)
    assert cluster.writes == []
    assert cluster.requests == ["get Deployment api"] * 2
    await patched(gated(cluster, 100), again)
    await patched(gated(cluster, 0), {"metadata": {"labels": {"a": "b"}}})
    await patched(gated(cluster, 0), {"spec": {"replicas": 5}})


async def test_an_applied_manifest_and_a_deletion_are_judged_alike() -> None:
    cluster = FakeCluster().add(api(4, 4))
    seen = cluster.find("Deployment", "api")
    manifest = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "api", "namespace": "shop"},
        "spec": {"replicas": 1},
    }
    one, version = gated(cluster, 50), seen["metadata"]["resourceVersion"]
    with pytest.raises(StepError, match=r"the apply of Deployment api was not sent.*3 of 4 replicas"):
        await one.apply(manifest, uid="uid-deployment-api", resource_version=version, manager="m")
    with pytest.raises(StepError, match=r"the delete of Deployment shop/api was not sent.*4 of 4 replicas"):
        await one.delete(API, uid="uid-deployment-api")
    assert cluster.writes == []
    await one.delete(API, uid="uid-deployment-api", propagation="Orphan")


async def test_a_pod_that_loses_the_labels_by_which_it_is_selected_is_missing() -> None:
    cluster = FakeCluster().add(api(4, 4), pod("api-1"))
    version = cluster.find("Pod", "api-1")["metadata"]["resourceVersion"]
    with pytest.raises(StepError, match="1 of 4 replicas of Deployment api"):
        await gated(cluster, 0).patch(
            ref("api-1"), {"metadata": {"labels": {"app": None}}}, resource_version=version
        )
    await gated(cluster, 0).patch(
        ref("api-1"), {"metadata": {"labels": {"x": "y"}}}, resource_version=version
    )
