"""migrate_workload: where pods may run, and whether a node is left that could take them."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from kubernaut.actions.workloads import placement
from kubernaut.actions.workloads.migrate_workload import MigrateWorkload, MigrateWorkloadParameters
from kubernaut.api.reasons import Reason
from kubernaut.core.errors import StepError
from kubernaut.core.ports import Manifest, ObjectRef, Right
from unit.actions.builders import container, context, pod, template, workload
from unit.actions.fake import FakeCluster
from unit.actions.once import check_once_and_undone, check_undo_refuses

migrate = MigrateWorkload()
RULE = {"key": "metadata.name", "operator": "NotIn", "values": ["one"]}
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": {}}]}
IN_A = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}


def wanted(**parameters: Any) -> MigrateWorkloadParameters:
    return MigrateWorkloadParameters.model_validate(parameters)


def node(name: str, *, ready: str = "True", labels: dict[str, str] | None = None, **spec: Any) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "namespace": "", "labels": labels or {}},
        "spec": spec,
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }


def on(name: str, where: str | None) -> Manifest:
    made = pod(name)
    return {**made, "spec": {**made["spec"], **({"nodeName": where} if where else {})}}


def shop(api: Manifest, *more: Manifest) -> FakeCluster:
    there = more or (node("one"), node("two"))
    return FakeCluster().add(api, on("api-1", "one"), on("api-2", "two"), on("api-3", None), *there)


def required(*terms: dict[str, Any]) -> dict[str, Any]:
    return {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": list(terms)}}}


AWAY = required({"matchFields": [RULE]})


def spec_of(cluster: FakeCluster, kind: str = "Deployment") -> dict[str, Any]:
    found: dict[str, Any] = cluster.find(kind, "api")["spec"]["template"]["spec"]
    return found


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, AWAY),
        (
            {"nodeAffinity": PREFERRED},
            {"nodeAffinity": {**PREFERRED, **required({"matchFields": [RULE]})["nodeAffinity"]}},
        ),
        (
            required({"matchFields": [{**RULE, "values": ["three"]}]}),
            required({"matchFields": [{**RULE, "values": ["three"]}, RULE]}),
        ),
        (required({}, {"matchFields": [RULE]}, {}), None),
    ],
)
async def test_a_node_is_excluded_once_and_let_in_again(
    kind: str, before: dict[str, Any] | None, after: dict[str, Any] | None
) -> None:
    api = workload(kind, template(**({"affinity": before} if before else {})))
    cluster = shop(api)
    if after is None:
        done = await migrate.perform(cluster, context(api), wanted(awayFromNode="one"))
        assert (done.acted, cluster.writes) == (False, [])
        return
    done = await migrate.perform(cluster, context(api), wanted(awayFromNode="one"))
    assert done.message == f"{kind} shop/api: its pods that are on node one (1) may move to two"
    assert spec_of(cluster, kind)["affinity"] == after
    again = shop(api)
    done = await check_once_and_undone(again, migrate, context(api), wanted(awayFromNode="one"), kind, "api")
    assert done.outputs == {"moving": 1, "nodes": ["two"], "fitting": 1}


async def test_every_term_excludes_the_node_but_one_that_holds_nowhere() -> None:
    """Terms are alternatives: a single one without the rule would let the node in; an empty one lets none in."""
    spec = {"affinity": required(IN_A, {})}
    away = placement.away_from(spec, "one")
    assert away["affinity"] == required({**IN_A, "matchFields": [RULE]}, {})
    assert placement.obstacle(node("one", labels={"zone": "a"}), spec) is None
    assert placement.obstacle(node("one", labels={"zone": "a"}), away) is not None
    assert placement.obstacle(node("two", labels={"zone": "a"}), away) is None
    assert placement.obstacle(node("two", labels={"zone": "b"}), away) is not None


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
async def test_labels_of_nodes_are_asked_for_once_and_not_any_more(kind: str) -> None:
    api = workload(kind, template(nodeSelector={"disk": "ssd", "zone": "b"}))
    nodes = [
        node("one", labels={"disk": "ssd", "zone": "b"}),
        node("two", labels={"disk": "ssd", "zone": "a"}),
    ]
    parameters = wanted(nodeSelector={"zone": "a"})
    done = await check_once_and_undone(shop(api, *nodes), migrate, context(api), parameters, kind, "api")
    assert done.changed == (f'{kind} shop/api: spec.template.spec.nodeSelector.zone: "b" -> "a"',)
    assert done.outputs["nodes"] == ["two"]


@pytest.mark.parametrize(
    "parameters", [{"awayFromNode": "three"}, {"awayFromNode": "gone"}, {"nodeSelector": {"zone": "a"}}]
)
async def test_where_nothing_is_to_be_moved_nothing_is_done(parameters: dict[str, Any]) -> None:
    nodes = [node(name, labels={"zone": "a"}) for name in ("one", "two", "three")]
    cluster = shop(workload("Deployment"), *nodes)
    done = await migrate.perform(cluster, context(), wanted(**parameters))
    assert (done.acted, cluster.writes, done.outputs["moving"]) == (False, [], 0)


async def test_pods_that_leave_need_no_moving() -> None:
    leaving = on("api-1", "one")
    leaving["metadata"]["deletionTimestamp"] = "2026-03-01T00:00:00Z"
    cluster = FakeCluster().add(workload("Deployment"), leaving, node("one"), node("two"))
    assert not (await migrate.perform(cluster, context(), wanted(awayFromNode="one"))).acted


TAINT = {"key": "dedicated", "value": "db", "effect": "NoSchedule"}
GOING = node("two")
GOING["metadata"]["deletionTimestamp"] = "2026-03-01T00:00:00Z"


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (node("two", ready="Unknown"), "two: it is not ready"),
        (node("two", unschedulable=True), "two: it is cordoned"),
        (node("two", taints=[TAINT]), "two: the pods do not tolerate its taint dedicated"),
        (GOING, "two: it is being deleted"),
    ],
)
async def test_where_no_other_node_could_take_the_pods_it_is_refused(other: Manifest, why: str) -> None:
    cluster = shop(workload("Deployment"), node("one"), other)
    with pytest.raises(StepError, match="no node could take the pods of Deployment shop/api") as caught:
        await migrate.perform(cluster, context(), wanted(awayFromNode="one"))
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert why in str(caught.value)
    assert "one: the pods' node affinity excludes it" in str(caught.value)
    assert cluster.writes == []


async def test_labels_that_no_node_has_are_refused() -> None:
    cluster = shop(workload("Deployment"))
    with pytest.raises(StepError, match="one: its label zone is not c; two: its label zone is not c"):
        await migrate.perform(cluster, context(), wanted(nodeSelector={"zone": "c"}))


@pytest.mark.parametrize(
    ("toleration", "taint", "tolerated"),
    [
        ({"key": "dedicated", "value": "db"}, TAINT, True),
        ({"key": "dedicated", "operator": "Equal", "value": "db", "effect": "NoSchedule"}, TAINT, True),
        ({"key": "dedicated", "operator": "Exists"}, TAINT, True),
        ({"operator": "Exists"}, TAINT, True),
        ({"key": "dedicated", "value": "web"}, TAINT, False),
        ({"key": "other", "operator": "Exists"}, TAINT, False),
        ({"key": "dedicated", "operator": "Exists", "effect": "NoExecute"}, TAINT, False),
        ({"key": "other"}, {**TAINT, "effect": "PreferNoSchedule"}, True),
    ],
)
def test_taints_keep_pods_out_that_do_not_tolerate_them(
    toleration: dict[str, Any], taint: dict[str, Any], tolerated: bool
) -> None:
    found = placement.obstacle(node("one", taints=[taint]), {"tolerations": [toleration]})
    assert (found is None) is tolerated


@pytest.mark.parametrize(
    ("operator", "values", "fits"),
    [
        ("In", ["4", "5"], True),
        ("In", ["5"], False),
        ("NotIn", ["5"], True),
        ("NotIn", ["4"], False),
        ("Exists", None, True),
        ("DoesNotExist", None, False),
        ("Gt", ["3"], True),
        ("Gt", ["4"], False),
        ("Lt", ["5"], True),
        ("Lt", ["4"], False),
        ("Lt", ["x"], False),
    ],
)
def test_node_affinity_is_read_as_the_scheduler_reads_it(
    operator: str, values: list[str] | None, fits: bool
) -> None:
    rule = {"key": "cores", "operator": operator, **({"values": values} if values else {})}
    spec = {"affinity": required({"matchExpressions": [rule]})}
    assert (placement.obstacle(node("one", labels={"cores": "4"}), spec) is None) is fits


CLAIMED = {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]}


@pytest.mark.parametrize(
    "api",
    [
        workload("Deployment", template(**CLAIMED)),
        workload("StatefulSet", volumeClaimTemplates=[{"metadata": {"name": "data"}}]),
    ],
)
async def test_volumes_that_may_be_bound_to_a_node_have_to_be_ignored(api: Manifest) -> None:
    cluster = shop(api)
    with pytest.raises(StepError, match=r"has volumes.*set volumes: Ignore") as caught:
        await migrate.perform(cluster, context(api), wanted(awayFromNode="one"))
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert cluster.writes == []
    assert (await migrate.perform(cluster, context(api), wanted(awayFromNode="one", volumes="Ignore"))).acted


@pytest.mark.parametrize(
    ("api", "told"),
    [
        (workload("DaemonSet"), "has a pod on each node"),
        (workload("Deployment", paused=True), "is paused"),
        (workload("StatefulSet", updateStrategy={"type": "OnDelete"}), "OnDelete"),
    ],
)
async def test_what_does_not_move_is_refused(api: Manifest, told: str) -> None:
    cluster = shop(api)
    with pytest.raises(StepError, match=told) as caught:
        await migrate.perform(cluster, context(api), wanted(awayFromNode="one"))
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert cluster.writes == []


async def test_undo_refuses_where_someone_changed_the_node_affinity_since() -> None:
    cluster = shop(workload("Deployment"))
    other = template(container(), affinity=required({"matchFields": [{**RULE, "values": ["two"]}]}))
    parameters = wanted(awayFromNode="one")
    await check_undo_refuses(cluster, migrate, context(), parameters, {"spec": {"template": other}})


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({}, "exactly one of awayFromNode and nodeSelector"),
        ({"awayFromNode": "one", "nodeSelector": {"zone": "a"}}, "exactly one of awayFromNode"),
        ({"nodeSelector": {}}, "at least 1 item"),
        ({"nodeSelector": {"not a key": "a"}}, "should match pattern"),
        ({"nodeSelector": {"zone": "not a value"}}, "should match pattern"),
        ({"awayFromNode": "one", "kind": "DaemonSet"}, "can't be moved"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(parameters: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        wanted(**parameters)


def test_rights_hold_pods_and_nodes() -> None:
    target = ObjectRef("apps/v1", "StatefulSet", "shop", "api")
    assert migrate.rights(target, wanted(awayFromNode="one")) == (
        Right("get", "apps", "statefulsets", ("api",)),
        Right("patch", "apps", "statefulsets", ("api",)),
        Right("list", "", "pods"),
        Right("list", "", "nodes"),
    )
