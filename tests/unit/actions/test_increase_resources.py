"""increase_resources: exact arithmetic, consistent limits and requests, caps."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from kubernaut.actions.workloads.increase_resources import IncreaseResources, IncreaseResourcesParameters
from kubernaut.api.reasons import Reason
from kubernaut.core.errors import StepError
from unit.actions.builders import container, context, deployment, template, workload
from unit.actions.fake import FakeCluster
from unit.actions.once import check_once_and_undone, check_undo_refuses

increase = IncreaseResources()


def wanted(**parameters: Any) -> IncreaseResourcesParameters:
    return IncreaseResourcesParameters.model_validate(parameters)


def with_resources(resources: dict[str, Any] | None, *others: str, **spec: Any) -> FakeCluster:
    app = container() | ({"resources": resources} if resources else {})
    pod = template(app, *(container(name) for name in others))
    return FakeCluster().add(deployment(pod=pod, **spec))


def resources_of(cluster: FakeCluster) -> dict[str, Any]:
    found: dict[str, Any] = cluster.find("Deployment", "api")["spec"]["template"]["spec"]["containers"][0][
        "resources"
    ]
    return found


def both(limit: str, request: str, resource: str = "memory") -> dict[str, Any]:
    return {"limits": {resource: limit}, "requests": {resource: request}}


@pytest.mark.parametrize(
    ("before", "parameters", "after"),
    [
        (both("128Mi", "64Mi"), {"memoryFactor": 2}, both("256Mi", "128Mi")),
        (both("128Mi", "128Mi"), {"memoryFactor": 1.5}, both("192Mi", "192Mi")),
        (both("100M", "50M"), {"memoryFactor": 1.5}, both("144Mi", "72Mi")),
        (both("128Mi", "64Mi"), {"memory": "1Gi"}, both("1Gi", "512Mi")),
        (both("1Gi", "1Gi"), {"memory": "1.5Gi"}, both("1536Mi", "1536Mi")),
        (both("3Gi", "1Gi"), {"memoryFactor": 2}, both("4Gi", "1366Mi")),
        ({"limits": {"memory": "128Mi"}}, {"memoryFactor": 2}, {"limits": {"memory": "256Mi"}}),
        ({"requests": {"memory": "128Mi"}}, {"memoryFactor": 2}, {"requests": {"memory": "256Mi"}}),
        (both("500m", "100m", "cpu"), {"cpuFactor": "1.001"}, both("501m", "101m", "cpu")),
        (both("1", "500m", "cpu"), {"cpu": "2"}, both("2", "1", "cpu")),
        (
            {"limits": {"memory": "1Gi", "cpu": "1"}},
            {"memoryFactor": 2, "cpu": "1500m"},
            {"limits": {"memory": "2Gi", "cpu": "1500m"}},
        ),
    ],
)
async def test_limit_and_request_grow_together_once_and_are_put_back(
    before: dict[str, Any], parameters: dict[str, Any], after: dict[str, Any]
) -> None:
    cluster = with_resources(before)
    done = await check_once_and_undone(
        cluster, increase, context(), wanted(**parameters), "Deployment", "api"
    )
    assert done.outputs == {"container": "app", "resources": after}
    assert all("spec.template.spec.containers[name=app].resources." in told for told in done.changed)


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
async def test_statefulsets_and_daemonsets_are_given_more_too(kind: str) -> None:
    api = workload(kind, template(container(resources=both("128Mi", "64Mi"))))
    cluster = FakeCluster().add(api)
    done = await check_once_and_undone(cluster, increase, context(api), wanted(memoryFactor=2), kind, "api")
    assert done.outputs == {"container": "app", "resources": both("256Mi", "128Mi")}


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
async def test_pods_that_nobody_would_replace_are_not_given_more(kind: str) -> None:
    pod = template(container(resources=both("128Mi", "64Mi")))
    api = workload(kind, pod, updateStrategy={"type": "OnDelete"})
    cluster = FakeCluster().add(api)
    with pytest.raises(StepError, match="OnDelete") as caught:
        await increase.perform(cluster, context(api), wanted(memoryFactor=2))
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert cluster.writes == []


async def test_other_containers_and_fields_are_kept() -> None:
    cluster = with_resources({"limits": {"memory": "1Gi", "nvidia.com/gpu": "1"}}, "sidecar")
    await increase.perform(cluster, context(), wanted(memoryFactor=2, container="app"))
    assert resources_of(cluster)["limits"] == {"memory": "2Gi", "nvidia.com/gpu": "1"}
    containers = cluster.find("Deployment", "api")["spec"]["template"]["spec"]["containers"]
    assert containers[1] == container("sidecar")


async def test_what_is_there_already_is_never_lowered() -> None:
    cluster = with_resources(both("1Gi", "1Gi"))
    done = await increase.perform(cluster, context(), wanted(memory="512Mi"))
    assert (done.acted, cluster.writes) == (False, [])


@pytest.mark.parametrize("memory", ["4Gi", "5Gi"])
async def test_the_cap_leaves_no_room(memory: str) -> None:
    cluster = with_resources(both(memory, "1Gi"))
    with pytest.raises(StepError, match=f"is {memory} already, and may be raised to 4Gi at most") as caught:
        await increase.perform(cluster, context(), wanted(memoryFactor=2))
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert cluster.writes == []


@pytest.mark.parametrize("resources", [None, {"limits": {"cpu": "1"}}, {"requests": {"memory": "0"}}])
async def test_without_limit_and_request_there_is_nothing_to_raise(resources: dict[str, Any] | None) -> None:
    cluster = with_resources(resources)
    with pytest.raises(StepError, match="neither a memory limit nor a request"):
        await increase.perform(cluster, context(), wanted(memory="1Gi"))


@pytest.mark.parametrize(
    ("others", "name", "told"),
    [
        (("sidecar",), None, "several containers"),
        ((), "sidecar", "has no container 'sidecar'; there are: app"),
    ],
)
async def test_the_container_has_to_be_clear(others: tuple[str, ...], name: str | None, told: str) -> None:
    cluster = with_resources(both("1Gi", "1Gi"), *others)
    with pytest.raises(StepError, match=told) as caught:
        await increase.perform(cluster, context(), wanted(memoryFactor=2, container=name))
    assert caught.value.reason is Reason.INVALID_PARAMETERS


async def test_a_paused_deployment_is_refused() -> None:
    with pytest.raises(StepError, match="is paused"):
        await increase.perform(
            with_resources(both("1Gi", "1Gi"), paused=True), context(), wanted(memoryFactor=2)
        )


async def test_undo_refuses_where_someone_changed_the_limit_since() -> None:
    app = container(resources=both("2Gi", "2Gi"))
    patch = {"spec": {"template": {"spec": {"containers": [app]}}}}
    cluster = with_resources(both("512Mi", "512Mi"))
    await check_undo_refuses(cluster, increase, context(), wanted(memoryFactor=2), patch)


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({}, "at least one of"),
        ({"memory": "1Gi", "memoryFactor": 2}, "at most one of memory and memoryFactor"),
        ({"memory": "8Gi"}, "memory 8Gi is above maxMemory 4Gi"),
        ({"memory": "much"}, "'much' is not a quantity"),
        ({"memory": "0"}, "not above zero"),
        ({"cpu": "-1"}, "not above zero"),
        ({"memoryFactor": 1}, "greater than 1"),
        ({"memoryFactor": 11}, "less than or equal to 10"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(parameters: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        wanted(**parameters)
