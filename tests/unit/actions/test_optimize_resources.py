"""optimize_resources: what was seen, with a margin, within bounds, and never too low."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from kubernaut.actions.workloads.optimize_resources import OptimizeResources, OptimizeResourcesParameters
from kubernaut.api.reasons import Reason
from kubernaut.core.errors import NotFound, StepError, Unavailable
from kubernaut.core.ports import Manifest, ObjectRef, Right
from unit.actions.builders import container, context, pod, template, workload
from unit.actions.fake import FakeCluster
from unit.actions.once import check_once_and_undone, check_undo_refuses

optimize = OptimizeResources()
MEMORY_ONLY = {"cpu": False}


def wanted(**parameters: Any) -> OptimizeResourcesParameters:
    return OptimizeResourcesParameters.model_validate(parameters)


def running_since(name: str, start: str = "2026-03-01T08:00:00Z", **more: Any) -> Manifest:
    made = pod(name, startTime=start, **more)
    return {**made, "spec": template()["spec"]}


def measured(name: str, memory: str, cpu: str = "100m", when: str = "2026-03-01T11:59:00Z") -> Manifest:
    return {
        "apiVersion": "metrics.k8s.io/v1beta1",
        "kind": "PodMetrics",
        "metadata": {"name": name, "namespace": "shop", "labels": {"app": "api"}},
        "timestamp": when,
        "window": "15s",
        "containers": [
            {"name": "proxy", "usage": {"memory": "9Gi", "cpu": "9"}},
            {"name": "app", "usage": {"memory": memory, "cpu": cpu}},
        ],
    }


def using(
    resources: dict[str, Any] | None, memory: str, cpu: str = "100m", kind: str = "Deployment"
) -> FakeCluster:
    app = container() | ({"resources": resources} if resources else {})
    return FakeCluster().add(
        workload(kind, template(app)),
        running_since("api-1"),
        running_since("api-2"),
        measured("api-1", "1Mi", "1m"),
        measured("api-2", memory, cpu),
    )


def requests(**amounts: str) -> dict[str, Any]:
    return {"requests": amounts}


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
async def test_the_greatest_use_with_a_margin_is_asked_for_once_and_put_back(kind: str) -> None:
    before = {"limits": {"memory": "512Mi"}, "requests": {"memory": "400Mi", "cpu": "150m"}}
    cluster = using(before, "204800Ki", "100000001n", kind)
    done = await check_once_and_undone(cluster, optimize, context(workload(kind)), wanted(), kind, "api")
    assert done.outputs == {
        "container": "app",
        "pods": 2,
        "usage": {"memory": "200Mi", "cpu": "101m"},
        "resources": {"limits": {"memory": "512Mi"}, "requests": {"memory": "240Mi", "cpu": "121m"}},
    }
    path = f"{kind} shop/api: spec.template.spec.containers[name=app].resources.requests"
    assert done.changed == (f'{path}.cpu: "150m" -> "121m"', f'{path}.memory: "400Mi" -> "240Mi"')


async def test_the_message_says_how_little_it_rests_on() -> None:
    done = await optimize.perform(using(requests(memory="1Gi"), "600Mi"), context(), wanted(**MEMORY_ONLY))
    assert done.message == (
        "container app of Deployment shop/api was seen to use up to 600Mi and 100m of a processor in 2 of 2 ready "
        'pods, at one time; it asks for {"memory": "720Mi"} now'
    )


@pytest.mark.parametrize(
    ("resources", "use", "parameters", "after"),
    [
        # What is asked for grows and shrinks with what is used.
        (requests(memory="100Mi"), "200Mi", {}, "240Mi"),
        (requests(memory="400Mi"), "200Mi", {}, "240Mi"),
        (requests(memory="400Mi"), "200Mi", {"margin": 1.5}, "300Mi"),
        (None, "200Mi", {}, "240Mi"),
        # Bounds.
        (requests(memory="100Mi"), "200Mi", {"maxMemory": "220Mi"}, "220Mi"),
        (requests(memory="40Mi"), "1Mi", {}, "32Mi"),
        # Not by more than half in one step; never where that is said.
        (requests(memory="8Gi"), "200Mi", {}, "4Gi"),
        (requests(memory="8Gi"), "200Mi", {"maxReduction": 1}, "240Mi"),
        (requests(memory="8Gi"), "200Mi", {"maxReduction": 0}, None),
        # Not below what is used, whatever the bounds say.
        (requests(memory="400Mi"), "300Mi", {"maxMemory": "100Mi"}, "300Mi"),
        (requests(memory="250Mi"), "300Mi", {"maxMemory": "100Mi", "tolerance": 0}, None),
        # Not above the limit, which stays.
        ({"limits": {"memory": "210Mi"}, **requests(memory="100Mi")}, "200Mi", {}, "210Mi"),
        ({"limits": {"memory": "500Mi"}}, "300Mi", {}, "360Mi"),
        ({"limits": {"memory": "500Mi"}}, "450Mi", {}, None),
        # Small differences are not worth new pods.
        (requests(memory="264Mi"), "200Mi", {}, None),
        (requests(memory="264Mi"), "200Mi", {"tolerance": 0}, "240Mi"),
        (requests(memory="240Mi"), "200Mi", {"tolerance": 0}, None),
    ],
)
async def test_requests_follow_the_use_within_bounds(
    resources: dict[str, Any] | None, use: str, parameters: dict[str, Any], after: str | None
) -> None:
    cluster = using(resources, use)
    done = await optimize.perform(cluster, context(), wanted(**MEMORY_ONLY, **parameters))
    assert done.acted == (after is not None)
    app = cluster.find("Deployment", "api")["spec"]["template"]["spec"]["containers"][0]
    left = resources or {}
    assert app.get("resources", {}).get("limits") == left.get("limits")
    assert app.get("resources", {}).get("requests") == (
        requests(memory=after)["requests"] if after else left.get("requests")
    )


async def test_pods_that_lose_their_quality_of_service_are_told() -> None:
    both = {"memory": "1Gi", "cpu": "1"}
    cluster = using({"limits": both, "requests": both}, "600Mi", "500m")
    done = await optimize.perform(cluster, context(), wanted())
    assert done.message.endswith("; its pods are Guaranteed no more")


YOUNG = running_since("api-2", start="2026-03-01T11:50:00Z")
OTHER_IMAGE = {**running_since("api-2"), "spec": template(container(image="shop/api:0"))["spec"]}
LEAVING = running_since("api-2")
LEAVING["metadata"]["deletionTimestamp"] = "2026-03-01T11:58:00Z"


@pytest.mark.parametrize(
    ("second", "metrics", "told"),
    [
        (YOUNG, measured("api-2", "200Mi"), "1 of 2 ready pods"),
        (OTHER_IMAGE, measured("api-2", "200Mi"), "1 of 1 ready pods"),
        (LEAVING, measured("api-2", "200Mi"), "1 of 1 ready pods"),
        (running_since("api-2", ready=False), measured("api-2", "200Mi"), "1 of 1 ready pods"),
        (running_since("api-2"), measured("api-3", "200Mi"), "1 of 2 ready pods"),
        (running_since("api-2"), {**measured("api-2", ""), "containers": []}, "1 of 2 ready pods"),
    ],
)
async def test_too_few_pods_that_tell_something_are_refused(
    second: Manifest, metrics: Manifest, told: str
) -> None:
    first = (running_since("api-1"), measured("api-1", "200Mi"))
    cluster = FakeCluster().add(workload("Deployment"), *first, second, metrics)
    with pytest.raises(StepError, match=f"measured long enough in {told}; 2, and half of them") as caught:
        await optimize.perform(cluster, context(), wanted())
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert cluster.writes == []


async def test_half_of_the_ready_pods_have_to_be_measured() -> None:
    others = [running_since(f"api-{number}") for number in (3, 4, 5)]
    cluster = using(None, "200Mi").add(*others[:2])
    assert (await optimize.perform(cluster, context(), wanted())).acted
    cluster = using(None, "200Mi").add(*others)
    with pytest.raises(StepError, match="in 2 of 5 ready pods"):
        await optimize.perform(cluster, context(), wanted())


async def test_a_pod_of_a_name_that_was_used_before_is_not_taken_for_the_former_one() -> None:
    """A StatefulSet gives names anew: what was measured before the pod began is of another pod."""
    late = running_since("api-2", start="2026-03-01T11:59:30Z")
    first = (running_since("api-1"), measured("api-1", "200Mi"))
    cluster = FakeCluster().add(workload("Deployment"), *first, late, measured("api-2", "900Mi"))
    done = await optimize.perform(cluster, context(), wanted(minPods=1, minAgeSeconds=0))
    assert done.outputs["usage"] == {"memory": "200Mi", "cpu": "100m"}


async def test_a_cluster_without_metrics_is_refused() -> None:
    cluster = using(None, "200Mi")
    cluster.troubles["list"] = [None, NotFound("no such resource", status=404)]
    with pytest.raises(StepError, match=r"serves no metrics of pods.*install metrics-server") as caught:
        await optimize.perform(cluster, context(), wanted())
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    cluster.troubles["list"] = [
        None,
        Unavailable("the server is currently unable to handle the request", status=503),
    ]
    with pytest.raises(Unavailable):
        await optimize.perform(cluster, context(), wanted())
    assert cluster.writes == []


def autoscaler(kind: str = "Utilization", resource: str = "memory", name: str = "api") -> Manifest:
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "scaler", "namespace": "shop"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "metrics": [{"type": "Resource", "resource": {"name": resource, "target": {"type": kind}}}],
        },
    }


async def test_an_autoscaler_that_reckons_with_the_request_is_refused_or_ignored() -> None:
    cluster = using(None, "200Mi").add(autoscaler())
    with pytest.raises(
        StepError, match="HorizontalPodAutoscaler scaler scales Deployment shop/api"
    ) as caught:
        await optimize.perform(cluster, context(), wanted())
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert cluster.writes == []
    cluster.forbidden.add("list HorizontalPodAutoscaler")
    assert (await optimize.perform(cluster, context(), wanted(autoscaler="Ignore"))).acted


@pytest.mark.parametrize(
    "other", [autoscaler("AverageValue"), autoscaler(resource="cpu"), autoscaler(name="web")]
)
async def test_an_autoscaler_that_reckons_otherwise_does_not_matter(other: Manifest) -> None:
    cluster = using(None, "200Mi").add(other)
    assert (await optimize.perform(cluster, context(), wanted(**MEMORY_ONLY))).acted


async def test_a_paused_deployment_is_refused() -> None:
    cluster = using(None, "200Mi")
    cluster.edit("Deployment", "api", {"spec": {"paused": True}})
    with pytest.raises(StepError, match="is paused"):
        await optimize.perform(cluster, context(), wanted())


async def test_undo_refuses_where_someone_changed_the_request_since() -> None:
    changed = template(container(resources=requests(memory="999Mi")))
    cluster = using(requests(memory="1Gi"), "200Mi")
    await check_undo_refuses(cluster, optimize, context(), wanted(), {"spec": {"template": changed}})


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"memory": False, "cpu": False}, "at least one of memory and cpu"),
        ({"minMemory": "8Gi"}, "minMemory 8Gi is above maxMemory 4Gi"),
        ({"minCpu": "5"}, "minCpu 5 is above maxCpu 4"),
        ({"margin": 0.9}, "greater than or equal to 1"),
        ({"maxReduction": 1.1}, "less than or equal to 1"),
        ({"minPods": 0}, "greater than or equal to 1"),
        ({"maxMemory": "much"}, "'much' is not a quantity"),
        ({"memory": "1Gi"}, "valid boolean"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(parameters: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        wanted(**parameters)


def test_rights_hold_what_is_looked_at() -> None:
    target = ObjectRef("apps/v1", "DaemonSet", "shop", "api")
    looks = (
        Right("get", "apps", "daemonsets", ("api",)),
        Right("patch", "apps", "daemonsets", ("api",)),
        Right("list", "", "pods"),
        Right("list", "metrics.k8s.io", "pods"),
    )
    scaling = Right("list", "autoscaling", "horizontalpodautoscalers")
    assert optimize.rights(target, wanted()) == (*looks, scaling)
    assert optimize.rights(target, wanted(autoscaler="Ignore")) == looks
