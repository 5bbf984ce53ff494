"""Before-images that are kept in a Secret, because they are large or may be secret."""

from __future__ import annotations

import base64
import copy
import json
from typing import Any

import pytest

from kubernaut.actions.fencing.images import MAX_KEPT
from kubernaut.actions.generic.patch_resource import PatchResource, PatchResourceParameters
from kubernaut.api.reasons import Reason
from kubernaut.core.errors import Forbidden, StepError, Unavailable
from kubernaut.core.marker import read_marker
from kubernaut.core.ports import Manifest
from kubernaut.engine.dryrun import DryRunCluster
from unit.actions.builders import container, context, deployment
from unit.actions.fake import FakeCluster, Lost
from unit.actions.once import content

patch_resource = PatchResource()
SECRET = {"dbPassword": "hunter2"}
LARGE = {"page": "x" * 3000}


def settings(data: dict[str, str]) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "settings", "namespace": "shop", "uid": "uid-settings"},
        "data": data,
    }


def wanted(data: dict[str, str | None]) -> PatchResourceParameters:
    given = {"apiVersion": "v1", "kind": "ConfigMap", "name": "settings", "patch": {"data": data}}
    return PatchResourceParameters.model_validate(given)


def secrets(cluster: FakeCluster) -> list[Manifest]:
    return [one for (kind, _, _), one in cluster.objects.items() if kind == "Secret"]


def told(cluster: FakeCluster) -> str:
    """Return all that is written anywhere but in Secrets and in the object's own fields."""
    return json.dumps(cluster.find("ConfigMap", "settings")["metadata"])


@pytest.mark.parametrize("data", [SECRET, LARGE], ids=["secret", "large"])
async def test_they_are_kept_in_a_secret_of_the_run_and_put_back_from_there(data: dict[str, str]) -> None:
    cluster = FakeCluster().add(settings(data))
    (name, value) = next(iter(data.items()))
    parameters = wanted({name: "new value"})
    first = await patch_resource.perform(cluster, context(), parameters)
    again = await patch_resource.perform(cluster, context(), parameters)
    (secret,) = secrets(cluster)
    (owner,) = secret["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("WorkflowExecution", context().run_uid)
    assert secret["immutable"] is True
    assert first.changed == again.changed
    assert f"data.{name}: changed (for undo see Secret {secret['metadata']['name']})" in first.changed[0]
    for words in (told(cluster), *first.changed, first.message, json.dumps(dict(first.outputs))):
        assert value not in words
        assert "new value" not in words
    undone = await patch_resource.undo(cluster, context(), parameters)
    assert undone.acted
    assert value not in " ".join(undone.changed)
    assert (await patch_resource.undo(cluster, context(), parameters)).acted
    assert content(cluster.find("ConfigMap", "settings"))["data"] == data
    assert [what.split()[0] for verb, what, _ in cluster.writes] == ["Secret", "ConfigMap", "ConfigMap"]


async def test_environment_variables_can_be_changed_and_put_back() -> None:
    had = deployment(pod={"spec": {"containers": [container(env=[{"name": "LEVEL", "value": "info"}])]}})
    cluster = FakeCluster().add(had)
    before = copy.deepcopy(content(cluster.find("Deployment", "api")))
    new = container(env=[{"name": "LEVEL", "value": "debug"}])
    given = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "api"}
    patch = {"patch": {"spec": {"template": {"spec": {"containers": [new]}}}}}
    parameters = PatchResourceParameters.model_validate(given | patch)
    done = await patch_resource.perform(cluster, context(), parameters)
    assert "env" in done.changed[0]
    assert "debug" not in done.changed[0]
    await patch_resource.undo(cluster, context(), parameters)
    assert content(cluster.find("Deployment", "api")) == before


async def test_it_is_stored_before_the_object_is_touched_and_once_however_often_that_is_tried() -> None:
    cluster = FakeCluster().add(settings(SECRET))
    cluster.troubles["create"] = [Lost(landed=True)]
    with pytest.raises(Unavailable, match="may not be stored"):
        await patch_resource.perform(cluster, context(), wanted({"dbPassword": "new"}))
    assert cluster.find("ConfigMap", "settings")["data"] == SECRET
    await patch_resource.perform(cluster, context(), wanted({"dbPassword": "new"}))
    assert len(secrets(cluster)) == 1


async def test_another_change_is_kept_beside_the_first_attempt_s() -> None:
    cluster = FakeCluster().add(settings(SECRET))
    cluster.troubles["create"] = [Lost(landed=True)]
    with pytest.raises(Unavailable):
        await patch_resource.perform(cluster, context(), wanted({"dbPassword": "new"}))
    cluster.edit("ConfigMap", "settings", {"data": {"dbPassword": "somebody's"}})
    await patch_resource.perform(cluster, context(), wanted({"dbPassword": "new"}))
    assert len(secrets(cluster)) == 2
    await patch_resource.undo(cluster, context(), wanted({"dbPassword": "new"}))
    assert cluster.find("ConfigMap", "settings")["data"] == {"dbPassword": "somebody's"}


async def test_a_change_since_is_left_alone_and_not_told() -> None:
    cluster = FakeCluster().add(settings(SECRET))
    await patch_resource.perform(cluster, context(), wanted({"dbPassword": "new"}))
    cluster.edit("ConfigMap", "settings", {"data": {"dbPassword": "somebody's"}})
    with pytest.raises(StepError, match=r"data\.dbPassword is no longer as the step had set it") as caught:
        await patch_resource.undo(cluster, context(), wanted({"dbPassword": "new"}))
    assert caught.value.reason is Reason.CHANGED_SINCE
    assert "somebody's" not in str(caught.value)


@pytest.mark.parametrize("verb", ["create", "get"])
async def test_without_the_rights_to_keep_them_nothing_is_changed(verb: str) -> None:
    cluster = FakeCluster().add(settings(SECRET))
    cluster.forbidden.add(f"{verb} Secret")
    with pytest.raises(Forbidden, match="give the Workflow's account create and get on secrets"):
        await patch_resource.perform(cluster, context(), wanted({"dbPassword": "new"}))
    assert cluster.find("ConfigMap", "settings")["data"] == SECRET


def forged(secret: Manifest) -> None:
    images: dict[str, Any] = {"before": {"data.dbPassword": "evil"}, "after": {"data.dbPassword": "new"}}
    secret["data"] = {"images": base64.b64encode(json.dumps(images).encode()).decode()}


def broken(secret: Manifest) -> None:
    secret["data"] = {"images": "%%%"}


def emptied(secret: Manifest) -> None:
    secret.pop("data")


@pytest.mark.parametrize("spoil", [forged, broken, emptied])
async def test_a_secret_that_holds_something_else_is_not_believed(spoil: Any) -> None:
    cluster = FakeCluster().add(settings(SECRET))
    await patch_resource.perform(cluster, context(), wanted({"dbPassword": "new"}))
    spoil(secrets(cluster)[0])
    with pytest.raises(StepError, match="does not hold what step") as caught:
        await patch_resource.undo(cluster, context(), wanted({"dbPassword": "new"}))
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert cluster.find("ConfigMap", "settings")["data"] == {"dbPassword": "new"}


async def test_a_secret_that_is_gone_is_named_and_nothing_is_put_back() -> None:
    cluster = FakeCluster().add(settings(SECRET))
    await patch_resource.perform(cluster, context(), wanted({"dbPassword": "new"}))
    name = secrets(cluster)[0]["metadata"]["name"]
    cluster.drop("Secret", name)
    with pytest.raises(StepError, match=f"Secret shop/{name} is gone") as caught:
        await patch_resource.undo(cluster, context(), wanted({"dbPassword": "new"}))
    assert caught.value.reason is Reason.PRECONDITION_FAILED


async def test_more_than_a_secret_can_hold_is_refused() -> None:
    cluster = FakeCluster().add(settings({"page": "x" * MAX_KEPT}))
    with pytest.raises(StepError, match=f"at most {MAX_KEPT} can be kept") as caught:
        await patch_resource.perform(cluster, context(), wanted({"page": "short"}))
    assert caught.value.reason is Reason.OUTPUT_TOO_LARGE
    assert cluster.writes == []


async def test_a_dry_run_stores_none() -> None:
    cluster = FakeCluster().add(settings(SECRET))
    done = await patch_resource.perform(DryRunCluster(cluster), context(), wanted({"dbPassword": "new"}))
    assert done.acted
    assert cluster.writes == []


async def test_the_marker_says_where_they_are_and_survives_being_read() -> None:
    cluster = FakeCluster().add(settings(SECRET))
    await patch_resource.perform(cluster, context(), wanted({"dbPassword": "new"}))
    marker = read_marker(cluster.find("ConfigMap", "settings"), context().run_uid, context().signer)
    (mark,) = marker.steps.values()
    assert mark.kept is not None
    assert mark.kept.secret == secrets(cluster)[0]["metadata"]["name"]
    assert mark.kept.paths == ("data.dbPassword",)
    assert (dict(mark.before), dict(mark.after)) == ({}, {})
