"""Actions on Deployments at a real API server, as an account that has just the rights they declare."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from apiserver.acting import Place, deployment
from kubernaut.actions.registry import ActionRegistry
from kubernaut.api.names import API_VERSION, MARKER_PREFIX
from kubernaut.api.reasons import Reason
from kubernaut.core.action import Action
from kubernaut.core.errors import Forbidden, StepError
from kubernaut.core.ports import Manifest, ObjectRef, Right

GOOD, BAD = "kubernaut.local/pause:1", "kubernaut.local/pause:bad"


@dataclass(frozen=True)
class Case:
    """An action, and the one field it should change: before, after."""

    action: str
    path: tuple[str | int, ...]
    before: Any
    after: Any
    given: dict[str, Any] = field(default_factory=dict)
    dry_runs: int = 0
    told: str = ""

    def __str__(self) -> str:
        return f"{self.action}{self.told}"

    @property
    def made(self) -> tuple[Action[Any], Any]:
        action = ActionRegistry().get(self.action)
        return action, action.parameters.model_validate(self.given)

    def value(self, manifest: Manifest) -> Any:
        found: Any = manifest
        for key in self.path:
            found = found[key]
        return found


_CONTAINER = ("spec", "template", "spec", "containers", 0)
CASES = [
    Case("scale_deployment", ("spec", "replicas"), 2, 3, {"delta": 1}),
    Case("rollback_deployment", (*_CONTAINER, "image"), BAD, GOOD),
    Case(
        "increase_resources",
        (*_CONTAINER, "resources"),
        {"limits": {"memory": "64Mi"}, "requests": {"memory": "32Mi"}},
        {"limits": {"memory": "1536Mi"}, "requests": {"memory": "768Mi"}},
        {"memory": "1.5Gi"},
    ),
    Case(
        "patch_resource",
        ("spec", "strategy"),
        {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
        {"type": "Recreate"},
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "name": "api",
            "patch": {"spec": {"strategy": {"type": "Recreate", "rollingUpdate": None}}},
            "expect": {"spec.strategy.type": "RollingUpdate"},
        },
        dry_runs=1,
    ),
    Case(
        "patch_resource",
        ("metadata", "annotations", "example.com/api-token"),
        "old",
        "new",
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "name": "api",
            "patch": {"metadata": {"annotations": {"example.com/api-token": "new"}}},
        },
        told=" of what may be secret",
    ),
]
RUN: Manifest = {
    "apiVersion": API_VERSION,
    "kind": "WorkflowExecution",
    "metadata": {"name": "run"},
    "spec": {"workflowRef": {"name": "flow"}},
}
RESTART = Case("restart_deployment", ("spec", "template"), None, None)


def two_revisions(place: Place) -> Manifest:
    """Return a Deployment whose first revision was rolled out and whose second one has another image."""
    made = deployment(GOOD)
    made["metadata"]["annotations"] = {"example.com/api-token": "old"}
    place.create("apps/v1", "deployments", made)
    place.settled()
    newer = deployment(BAD)["spec"]["template"]
    place.patch("apps/v1", "deployments", "api", {"spec": {"template": newer}})
    return place.settled()


def declared(manifest: Manifest) -> dict[str, Any]:
    """Return what people declare of a Deployment, and its annotations but for markers."""
    annotations = manifest["metadata"].get("annotations", {})
    kept = {k: v for k, v in annotations.items() if "revision" not in k and not k.startswith(MARKER_PREFIX)}
    return {"spec": manifest["spec"], "annotations": kept, "labels": manifest["metadata"].get("labels")}


def rights_of(case: Case, target: Manifest, place: Place) -> tuple[Right, ...]:
    action, parameters = case.made
    return action.rights(place.context(target).target, parameters)


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_with_its_rights_alone_it_acts_once_and_puts_back(place: Place, case: Case) -> None:
    target = two_revisions(place)
    action, parameters = case.made
    account = place.account(rights_of(case, target, place))
    # What a Secret is kept for has to be there: else the garbage collector takes it.
    run = place.create(API_VERSION, "workflowexecutions", RUN)
    context = place.context(target, run_uid=run["metadata"]["uid"])
    before = place.settled()
    assert case.value(before) == case.before

    first = await action.perform(account, context, parameters)
    after = place.settled()
    second = await action.perform(account, context, parameters)
    assert first.acted
    assert second.acted
    assert second.changed == first.changed
    assert case.value(after) == case.after
    assert place.connection.mutations["patch", "deployments"] - case.dry_runs == 1
    assert place.deployment()["metadata"]["generation"] == before["metadata"]["generation"] + 1

    assert (await action.undo(account, context, parameters)).acted
    restored = place.settled()
    assert (await action.undo(account, context, parameters)).acted
    assert declared(restored) == declared(before)
    assert place.deployment()["metadata"]["generation"] == before["metadata"]["generation"] + 2
    assert place.connection.mutations["patch", "deployments"] - case.dry_runs == 2


@pytest.mark.parametrize("case", [*CASES, RESTART], ids=str)
async def test_every_right_it_declares_is_needed_and_named_where_it_lacks(place: Place, case: Case) -> None:
    target = two_revisions(place)
    action, parameters = case.made
    rights = rights_of(case, target, place)
    for missing in rights:
        account = place.account(right for right in rights if right is not missing)
        with pytest.raises(Forbidden, match=f"add verb {missing.verb} on {missing.resource}") as caught:
            await action.perform(account, place.context(target), parameters)
        assert caught.value.reason is Reason.MISSING_RIGHT
    assert declared(place.deployment()) == declared(target)


async def test_restart_replaces_every_pod_once(place: Place) -> None:
    target = two_revisions(place)
    action, parameters = RESTART.made
    account = place.account(rights_of(RESTART, target, place))
    former = {pod["metadata"]["uid"] for pod in place.items("v1", "pods")}
    for _ in range(2):
        assert (await action.perform(account, place.context(target), parameters)).acted
    after = place.settled()
    assert after["metadata"]["generation"] == target["metadata"]["generation"] + 1
    alive = [pod for pod in place.items("v1", "pods") if "deletionTimestamp" not in pod["metadata"]]
    assert len(alive) == 2
    assert not former & {pod["metadata"]["uid"] for pod in alive}


async def test_undo_leaves_alone_what_someone_changed_since(place: Place) -> None:
    target = two_revisions(place)
    for case in CASES[:1]:
        action, parameters = case.made
        account = place.account(rights_of(case, target, place))
        await action.perform(account, place.context(target), parameters)
        place.patch("apps/v1", "deployments", "api", {"spec": {"replicas": 5}})
        with pytest.raises(StepError, match="changed since") as caught:
            await action.undo(account, place.context(target), parameters)
        assert caught.value.reason is Reason.CHANGED_SINCE
        assert place.deployment()["spec"]["replicas"] == 5


async def test_a_deployment_made_anew_is_not_touched(place: Place) -> None:
    target = two_revisions(place)
    case = CASES[0]
    action, parameters = case.made
    account = place.account(rights_of(case, target, place))
    answer = place.admin.request("DELETE", place.path("apps/v1", "deployments", "api"))
    assert answer.ok
    place.create("apps/v1", "deployments", deployment())
    with pytest.raises(StepError, match="made anew") as caught:
        await action.perform(account, place.context(target), parameters)
    assert caught.value.reason is Reason.TARGET_REPLACED
    assert place.deployment()["spec"]["replicas"] == 2


async def test_a_rollback_leaves_the_copies_of_annotations_on_replica_sets_alone(place: Place) -> None:
    """The deployment controller copies annotations, our markers too, to ReplicaSets; none of that comes back."""
    target = two_revisions(place)
    scale, rollback = CASES[0], CASES[1]
    account = place.account({*rights_of(scale, target, place), *rights_of(rollback, target, place)})
    action, parameters = scale.made
    await action.perform(account, place.context(target, step="scale"), parameters)
    place.settled()
    action, parameters = rollback.made
    done = await action.perform(account, place.context(target, step="roll-back"), parameters)
    assert done.outputs["seenAvailable"] is False or done.outputs["seenAvailable"] is True
    after = place.settled()
    assert after["spec"]["template"]["spec"]["containers"][0]["image"] == GOOD
    assert after["spec"]["replicas"] == 3
    action, parameters = scale.made
    assert (await action.undo(account, place.context(target, step="scale"), parameters)).acted
    assert place.deployment()["spec"]["replicas"] == 2


async def test_an_autoscaler_stops_a_scale(place: Place) -> None:
    target = two_revisions(place)
    autoscaler = {
        "metadata": {"name": "api"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "api"},
            "minReplicas": 1,
            "maxReplicas": 4,
        },
    }
    place.create("autoscaling/v2", "horizontalpodautoscalers", autoscaler)
    action, parameters = CASES[0].made
    account = place.account(rights_of(CASES[0], target, place))
    with pytest.raises(StepError, match="HorizontalPodAutoscaler api scales") as caught:
        await action.perform(account, place.context(target), parameters)
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert place.deployment()["spec"]["replicas"] == 2


async def test_an_unknown_deployment_is_named(place: Place) -> None:
    action = ActionRegistry().get("restart_deployment")
    parameters = action.parameters.model_validate({"name": "nowhere"})
    ref = ObjectRef("apps/v1", "Deployment", place.namespace, "nowhere")
    account = place.account(action.rights(ref, parameters))
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "api", "uid": "x"}}
    with pytest.raises(StepError, match="nowhere") as caught:
        await action.perform(account, place.context(target), parameters)
    assert caught.value.reason is Reason.NOT_FOUND
