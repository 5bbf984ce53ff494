"""Selecting objects, and starting other runs, at a real API server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from apiserver.acting import Place
from kubernaut.actions.registry import ActionRegistry
from kubernaut.api.names import API_VERSION, FINALIZER
from kubernaut.api.reasons import Reason
from kubernaut.core.action import StepContext
from kubernaut.core.errors import Forbidden, Invalid, NotFound, StepError
from kubernaut.core.naming import child_run
from kubernaut.core.ports import Manifest

REGISTRY = ActionRegistry(installed=False)
START = REGISTRY.internal("run_workflow")
SELECT = REGISTRY.get("select_objects")


@pytest.fixture
def target(place: Place) -> Manifest:
    return place.create("v1", "configmaps", {"metadata": {"name": "settings", "labels": {"app": "web"}}}) | {
        "apiVersion": "v1",
        "kind": "ConfigMap",
    }


def started(place: Place, target: Manifest, step: str = "heal", **more: Any) -> tuple[StepContext, Any]:
    """Return the context of a subflow step and the parameters it starts its run with."""
    context = place.context(target, step=step)
    name = child_run(context.run_name, context.run_uid, step, 1)
    given = {"workflow": "other", "parameters": [{"name": "size", "value": "3"}], "name": name}
    return context, START.parameters.model_validate(given | more)


def runs(place: Place) -> list[Manifest]:
    return place.items(API_VERSION, "workflowexecutions")


async def test_a_run_is_started_once_with_just_the_rights_told(place: Place, target: Manifest) -> None:
    context, parameters = started(place, target)
    rights = START.rights(context.target, parameters)
    create = next(right for right in rights if right.verb == "create")
    with pytest.raises(Forbidden, match="add verb create on workflowexecutions"):
        await START.perform(
            place.account(right for right in rights if right is not create), context, parameters
        )
    account = place.account(rights)
    first, second = await asyncio.gather(*(START.perform(account, context, parameters) for _ in range(2)))
    assert first == second
    (run,) = runs(place)
    assert first.outputs == {"run": run["metadata"]["name"], "uid": run["metadata"]["uid"]}
    assert run["metadata"]["finalizers"] == [FINALIZER]
    assert run["spec"]["workflowRef"] == {"name": "other"}
    assert run["spec"]["parameters"] == [{"name": "size", "value": "3"}]
    assert run["spec"]["trigger"] == {"type": "Subflow", "by": "run", "reason": ""}
    assert run["spec"]["parent"] == {"name": "run", "uid": context.run_uid, "step": "heal", "depth": 1}


async def test_a_run_of_that_name_that_somebody_else_created_is_left_alone(
    place: Place, target: Manifest
) -> None:
    context, parameters = started(place, target)
    theirs = {
        "apiVersion": API_VERSION,
        "kind": "WorkflowExecution",
        "metadata": {"name": parameters.name},
        "spec": {"workflowRef": {"name": "other"}},
    }
    before = place.create(API_VERSION, "workflowexecutions", theirs)
    account = place.account(START.rights(context.target, parameters))
    with pytest.raises(StepError, match="was not started by step heal of run run") as caught:
        await START.perform(account, context, parameters)
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert not (await START.undo(account, context, parameters)).acted
    (run,) = runs(place)
    assert run["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


async def test_undo_cancels_the_run_for_good(place: Place, target: Manifest) -> None:
    context, parameters = started(place, target, step="each/0/heal")
    account = place.account(START.rights(context.target, parameters))
    assert (await START.undo(account, context, parameters)).message.endswith("there is nothing to cancel")
    await START.perform(account, context, parameters)
    assert (await START.undo(account, context, parameters)).acted
    (run,) = runs(place)
    assert run["spec"]["control"]["cancel"] is True
    assert not (await START.undo(account, context, parameters)).acted
    assert runs(place)[0]["metadata"]["resourceVersion"] == run["metadata"]["resourceVersion"]


async def test_once_its_name_is_taken_a_late_create_starts_nothing(place: Place, target: Manifest) -> None:
    context, parameters = started(place, target)
    account = place.account(START.rights(context.target, parameters))
    fenced = await START.fence(account, context, parameters)  # type: ignore[attr-defined]
    assert (fenced.acted, fenced.outputs) == (False, {})
    late = await START.perform(account, context, parameters)
    (run,) = runs(place)
    assert run["metadata"]["uid"] == late.outputs["uid"]
    assert run["spec"]["control"]["cancel"] is True


async def test_the_longest_name_is_one_that_the_api_server_takes(place: Place, target: Manifest) -> None:
    context = place.context(target, run_name="r" * 253, step="each/" + "s" * 240)
    name = child_run(context.run_name, context.run_uid, context.step, 1000)
    parameters = START.parameters.model_validate({"workflow": "other", "name": name})
    done = await START.perform(place.account(START.rights(context.target, parameters)), context, parameters)
    assert done.outputs["run"] == name


async def test_objects_are_found_by_their_labels_with_list_alone(place: Place, target: Manifest) -> None:
    other = place.create(
        "v1", "configmaps", {"metadata": {"name": "limits", "labels": {"app": "web", "x": "y"}}}
    )
    place.create("v1", "configmaps", {"metadata": {"name": "none"}})
    parameters = SELECT.parameters.model_validate(
        {"apiVersion": "v1", "kind": "ConfigMap", "labelSelector": "app in (web, api)"}
    )
    context = place.context(target)
    with pytest.raises(Forbidden, match="add verb list on configmaps"):
        await SELECT.perform(place.account(()), context, parameters)
    account = place.account(SELECT.rights(context.target, parameters))
    done = await SELECT.perform(account, context, parameters)
    assert done.outputs == {
        "items": [
            {"name": "limits", "uid": other["metadata"]["uid"]},
            {"name": "settings", "uid": target["metadata"]["uid"]},
        ],
        "count": 2,
    }
    with pytest.raises(StepError, match="2 objects match") as caught:
        await SELECT.perform(account, context, parameters.model_copy(update={"limit": 1}))
    assert caught.value.reason is Reason.TOO_MANY_ITEMS
    with pytest.raises(Invalid, match="unable to parse requirement"):
        await SELECT.perform(account, context, parameters.model_copy(update={"label_selector": "app in"}))


async def test_a_kind_that_there_is_not_and_one_without_namespace_are_told(
    place: Place, target: Manifest
) -> None:
    context, own = place.context(target), place.connection.own()
    given = {"apiVersion": "v1", "kind": "Namespace", "labelSelector": "kubernetes.io/metadata.name"}
    with pytest.raises(StepError, match="has no namespace"):
        await SELECT.perform(own, context, SELECT.parameters.model_validate(given))
    with pytest.raises(NotFound, match="no kind Pood"):
        await SELECT.perform(own, context, SELECT.parameters.model_validate(given | {"kind": "Pood"}))
