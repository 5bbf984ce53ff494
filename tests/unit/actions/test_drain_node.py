"""drain_node: refuses before it touches anything, evicts each pod once, and is never left half done."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from kubernaut.actions.nodes.drain import DrainNode, DrainNodeParameters
from kubernaut.actions.nodes.evicting import blocked, contradicted, covers
from kubernaut.api.reasons import Reason
from kubernaut.core.action import Done, Halts
from kubernaut.core.errors import Conflict, Forbidden, StepError, Unavailable, Unfinished
from kubernaut.core.ports import Manifest, ObjectRef
from kubernaut.engine.dryrun import DryRunCluster
from unit.actions.builders import context, node, pod
from unit.actions.fake import FakeCluster, Lost

DRAIN = DrainNode()


def on_n1(name: str, namespace: str = "shop", **spec: Any) -> Manifest:
    made = pod(name)
    made["metadata"] |= {"namespace": namespace, "uid": f"uid-{namespace}-{name}"}
    made["spec"] |= {"nodeName": "n1", **spec}
    return made


def owned_by(kind: str, one: Manifest) -> Manifest:
    one["metadata"]["ownerReferences"][0]["kind"] = kind
    return one


def budget(name: str = "web", **more: Any) -> Manifest:
    status = {"disruptionsAllowed": 0, "currentHealthy": 2, "desiredHealthy": 2, "observedGeneration": 1}
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "namespace": "shop", "generation": 1},
        "spec": {"selector": {"matchLabels": {"app": "api"}}, **more.pop("spec", {})},
        "status": {**status, **more},
    }


def world(*manifests: Manifest, **spec: Any) -> FakeCluster:
    cluster = FakeCluster().add(node(**spec), node("n2"), *manifests)
    cluster.linger = False
    return cluster


def cordoned(cluster: FakeCluster) -> bool:
    return bool(cluster.find("Node", "n1", "")["spec"].get("unschedulable"))


async def drain(cluster: Any, **given: Any) -> Done:
    parameters = DrainNodeParameters.model_validate(given)
    return await DRAIN.perform(cluster, context(node()), parameters)


async def undo(cluster: FakeCluster) -> Done:
    return await DRAIN.undo(cluster, context(node()), DrainNodeParameters())


async def refused(cluster: FakeCluster, told: str, **given: Any) -> None:
    with pytest.raises(StepError, match=told) as caught:
        await drain(cluster, **given)
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert cluster.writes == []


async def test_it_cordons_first_and_evicts_the_pods_of_all_namespaces_by_their_uids() -> None:
    cluster = world(on_n1("a"), on_n1("b", "other"), {**on_n1("c"), "spec": {"nodeName": "n2"}})
    done = await drain(cluster)
    assert [(verb, what) for verb, what, _ in cluster.writes] == [
        ("patch", "Node n1"),
        ("evict", "Pod other/b"),
        ("evict", "Pod shop/a"),
    ]
    assert done.acted
    assert done.outputs == {"pods": 2, "staying": 0}
    assert done.changed == ("Node n1: spec.unschedulable: unset -> true",)
    assert done.message == "2 pods have left the node, 0 stay there"


async def test_done_again_it_evicts_nobody_and_tells_the_same() -> None:
    cluster = world(on_n1("a"))
    first = await drain(cluster)
    assert await drain(cluster) == first
    assert len(cluster.writes) == 2


async def test_pods_of_the_node_itself_and_those_that_have_ended_stay() -> None:
    mirror = on_n1("m")
    mirror["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "x"}
    ended = {**on_n1("e"), "status": {"phase": "Succeeded"}}
    cluster = world(owned_by("DaemonSet", on_n1("d")), mirror, ended, on_n1("a"))
    done = await drain(cluster)
    assert done.outputs == {"pods": 1, "staying": 3}
    assert [what for verb, what, _ in cluster.writes if verb == "evict"] == ["Pod shop/a"]


def bare(name: str) -> Manifest:
    made = on_n1(name)
    del made["metadata"]["ownerReferences"]
    return made


def ours() -> Manifest:
    made = on_n1("operator", "kubernaut-system")
    made["metadata"]["labels"] = {"app.kubernetes.io/part-of": "kubernaut"}
    return made


SCRATCH: dict[str, Any] = {"volumes": [{"name": "scratch", "emptyDir": {}}]}
REFUSED: dict[str, tuple[Manifest, str, dict[str, Any]]] = {
    "no controller": (bare("a"), "shop/a has no controller", {"force": True}),
    "data": (on_n1("a", **SCRATCH), "lose what is in its emptyDir scratch", {"deleteEmptyDirData": True}),
    "a budget": (
        budget(),
        "shop/x is held by PodDisruptionBudget web: 2 pods are healthy and 2 have to be",
        {},
    ),
    "ourselves": (ours(), "kubernaut-system/operator is Kubernaut's own", {}),
}


@pytest.mark.parametrize(("there", "told", "lets"), REFUSED.values(), ids=REFUSED)
async def test_a_pod_that_must_not_go_is_told_before_anything_is_touched(
    there: Manifest, told: str, lets: dict[str, Any]
) -> None:
    await refused(world(on_n1("x"), copy.deepcopy(there)), told)
    if lets:
        assert (await drain(world(on_n1("x"), copy.deepcopy(there)), **lets)).acted


async def test_a_protected_namespace_is_respected() -> None:
    await refused(world(on_n1("a", "bank")), "bank/a is in a namespace of", protectedNamespaces=["bank"])


async def test_too_few_other_nodes_refuse_it_unless_it_was_cordoned_already() -> None:
    await refused(world(on_n1("a")), "at least 2 have to be left", minSchedulable=2)
    assert (await drain(world(on_n1("a"), unschedulable=True), minSchedulable=2)).acted


async def test_two_budgets_on_one_pod_refuse_it_whatever_is_waited_for() -> None:
    loose = {"disruptionsAllowed": 1}
    there = (on_n1("x"), budget("web", **loose), budget("all", spec={"selector": {}}, **loose))
    await refused(
        world(*there), "shop/x has more than one PodDisruptionBudget: web, all", waitForBudgets=True
    )


async def test_what_guards_hold_is_waited_for_and_told_and_the_others_go() -> None:
    class Guarded(FakeCluster):
        async def evict(self, ref: ObjectRef, *, uid: str, dry_run: bool = False) -> None:
            if ref.name == "a":
                raise StepError("too much would be down", reason=Reason.TOO_FEW_HEALTHY)
            await super().evict(ref, uid=uid, dry_run=dry_run)

    cluster = Guarded().add(node(), node("n2"), on_n1("a"), on_n1("b"))
    cluster.linger = False
    with pytest.raises(Unfinished, match="1 of 2 pods have left Node n1; too much would be down") as caught:
        await drain(cluster)
    assert caught.value.progress == "1/2"
    assert cordoned(cluster)


async def test_what_a_budget_holds_is_waited_for_and_told_and_the_others_go() -> None:
    cluster = world(on_n1("a"), on_n1("b"), budget())
    cluster.budgets = {"a"}
    with pytest.raises(Unfinished) as caught:
        await drain(cluster, waitForBudgets=True)
    assert caught.value.progress == "1/2"
    assert "1 of 2 pods have left Node n1; shop/a is held by PodDisruptionBudget web" in str(caught.value)
    assert caught.value.reason is Reason.IN_PROGRESS
    cluster.budgets = set()
    done = await drain(cluster, waitForBudgets=True)
    assert done.outputs == {"pods": 2, "staying": 0}
    assert [what for verb, what, _ in cluster.writes] == ["Node n1", "Pod shop/b", "Pod shop/a"]


async def test_no_more_pods_are_on_their_way_than_allowed_and_none_is_evicted_twice() -> None:
    cluster = world(*(on_n1(f"p{n}") for n in range(5)))
    cluster.linger = True
    with pytest.raises(Unfinished, match="ending: shop/p0, shop/p1"):
        await drain(cluster, parallelism=2)
    with pytest.raises(Unfinished):
        await drain(cluster, parallelism=2)
    assert [what for verb, what, _ in cluster.writes if verb == "evict"] == ["Pod shop/p0", "Pod shop/p1"]
    cluster.drop("Pod", "p0")
    with pytest.raises(Unfinished) as caught:
        await drain(cluster, parallelism=2)
    assert caught.value.progress == "1/5"
    evicted = [what for verb, what, _ in cluster.writes if verb == "evict"]
    assert evicted == ["Pod shop/p0", "Pod shop/p1", "Pod shop/p2"]


@pytest.mark.parametrize("landed", [True, False])
async def test_an_eviction_whose_answer_is_lost_is_looked_at_again(landed: bool) -> None:
    cluster = world(on_n1("a"))
    cluster.troubles["evict"] = [Lost(landed)]
    if not landed:
        with pytest.raises(Unfinished):
            await drain(cluster)
    await drain(cluster)
    assert [verb for verb, _, _ in cluster.writes] == ["patch", "evict"]


async def test_a_pod_that_was_made_anew_under_its_name_is_not_evicted_in_its_stead() -> None:
    cluster = world(on_n1("a"))

    def other() -> None:
        cluster.find("Pod", "a")["metadata"]["uid"] = "other"
        cluster.find("Pod", "a")["spec"]["nodeName"] = "n2"

    cluster.troubles["evict"] = [other]
    assert (await drain(cluster)).acted
    assert [verb for verb, _, _ in cluster.writes] == ["patch"]


async def test_where_it_can_not_go_on_the_node_is_uncordoned() -> None:
    cluster = world(on_n1("a"))
    cluster.troubles["evict"] = [Forbidden("add verb create on pods/eviction", status=403)]
    with pytest.raises(Forbidden, match="is as it was before the step"):
        await drain(cluster)
    assert not cordoned(cluster)
    with pytest.raises(StepError, match="was put back on Node n1 already"):
        await drain(cluster)


async def test_a_pod_that_came_meanwhile_and_must_not_go_ends_it() -> None:
    cluster = world(on_n1("a"))
    cluster.linger = True
    with pytest.raises(Unfinished):
        await drain(cluster)
    cluster.add(bare("b"))
    with pytest.raises(StepError, match=r"shop/b has no controller.*is as it was before") as caught:
        await drain(cluster)
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert not cordoned(cluster)


@pytest.mark.parametrize("error", [Unavailable("away"), Conflict("try again", status=409)])
async def test_trouble_that_passes_leaves_it_cordoned(error: Any) -> None:
    cluster = world(on_n1("a"))
    # The first list is that of the look before the cordon.
    cluster.troubles["list"] = [None, None, None, error]
    with pytest.raises(type(error)):
        await drain(cluster)
    assert cordoned(cluster)


async def test_who_uncordons_it_meanwhile_ends_it() -> None:
    cluster = world(on_n1("a"), on_n1("b"))
    cluster.linger = True
    with pytest.raises(Unfinished):
        await drain(cluster, parallelism=1)
    cluster.edit("Node", "n1", {"spec": {"unschedulable": None}}, "")
    with pytest.raises(StepError) as caught:
        await drain(cluster, parallelism=1)
    assert caught.value.reason is Reason.CHANGED_SINCE
    assert [verb for verb, _, _ in cluster.writes].count("evict") == 1


async def test_undo_uncordons_once_and_says_that_pods_do_not_come_back() -> None:
    cluster = world(on_n1("a"))
    await drain(cluster)
    done = await undo(cluster)
    assert done.acted
    assert "pods that were evicted do not come back" in done.message
    assert not cordoned(cluster)
    writes = len(cluster.writes)
    assert (await undo(cluster)).acted
    assert len(cluster.writes) == writes


async def test_a_node_that_was_cordoned_before_stays_cordoned() -> None:
    cluster = world(on_n1("a"), unschedulable=True)
    assert (await drain(cluster)).acted
    assert (await undo(cluster)).acted
    assert cordoned(cluster)


async def test_a_cordoned_node_without_pods_is_left_as_it_is() -> None:
    cluster = world(owned_by("DaemonSet", on_n1("d")), unschedulable=True)
    done = await drain(cluster)
    assert (done.acted, cluster.writes) == (False, [])
    assert done.outputs == {"pods": 0, "staying": 1}


async def test_a_half_done_drain_is_not_recalled_as_done() -> None:
    cluster, parameters, where = world(on_n1("a")), DrainNodeParameters(), context(node())
    assert await DRAIN.recall(cluster, where, parameters) is None
    cluster.linger = True
    with pytest.raises(Unfinished):
        await drain(cluster)
    assert await DRAIN.recall(cluster, where, parameters) is None
    cluster.drop("Pod", "a")
    found = await DRAIN.recall(cluster, where, parameters)
    assert found is not None
    assert found.acted


async def test_fenced_off_half_done_it_is_put_back_and_never_goes_on() -> None:
    cluster, parameters, where = world(on_n1("a"), on_n1("b")), DrainNodeParameters(), context(node())
    cluster.linger = True
    with pytest.raises(Unfinished):
        await drain(cluster, parallelism=1)
    assert not (await DRAIN.fence(cluster, where, parameters)).acted
    assert not cordoned(cluster)
    with pytest.raises(StepError, match="put back"):
        await drain(cluster)


async def test_fenced_off_before_it_began_it_can_not_begin() -> None:
    cluster, parameters, where = world(on_n1("a")), DrainNodeParameters(), context(node())
    assert not (await DRAIN.fence(cluster, where, parameters)).acted
    with pytest.raises(StepError) as caught:
        await drain(cluster)
    assert caught.value.reason is Reason.FENCED


async def test_a_dry_run_checks_the_cordon_and_the_evictions() -> None:
    cluster = world(on_n1("a"))
    with pytest.raises(Unfinished, match="0 of 1 pods"):
        await drain(DryRunCluster(cluster))
    assert cluster.writes == []
    assert [one for one in cluster.requests if "dry" in one] == ["dry-run Node n1", "dry-run Pod a"]


def test_the_engine_must_not_leave_it_half_done() -> None:
    assert isinstance(DRAIN, Halts)
    assert DRAIN.halts


UNREADY = pod("api-1", ready=False)


@pytest.mark.parametrize(
    ("of_pod", "of_budget", "holds"),
    [
        (pod(), budget(), True),
        (pod(), budget(disruptionsAllowed=1), False),
        (pod(), budget(disruptionsAllowed=1, observedGeneration=0), True),
        (UNREADY, budget(), False),
        (UNREADY, budget(currentHealthy=1), True),
        (UNREADY, budget(currentHealthy=1, spec={"unhealthyPodEvictionPolicy": "AlwaysAllow"}), False),
        (pod(phase="Pending"), budget(), False),
    ],
    ids=["none", "one", "not looked at", "unready", "unready, too few", "unready, always", "pending"],
)
def test_a_budget_holds_as_the_eviction_api_decides(
    of_pod: Manifest, of_budget: Manifest, holds: bool
) -> None:
    assert bool(blocked([of_pod], [of_budget])) is holds


@pytest.mark.parametrize(
    ("selector", "speaks"),
    [
        (None, False),
        ({}, True),
        ({"matchLabels": {"app": "other"}}, False),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["api", "web"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["api"]}]}, False),
        ({"matchExpressions": [{"key": "app", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}, True),
    ],
    ids=str,
)
def test_which_pods_a_budget_speaks_of(selector: Any, speaks: bool) -> None:
    one = budget(spec={"selector": selector})
    assert covers(one, pod()) is speaks
    elsewhere = {**one, "metadata": {**one["metadata"], "namespace": "other"}}
    assert not covers(elsewhere, pod())
    assert contradicted([pod()], [one, elsewhere]) == []
