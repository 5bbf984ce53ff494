"""update_hpa: bounds within floor and ceiling, and whether the maximum holds the autoscaler back."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from kubernaut.actions.workloads.update_hpa import UpdateHpa, UpdateHpaParameters
from kubernaut.api.reasons import Reason
from kubernaut.core.errors import StepError
from kubernaut.core.ports import Manifest, ObjectRef, Right
from unit.actions.builders import context, deployment
from unit.actions.fake import FakeCluster
from unit.actions.once import check_once_and_undone, check_undo_refuses

update = UpdateHpa()
KIND = "HorizontalPodAutoscaler"


def wanted(**parameters: Any) -> UpdateHpaParameters:
    return UpdateHpaParameters.model_validate(parameters)


def autoscaler(
    least: int = 2,
    most: int = 5,
    *,
    current: int = 5,
    limited: str = "True",
    reason: str = "TooManyReplicas",
    **meta: Any,
) -> Manifest:
    return {
        "apiVersion": "autoscaling/v2",
        "kind": KIND,
        "metadata": {"name": "api", "namespace": "shop", "uid": "uid-hpa", **meta},
        "spec": {"minReplicas": least, "maxReplicas": most},
        "status": {
            "currentReplicas": current,
            "conditions": [{"type": "ScalingLimited", "status": limited, "reason": reason}],
        },
    }


@pytest.mark.parametrize(
    ("parameters", "now"),
    [
        ({"maxReplicas": 9}, (2, 9)),
        ({"maxReplicas": 3}, (2, 3)),
        ({"minReplicas": 4}, (4, 5)),
        ({"minReplicas": 7, "maxReplicas": 9}, (7, 9)),
        ({"maxDelta": 3}, (2, 8)),
        ({"maxDelta": 30}, (2, 20)),
        ({"maxDelta": 30, "ceiling": 10}, (2, 10)),
        ({"maxDelta": -2}, (2, 3)),
        ({"minDelta": 2}, (4, 5)),
        ({"minDelta": -9}, (1, 5)),
        ({"minDelta": 1, "maxDelta": 1}, (3, 6)),
    ],
)
async def test_bounds_are_moved_once_and_put_back(parameters: dict[str, Any], now: tuple[int, int]) -> None:
    cluster = FakeCluster().add(autoscaler())
    done = await check_once_and_undone(
        cluster, update, context(autoscaler()), wanted(**parameters), KIND, "api"
    )
    assert done.outputs == {
        "before": {"min": 2, "max": 5},
        "now": dict(zip(("min", "max"), now, strict=True)),
        "limited": True,
    }
    assert all(told.startswith(f"{KIND} shop/api: spec.m") for told in done.changed)


@pytest.mark.parametrize(
    ("there", "parameters"),
    [
        (autoscaler(), {"maxReplicas": 5}),
        (autoscaler(1, 20), {"maxDelta": 1}),
        (autoscaler(1, 30), {"maxDelta": 1}),
        (autoscaler(1, 5), {"minDelta": -1}),
        (autoscaler(2, 5), {"minDelta": -1, "floor": 3}),
    ],
)
async def test_bounds_that_are_there_already_or_at_their_cap_are_left(
    there: Manifest, parameters: dict[str, Any]
) -> None:
    cluster = FakeCluster().add(there)
    done = await update.perform(cluster, context(there), wanted(**parameters))
    assert (done.acted, cluster.writes) == (False, [])
    assert "has these bounds already" in done.message


@pytest.mark.parametrize(
    ("there", "acts"),
    [
        (autoscaler(), True),
        (autoscaler(current=6), True),
        (autoscaler(current=4), False),
        (autoscaler(limited="False"), False),
        (autoscaler(reason="TooFewReplicas"), False),
        ({**autoscaler(), "status": {}}, False),
    ],
)
async def test_only_where_the_maximum_holds_it_back(there: Manifest, acts: bool) -> None:
    cluster = FakeCluster().add(there)
    done = await update.perform(cluster, context(there), wanted(maxDelta=1, onlyIfLimited=True))
    assert (done.acted, len(cluster.writes)) == (acts, int(acts))
    assert done.outputs["limited"] is acts
    assert ("held back" in done.message) is not acts


async def test_whether_it_is_limited_is_looked_at_right_before_the_change() -> None:
    cluster = FakeCluster().add(autoscaler())
    cluster.troubles["patch"] = [lambda: cluster.edit(KIND, "api", {"spec": {"maxReplicas": 8}})]
    done = await update.perform(cluster, context(autoscaler()), wanted(maxDelta=1, onlyIfLimited=True))
    assert not done.acted
    assert cluster.find(KIND, "api")["spec"]["maxReplicas"] == 8


async def test_a_minimum_above_the_maximum_is_refused() -> None:
    cluster = FakeCluster().add(autoscaler())
    with pytest.raises(StepError, match="a minimum of 6 above its maximum of 5; move both") as caught:
        await update.perform(cluster, context(autoscaler()), wanted(minReplicas=6))
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert cluster.writes == []


async def test_an_autoscaler_that_another_object_makes_is_refused() -> None:
    owner = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "api", "uid": "u"}
    there = autoscaler(ownerReferences=[{**owner, "controller": True}])
    cluster = FakeCluster().add(there)
    with pytest.raises(StepError, match="is made by ScaledObject api") as caught:
        await update.perform(cluster, context(there), wanted(maxDelta=1))
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert cluster.writes == []


async def test_undo_refuses_where_someone_moved_the_bound_since() -> None:
    cluster = FakeCluster().add(autoscaler())
    patch = {"spec": {"maxReplicas": 12}}
    await check_undo_refuses(cluster, update, context(autoscaler()), wanted(maxReplicas=9), patch)


async def test_a_target_of_another_kind_needs_a_name() -> None:
    cluster = FakeCluster().add(deployment(), autoscaler())
    with pytest.raises(StepError, match=r"name the HorizontalPodAutoscaler under with\.name"):
        await update.perform(cluster, context(deployment()), wanted(maxDelta=1))
    assert (await update.perform(cluster, context(deployment()), wanted(maxDelta=1, name="api"))).acted


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({}, "at least one of minReplicas, minDelta, maxReplicas and maxDelta"),
        ({"maxReplicas": 9, "maxDelta": 1}, "at most one of maxReplicas and maxDelta"),
        ({"minReplicas": 9, "minDelta": 1}, "at most one of minReplicas and minDelta"),
        ({"maxDelta": 0}, "maxDelta is 0"),
        ({"maxReplicas": 21}, "maxReplicas 21 is not between 1 and 20"),
        ({"minReplicas": 2, "floor": 3}, "minReplicas 2 is not between 3 and 20"),
        ({"minReplicas": 6, "maxReplicas": 5}, "minReplicas 6 is above maxReplicas 5"),
        ({"maxDelta": 1, "floor": 9, "ceiling": 3}, "floor 9 is above ceiling 3"),
        ({"minReplicas": 0}, "greater than or equal to 1"),
        ({"maxDelta": 1001}, "less than or equal to 1000"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(parameters: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        wanted(**parameters)


def test_rights_name_the_object_where_it_is_known() -> None:
    target = ObjectRef("autoscaling/v2", KIND, "shop", "api")
    assert update.rights(target, wanted(maxDelta=1)) == (
        Right("get", "autoscaling", "horizontalpodautoscalers", ("api",)),
        Right("patch", "autoscaling", "horizontalpodautoscalers", ("api",)),
    )
