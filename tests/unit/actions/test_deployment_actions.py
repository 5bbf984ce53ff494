"""restart_deployment and scale_deployment."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from kubernaut.actions.workloads.restart import RestartDeployment, RestartWorkloadParameters
from kubernaut.actions.workloads.scale import ScaleDeployment, ScaleWorkloadParameters
from kubernaut.api.reasons import Reason
from kubernaut.core.errors import Forbidden, StepError
from kubernaut.core.ports import ObjectRef, Right
from unit.actions.builders import context, deployment, pod
from unit.actions.fake import FakeCluster
from unit.actions.once import check_once_and_undone, check_undo_refuses, content

RESTARTED = "kubectl.kubernetes.io/restartedAt"
scale, restart = ScaleDeployment(), RestartDeployment()


def scaled(**parameters: Any) -> ScaleWorkloadParameters:
    return ScaleWorkloadParameters.model_validate(parameters)


def autoscaler(name: str = "api", kind: str = "Deployment", version: str = "apps/v1") -> dict[str, Any]:
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": f"for-{name}", "namespace": "shop"},
        "spec": {"scaleTargetRef": {"apiVersion": version, "kind": kind, "name": name}},
    }


async def test_restart_sets_the_annotation_of_kubectl_once() -> None:
    cluster = FakeCluster().add(deployment())
    for _ in range(2):
        done = await restart.perform(cluster, context(), RestartWorkloadParameters())
        assert done.acted
    template = cluster.find("Deployment", "api")["spec"]["template"]
    assert template["metadata"]["annotations"] == {RESTARTED: "2026-03-01T12:00:00Z"}
    assert len(cluster.writes) == 1


async def test_restart_keeps_other_annotations_of_the_template() -> None:
    api = deployment()
    api["spec"]["template"]["metadata"]["annotations"] = {"team": "a", RESTARTED: "2020-01-01T00:00:00Z"}
    cluster = FakeCluster().add(api)
    await restart.perform(cluster, context(), RestartWorkloadParameters())
    template = cluster.find("Deployment", "api")["spec"]["template"]
    assert template["metadata"]["annotations"] == {"team": "a", RESTARTED: "2026-03-01T12:00:00Z"}


async def test_undo_of_a_restart_writes_nothing_and_says_why() -> None:
    cluster = FakeCluster().add(deployment())
    await restart.perform(cluster, context(), RestartWorkloadParameters())
    done = await restart.undo(cluster, context(), RestartWorkloadParameters())
    assert not done.acted
    assert "can't be taken back" in done.message
    assert len(cluster.writes) == 1


async def test_a_paused_deployment_is_not_restarted() -> None:
    cluster = FakeCluster().add(deployment(paused=True))
    with pytest.raises(StepError, match="is paused") as caught:
        await restart.perform(cluster, context(), RestartWorkloadParameters())
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert cluster.writes == []


async def test_another_deployment_of_the_namespace_can_be_named() -> None:
    cluster = FakeCluster().add(deployment(), deployment("web"))
    await restart.perform(cluster, context(), RestartWorkloadParameters(name="web"))
    assert [name for _, name, _ in cluster.writes] == ["Deployment shop/web"]


async def test_a_target_of_another_kind_needs_a_name() -> None:
    cluster = FakeCluster().add(pod())
    with pytest.raises(StepError, match=r"not a Deployment; name the Deployment under with\.name") as caught:
        await restart.perform(cluster, context(pod()), RestartWorkloadParameters())
    assert caught.value.reason is Reason.INVALID_PARAMETERS


@pytest.mark.parametrize(
    ("before", "parameters", "after"),
    [
        (2, {"replicas": 5}, 5),
        (2, {"replicas": 0}, 0),
        (0, {"replicas": 3}, 3),
        (2, {"delta": 3}, 5),
        (2, {"delta": 3, "maxReplicas": 4}, 4),
        (5, {"delta": -3}, 2),
        (5, {"delta": -9}, 1),
        (5, {"delta": -9, "minReplicas": 0}, 0),
    ],
)
async def test_scale_sets_the_number_once_and_puts_it_back(
    before: int, parameters: dict[str, Any], after: int
) -> None:
    cluster = FakeCluster().add(deployment(replicas=before))
    done = await check_once_and_undone(cluster, scale, context(), scaled(**parameters), "Deployment", "api")
    assert done.outputs == {"before": before, "replicas": after}
    assert done.changed == (f"Deployment shop/api: spec.replicas: {before} -> {after}",)


@pytest.mark.parametrize(
    ("before", "parameters"),
    [
        (2, {"replicas": 2}),
        (25, {"delta": 1}),
        (20, {"delta": 1}),
        (1, {"delta": -1}),
        (0, {"delta": -1}),
    ],
)
async def test_scale_that_is_there_already_or_out_of_bounds_does_nothing(
    before: int, parameters: dict[str, Any]
) -> None:
    cluster = FakeCluster().add(deployment(replicas=before))
    done = await scale.perform(cluster, context(), scaled(**parameters))
    assert (done.acted, cluster.writes) == (False, [])
    assert f"has {before} replicas already" in done.message


async def test_undo_of_a_scale_refuses_where_someone_scaled_since() -> None:
    cluster = FakeCluster().add(deployment())
    patch = {"spec": {"replicas": 8}}
    await check_undo_refuses(cluster, scale, context(), scaled(replicas=5), patch)


async def test_undo_of_a_scale_keeps_what_others_changed_elsewhere() -> None:
    cluster = FakeCluster().add(deployment())
    await scale.perform(cluster, context(), scaled(replicas=5))
    cluster.edit("Deployment", "api", {"spec": {"minReadySeconds": 7}})
    await scale.undo(cluster, context(), scaled(replicas=5))
    spec = content(cluster.find("Deployment", "api"))["spec"]
    assert (spec["replicas"], spec["minReadySeconds"]) == (2, 7)


async def test_a_deployment_with_an_autoscaler_is_not_scaled() -> None:
    cluster = FakeCluster().add(deployment(), autoscaler())
    with pytest.raises(
        StepError, match="HorizontalPodAutoscaler for-api scales Deployment shop/api"
    ) as caught:
        await scale.perform(cluster, context(), scaled(replicas=5))
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert cluster.writes == []


@pytest.mark.parametrize(
    "other", [autoscaler("web"), autoscaler(kind="StatefulSet"), autoscaler(version="example.com/v1")]
)
async def test_an_autoscaler_of_something_else_does_not_matter(other: dict[str, Any]) -> None:
    cluster = FakeCluster().add(deployment(), other)
    assert (await scale.perform(cluster, context(), scaled(replicas=5))).acted


async def test_the_autoscaler_can_be_ignored_without_looking() -> None:
    cluster = FakeCluster().add(deployment(), autoscaler())
    cluster.forbidden.add("list HorizontalPodAutoscaler")
    with pytest.raises(Forbidden):
        await scale.perform(cluster, context(), scaled(replicas=5))
    assert (await scale.perform(cluster, context(), scaled(replicas=5, autoscaler="Ignore"))).acted


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({}, "exactly one of replicas and delta"),
        ({"replicas": 1, "delta": 1}, "exactly one of replicas and delta"),
        ({"delta": 0}, "delta is 0"),
        ({"delta": 1, "minReplicas": 9, "maxReplicas": 3}, "minReplicas 9 is above maxReplicas 3"),
        ({"replicas": -1}, "greater than or equal to 0"),
        ({"replicas": 10_001}, "less than or equal to 10000"),
        ({"replicas": 1, "name": "Not A Name"}, "should match pattern"),
        ({"replicas": 1, "size": 3}, "Extra inputs"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(parameters: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        scaled(**parameters)


def test_rights_name_the_object_where_it_is_known() -> None:
    target = ObjectRef("apps/v1", "Deployment", "shop", "api")
    listing = Right("list", "autoscaling", "horizontalpodautoscalers")
    assert scale.rights(target, scaled(replicas=1)) == (
        Right("get", "apps", "deployments", ("api",)),
        Right("patch", "apps", "deployments", ("api",)),
        listing,
    )
    assert scale.rights(None, scaled(replicas=1, autoscaler="Ignore")) == (
        Right("get", "apps", "deployments"),
        Right("patch", "apps", "deployments"),
    )
    assert restart.rights(target, RestartWorkloadParameters(name="web"))[0].names == ("web",)
