"""Cordon, uncordon, taint and untaint: once, put back exactly, and never so that too few nodes are left."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from kubernaut.actions.nodes.cordon import CordonNode, UncordonNode
from kubernaut.actions.nodes.node import takes_pods
from kubernaut.actions.nodes.taint import TaintNode, UntaintNode
from kubernaut.api.reasons import Reason
from kubernaut.core.errors import StepError
from kubernaut.core.ports import Manifest, ObjectRef, Right
from unit.actions.builders import context, deployment, node
from unit.actions.fake import FakeCluster
from unit.actions.once import check_once_and_undone, check_undo_refuses

KEY = "example.com/broken-disk"
OTHER = {"key": "gpu", "value": "yes", "effect": "NoSchedule"}
OWN = {"key": KEY, "effect": "NoSchedule"}
VALUED = {**OWN, "value": "a"}
CORDON, UNCORDON, TAINT, UNTAINT = CordonNode(), UncordonNode(), TaintNode(), UntaintNode()
CASES: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "cordon": (CORDON, {}, {}),
    "uncordon": (UNCORDON, {}, {"unschedulable": True}),
    "taint": (TAINT, {"key": KEY}, {"taints": [OTHER]}),
    "taint the first": (TAINT, {"key": KEY, "value": "sda"}, {}),
    "taint anew": (TAINT, {"key": KEY, "value": "b", "overwrite": True}, {"taints": [VALUED, OTHER]}),
    "untaint": (UNTAINT, {"key": KEY}, {"taints": [OTHER, OWN]}),
    "untaint the last": (UNTAINT, {"key": KEY}, {"taints": [OWN]}),
    "untaint all of a key": (UNTAINT, {"key": KEY}, {"taints": [{**OWN, "effect": "NoExecute"}, OWN]}),
}


def world(*others: Manifest, **spec: Any) -> FakeCluster:
    return FakeCluster().add(node(**spec), *(others or (node("n2"),)))


def taints(cluster: FakeCluster) -> list[Manifest]:
    found: list[Manifest] = cluster.find("Node", "n1", "")["spec"].get("taints", [])
    return found


async def act(action: Any, cluster: FakeCluster, **given: Any) -> Any:
    return await action.perform(cluster, context(node()), action.parameters.model_validate(given))


@pytest.mark.parametrize(("action", "given", "spec"), CASES.values(), ids=CASES)
async def test_it_happens_once_and_is_put_back_exactly(
    action: Any, given: dict[str, Any], spec: dict[str, Any]
) -> None:
    parameters = action.parameters.model_validate(given)
    await check_once_and_undone(world(**spec), action, context(node()), parameters, "Node", "n1", "")


@pytest.mark.parametrize(
    ("action", "given", "spec", "patch"),
    [
        (CORDON, {}, {}, {"spec": {"unschedulable": None}}),
        (UNCORDON, {}, {"unschedulable": True}, {"spec": {"unschedulable": True}}),
        (TAINT, {"key": KEY}, {}, {"spec": {"taints": [{**OWN, "value": "other"}]}}),
        (UNTAINT, {"key": KEY}, {"taints": [OWN]}, {"spec": {"taints": [{**OWN, "value": "other"}]}}),
    ],
    ids=["cordon", "uncordon", "taint", "untaint"],
)
async def test_what_somebody_changed_since_is_left_alone(
    action: Any, given: dict[str, Any], spec: dict[str, Any], patch: Manifest
) -> None:
    parameters = action.parameters.model_validate(given)
    await check_undo_refuses(world(**spec), action, context(node()), parameters, patch)


async def test_taints_that_came_meanwhile_stay_when_ones_own_is_taken_away() -> None:
    cluster = world(taints=[OTHER])
    await act(TAINT, cluster, key=KEY)
    theirs = {
        "key": "node.kubernetes.io/not-ready",
        "effect": "NoExecute",
        "timeAdded": "2026-01-01T00:00:00Z",
    }
    cluster.edit("Node", "n1", {"spec": {"taints": [theirs, OWN]}}, "")
    assert (await TAINT.undo(cluster, context(node()), TAINT.parameters(key=KEY))).acted
    assert taints(cluster) == [theirs]


async def test_only_the_taint_of_one_effect_goes() -> None:
    execute = {**OWN, "effect": "NoExecute"}
    cluster = world(taints=[OWN, execute, OTHER])
    done = await act(UNTAINT, cluster, key=KEY, effect="NoExecute")
    assert taints(cluster) == [OWN, OTHER]
    told = f'{{"effect": "NoExecute", "key": "{KEY}"}} -> unset'
    assert done.changed == (f'Node n1: spec.taints["{KEY}:NoExecute"]: {told}',)


@pytest.mark.parametrize(
    ("action", "given", "spec", "told"),
    [
        (CORDON, {}, {"unschedulable": True}, "cordoned already"),
        (UNCORDON, {}, {}, "not cordoned"),
        (TAINT, {"key": KEY, "value": "a"}, {"taints": [VALUED]}, "has the taint"),
        (UNTAINT, {"key": KEY}, {"taints": [OTHER]}, "has no taint"),
    ],
    ids=["cordon", "uncordon", "taint", "untaint"],
)
async def test_where_it_is_so_already_nothing_is_done(action: Any, given: Any, spec: Any, told: str) -> None:
    cluster = world(**spec)
    done = await act(action, cluster, **given)
    assert (done.acted, cluster.writes) == (False, [])
    assert told in done.message


CLOSED: dict[str, Manifest] = {
    "is cordoned": node("n2", unschedulable=True),
    "is not ready": node("n2", ready=False),
    "has a taint": node("n2", taints=[OTHER]),
    "is being deleted": {**node("n2"), "metadata": {**node("n2")["metadata"], "deletionTimestamp": "now"}},
}


@pytest.mark.parametrize("other", CLOSED.values(), ids=CLOSED)
@pytest.mark.parametrize(("action", "given"), [(CORDON, {}), (TAINT, {"key": KEY})], ids=["cordon", "taint"])
async def test_the_last_node_that_takes_pods_is_not_closed(action: Any, given: Any, other: Manifest) -> None:
    cluster = world(other)
    with pytest.raises(StepError, match="0 other nodes are ready and take new pods") as caught:
        await act(action, cluster, **given)
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert cluster.writes == []
    assert (await act(action, cluster, minSchedulable=0, **given)).acted


async def test_how_many_have_to_be_left_is_the_workflows_to_say() -> None:
    assert (await act(CORDON, world(node("n2"), node("n3")), minSchedulable=2)).acted
    with pytest.raises(StepError, match="at least 3 have to be left"):
        await act(CORDON, world(node("n2"), node("n3")), minSchedulable=3)


async def test_a_taint_that_keeps_nobody_away_needs_no_other_nodes() -> None:
    cluster = FakeCluster().add(node())
    assert (await act(TAINT, cluster, key=KEY, effect="PreferNoSchedule")).acted
    assert takes_pods(cluster.find("Node", "n1", ""))


async def test_a_node_that_is_not_ready_stays_cordoned() -> None:
    cluster = world(unschedulable=True)
    cluster.edit("Node", "n1", {"status": node(ready=False)["status"]}, "")
    with pytest.raises(StepError, match="is not ready"):
        await act(UNCORDON, cluster)
    assert (await act(UNCORDON, cluster, requireReady=False)).acted


async def test_a_taint_of_another_value_is_not_overwritten_unless_that_is_said() -> None:
    with pytest.raises(StepError, match="set overwrite: true"):
        await act(TAINT, world(taints=[VALUED]), key=KEY, value="b")


@pytest.mark.parametrize(
    "key",
    [
        "node.kubernetes.io/not-ready",
        "node-role.kubernetes.io/control-plane",
        "node.cloudprovider.kubernetes.io/uninitialized",
        "kubernetes.io/x",
        "node.k8s.io/x",
        "karpenter.sh/disrupted",
        "ToBeDeletedByClusterAutoscaler",
    ],
)
@pytest.mark.parametrize("action", [TAINT, UNTAINT], ids=["taint", "untaint"])
def test_taints_that_controllers_write_are_not_touched(action: Any, key: str) -> None:
    with pytest.raises(ValidationError, match="manages by itself"):
        action.parameters(key=key)


@pytest.mark.parametrize("key", ["", "/x", "a b", "x/", "-x", "a/b/c", "x" * 64])
def test_a_key_that_can_be_none_is_refused(key: str) -> None:
    with pytest.raises(ValidationError):
        TAINT.parameters(key=key)


def test_names_that_only_look_like_kubernetes_own_are_fine() -> None:
    for key in ("notkubernetes.io/x", "example.com/x.kubernetes.io", "disk"):
        assert TAINT.parameters(key=key).key == key


async def test_a_node_that_was_made_anew_is_another_one() -> None:
    cluster = FakeCluster().add({**node(), "metadata": {**node()["metadata"], "uid": "other"}}, node("n2"))
    with pytest.raises(StepError) as caught:
        await act(CORDON, cluster)
    assert caught.value.reason is Reason.TARGET_REPLACED


async def test_where_the_target_is_no_node_one_has_to_be_named() -> None:
    cluster, where = world(), context(deployment())
    with pytest.raises(StepError, match="name the Node under with"):
        await CORDON.perform(cluster, where, CORDON.parameters())
    assert (await CORDON.perform(cluster, where, CORDON.parameters(name="n1"))).acted


def test_rights_are_on_the_one_node_and_the_list_only_where_others_are_counted() -> None:
    target = ObjectRef("v1", "Node", "", "n1")
    own = (Right("get", "", "nodes", ("n1",)), Right("patch", "", "nodes", ("n1",)))
    assert CORDON.rights(target, CORDON.parameters()) == (*own, Right("list", "", "nodes"))
    assert CORDON.rights(target, CORDON.parameters(min_schedulable=0)) == own
    assert UNCORDON.rights(target, UNCORDON.parameters()) == own
