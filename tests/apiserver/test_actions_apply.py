"""apply_manifest at a real API server: who owns what, and what an apply under preconditions can and can't do."""

from __future__ import annotations

from typing import Any

import pytest

from apiserver.acting import Place, deployment
from kubernaut.actions.generic.apply_manifest import ApplyManifest, ApplyManifestParameters
from kubernaut.core.action import StepContext
from kubernaut.core.errors import Conflict, Invalid, NotFound, OwnedByOthers, StepError
from kubernaut.core.managed_fields import managers
from kubernaut.core.ports import Cluster, Manifest

apply_manifest = ApplyManifest()


def wanted(data: dict[str, str], **more: Any) -> ApplyManifestParameters:
    meta = {"name": "settings"}
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}
    return ApplyManifestParameters.model_validate({"manifest": manifest, **more})


def of_run(place: Place, run: str) -> StepContext:
    place.create("apps/v1", "deployments", deployment()) if not place.items(
        "apps/v1", "deployments"
    ) else None
    return place.context(place.deployment(), run_uid=run)


def account(place: Place, parameters: ApplyManifestParameters) -> Cluster:
    return place.account(apply_manifest.rights(None, parameters))


def settings(place: Place) -> Manifest:
    return place.get("v1", "configmaps", "settings")


def owners(place: Place, key: str) -> set[tuple[str, str]]:
    return {(one.name, one.operation) for one in managers(settings(place)) if ("data", key) in one.fields}


async def test_a_created_object_is_its_managers_as_if_it_had_been_applied(place: Place) -> None:
    parameters = wanted({"level": "info", "extra": "x"})
    step, cluster = of_run(place, "run-1"), account(place, parameters)
    done = await apply_manifest.perform(cluster, step, parameters)
    assert done.outputs == {"created": True, "first": True}
    assert owners(place, "level") == {("kubernaut-apply", "Apply")}
    assert (await apply_manifest.perform(cluster, step, parameters)).changed == done.changed
    # A later run changes one field and leaves one out, and nobody is in its way.
    later = wanted({"level": "debug"})
    assert (await apply_manifest.perform(cluster, of_run(place, "run-2"), later)).acted
    assert settings(place)["data"] == {"level": "debug"}


async def test_what_was_created_is_deleted_by_undo_unless_it_was_changed_since(place: Place) -> None:
    parameters = wanted({"level": "info"})
    cluster = account(place, parameters)
    await apply_manifest.perform(cluster, of_run(place, "run-1"), parameters)
    place.patch("v1", "configmaps", "settings", {"data": {"more": "x"}})
    with pytest.raises(StepError, match="changed since"):
        await apply_manifest.undo(cluster, of_run(place, "run-1"), parameters)
    place.patch("v1", "configmaps", "settings", {"data": {"more": None}})
    assert (await apply_manifest.undo(cluster, of_run(place, "run-1"), parameters)).acted
    assert not place.admin.request("GET", place.path("v1", "configmaps", "settings")).ok


async def test_a_deployment_that_its_controller_has_looked_at_is_still_as_it_was_created(
    place: Place,
) -> None:
    target = of_run(place, "run-1")
    thing = deployment()
    spec = {**thing["spec"], "selector": {"matchLabels": {"app": "new"}}}
    spec["template"] = {**spec["template"], "metadata": {"labels": {"app": "new"}}}
    manifest = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "new"}, "spec": spec}
    parameters = ApplyManifestParameters.model_validate({"manifest": manifest})
    cluster = account(place, parameters)
    await apply_manifest.perform(cluster, target, parameters)
    place.settled("new")
    assert (await apply_manifest.undo(cluster, target, parameters)).acted


async def test_the_fields_of_another_manager_are_its_own_until_they_are_taken_by_force(place: Place) -> None:
    step = of_run(place, "run-1")
    place.create("v1", "configmaps", {"metadata": {"name": "settings"}, "data": {"level": "info"}})
    ((former, _),) = owners(place, "level")
    parameters = wanted({"level": "debug"})
    cluster = account(place, parameters)
    with pytest.raises(OwnedByOthers, match=r"\.data\.level") as caught:
        await apply_manifest.perform(cluster, step, parameters)
    assert caught.value.managers == {former}
    assert settings(place)["data"] == {"level": "info"}
    forced = wanted({"level": "debug"}, force=True)
    assert (await apply_manifest.perform(cluster, step, forced)).acted
    assert ("kubernaut-apply", "Apply") in owners(place, "level")
    assert (await apply_manifest.undo(cluster, step, forced)).acted
    assert settings(place)["data"] == {"level": "info"}
    assert owners(place, "level") == {("kubernaut", "Update")}
    # What an undo put back is not in the way of the next run, without force.
    assert (await apply_manifest.perform(cluster, of_run(place, "run-2"), parameters)).acted


async def test_an_apply_of_an_older_version_or_another_object_or_none_changes_nothing(place: Place) -> None:
    parameters = wanted({"level": "debug"}, force=True)
    cluster = account(place, parameters)
    made = place.create("v1", "configmaps", {"metadata": {"name": "settings"}, "data": {"level": "info"}})
    uid, version = made["metadata"]["uid"], made["metadata"]["resourceVersion"]
    given = parameters.manifest.plain(place.namespace)

    async def apply(uid: str, version: str) -> None:
        await cluster.apply(given, uid=uid, resource_version=version, manager="late", force=True)

    place.patch("v1", "configmaps", "settings", {"data": {"level": "warn"}})
    with pytest.raises(Conflict):
        await apply(uid, version)
    # No other object can have this version, so the API server has no better word for it.
    with pytest.raises(Invalid):
        await apply("5c8a2f5e-0000-4000-8000-000000000000", settings(place)["metadata"]["resourceVersion"])
    version = settings(place)["metadata"]["resourceVersion"]
    assert place.admin.request("DELETE", place.path("v1", "configmaps", "settings")).ok
    with pytest.raises((Conflict, NotFound)):
        await apply(uid, version)
    assert not place.admin.request("GET", place.path("v1", "configmaps", "settings")).ok
