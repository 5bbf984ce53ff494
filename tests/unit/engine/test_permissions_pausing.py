"""What a Workflow's account lacks to pause a sync, in the namespace of the owner that keeps its target."""

from __future__ import annotations

from typing import Any

import pytest

from kubernaut.api.guards import GitOpsMode, Guards
from kubernaut.api.reasons import Reason
from kubernaut.core.guards.levels import Level, Reach
from kubernaut.core.ports import Manifest
from unit.core.gitops_objects import of_argo
from unit.engine.test_permissions import ALL, Server, at_work, workflow

pytestmark = pytest.mark.looptime

APPLICATION = "Application argocd/store"


def pausing(server: Server, **spec: Any) -> Manifest:
    """Return a Workflow that pauses syncs; its Deployment is tracked by an Application that heals itself."""
    server.rules["shop", "repair"] = [ALL | {"apiGroups": ["apps"]}]
    server.objects["Deployment shop/web"] = of_argo(app="argocd_store")
    policy = {"automated": {"selfHeal": True}}
    ref = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Application"}
    meta = {"name": "store", "namespace": "argocd"}
    server.objects[APPLICATION] = {**ref, "metadata": meta, "spec": {"syncPolicy": policy}}
    manifest = workflow()
    manifest["spec"] |= {"guards": {"gitOps": "PauseSync"}, **spec}
    return manifest


async def test_what_pausing_a_sync_needs_is_named_with_its_namespace() -> None:
    server = Server()
    async with at_work(server) as desk:
        found = await desk.found(pausing(server))
        assert (found.ready, found.reason) == (False, Reason.MISSING_RIGHT)
        assert (
            "lacks get, patch applications.argoproj.io store in namespace argocd (guards.gitOps)"
            in found.message
        )


async def test_who_may_pause_the_sync_is_ready_and_nothing_is_left_unclear() -> None:
    server = Server()
    server.quietly = {f"{verb} applications.argoproj.io in argocd" for verb in ("get", "patch")}
    async with at_work(server) as desk:
        found = await desk.found(pausing(server))
        assert found.ready is True
        assert "Not known" not in found.message


async def test_a_right_in_the_workflows_own_namespace_is_none_in_that_of_the_owner() -> None:
    server = Server()
    manifest = pausing(server)
    server.rules["shop", "repair"] = [ALL]
    async with at_work(server) as desk:
        assert "patch applications.argoproj.io store" in (await desk.found(manifest)).message


async def test_an_owner_that_sets_nothing_back_needs_only_to_be_read() -> None:
    server = Server()
    server.quietly = {"get applications.argoproj.io in argocd"}
    manifest = pausing(server)
    server.objects[APPLICATION]["spec"] = {}
    async with at_work(server) as desk:
        assert (await desk.found(manifest)).ready is True


async def test_an_owner_that_may_not_be_read_counts_as_one_that_syncs() -> None:
    server = Server()
    manifest = pausing(server)
    server.objects[APPLICATION]["spec"] = {}
    server.unread = {APPLICATION}
    async with at_work(server) as desk:
        assert "lacks get, patch applications.argoproj.io store" in (await desk.found(manifest)).message


async def test_what_is_not_there_now_is_said_to_be_not_known() -> None:
    server = Server()
    manifest = pausing(server)
    del server.objects["Deployment shop/web"]
    async with at_work(server) as desk:
        found = await desk.found(manifest)
        assert found.ready is True
        assert "guards.gitOps needs (there is no Deployment shop/web now" in found.message


async def test_a_wider_level_that_pauses_syncs_counts_as_it_does_in_a_run() -> None:
    server = Server()
    manifest = pausing(server)
    del manifest["spec"]["guards"]
    wide = Level(Reach.CLUSTER, "", Guards(git_ops=GitOpsMode.PAUSE_SYNC))
    async with at_work(server) as desk:
        desk.watch._levels = lambda namespace, workflow, guards: (wide,)
        assert "patch applications.argoproj.io store" in (await desk.found(manifest)).message


async def test_a_wider_level_that_refuses_leaves_nothing_to_pause() -> None:
    server = Server()
    manifest = pausing(server)
    wide = Level(Reach.CLUSTER, "", Guards(git_ops=GitOpsMode.REFUSE))
    async with at_work(server) as desk:
        own = desk.watch._levels
        desk.watch._levels = lambda *asked: (*own(*asked), wide)
        assert (await desk.found(manifest)).ready is True
        assert server.count(APPLICATION) == 0


async def test_a_wider_level_that_bounds_what_may_be_down_has_the_controllers_of_pods_read() -> None:
    server = Server()
    server.rules["shop", "repair"] = [ALL | {"apiGroups": [""]}]
    share = Level(Reach.NAMESPACE, "shop", Guards(max_unavailable_percent=25))
    manifest = workflow()
    manifest["spec"] |= {
        "target": {"apiVersion": "v1", "kind": "Pod", "name": "web-1"},
        "steps": [{"name": "fix", "action": "restart_pod", "with": {"name": "web-1"}}],
    }
    async with at_work(server) as desk:
        desk.watch._levels = lambda namespace, workflow, guards: (share,)
        found = await desk.found(manifest)
        assert found.reason == Reason.MISSING_RIGHT
        assert "replicasets" in found.message
        assert "guards.maxUnavailablePercent" in found.message
