"""restore_last_known_good: only what changed since the object was well, only where it is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from kubernaut.actions.generic.restore_last_known_good import (
    RestoreLastKnownGood,
    RestoreLastKnownGoodParameters,
)
from kubernaut.actions.knowngood.declaration import declared
from kubernaut.api.reasons import Reason
from kubernaut.core.action import StepContext
from kubernaut.core.errors import Forbidden, StepError
from kubernaut.core.memory import KnownGood
from kubernaut.core.ports import Manifest, ObjectRef
from unit.actions.builders import NOW, container, context, deployment, pod, running, template
from unit.actions.fake import FakeCluster
from unit.actions.once import check_once_and_undone, check_undo_refuses
from unit.actions.test_known_good import config_map, env, service, well

restore = RestoreLastKnownGood()
PLAIN = RestoreLastKnownGoodParameters()
GOOD = deployment(pod=template(container(image="api:1")))


class Memory:
    """What is remembered of some objects."""

    def __init__(self, *objects: Manifest, ago: timedelta = timedelta(minutes=5)) -> None:
        self._known = {
            one["metadata"]["uid"]: KnownGood(declared(one), NOW - timedelta(hours=1), NOW - ago)
            for one in objects
        }
        self.asked: list[ObjectRef] = []
        self.good_for = timedelta(0)

    async def last_known_good(self, ref: ObjectRef, good_for: timedelta = timedelta(0)) -> KnownGood:
        self.asked.append(ref)
        self.good_for = good_for
        if ref.uid not in self._known:
            raise StepError(f"nothing is remembered of {ref}", reason=Reason.NOTHING_REMEMBERED)
        return self._known[ref.uid]


def begun(*known: Manifest, target: Manifest = GOOD, **more: Any) -> StepContext:
    return replace(context(target), memory=Memory(*known, **more))


def ill(pod: dict[str, Any] | None = None, **spec: Any) -> Manifest:
    return well(deployment(pod=pod, **spec), availableReplicas=0, readyReplicas=0)


async def refused(cluster: FakeCluster, step: StepContext, parameters: Any = PLAIN) -> StepError:
    with pytest.raises(StepError) as caught:
        await restore.perform(cluster, step, parameters)
    assert cluster.writes == []
    return caught.value


async def test_what_changed_since_comes_back_once_and_is_undone() -> None:
    cluster = FakeCluster().add(ill(template(container(image="api:2"))))
    step = begun(GOOD)
    done = await check_once_and_undone(cluster, restore, step, PLAIN, "Deployment", "api")
    assert done.changed == (
        'Deployment shop/api: spec.template.spec.containers[name=app].image: "api:2" -> "api:1"',
    )
    path = "spec.template.spec.containers[name=app].image"
    assert done.outputs["fields"] == [{"path": path, "by": "", "at": ""}]
    assert done.outputs["lastSeen"] == "2026-03-01T11:55:00Z"


async def test_undo_leaves_alone_what_was_changed_since() -> None:
    cluster = FakeCluster().add(ill(template(container(image="api:2"))))
    patch = {"spec": {"template": {"spec": {"containers": [container(image="api:3")]}}}}
    await check_undo_refuses(cluster, restore, begun(GOOD), PLAIN, patch)


async def test_what_others_changed_elsewhere_stays() -> None:
    seen = ill(template(container(image="api:2")))
    seen["metadata"]["labels"] = {"team": "a"}
    scale: Any = {"f:spec": {"f:replicas": {}}}
    seen["spec"]["replicas"] = 7
    seen["metadata"]["managedFields"] = [
        {
            "manager": "kube-controller-manager",
            "operation": "Update",
            "subresource": "scale",
            "time": "2026-03-01T11:59:00Z",
            "fieldsV1": scale,
        },
        {
            "manager": "labeller",
            "operation": "Update",
            "time": "2026-03-01T11:59:00Z",
            "fieldsV1": {"f:metadata": {"f:labels": {"f:team": {}}}},
        },
    ]
    cluster = FakeCluster().add(seen)
    parameters = RestoreLastKnownGoodParameters(leave_managers=("labeller",))
    done = await restore.perform(cluster, begun(GOOD), parameters)
    told: Any = done.outputs["left"]
    assert {one["path"]: one["why"] for one in told} == {
        "metadata.labels.team": "labeller is among leaveManagers",
        "spec.replicas": "an autoscaler writes it",
    }
    now = cluster.find("Deployment", "api")
    assert (now["spec"]["replicas"], now["metadata"]["labels"]) == (7, {"team": "a"})
    assert now["spec"]["template"]["spec"]["containers"][0]["image"] == "api:1"


async def test_an_object_that_is_well_is_left_alone_and_nothing_is_asked_of_the_memory() -> None:
    cluster = FakeCluster().add(well(deployment(pod=template(container(image="api:2")))))
    step = begun(GOOD)
    done = await restore.perform(cluster, step, PLAIN)
    assert not done.acted
    assert "is well and was left alone" in done.message
    assert isinstance(step.memory, Memory)
    assert step.memory.asked == []
    assert cluster.writes == []


async def test_between_two_crashes_it_is_not_taken_for_well() -> None:
    seen = well(deployment(pod=template(container(image="api:2"))))
    crashed = running(restarts=1, exitCode=3, reason="Error", finishedAt="2026-03-01T11:59:50Z")
    cluster = FakeCluster().add(seen, pod("api-1", crashed))
    done = await restore.perform(cluster, begun(GOOD), PLAIN)
    assert done.acted
    assert "ended at 2026-03-01T11:59:50Z (Error, exit code 3)" in str(done.outputs["why"])


async def test_while_its_controller_has_not_looked_nothing_is_done() -> None:
    cluster = FakeCluster().add(well(deployment(), observedGeneration=1))
    error = await refused(cluster, begun(GOOD))
    assert "can't be told" in str(error)


async def test_where_nothing_differs_the_cause_is_elsewhere() -> None:
    error = await refused(FakeCluster().add(ill(template(container(image="api:1")))), begun(GOOD))
    assert error.reason is Reason.PRECONDITION_FAILED
    assert "the cause is elsewhere" in str(error)


async def test_what_was_seen_well_long_ago_is_not_restored() -> None:
    cluster = FakeCluster().add(ill(template(container(image="api:2"))))
    error = await refused(cluster, begun(GOOD, ago=timedelta(days=8)))
    assert "raise maxAge" in str(error)


async def test_nothing_is_told_of_an_object_that_the_account_may_not_read() -> None:
    cluster = FakeCluster(forbidden={"get Deployment"}).add(ill(template(container(image="api:2"))))
    step = begun(GOOD)
    # Not even where this run has seen the object before.
    step.recent.put(ObjectRef.of(GOOD), ill(template(container(image="api:2"))))
    with pytest.raises(Forbidden):
        await restore.perform(cluster, step, PLAIN)
    assert isinstance(step.memory, Memory)
    assert step.memory.asked == []


async def test_it_is_asked_for_by_the_uid_that_was_read() -> None:
    other = {**GOOD, "metadata": {**GOOD["metadata"], "uid": "uid-of-a-former-one"}}
    cluster = FakeCluster().add(ill(template(container(image="api:2"))))
    error = await refused(cluster, begun(other))
    assert error.reason is Reason.NOTHING_REMEMBERED


async def test_it_is_asked_for_what_was_well_for_as_long_as_is_said() -> None:
    cluster = FakeCluster().add(ill(template(container(image="api:2"))))
    step = begun(GOOD)
    await restore.perform(cluster, step, RestoreLastKnownGoodParameters.model_validate({"goodFor": "6h"}))
    assert isinstance(step.memory, Memory)
    assert step.memory.good_for == timedelta(hours=6)


async def test_without_a_history_it_says_so() -> None:
    cluster = FakeCluster().add(ill(template(container(image="api:2"))))
    error = await refused(cluster, context(GOOD))
    assert error.reason is Reason.HISTORY_AWAY
    assert "KUBERNAUT_DSN" in str(error)


def secrets(cluster: FakeCluster) -> Sequence[str]:
    return [what for verb, what, _ in cluster.writes if verb == "create"]


async def test_environment_variables_are_kept_in_a_secret_and_told_nowhere() -> None:
    good = deployment(pod=template(container(env=env(LEVEL="info"))))
    cluster = FakeCluster().add(ill(template(container(env=env(LEVEL="very-loud", MORE="b")))))
    done = await restore.perform(cluster, begun(good), PLAIN)
    assert len(secrets(cluster)) == 1
    assert "very-loud" not in str(done)
    assert "very-loud" not in str(cluster.find("Deployment", "api"))
    assert (await restore.undo(cluster, begun(good), PLAIN)).acted
    now = cluster.find("Deployment", "api")["spec"]["template"]["spec"]["containers"][0]["env"]
    assert now == env(LEVEL="very-loud", MORE="b")


async def test_a_password_beside_what_changed_is_told_nowhere() -> None:
    sidecar = container("sidecar", args=["--password=hunter2"])
    good = deployment(pod=template(container(), sidecar))
    cluster = FakeCluster().add(ill(template(container(), sidecar, container("miner"))))
    done = await restore.perform(cluster, begun(good), PLAIN)
    assert done.acted
    assert len(secrets(cluster)) == 1
    assert "hunter2" not in str(done)
    assert "hunter2" not in str(cluster.find("Deployment", "api")["metadata"])


async def test_rights_that_pods_have_no_more_come_back_only_where_that_is_said() -> None:
    good = deployment(pod=template(serviceAccountName="mighty"))
    cluster = FakeCluster().add(ill(template()))
    error = await refused(cluster, begun(good))
    assert "privileges: Restore" in str(error)
    parameters = RestoreLastKnownGoodParameters.model_validate({"privileges": "Restore"})
    assert (await restore.perform(cluster, begun(good), parameters)).acted


async def test_rights_that_pods_did_not_have_may_go() -> None:
    cluster = FakeCluster().add(ill(template(hostNetwork=True)))
    assert (await restore.perform(cluster, begun(deployment()), PLAIN)).acted
    assert "hostNetwork" not in cluster.find("Deployment", "api")["spec"]["template"]["spec"]


async def test_a_config_map_is_restored_where_what_uses_it_is_not_well() -> None:
    good = config_map(level="info")
    user = ill(template(container(envFrom=[{"configMapRef": {"name": "settings"}}])))
    user["metadata"]["labels"] = {"kubernaut.io/remember": "true"}
    cluster = FakeCluster().add(config_map(level="debug", more="yes"), user)
    parameters = RestoreLastKnownGoodParameters.model_validate({"kind": "ConfigMap", "name": "settings"})
    assert (await restore.perform(cluster, begun(good), parameters)).acted
    assert cluster.find("ConfigMap", "settings")["data"] == {"level": "info"}


async def test_a_service_that_selects_nothing_any_more_gets_its_selector_back() -> None:
    meta = {"namespace": "shop", "uid": "uid-service-api", "name": "api"}
    good = {**service({"app": "api"}), "apiVersion": "v1", "metadata": meta}
    served = well(deployment())
    served["metadata"]["labels"] = {"kubernaut.io/remember": "true"}
    cluster = FakeCluster().add({**good, "spec": service({"app": "apii"})["spec"]}, served)
    parameters = RestoreLastKnownGoodParameters.model_validate({"kind": "Service"})
    assert (await restore.perform(cluster, begun(good, target=good), parameters)).acted
    assert cluster.find("Service", "api")["spec"]["selector"] == {"app": "api"}


async def test_a_target_of_a_kind_that_is_not_remembered_is_refused() -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "api-1", "namespace": "shop", "uid": "u"}}
    error = await refused(FakeCluster(), begun(target=pod))
    assert error.reason is Reason.INVALID_PARAMETERS
    assert "with.kind" in str(error)


@pytest.mark.parametrize(
    "given", [{"maxAge": "30s"}, {"maxAge": "3000h"}, {"goodFor": "3000h"}, {"kind": "Secret"}, {"nam": "x"}]
)
def test_parameters_that_can_not_be_meant_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RestoreLastKnownGoodParameters.model_validate(given)
