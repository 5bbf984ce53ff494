"""fix_service_selector."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from kubernaut.actions.network.fix_service_selector import FixServiceSelector, FixServiceSelectorParameters
from kubernaut.api.reasons import Reason
from kubernaut.core.errors import StepError
from kubernaut.core.ports import Manifest, ObjectRef, Right
from unit.actions.builders import container, context, deployment, pod, replica_set, template
from unit.actions.fake import FakeCluster
from unit.actions.once import check_once_and_undone, check_undo_refuses

fix = FixServiceSelector()
API = {"workload": {"name": "api"}}


def wanted(**parameters: Any) -> FixServiceSelectorParameters:
    return FixServiceSelectorParameters.model_validate(API | parameters)


def service(selector: dict[str, str] | None, **spec: Any) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "front", "namespace": "shop", "uid": "uid-service-front"},
        "spec": {"selector": selector, "ports": [{"port": 80, "targetPort": 8080}], **spec},
    }


def stranger(name: str = "other-1", *, ready: bool = True, **labels: str) -> Manifest:
    one = pod(name, controlled=False, ready=ready)
    one["metadata"]["labels"] = labels
    return one


def world(selector: dict[str, str] | None = None, *more: Manifest, **spec: Any) -> FakeCluster:
    """Two ready pods of Deployment api, and a Service that selects none of them."""
    given = {"app": "apii"} if selector is None else selector
    objects = (deployment(), replica_set(1, template(), available=2), pod("api-1"), pod("api-2"))
    return FakeCluster().add(service(given, **spec), *objects, *more)


FRONT = context(service({}))


async def refusal(cluster: FakeCluster, parameters: FixServiceSelectorParameters | None = None) -> str:
    before = copy.deepcopy(cluster.objects)
    with pytest.raises(StepError) as caught:
        await fix.perform(cluster, FRONT, parameters or wanted())
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert cluster.objects == before
    return str(caught.value)


async def test_the_service_selects_the_workload_s_pods_once_and_undo_gives_it_the_former_selector() -> None:
    cluster = world()
    done = await check_once_and_undone(cluster, fix, FRONT, wanted(), "Service", "front")
    assert done.outputs == {
        "before": {"app": "apii"},
        "selector": {"app": "api"},
        "readyPods": 2,
        "lackingPorts": [],
    }
    assert done.changed == ('Service shop/front: spec.selector: {"app": "apii"} -> {"app": "api"}',)


async def test_keys_that_the_workload_does_not_select_by_are_gone() -> None:
    cluster = world({"app": "api", "track": "gone"})
    await fix.perform(cluster, FRONT, wanted())
    assert cluster.find("Service", "front")["spec"]["selector"] == {"app": "api"}


async def test_the_service_can_keep_its_own_keys() -> None:
    labelled = template()
    labelled["metadata"]["labels"] |= {"tier": "web"}
    cluster = world({"tier": "wbe"})
    cluster.edit("Deployment", "api", {"spec": {"template": labelled}})
    for name in ("api-1", "api-2"):
        cluster.edit("Pod", name, {"metadata": {"labels": {"tier": "web"}}})
    await fix.perform(cluster, FRONT, wanted(keys="Service"))
    assert cluster.find("Service", "front")["spec"]["selector"] == {"tier": "web"}


async def test_a_key_that_the_pod_template_lacks_can_not_be_kept() -> None:
    assert "has no label tier, by which Service shop/front selects" in await refusal(
        world({"tier": "web"}), wanted(keys="Service")
    )


async def test_undo_refuses_where_someone_changed_the_selector_since() -> None:
    patch = {"spec": {"selector": {"app": "new"}}}
    await check_undo_refuses(world(), fix, FRONT, wanted(), patch)


async def test_a_service_that_selects_ready_pods_of_the_workload_is_left_alone() -> None:
    cluster = world({"app": "api"})
    done = await fix.perform(cluster, FRONT, wanted())
    assert (done.acted, cluster.writes) == (False, [])
    assert "selects 2 ready pods of Deployment shop/api already" in done.message


async def test_pods_that_are_not_ready_are_not_the_selector_s_fault() -> None:
    objects = (deployment(), replica_set(1, template()), pod("api-1", ready=False))
    cluster = FakeCluster().add(service({"app": "api"}), *objects)
    assert "its selector is not at fault" in await refusal(cluster)


@pytest.mark.parametrize("ready", [True, False])
async def test_a_service_that_selects_pods_of_others_may_be_meant_for_them(ready: bool) -> None:
    cluster = world({"app": "other"}, stranger(ready=ready, app="other"))
    assert "may be meant for them: other-1" in await refusal(cluster)


async def test_pods_that_end_do_not_count_as_selected() -> None:
    done = pod("old-1", phase="Succeeded", ready=False)
    done["metadata"]["labels"] = {"app": "apii"}
    cluster = world(None, done)
    assert (await fix.perform(cluster, FRONT, wanted())).acted


async def test_a_selector_that_would_select_pods_of_others_too_is_not_set() -> None:
    cluster = world(None, *(stranger(f"other-{n}", app="api") for n in range(5)))
    assert (
        "would also select pods that are not of Deployment shop/api: other-0, other-1, other-2 and 2 more"
        in (await refusal(cluster))
    )


async def test_a_selector_that_would_leave_pods_of_the_workload_out_is_not_set() -> None:
    labelled = template()
    labelled["metadata"]["labels"] |= {"tier": "web"}
    cluster = world({"tier": "wbe"})
    cluster.edit("Deployment", "api", {"spec": {"template": labelled}})
    cluster.edit("Pod", "api-1", {"metadata": {"labels": {"tier": "web"}}})
    assert "but leave out api-2" in await refusal(cluster, wanted(keys="Service"))


async def test_a_workload_without_a_ready_pod_is_to_be_mended_first() -> None:
    objects = (deployment(), replica_set(1, template()), pod("api-1", ready=False))
    cluster = FakeCluster().add(service({"app": "apii"}), *objects)
    assert "mend Deployment shop/api first" in await refusal(cluster)


@pytest.mark.parametrize(
    ("spec", "told"),
    [({"selector": {}}, "has no selector"), ({"type": "ExternalName"}, "is of type ExternalName")],
)
async def test_a_service_that_selects_nothing_by_design_is_left_alone(
    spec: dict[str, Any], told: str
) -> None:
    assert told in await refusal(world({}, **{key: one for key, one in spec.items() if key != "selector"}))


async def test_a_workload_that_selects_by_expressions_alone_has_no_labels_to_take() -> None:
    cluster = world()
    cluster.edit("Deployment", "api", {"spec": {"selector": {"matchLabels": None}}})
    assert "has no spec.selector.matchLabels to select by" in await refusal(cluster)


async def test_named_ports_that_no_ready_pod_has_are_told() -> None:
    ports = [
        {"name": "http", "port": 80, "targetPort": "web"},
        {"port": 53, "protocol": "UDP", "targetPort": "dns"},
        {"name": "admin", "port": 81, "targetPort": 9000},
    ]
    cluster = world(None, ports=ports)
    named = container(ports=[{"name": "web", "containerPort": 80}, {"name": "dns", "containerPort": 53}])
    cluster.edit("Pod", "api-2", {"spec": {"containers": [named]}})
    done = await fix.perform(cluster, FRONT, wanted())
    assert done.outputs["lackingPorts"] == ["53"]
    assert "no ready pod has the named port that goes with 53" in done.message


async def test_pods_of_a_stateful_set_are_its_own() -> None:
    db = deployment("db") | {"kind": "StatefulSet"}
    db["metadata"]["uid"] = "uid-db"
    one = pod("db-0")
    one["metadata"]["labels"] = {"app": "db"}
    one["metadata"]["ownerReferences"][0] |= {"kind": "StatefulSet", "name": "db", "uid": "uid-db"}
    cluster = FakeCluster().add(service({"app": "dbb"}), db, one)
    cluster.forbidden.add("list ReplicaSet")
    parameters = wanted(workload={"kind": "StatefulSet", "name": "db"})
    assert (await fix.perform(cluster, FRONT, parameters)).outputs["selector"] == {"app": "db"}


async def test_the_workload_is_the_run_s_target_where_none_is_named() -> None:
    cluster = world()
    parameters = FixServiceSelectorParameters(name="front")
    assert (await fix.perform(cluster, context(), parameters)).acted
    with pytest.raises(
        StepError, match=r"name the workload whose pods are meant under with\.workload"
    ) as caught:
        await fix.perform(world(), FRONT, FixServiceSelectorParameters())
    assert caught.value.reason is Reason.INVALID_PARAMETERS


async def test_a_workload_that_was_made_anew_is_not_the_target_any_more() -> None:
    cluster = world()
    cluster.objects["Deployment", "shop", "api"]["metadata"]["uid"] = "another"
    with pytest.raises(StepError) as caught:
        await fix.perform(cluster, context(), FixServiceSelectorParameters(name="front"))
    assert caught.value.reason is Reason.TARGET_REPLACED


def test_rights_name_the_service_and_the_workload() -> None:
    target = ObjectRef("v1", "Service", "shop", "front")
    assert fix.rights(target, wanted()) == (
        Right("get", "", "services", ("front",)),
        Right("patch", "", "services", ("front",)),
        Right("get", "apps", "deployments", ("api",)),
        Right("list", "", "pods"),
        Right("list", "apps", "replicasets"),
    )
    daemons = wanted(workload={"kind": "DaemonSet", "name": "agent"})
    assert Right("list", "apps", "replicasets") not in fix.rights(target, daemons)
    of_target = fix.rights(
        ObjectRef("apps/v1", "Deployment", "shop", "api"), FixServiceSelectorParameters(name="x")
    )
    assert Right("get", "apps", "deployments", ("api",)) in of_target
