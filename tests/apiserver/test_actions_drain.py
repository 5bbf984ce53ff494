"""drain_node and disruption budgets, at a real API server: its Eviction API decides."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from apiserver.acting import Place, await_true
from apiserver.scenarios.nodes import node, running_there, two_nodes, with_pods
from kubernaut.actions.nodes.drain import DrainNode, DrainNodeParameters
from kubernaut.api.reasons import Reason
from kubernaut.core.errors import StepError, Unfinished
from kubernaut.core.ports import Manifest

DRAIN = DrainNode()


def budget(place: Place, name: str = "keep", **spec: Any) -> None:
    """Make a PodDisruptionBudget for the Deployment; return once its controller has counted."""
    selector = {"matchLabels": {"app": "api"}}
    manifest = {"metadata": {"name": name}, "spec": {"selector": selector, **spec}}
    place.create("policy/v1", "poddisruptionbudgets", manifest)
    await_true(
        lambda: (
            place.get("policy/v1", "poddisruptionbudgets", name).get("status", {}).get("currentHealthy") == 2
        ),
        "the budget was not counted",
    )


def cordoned(place: Place) -> bool:
    return bool(node(place)["spec"].get("unschedulable"))


def evictions(place: Place) -> int:
    return place.connection.mutations["create", "pods/eviction"]


async def drain(
    place: Place, target: Manifest, first: Callable[[], None] = lambda: None, **given: Any
) -> list[str]:
    """Drain as the engine does, call after call; return what was told meanwhile.

    ``first`` is called once the first call has come back unfinished.
    """
    parameters = DrainNodeParameters.model_validate(given)
    account = place.account(DRAIN.rights(place.context(target).target, parameters))
    told: list[str] = []
    for _ in range(300):
        try:
            await DRAIN.perform(account, place.context(target), parameters)
        except Unfinished as error:
            if not told:
                first()
            told.append(str(error))
            await asyncio.sleep(0.1)
        else:
            return told
    raise AssertionError(f"it does not end: {told[-1]}")


async def test_a_budget_that_lets_no_pod_go_is_told_before_anything_is_touched(place: Place) -> None:
    target = with_pods()(place)
    budget(place, minAvailable=2)
    pods = [f"{place.namespace}/{pod['metadata']['name']}" for pod in running_there(place)]
    with pytest.raises(StepError) as caught:
        await drain(place, target)
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    for pod in pods:
        told = f"{pod} is held by PodDisruptionBudget keep: 2 pods are healthy and 2 have to be"
        assert told in str(caught.value)
    assert not cordoned(place)
    assert (len(running_there(place)), evictions(place)) == (2, 0)


async def test_pods_leave_one_after_the_other_as_their_budget_allows(place: Place) -> None:
    target = with_pods()(place)
    budget(place, maxUnavailable=1)
    await drain(place, target)
    assert running_there(place) == []
    place.settled()


async def test_a_budget_that_opens_later_is_waited_for(place: Place) -> None:
    target = with_pods()(place)
    budget(place, minAvailable=2)

    def opens() -> None:
        assert cordoned(place)
        assert len(running_there(place)) == 2
        place.patch("policy/v1", "poddisruptionbudgets", "keep", {"spec": {"minAvailable": 0}})

    told = await drain(place, target, first=opens, waitForBudgets=True)
    assert "is held by PodDisruptionBudget keep" in told[0]
    assert told[0].startswith(f"0 of 2 pods have left Node {target['metadata']['name']}")
    assert running_there(place) == []


async def test_two_budgets_on_one_pod_can_not_be_met(place: Place) -> None:
    target = with_pods()(place)
    budget(place, minAvailable=0)
    budget(place, "other", minAvailable=0)
    with pytest.raises(StepError, match="more than one PodDisruptionBudget: keep, other"):
        await drain(place, target, waitForBudgets=True)
    assert not cordoned(place)


@pytest.mark.parametrize(
    ("pod", "told", "lets"),
    [
        ({}, "has no controller", {"force": True}),
        (
            {"volumes": [{"name": "scratch", "emptyDir": {}}]},
            "has no controller",
            {"force": True, "deleteEmptyDirData": True},
        ),
    ],
    ids=["bare", "with data"],
)
async def test_a_pod_that_nobody_makes_anew_goes_only_where_that_is_said(
    place: Place, pod: Any, told: str, lets: Any
) -> None:
    target = two_nodes(place)
    spec = {
        "nodeName": target["metadata"]["name"],
        "containers": [{"name": "app", "image": "kubernaut.local/pause:1"}],
        "terminationGracePeriodSeconds": 0,
        **pod,
    }
    place.create("v1", "pods", {"metadata": {"name": "alone"}, "spec": spec})
    await_true(lambda: place.get("v1", "pods", "alone")["status"]["phase"] == "Running", "it does not run")
    with pytest.raises(StepError, match=told):
        await drain(place, target)
    assert not cordoned(place)
    await drain(place, target, **lets)
    assert place.items("v1", "pods") == []
