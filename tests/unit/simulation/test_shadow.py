"""The copy keeps the API server's preconditions, reads each object once, and changes nothing but itself."""

from __future__ import annotations

import json

import pytest

from kubernaut.core.errors import AlreadyExists, Conflict, Forbidden, Invalid, NotFound, TooManyRequests
from kubernaut.core.ports import Manifest, ObjectRef
from kubernaut.simulation import snapshots
from kubernaut.simulation.controllers.settling import Settling
from kubernaut.simulation.selecting import selected
from kubernaut.simulation.simulating import shadow_of
from unit.actions.fake import FakeCluster
from unit.simulation.world import NOW, meta, node, rolled_out, there

API = ObjectRef("apps/v1", "Deployment", "shop", "api")
POD = ObjectRef("v1", "Pod", "shop", "api-1-0")
GROW: Manifest = {"spec": {"replicas": 5}}


async def test_a_patch_needs_the_version_that_was_read_and_gives_a_new_one() -> None:
    shadow = shadow_of(NOW, objects=rolled_out())
    first = await shadow.patch(API, GROW, resource_version="7")
    assert first["metadata"]["resourceVersion"] != "7"
    assert first["metadata"]["generation"] == 2
    with pytest.raises(Conflict):
        await shadow.patch(API, {"spec": {"replicas": 6}}, resource_version="7")


async def test_a_dry_run_in_the_copy_leaves_the_copy_alone() -> None:
    shadow = shadow_of(NOW, objects=rolled_out())
    told = await shadow.patch(API, GROW, resource_version="7", dry_run=True)
    assert told["spec"]["replicas"] == 5
    assert (await shadow.get(API))["spec"]["replicas"] == 2
    assert shadow.mutations == []


async def test_only_the_status_subresource_writes_status() -> None:
    shadow = shadow_of(NOW, objects=rolled_out())
    body: Manifest = {"status": {"replicas": 9}, **GROW}
    plain = await shadow.patch(API, body, resource_version="7")
    assert plain["status"]["replicas"] == 2
    version = plain["metadata"]["resourceVersion"]
    status = await shadow.patch(API, body, resource_version=version, subresource="status")
    assert (status["status"]["replicas"], status["metadata"]["generation"]) == (9, 2)


async def test_what_can_not_be_changed_is_refused() -> None:
    shadow = shadow_of(NOW, objects=rolled_out())
    with pytest.raises(Invalid, match="immutable"):
        await shadow.patch(API, {"spec": {"selector": {"matchLabels": {"app": "b"}}}}, resource_version="7")


async def test_deletes_and_creates_have_their_preconditions() -> None:
    shadow = shadow_of(NOW, objects=rolled_out())
    with pytest.raises(Conflict):
        await shadow.delete(POD, uid="another")
    made: Manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "shop"}}
    await shadow.create(made)
    with pytest.raises(AlreadyExists):
        await shadow.create(made)
    with pytest.raises(NotFound):
        await shadow.get(ObjectRef("v1", "ConfigMap", "shop", "b"))


async def test_a_deleted_deployment_takes_all_with_it_and_a_deleted_pod_comes_back() -> None:
    shadow = shadow_of(NOW, objects=[node(), *rolled_out()])
    settling = Settling(shadow)
    await shadow.delete(POD, uid="uid-pod-api-1-0")
    await settling.settle()
    names = {pod["metadata"]["name"] for pod in there(shadow, "Pod")}
    assert len(names) == 2
    assert "api-1-0" not in names
    await shadow.delete(API, uid="uid-deployment-api")
    await settling.settle()
    assert there(shadow, "Pod") == there(shadow, "ReplicaSet") == []


@pytest.mark.parametrize(
    ("budget", "may_go"), [({"minAvailable": 1}, 1), ({"maxUnavailable": "50%"}, 1), ({"minAvailable": 2}, 0)]
)
async def test_budgets_let_as_many_pods_go_as_they_allow(budget: Manifest, may_go: int) -> None:
    guard: Manifest = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": meta("PodDisruptionBudget", "api"),
        "spec": {"selector": {"matchLabels": {"app": "api"}}, **budget},
    }
    shadow = shadow_of(NOW, objects=[node(), *rolled_out(), guard])
    gone = 0
    for at in range(2):
        try:
            await shadow.evict(ObjectRef("v1", "Pod", "shop", f"api-1-{at}"), uid=f"uid-pod-api-1-{at}")
            gone += 1
        except TooManyRequests as error:
            assert "disruption budget" in str(error)  # noqa: PT017 - how many are refused is what counts
    assert gone == may_go


async def test_the_cluster_is_read_once_and_never_written() -> None:
    cluster = FakeCluster().add(*rolled_out())
    shadow = shadow_of(NOW, cluster)
    version = (await shadow.get(API))["metadata"]["resourceVersion"]
    await shadow.patch(API, GROW, resource_version=version)
    await Settling(shadow).settle()
    assert (await shadow.get(API))["spec"]["replicas"] == 5
    assert cluster.writes == []
    assert cluster.requests.count("get Deployment api") == 1
    assert {one.split()[0] for one in cluster.requests} <= {"get", "list"}


async def test_what_can_not_be_read_is_said_and_left_out() -> None:
    cluster = FakeCluster(forbidden={"list HorizontalPodAutoscaler"}).add(node(), *rolled_out())
    shadow = shadow_of(NOW, cluster)
    version = (await shadow.get(API))["metadata"]["resourceVersion"]
    await shadow.patch(API, GROW, resource_version=version)
    await Settling(shadow).settle()
    told = "HorizontalPodAutoscalers of shop are not taken into account"
    assert any(one.startswith(told) for one in shadow.assumptions.all)
    with pytest.raises(Forbidden):
        await shadow.list("autoscaling/v2", "HorizontalPodAutoscaler", "shop")


async def test_a_cordon_keeps_new_pods_away_and_a_taint_drives_old_ones_out() -> None:
    shadow = shadow_of(NOW, objects=[node(), node("node-2", unschedulable=True), *rolled_out()])
    settling = Settling(shadow)
    taint = {"key": "down", "effect": "NoExecute"}
    await shadow.patch(
        ObjectRef("v1", "Node", "", "node-1"), {"spec": {"taints": [taint]}}, resource_version="7"
    )
    await settling.settle()
    assert [pod["spec"].get("nodeName") for pod in there(shadow, "Pod")] == [None, None]
    await shadow.patch(
        ObjectRef("v1", "Node", "", "node-2"), {"spec": {"unschedulable": None}}, resource_version="7"
    )
    await settling.settle()
    assert [pod["spec"].get("nodeName") for pod in there(shadow, "Pod")] == ["node-2", "node-2"]


@pytest.mark.parametrize(
    ("labels", "fields", "fits"),
    [
        ("app=api", "", True),
        ("app==api,tier!=web", "", True),
        ("app in (api, web)", "", True),
        ("app notin (api)", "", False),
        ("app,!tier", "", True),
        ("", "spec.nodeName=node-1", True),
        ("", "spec.nodeName!=node-1", False),
        ("", "status.phase=Running,metadata.name=api-1-0", True),
    ],
)
def test_selectors_mean_what_they_mean_to_the_api_server(labels: str, fields: str, fits: bool) -> None:
    pod = next(one for one in rolled_out() if one["kind"] == "Pod")
    assert selected(pod, labels, fields) is fits


def test_a_saved_state_holds_no_secret_and_is_read_back() -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": meta("Secret", "db"),
        "data": {"a": "aHVudGVyMg=="},
    }
    text = snapshots.write([*rolled_out(), secret])
    assert "aHVudGVyMg==" not in text
    assert [one["kind"] for one in snapshots.read(text)][-1] == "Secret"


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"spec": {"replicas": "abc"}}, "spec.replicas"),
        ({"spec": {"replicas": -1}}, "spec.replicas"),
        ({"spec": {"template": {"spec": {"containers": ["app"]}}}}, "list of maps"),
        ({"spec": {"template": {"metadata": {"labels": {"app": "b"}}}}}, "does not match"),
        ({"spec": {"strategy": {"rollingUpdate": {"maxSurge": "1"}}}}, "maxSurge"),
        ({"metadata": {"labels": {"version": 3}}}, "has to be text"),
    ],
)
async def test_what_the_api_server_would_not_take_is_refused(body: Manifest, told: str) -> None:
    shadow = shadow_of(NOW, objects=[node(), *rolled_out()])
    with pytest.raises(Invalid, match=told):
        await shadow.patch(API, body, resource_version="7")


async def test_what_a_written_state_lacks_keeps_nothing_from_being_changed() -> None:
    bare = rolled_out()[0]
    del bare["spec"]["template"]["spec"]["containers"][0]["image"]
    shadow = shadow_of(NOW, objects=[bare])
    assert (await shadow.patch(API, GROW, resource_version="7"))["spec"]["replicas"] == 5


async def test_of_a_pod_only_images_can_be_changed() -> None:
    shadow = shadow_of(NOW, objects=rolled_out())
    container = (await shadow.get(POD))["spec"]["containers"][0]
    newer = await shadow.patch(
        POD, {"spec": {"containers": [{**container, "image": "shop/api:2"}]}}, resource_version="7"
    )
    with pytest.raises(Invalid, match="images"):
        await shadow.patch(
            POD,
            {"spec": {"containers": [{**container, "resources": {}}]}},
            resource_version=newer["metadata"]["resourceVersion"],
        )


@pytest.mark.parametrize(
    ("part", "field"),
    [
        ({"spec": "none"}, "spec"),
        ({"status": []}, "status"),
        ({"metadata": {"name": "api", "labels": ["app"]}}, "metadata.labels"),
        ({"metadata": {"name": "api", "namespace": 3}}, "metadata.namespace"),
        (
            {"metadata": {"name": "api", "ownerReferences": [{"kind": "ReplicaSet"}]}},
            "metadata.ownerReferences",
        ),
    ],
)
def test_a_state_with_an_object_of_another_shape_is_refused_by_its_place(part: Manifest, field: str) -> None:
    one = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "api"}, **part}
    with pytest.raises(snapshots.StateInvalid) as refused:
        snapshots.read(json.dumps({"items": [one]}))
    assert refused.value.field == f"items[0].{field}"
