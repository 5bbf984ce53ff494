"""What controllers make of a change: where they stop, whom they spare, and what they are not asked about."""

from __future__ import annotations

from typing import Any

import pytest

from kubernaut.core.errors import Forbidden, TooManyRequests
from kubernaut.core.ports import Manifest, ObjectRef
from kubernaut.simulation.controllers.settling import Settling
from kubernaut.simulation.diffs import changes
from kubernaut.simulation.report import Radius
from kubernaut.simulation.shadow import Shadow
from kubernaut.simulation.simulating import shadow_of
from unit.actions.fake import FakeCluster
from unit.simulation.world import NOW, meta, node, rolled_out, simulated, there, workflow

DB = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db"}
_CONTAINER: Manifest = {"name": "app", "image": "shop/db:1"}


def owned_by(kind: str, name: str, version: str = "apps/v1") -> dict[str, Any]:
    uid = f"uid-{kind.lower()}-{name}"
    owner = {"apiVersion": version, "kind": kind, "name": name, "uid": uid}
    return {"ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}]}


def pod(name: str, ready: bool = True, on: str = "node-1", **metadata: Any) -> Manifest:
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": str(ready)}]}
    spec = {"containers": [_CONTAINER], "nodeName": on}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta("Pod", name, **metadata),
        "spec": spec,
        "status": status,
    }


def stateful(*ready: bool, **spec: Any) -> list[Manifest]:
    """Return StatefulSet db with a pod for each of these, well or not."""
    labels = {"app": "db", "controller-revision-hash": "db-1"}
    template = {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [_CONTAINER]}}
    selector = {"matchLabels": {"app": "db"}}
    pods = [
        pod(f"db-{at}", well, labels=labels, **owned_by("StatefulSet", "db")) for at, well in enumerate(ready)
    ]
    given = {"replicas": len(ready), "selector": selector, "template": template, "serviceName": "db", **spec}
    status = {"replicas": len(ready), "updateRevision": "db-1", "currentRevision": "db-1"}
    head = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": meta("StatefulSet", "db")}
    return [node(), {**head, "spec": given, "status": status}, *pods]


def daemons(*nodes: str, **spec: Any) -> list[Manifest]:
    """Return DaemonSet log with a pod on each of these nodes."""
    labels = {"app": "log", "controller-revision-hash": "1"}
    template = {"metadata": {"labels": {"app": "log"}}, "spec": {"containers": [_CONTAINER]}}
    pods = [pod(f"log-{one}", on=one, labels=labels, **owned_by("DaemonSet", "log")) for one in nodes]
    head = {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": meta("DaemonSet", "log")}
    given = {"selector": {"matchLabels": {"app": "log"}}, "template": template, **spec}
    return [*(node(one) for one in nodes), {**head, "spec": given}, *pods]


def scaled(replicas: int) -> Manifest:
    return {"name": "scale", "action": "scale_statefulset", "with": {"replicas": replicas}}


def names(shadow: Shadow, kind: str = "Pod") -> list[str]:
    return sorted(one["metadata"]["name"] for one in there(shadow, kind))


async def patched(
    shadow: Shadow, version: str, kind: str, name: str, body: Manifest, where: str = "shop"
) -> None:
    """Patch an object and have the controllers come to rest."""
    ref = ObjectRef(version, kind, where, name)
    shadow.step = "patch"
    await shadow.patch(ref, body, resource_version=(await shadow.get(ref))["metadata"]["resourceVersion"])
    await Settling(shadow).settle()


@pytest.mark.parametrize("replicas", [1, 5])
async def test_a_stateful_set_does_nothing_while_a_pod_before_is_not_ready(replicas: int) -> None:
    spec = workflow(scaled(replicas), target=DB)
    result, shadow = await simulated(spec, stateful(False, True, True))
    assert names(shadow) == ["db-0", "db-1", "db-2"]
    assert any("does nothing else while its pod db-0 is not ready" in one for one in result.assumptions)
    _, parallel = await simulated(spec, stateful(False, True, True, podManagementPolicy="Parallel"))
    assert names(parallel) == [f"db-{at}" for at in range(replicas)]


async def test_a_broken_pod_keeps_a_better_template_from_being_rolled_out() -> None:
    image = {"name": "set", "action": "set_image", "with": {"container": "app", "image": "shop/db:2"}}
    verify = {"expect": ["target.status.readyReplicas == 2"], "timeout": "1m"}
    result, _ = await simulated(workflow(image, target=DB, verify=verify), stateful(True, False))
    assert not result.through


async def test_pods_that_are_made_anew_under_their_names_count_as_gone() -> None:
    result, _ = await simulated(
        workflow({"name": "again", "action": "restart_statefulset"}, target=DB), stateful(True, True)
    )
    assert result.radius.gone == ("Pod shop/db-0", "Pod shop/db-1")
    assert result.radius.made == 2


async def test_a_pod_that_loses_its_owner_does_not_count_as_gone() -> None:
    shadow = shadow_of(NOW, objects=[node(), *rolled_out(1)])
    await patched(shadow, "v1", "Pod", "api-1-0", {"metadata": {"labels": {"app": "other"}}})

    radius = Radius.of(changes(shadow.state), ())
    assert (radius.gone, radius.made) == ((), 1)


@pytest.mark.parametrize(("effect", "left"), [("NoSchedule", ["log-a", "log-b"]), ("NoExecute", ["log-b"])])
async def test_a_taint_leaves_the_pods_of_daemon_sets_that_it_does_not_drive_out(
    effect: str, left: list[str]
) -> None:
    shadow = shadow_of(NOW, objects=daemons("a", "b"))
    await patched(shadow, "v1", "Node", "a", {"spec": {"taints": [{"key": "x", "effect": effect}]}}, "")
    assert names(shadow) == left


async def test_a_daemon_set_stops_where_its_new_pods_do_not_get_ready() -> None:
    shadow = shadow_of(NOW, objects=daemons("a", "b", "c"))
    large = {**_CONTAINER, "resources": {"requests": {"cpu": "64"}}}
    await patched(
        shadow, "apps/v1", "DaemonSet", "log", {"spec": {"template": {"spec": {"containers": [large]}}}}
    )
    status = (await shadow.get(ObjectRef("apps/v1", "DaemonSet", "shop", "log")))["status"]
    assert (status["numberReady"], status["numberUnavailable"]) == (2, 1)
    assert {"log-b", "log-c"} < set(names(shadow))


async def test_where_nodes_can_not_be_read_pods_are_taken_to_find_a_place() -> None:
    objects = [one for one in (*rolled_out(), *daemons("node-1")) if one["kind"] != "Node"]
    shadow = shadow_of(NOW, FakeCluster(forbidden={"list Node"}).add(*objects))
    newer = {"spec": {"template": {"metadata": {"annotations": {"now": "newer"}}}}}
    await patched(shadow, "apps/v1", "Deployment", "api", newer)
    await patched(shadow, "apps/v1", "DaemonSet", "log", newer)
    for kind, name, counted in (("Deployment", "api", "readyReplicas"), ("DaemonSet", "log", "numberReady")):
        status = (await shadow.get(ObjectRef("apps/v1", kind, "shop", name)))["status"]
        assert status[counted] == (2 if kind == "Deployment" else 1)
    assert any("nodes are not taken into account" in one for one in shadow.assumptions.all)


async def test_a_job_whose_pod_fits_nowhere_does_not_succeed() -> None:
    shadow = shadow_of(NOW, objects=[node(cpu="1")])
    container = {**_CONTAINER, "resources": {"requests": {"cpu": "8"}}}
    job: Manifest = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "work", "namespace": "shop"},
        "spec": {"template": {"metadata": {}, "spec": {"containers": [container]}}},
    }
    await shadow.create(job)
    await Settling(shadow).settle()
    assert "conditions" not in (await shadow.get(ObjectRef("batch/v1", "Job", "shop", "work")))["status"]


async def test_what_a_step_made_takes_all_with_it_when_it_is_removed() -> None:
    shadow = shadow_of(NOW, objects=[node()])
    settling = Settling(shadow)
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "work", "namespace": "shop"}}
    made = await shadow.create({**job, "spec": {"template": {"spec": {"containers": [_CONTAINER]}}}})
    await settling.settle()
    assert len(there(shadow, "Pod")) == 1
    await shadow.delete(ObjectRef.of(made), uid=made["metadata"]["uid"])
    await settling.settle()
    assert there(shadow, "Pod") == []


@pytest.mark.parametrize(
    ("told", "placed"), [("Insufficient cpu", True), ("had volume node affinity conflict", False)]
)
async def test_pods_that_wait_for_room_are_placed_once_there_is_some(told: str, placed: bool) -> None:
    waiting = pod("waits")
    del waiting["spec"]["nodeName"]
    waiting["spec"]["containers"] = [{**_CONTAINER, "resources": {"requests": {"cpu": "2"}}}]
    condition = {"type": "PodScheduled", "status": "False", "message": f"0/1 nodes are available: 1 {told}."}
    waiting["status"] = {"phase": "Pending", "conditions": [condition]}
    shadow = shadow_of(NOW, objects=[node(cpu="2"), *rolled_out(), waiting])
    await patched(shadow, "apps/v1", "Deployment", "api", {"spec": {"replicas": 0}})
    found = await shadow.get(ObjectRef("v1", "Pod", "shop", "waits"))
    assert ("nodeName" in found["spec"]) is placed


def without_configuration() -> list[Manifest]:
    """Return Deployment api whose pods wait for a ConfigMap."""
    found = rolled_out()
    env = [{"name": "LEVEL", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "level"}}}]
    for one in found:
        spec = one["spec"] if one["kind"] == "Pod" else one["spec"]["template"]["spec"]
        spec["containers"] = [{**spec["containers"][0], "env": env}]
        if one["kind"] == "Pod":
            state = {"waiting": {"reason": "CreateContainerConfigError"}}
            conditions = [{"type": "Ready", "status": "False"}]
            one["status"] = {
                "phase": "Pending",
                "conditions": conditions,
                "containerStatuses": [{"name": "app", "state": state}],
            }
    return [node(), *found]


async def test_what_keeps_a_container_from_its_configuration_keeps_those_alone_that_want_the_same() -> None:
    def ready(shadow: Shadow) -> int:
        found = next(one for one in there(shadow, "Deployment"))
        return int(found["status"].get("readyReplicas", 0))

    annotated = {"spec": {"template": {"metadata": {"annotations": {"now": "newer"}}}}}
    shadow = shadow_of(NOW, objects=without_configuration())
    await patched(shadow, "apps/v1", "Deployment", "api", annotated)
    assert ready(shadow) == 0
    other = shadow_of(NOW, objects=without_configuration())
    plain = {"containers": [{"name": "app", "image": "shop/api:1"}]}
    await patched(other, "apps/v1", "Deployment", "api", {"spec": {"template": {"spec": plain}}})
    assert ready(other) == 2
    mended = shadow_of(NOW, objects=without_configuration())
    mended.step = "restore"
    settings = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "settings", "namespace": "shop"},
    }
    await mended.create({**settings, "data": {"level": "info"}})
    await patched(mended, "apps/v1", "Deployment", "api", annotated)
    assert ready(mended) == 2


async def test_a_budget_counts_as_many_pods_as_are_wanted_now() -> None:
    budget: Manifest = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": meta("PodDisruptionBudget", "api"),
        "spec": {"selector": {"matchLabels": {"app": "api"}}, "maxUnavailable": 1},
        "status": {"expectedPods": 3},
    }
    shadow = shadow_of(NOW, objects=[node(), *rolled_out(3), budget])
    await patched(shadow, "apps/v1", "Deployment", "api", {"spec": {"replicas": 2}})
    first, second = (ObjectRef.of(one) for one in there(shadow, "Pod"))
    uids = [one["metadata"]["uid"] for one in there(shadow, "Pod")]
    await shadow.evict(first, uid=uids[0])
    with pytest.raises(TooManyRequests):
        await shadow.evict(second, uid=uids[1])


async def test_the_pod_that_costs_least_goes_first() -> None:
    objects = rolled_out(3)
    cost = "controller.kubernetes.io/pod-deletion-cost"
    for one, price in zip(objects[2:], ("7", "-1", "5"), strict=True):
        one["metadata"]["annotations"] = {cost: price}
    shadow = shadow_of(NOW, objects=[node(), *objects])
    await patched(shadow, "apps/v1", "Deployment", "api", {"spec": {"replicas": 1}})
    assert names(shadow) == ["api-1-0"]


async def test_pods_that_want_one_port_of_their_node_are_not_placed_together() -> None:
    objects = rolled_out(1)
    for one in objects:
        spec = one["spec"] if one["kind"] == "Pod" else one["spec"]["template"]["spec"]
        spec["containers"] = [{**spec["containers"][0], "ports": [{"containerPort": 80, "hostPort": 80}]}]
    shadow = shadow_of(NOW, objects=[node(), *objects])
    await patched(shadow, "apps/v1", "Deployment", "api", {"spec": {"replicas": 2}})
    assert any("didn't have free ports" in one for one in shadow.assumptions.all)


async def test_what_nothing_reacts_to_here_is_said() -> None:
    service: Manifest = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta("Service", "api"),
        "spec": {},
    }
    shadow = shadow_of(NOW, objects=[service])
    await patched(shadow, "v1", "Service", "api", {"spec": {"selector": {"app": "api"}}})
    assert "nothing reacts to changed Services: that is not simulated" in shadow.assumptions.all


# Quotas and limit ranges


def quota(hard: Manifest, used: Manifest | None = None, **spec: Any) -> Manifest:
    head = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": meta("ResourceQuota", "most")}
    return {**head, "spec": {"hard": hard, **spec}, "status": {"used": used or {}}}


def claim(size: str = "1Gi") -> Manifest:
    spec = {"resources": {"requests": {"storage": size}}, "storageClassName": "fast"}
    head = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": meta("PersistentVolumeClaim", "data"),
    }
    return {**head, "spec": spec, "status": {"phase": "Bound"}}


def largest(size: str) -> Manifest:
    limit = {"type": "PersistentVolumeClaim", "max": {"storage": size}}
    head = {"apiVersion": "v1", "kind": "LimitRange", "metadata": meta("LimitRange", "most")}
    return {**head, "spec": {"limits": [limit]}}


@pytest.mark.parametrize(
    "limit",
    [
        quota({"requests.storage": "1Gi"}, {"requests.storage": "1Gi"}),
        quota(
            {"fast.storageclass.storage.k8s.io/requests.storage": "1Gi"},
            {"fast.storageclass.storage.k8s.io/requests.storage": "1Gi"},
        ),
        largest("1Gi"),
    ],
)
async def test_a_claim_grows_no_further_than_its_namespace_allows(limit: Manifest) -> None:
    grown = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
    shadow = shadow_of(NOW, objects=[claim(), limit])
    with pytest.raises(Forbidden):
        await patched(shadow, "v1", "PersistentVolumeClaim", "data", grown)
    await patched(shadow_of(NOW, objects=[claim()]), "v1", "PersistentVolumeClaim", "data", grown)


@pytest.mark.parametrize(
    ("scope", "refused"),
    [
        ({"scopes": ["BestEffort"]}, True),
        ({"scopes": ["NotBestEffort"]}, False),
        ({"scopes": ["NotTerminating"]}, True),
        ({"scopes": ["Terminating"]}, False),
        (
            {"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "Exists"}]}},
            False,
        ),
    ],
)
async def test_a_quota_with_scopes_counts_those_in_them(scope: Manifest, refused: bool) -> None:
    shadow = shadow_of(NOW, objects=[node(), quota({"pods": "0"}, **scope)])
    made: Manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "one", "namespace": "shop"},
        "spec": {"containers": [_CONTAINER]},
    }
    if refused:
        with pytest.raises(Forbidden, match="exceeded quota"):
            await shadow.create(made)
    else:
        await shadow.create(made)


async def test_a_scope_that_is_not_looked_at_is_said() -> None:
    shadow = shadow_of(NOW, objects=[quota({"pods": "0"}, scopes=["CrossNamespacePodAffinity"])])
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "shop"}}
    await shadow.create(made)
    assert any(
        "its scope CrossNamespacePodAffinity is not looked at" in one for one in shadow.assumptions.all
    )


async def test_containers_that_run_beside_the_others_from_the_beginning_take_their_share() -> None:
    def made(name: str, **more: Any) -> Manifest:
        asked = {"resources": {"requests": {"cpu": "1"}}}
        spec = {
            "containers": [{**_CONTAINER, **asked}],
            "initContainers": [{**_CONTAINER, **asked, "name": "first", **more}],
        }
        meta = {"name": name, "namespace": "shop"}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}

    shadow = shadow_of(NOW, objects=[quota({"requests.cpu": "1"})])
    with pytest.raises(Forbidden, match="cpu=2"):
        await shadow.create(made("beside", restartPolicy="Always"))
    await shadow.create(made("before"))
