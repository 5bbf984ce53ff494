"""restore_last_known_good on a real API server: who changed what, as ``managedFields`` tell it, and what stays."""

from __future__ import annotations

from typing import Any

import pytest

from apiserver.acting import Place, await_true
from apiserver.rest import MERGE_PATCH
from apiserver.scenarios.knowngood import DB, fares, learn, remembered, well
from kubernaut.actions.generic.restore_last_known_good import (
    RestoreLastKnownGood,
    RestoreLastKnownGoodParameters,
)
from kubernaut.actions.knowngood.health import Health
from kubernaut.api.reasons import Reason
from kubernaut.core.errors import StepError
from kubernaut.core.ports import Manifest

restore = RestoreLastKnownGood()
PLAIN = RestoreLastKnownGoodParameters()


def written(place: Place, by: str, body: Manifest, subresource: str = "") -> None:
    path = place.path("apps/v1", "deployments", "db") + subresource
    answer = place.admin.request("PATCH", path, body, content_type=MERGE_PATCH, fieldManager=by)
    assert answer.ok, answer


async def test_who_changed_it_is_told_and_what_others_wrote_elsewhere_stays(place: Place) -> None:
    target = well()(place)
    written(place, "kube-controller-manager", {"spec": {"replicas": 3}}, "/scale")
    written(place, "labeller", {"metadata": {"labels": {"team": "a"}}})
    pod: Any = {"nodeSelector": {"disk": "gone"}, "terminationGracePeriodSeconds": 7}
    written(place, "deployer", {"spec": {"template": {"spec": pod}}})
    await_true(lambda: fares(place) is Health.UNHEALTHY, "Deployment db stays well")
    account = place.account(restore.rights(place.context(target).target, PLAIN))
    parameters = RestoreLastKnownGoodParameters(leave_managers=("labeller",))
    done = await restore.perform(account, place.context(target), parameters)
    fields: Any = done.outputs["fields"]
    assert [(one["path"], one["by"]) for one in fields] == [
        ("spec.template.spec.nodeSelector", "deployer"),
        ("spec.template.spec.terminationGracePeriodSeconds", "deployer"),
    ]
    assert all(one["at"] for one in fields)
    left: Any = done.outputs["left"]
    assert {one["path"]: one["why"] for one in left} == {
        "metadata.labels.team": "labeller is among leaveManagers",
        "spec.replicas": "an autoscaler writes it",
    }
    now = DB.read(place)
    assert (now["spec"]["replicas"], now["metadata"]["labels"]["team"]) == (3, "a")
    assert "nodeSelector" not in now["spec"]["template"]["spec"]
    assert now["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 0


async def test_a_deployment_made_anew_under_the_same_name_gets_nothing_of_the_former_one(
    place: Place,
) -> None:
    well()(place)
    former = DB.read(place)
    assert place.admin.request("DELETE", place.path("apps/v1", "deployments", "db")).ok
    place.create("apps/v1", "deployments", remembered(image="kubernaut.local/pause:2"))
    body = {"spec": {"template": {"spec": {"nodeSelector": {"disk": "gone"}}}}}
    written(place, "deployer", body)
    await_true(lambda: fares(place) is Health.UNHEALTHY, "Deployment db is well")
    target = DB.read(place)
    account = place.account(restore.rights(place.context(target).target, PLAIN))
    with pytest.raises(StepError) as caught:
        await restore.perform(account, place.context(target), PLAIN)
    assert caught.value.reason is Reason.NOTHING_REMEMBERED
    assert DB.read(place)["spec"] == target["spec"]
    assert former["metadata"]["uid"] != target["metadata"]["uid"]


async def test_one_who_may_write_and_not_read_is_told_nothing(place: Place) -> None:
    target = well()(place)
    learn(place, DB)
    written(place, "deployer", {"spec": {"template": {"spec": {"nodeSelector": {"disk": "gone"}}}}})
    await_true(lambda: fares(place) is Health.UNHEALTHY, "Deployment db stays well")
    rights = restore.rights(place.context(target).target, PLAIN)
    account = place.account(right for right in rights if right.verb != "get")
    with pytest.raises(StepError) as caught:
        await restore.perform(account, place.context(target), PLAIN)
    assert caught.value.reason is Reason.MISSING_RIGHT
    assert "nodeSelector" not in str(caught.value)
