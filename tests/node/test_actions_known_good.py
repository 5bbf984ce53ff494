"""restore_last_known_good against faults that real containers feel: a kubelet says that they are there, and gone."""

from __future__ import annotations

from typing import Any

import pytest

from apiserver.acting import Place, await_true
from apiserver.scenarios.knowngood import DB, SETTINGS, fares, learn
from apiserver.scenarios.scenario import RUN, declared
from kubernaut.actions.knowngood.health import Health
from kubernaut.actions.registry import ActionRegistry
from kubernaut.api.names import API_VERSION, LABEL_REMEMBER
from kubernaut.core.ports import Manifest
from localcluster import Cluster
from node.test_actions_workloads import restarted, workload

pytestmark = pytest.mark.usefixtures("kinds")
restore: Any = ActionRegistry().get("restore_last_known_good")
LABELS = {LABEL_REMEMBER: "true"}
# It works with one value only, as many a program does.
PICKY = ["sh", "-c", "[ \"$LEVEL\" = info ] || exit 3; trap 'exit 0' TERM; while true; do sleep 0.2; done"]


def level(value: str) -> list[dict[str, str]]:
    return [{"name": "LEVEL", "value": value}]


def probe(command: str) -> dict[str, Any]:
    return {"exec": {"command": [command]}, "periodSeconds": 1, "failureThreshold": 1}


GOOD: dict[str, Any] = {"env": level("info"), "readinessProbe": probe("true")}
FAULTS: dict[str, dict[str, Any]] = {
    "an image that is not there": {**GOOD, "image": "kubernaut.local/no-such-image:1"},
    "a variable with which it ends": {**GOOD, "env": level("loud")},
    "a probe that never holds": {**GOOD, "readinessProbe": probe("false")},
    "a command that is not there": {**GOOD, "command": ["no-such-command"]},
}


def given(cluster: Cluster, **container: Any) -> Manifest:
    command = container.pop("command", PICKY)
    made = workload(cluster, "Deployment", command, **container)
    return {**made, "metadata": {**made["metadata"], "labels": LABELS}}


def is_well(place: Place) -> bool:
    return fares(place) is Health.HEALTHY


def is_ill(place: Place) -> bool:
    return fares(place) is Health.UNHEALTHY


async def check_it_mends(place: Place, target: Manifest, changed: Any) -> None:
    """Act twice, once is done and all is well; undo, and it is as the fault had left it."""
    faulty = declared(changed.read(place))
    # What it was like is kept for a run, and goes with it.
    run = place.create(API_VERSION, "workflowexecutions", RUN)
    context = place.context(target, run_uid=run["metadata"]["uid"])
    parameters = restore.parameters()
    account = place.account(restore.rights(context.target, parameters))
    first = await restore.perform(account, context, parameters)
    assert first.acted, first.message
    await_true(lambda: is_well(place), "the Deployment does not get well")
    again = await restore.perform(account, context, parameters)
    assert (again.acted, again.outputs) == (True, first.outputs)
    assert (await restore.undo(account, context, parameters)).acted
    assert declared(changed.read(place)) == faulty


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_a_deployment_gets_well_by_what_it_was_like(
    place: Place, cluster: Cluster, fault: dict[str, Any]
) -> None:
    place.create("apps/v1", "deployments", given(cluster, **GOOD))
    await_true(lambda: is_well(place), "the Deployment does not get well")
    learn(place, DB)
    template = given(cluster, **fault)["spec"]["template"]
    place.patch("apps/v1", "deployments", "db", {"spec": {"template": template}})
    await_true(lambda: is_ill(place), "the fault does not show")
    await check_it_mends(place, DB.read(place), DB)
    await_true(lambda: is_ill(place), "the fault does not show again")


async def test_settings_with_which_pods_end_are_as_they_were(place: Place, cluster: Cluster) -> None:
    data = {"LEVEL": "info"}
    place.create("v1", "configmaps", {"metadata": {"name": "settings", "labels": LABELS}, "data": data})
    source = {"envFrom": [{"configMapRef": {"name": "settings"}}]}
    place.create("apps/v1", "deployments", given(cluster, **source))
    await_true(lambda: is_well(place), "the Deployment does not get well")
    learn(place, DB, SETTINGS)
    place.patch("v1", "configmaps", "settings", {"data": {"LEVEL": "loud"}})
    for pod in place.items("v1", "pods"):
        place.admin.request("DELETE", place.path("v1", "pods", pod["metadata"]["name"]))
    await_true(lambda: restarted(place) and is_ill(place), "no pod ends with the settings")
    await check_it_mends(place, SETTINGS.read(place), SETTINGS)
