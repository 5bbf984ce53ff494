"""quarantine_pod: the pinned pod, just the labels it is selected on, and back again."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from pydantic import ValidationError

from kubernaut.actions.workloads.quarantine_pod import QuarantinePod, QuarantinePodParameters
from kubernaut.api.reasons import Reason
from kubernaut.core.errors import NotFound, StepError
from kubernaut.core.ports import Manifest, ObjectRef, Right
from kubernaut.core.selectors import selected_on, selects
from unit.actions.builders import context, deployment, pod, replica_set, template, workload
from unit.actions.fake import FakeCluster, Lost
from unit.actions.once import content

quarantine = QuarantinePod()
PINNED = {"name": "api-1", "uid": "uid-pod-api-1"}
LABELS = {"app": "api", "pod-template-hash": "h1", "tier": "front", "team": "a"}


def wanted(**parameters: Any) -> QuarantinePodParameters:
    return QuarantinePodParameters.model_validate(parameters)


def service(name: str = "api", **selector: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"selector": selector} if selector else {},
    }


def labelled(*, controlled: bool = True, **labels: str) -> Manifest:
    made = pod(controlled=controlled)
    made["metadata"]["labels"] = labels or dict(LABELS)
    return made


def owned(kind: str) -> Manifest:
    made = labelled()
    made["metadata"]["ownerReferences"][0]["kind"] = kind
    return made


def controller(kind: str = "ReplicaSet", **selector: Any) -> Manifest:
    labels = {"app": "api", "pod-template-hash": "h1"}
    made = replica_set(1, template())
    return {**made, "kind": kind, "spec": {"selector": selector or {"matchLabels": labels}}}


def shop(*more: Manifest, there: Manifest | None = None) -> FakeCluster:
    return FakeCluster().add(there or labelled(), controller(), *more)


def labels_of(cluster: FakeCluster) -> dict[str, str]:
    found: dict[str, str] = cluster.find("Pod", "api-1")["metadata"].get("labels") or {}
    return found


async def perform(cluster: FakeCluster, **parameters: Any) -> Any:
    return await quarantine.perform(cluster, context(intent=PINNED), wanted(name="api-1", **parameters))


async def undo(cluster: FakeCluster, **parameters: Any) -> Any:
    return await quarantine.undo(cluster, context(intent=PINNED), wanted(name="api-1", **parameters))


@pytest.mark.parametrize("landed", [True, False])
async def test_the_labels_it_is_selected_on_are_taken_once_and_put_back(landed: bool) -> None:
    others = [service("other", app="web"), service("headless"), service("both", app="api", tier="front")]
    cluster = shop(service(app="api"), *others)
    before = copy.deepcopy(content(cluster.find("Pod", "api-1")))
    cluster.troubles["patch"] = [Lost(landed)]
    first = await perform(cluster, label="example.com/quarantine")
    assert labels_of(cluster) == {"team": "a", "example.com/quarantine": "true"}
    assert first.outputs == {
        "pod": "api-1",
        "uid": "uid-pod-api-1",
        "labels": ["app", "pod-template-hash", "tier"],
        "services": ["api", "both"],
    }
    assert len(first.changed) == 4
    # Its controller has let go of it meanwhile.
    cluster.edit("Pod", "api-1", {"metadata": {"ownerReferences": None}})
    again = await perform(cluster, label="example.com/quarantine")
    assert (again.acted, again.outputs, len(cluster.writes)) == (True, first.outputs, 1)
    for _ in range(2):
        done = await undo(cluster, label="example.com/quarantine")
        assert done.acted
        assert "may have a pod too many now and delete one" in done.message
    assert content(cluster.find("Pod", "api-1")) == before
    assert len(cluster.writes) == 2


async def test_without_services_it_is_only_taken_from_its_controller() -> None:
    done = await perform(shop())
    assert done.outputs["services"] == []
    assert done.message == (
        "Pod shop/api-1 is out of ReplicaSet shop/api-1; it runs on without the labels app, pod-template-hash"
    )


@pytest.mark.parametrize(
    "parameters", [{"controller": "DaemonSet", "name": "api-1"}, {"name": "api-1"}], ids=["asked", "target"]
)
async def test_a_daemon_sets_pod_is_taken_too(parameters: dict[str, Any]) -> None:
    cluster = FakeCluster().add(owned("DaemonSet"), controller("DaemonSet"))
    target = workload("DaemonSet") if "controller" not in parameters else deployment()
    done = await quarantine.perform(cluster, context(target, intent=PINNED), wanted(**parameters))
    assert done.acted


async def test_a_daemon_sets_pod_with_ports_of_its_node_is_refused() -> None:
    there = owned("DaemonSet")
    there["spec"]["containers"][0]["ports"] = [{"containerPort": 80, "hostPort": 80}]
    cluster = FakeCluster().add(there, controller("DaemonSet"))
    with pytest.raises(StepError, match="uses ports of its node") as caught:
        await perform(cluster, controller="DaemonSet")
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert cluster.writes == []


@pytest.mark.parametrize(
    ("there", "told"),
    [
        (labelled(controlled=False), "has no controller"),
        (owned("StatefulSet"), "belongs to StatefulSet api-1: while it keeps its name, no new pod"),
        (owned("Job"), "belongs to Job api-1; only pods of a ReplicaSet or a DaemonSet"),
        (owned("DaemonSet"), "belongs to DaemonSet api-1, not to a ReplicaSet; set controller: DaemonSet"),
    ],
)
async def test_a_pod_that_would_not_be_made_anew_is_refused_before_anything_is_stored(
    there: Manifest, told: str
) -> None:
    cluster = shop(there=there)
    for attempt in (quarantine.prepare, quarantine.perform):
        with pytest.raises(StepError, match=told) as caught:
            await attempt(cluster, context(intent=PINNED), wanted(name="api-1"))
        assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert cluster.writes == []


async def test_a_pod_that_is_being_deleted_is_left_alone() -> None:
    there = labelled()
    there["metadata"]["deletionTimestamp"] = "2026-03-01T00:00:00Z"
    cluster = shop(there=there)
    with pytest.raises(StepError, match="is being deleted since"):
        await perform(cluster)
    assert cluster.writes == []


async def test_a_controller_of_the_same_name_that_was_made_anew_tells_nothing() -> None:
    cluster = FakeCluster().add(labelled(), replica_set(2, template()) | {"spec": {"selector": {}}})
    cluster.add({**controller(), "metadata": {**controller()["metadata"], "uid": "fresh"}})
    with pytest.raises(StepError, match="made anew"):
        await perform(cluster)
    assert cluster.writes == []


async def test_a_new_pod_of_the_same_name_is_never_touched() -> None:
    fresh = labelled()
    fresh["metadata"]["uid"] = "fresh"
    cluster = shop(there=fresh)
    with pytest.raises(StepError) as caught:
        await perform(cluster)
    assert caught.value.reason is Reason.TARGET_REPLACED
    assert cluster.writes == []


async def test_a_pod_replaced_under_the_request_is_never_touched() -> None:
    cluster = shop()

    def replaced() -> None:
        fresh = labelled()
        fresh["metadata"]["uid"] = "fresh"
        cluster.drop("Pod", "api-1")
        cluster.add(fresh)

    cluster.troubles["patch"] = [replaced]
    with pytest.raises(StepError) as caught:
        await perform(cluster)
    assert caught.value.reason is Reason.TARGET_REPLACED
    assert cluster.writes == []


async def test_a_pod_that_is_gone_can_not_be_looked_at_any_more() -> None:
    cluster = shop()
    cluster.drop("Pod", "api-1")
    with pytest.raises(NotFound):
        await perform(cluster)


@pytest.mark.parametrize(
    ("other", "label"),
    [
        (service("odd", quarantine="true"), "quarantine"),
        (controller(matchExpressions=[{"key": "app", "operator": "NotIn", "values": ["web"]}]), None),
    ],
)
async def test_what_would_still_be_selected_is_refused(other: Manifest, label: str | None) -> None:
    cluster = shop(other)
    with pytest.raises(StepError, match="would select Pod shop/api-1 without the labels") as caught:
        await perform(cluster, label=label)
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert cluster.writes == []


async def test_undo_does_nothing_where_the_pod_is_gone_or_another() -> None:
    cluster = shop()
    await perform(cluster)
    cluster.edit("Pod", "api-1", {"metadata": {"uid": "fresh"}})
    assert not (await undo(cluster)).acted
    cluster.drop("Pod", "api-1")
    assert not (await undo(cluster)).acted
    assert len(cluster.writes) == 1


async def test_undo_refuses_where_someone_labelled_the_pod_since() -> None:
    cluster = shop()
    await perform(cluster)
    cluster.edit("Pod", "api-1", {"metadata": {"labels": {"app": "debug"}}})
    with pytest.raises(StepError) as caught:
        await undo(cluster)
    assert caught.value.reason is Reason.CHANGED_SINCE
    assert labels_of(cluster)["app"] == "debug"


async def test_prepare_pins_the_worst_pod_and_a_second_is_never_chosen() -> None:
    bad, worse = pod("api-1", ready=False), pod("api-2", ready=False)
    cluster = FakeCluster().add(deployment(), bad, worse, controller(), service(app="api"))
    intent = await quarantine.prepare(cluster, context(), wanted(unhealthy=True))
    assert intent == PINNED
    for _ in range(2):
        assert (await quarantine.perform(cluster, context(intent=intent), wanted(unhealthy=True))).acted
    assert [name for _, name, _ in cluster.writes] == ["Pod shop/api-1"]


async def test_where_all_are_healthy_nothing_is_done_and_nothing_put_back() -> None:
    cluster = FakeCluster().add(deployment(), pod())
    intent = await quarantine.prepare(cluster, context(), wanted(unhealthy=True))
    done = await quarantine.perform(cluster, context(intent=intent), wanted(unhealthy=True))
    assert (done.acted, done.outputs["pod"]) == (False, "")
    assert not (await quarantine.undo(cluster, context(intent=intent), wanted(unhealthy=True))).acted
    assert cluster.writes == []


async def test_the_worst_pod_that_is_healthy_again_stays_where_it_is() -> None:
    cluster = shop()
    done = await quarantine.perform(cluster, context(intent=PINNED), wanted(unhealthy=True))
    assert (done.acted, cluster.writes) == (False, [])
    assert "healthy again" in done.message


@pytest.mark.parametrize(
    ("selector", "labels", "holds"),
    [
        ({}, {"a": "1"}, False),
        ({"matchLabels": {"a": "1"}}, {"a": "1", "b": "2"}, True),
        ({"matchLabels": {"a": "1"}}, {"a": "2"}, False),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}, {"a": "2"}, True),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1"]}]}, {}, False),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, {}, True),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, {"a": "1"}, False),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {"a": ""}, True),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {}, False),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, {}, True),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, {"a": "1"}, False),
    ],
)
def test_selectors_select_as_the_api_server_selects(
    selector: dict[str, Any], labels: dict[str, str], holds: bool
) -> None:
    assert selects(selector, labels) is holds


def test_only_labels_that_have_to_be_there_count_as_selected_on() -> None:
    expressions = [
        {"key": "b", "operator": "In", "values": ["1"]},
        {"key": "c", "operator": "NotIn", "values": ["1"]},
        {"key": "d", "operator": "Exists"},
        {"key": "e", "operator": "DoesNotExist"},
    ]
    assert selected_on({"matchLabels": {"a": "1"}, "matchExpressions": expressions}) == ("a", "b", "d")


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"name": "a", "unhealthy": True}, "at most one of name and unhealthy"),
        ({"label": "kubernaut.io/quarantine"}, "is Kubernaut's own"),
        ({"label": "not a label"}, "should match pattern"),
        ({"controller": "StatefulSet"}, "'ReplicaSet' or 'DaemonSet'"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(parameters: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        wanted(**parameters)


def test_rights_depend_on_how_the_pod_is_chosen_and_whose_it_is() -> None:
    target = ObjectRef("apps/v1", "Deployment", "shop", "api")
    assert quarantine.rights(target, wanted(name="api-1")) == (
        Right("get", "", "pods", ("api-1",)),
        Right("patch", "", "pods", ("api-1",)),
        Right("get", "apps", "replicasets"),
        Right("list", "", "services"),
    )
    daemons = ObjectRef("apps/v1", "DaemonSet", "shop", "api")
    assert quarantine.rights(daemons, wanted(unhealthy=True)) == (
        Right("get", "", "pods"),
        Right("patch", "", "pods"),
        Right("get", "apps", "daemonsets", ("api",)),
        Right("list", "", "services"),
        Right("list", "", "pods"),
    )
