"""A run acts beyond its namespace only where the namespace's label allows it, whatever its account may do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kubernaut.actions import nodes
from kubernaut.actions.generic.remove_newcomer import RemoveNewcomer, RemoveNewcomerParameters
from kubernaut.api.names import LABEL_CLUSTER_SCOPED
from kubernaut.api.reach import CLUSTER_ACTIONS, CLUSTER_SCOPED, namespace_of
from kubernaut.api.reasons import Reason
from kubernaut.cluster.resources import WELL_KNOWN
from kubernaut.core.errors import StepError, Unavailable
from kubernaut.core.ports import Manifest, ObjectRef
from kubernaut.engine.gated import GatedCluster
from kubernaut.engine.homes import target_home
from kubernaut.engine.reach import TRUSTED, Reach
from unit.actions.builders import context, deployment, pod
from unit.actions.fake import FakeCluster
from unit.actions.test_remove_newcomer import refused, webhook
from unit.engine.world import World

NODE = ObjectRef("v1", "Node", "", "n1", "uid-node-n1")


def namespace(**labels: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "shop", "namespace": "", "labels": labels},
    }


def node() -> Manifest:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1", "namespace": ""}, "spec": {}}


ALLOWED = {LABEL_CLUSTER_SCOPED: "true"}


def gated(cluster: FakeCluster) -> GatedCluster:
    return GatedCluster(cluster, lambda: None, "shop", Reach(cluster).demand)


def elsewhere(manifest: Manifest) -> Manifest:
    return {**manifest, "metadata": {**manifest["metadata"], "namespace": "other"}}


CHANGES: dict[str, Any] = {
    "a node is patched": lambda gated: gated.patch(NODE, {"spec": {}}, resource_version="1"),
    "a node is applied": lambda gated: gated.apply(node(), uid="u", resource_version="1", manager="m"),
    "a node is deleted": lambda gated: gated.delete(NODE, uid=NODE.uid),
    "a node is created": lambda gated: gated.create(node()),
    "a pod of another namespace is evicted": lambda gated: gated.evict(
        ObjectRef("v1", "Pod", "other", "api-1"), uid="u"
    ),
    "an object of another namespace is created": lambda gated: gated.create(elsewhere(deployment())),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize(
    "labels", [{}, {LABEL_CLUSTER_SCOPED: "false"}, {LABEL_CLUSTER_SCOPED: "True"}], ids=str
)
async def test_without_the_label_nothing_beyond_the_namespace_is_changed(change: Any, labels: Any) -> None:
    cluster = FakeCluster().add(namespace(**labels), node(), elsewhere(pod()))
    with pytest.raises(StepError, match="is beyond namespace shop") as caught:
        await change(gated(cluster))
    assert caught.value.reason is Reason.BEYOND_NAMESPACE
    assert cluster.requests == ["get Namespace shop"]


async def test_with_the_label_it_is_and_the_label_is_read_once_for_a_while() -> None:
    cluster, now = FakeCluster().add(namespace(**ALLOWED), node()), [0.0]
    reach = Reach(cluster, lambda: now[0])
    for at, reads in ((0.0, 1), (TRUSTED / 2, 1), (TRUSTED, 2)):
        now[0] = at
        await reach.demand("shop", "a patch")
        assert cluster.requests.count("get Namespace shop") == reads
    cluster.drop("Namespace", "shop", "")
    now[0] = 3 * TRUSTED
    with pytest.raises(StepError, match="lacks the label"):
        await reach.demand("shop", "a patch")


async def test_in_its_own_namespace_a_run_acts_without_the_label_being_asked_for() -> None:
    cluster = FakeCluster().add(deployment())
    found = cluster.find("Deployment", "api")
    version = found["metadata"]["resourceVersion"]
    await gated(cluster).patch(ObjectRef.of(found), {"spec": {"replicas": 3}}, resource_version=version)
    assert cluster.requests == ["patch Deployment api"]


async def test_where_the_namespace_can_not_be_read_nothing_is_done_yet() -> None:
    cluster = FakeCluster(troubles={"get": [Unavailable("away")]}).add(namespace(**ALLOWED), node())
    with pytest.raises(Unavailable):
        await gated(cluster).delete(NODE, uid=NODE.uid)
    assert cluster.writes == []


def on_node(world: World, *labels: Manifest, **target: str) -> None:
    step = {"name": "tell", "action": "notify_only", "with": {"message": "hello"}}
    world.workflow(step, target={"apiVersion": "v1", "kind": "Node", "name": "n1", **target})
    world.cluster.add(*labels, node())


@pytest.mark.looptime
async def test_a_run_does_not_begin_on_a_node_where_its_namespace_lacks_the_label() -> None:
    world = World()
    on_node(world, namespace())
    await world.reconciler().reconcile(world.run())
    assert world.stored()["phase"] == "Failed"
    assert world.stored()["reason"] == "BeyondNamespace"
    assert "get Node n1" not in world.cluster.requests


@pytest.mark.looptime
async def test_a_run_on_a_node_pins_it_by_its_uid() -> None:
    world = World()
    on_node(world, namespace(**ALLOWED))
    await world.reconciler().reconcile(world.run())
    assert world.stored()["phase"] == "Succeeded"
    assert world.stored()["target"] == {
        "apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "uid-node-n1",
    }  # fmt: skip


@pytest.mark.looptime
async def test_an_unknown_kind_without_a_namespace_is_no_target() -> None:
    world = World()

    async def get(ref: ObjectRef, found: Any = world.cluster.get) -> Manifest:
        if ref.kind == "Cow":
            return {"apiVersion": "farm.io/v1", "kind": "Cow", "metadata": {"name": "n1", "uid": "moo"}}
        read: Manifest = await found(ref)
        return read

    world.cluster.get = get  # type: ignore[method-assign]
    on_node(world, namespace(**ALLOWED), apiVersion="farm.io/v1", kind="Cow")
    await world.reconciler().reconcile(world.run())
    assert world.stored()["reason"] == "BeyondNamespace"
    assert "belongs to no namespace" in world.stored()["message"]


def test_runs_of_all_namespaces_on_one_node_belong_to_one_replica() -> None:
    assert target_home("a", "v1", "Node", "n1") == target_home("b", "v1", "Node", "n1")
    assert target_home("a", "v1", "Pod", "n1") != target_home("b", "v1", "Pod", "n1")
    assert target_home("a", "x.io/v1", "Node", "n1") != target_home("b", "x.io/v1", "Node", "n1")


def test_the_kinds_without_a_namespace_are_those_that_the_client_knows_as_such() -> None:
    known = {(one.group, one.kind) for one in WELL_KNOWN.values() if not one.namespaced}
    assert known == CLUSTER_SCOPED
    for one in WELL_KNOWN.values():
        assert namespace_of(one.api_version, one.kind, "shop") == ("shop" if one.namespaced else "")


def test_every_action_on_nodes_is_one_that_the_admission_policy_looks_for() -> None:
    assert sorted(action.name for action in nodes.actions(lambda _: False)) == sorted(CLUSTER_ACTIONS)


async def test_a_newcomer_that_belongs_to_no_namespace_stays_where_the_label_lacks() -> None:
    action = RemoveNewcomer()
    wanted = RemoveNewcomerParameters.model_validate({"blockers": ["ValidatingWebhookConfiguration"]})
    for labels, may in (({}, False), (ALLOWED, True)):
        cluster = FakeCluster(linger=False).add(
            namespace(**labels), refused('failed calling webhook "pods.example.com": x'), webhook()
        )
        step = context(deployment())
        step = replace(step, intent=await action.prepare(gated(cluster), step, wanted))
        if may:
            assert (await action.perform(gated(cluster), step, wanted)).acted
            continue
        with pytest.raises(StepError) as caught:
            await action.perform(gated(cluster), step, wanted)
        assert caught.value.reason is Reason.BEYOND_NAMESPACE
        assert cluster.find("ValidatingWebhookConfiguration", "hook", "")
