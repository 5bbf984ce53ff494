"""Whether accounts have the rights that Workflows need: found out soon, told when it changes, at a bounded rate."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from kubernaut.actions.registry import ActionRegistry
from kubernaut.api.reasons import Reason
from kubernaut.api.workflow import WorkflowSpec
from kubernaut.cluster.resources import WELL_KNOWN, Resource
from kubernaut.core.compiling import compile_plan
from kubernaut.core.errors import ClusterError, Forbidden, MayNotActAs, NotFound, Unavailable
from kubernaut.core.permissions import Permissions
from kubernaut.core.ports import Manifest, ObjectRef, Right
from kubernaut.engine.keys import WorkflowKey
from kubernaut.engine.permissions import AGAIN, LATEST, MOST_SINGLY, PER_SECOND, PermissionWatch
from kubernaut.engine.workflows import WorkflowReconciler
from unit.engine.world import World, scale

pytestmark = pytest.mark.looptime
REGISTRY = ActionRegistry(installed=False)
KEY = WorkflowKey("shop", "fix")
ALL = {"verbs": ["get", "list", "watch", "patch"], "apiGroups": ["*"], "resources": ["*"]}


class Server:
    """An API server that knows what accounts may do, and counts what it is asked."""

    def __init__(self) -> None:
        self.rules: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self.quietly: set[str] = set()
        self.error: ClusterError | None = None
        self.accounts = True
        self.asked: list[tuple[float, str]] = []
        self.objects: dict[str, Manifest] = {}
        self.unread: set[str] = set()

    def as_account(self, namespace: str, service_account: str) -> Account:
        return Account(self, namespace, service_account)

    def own(self) -> Server:
        return self

    async def get(self, ref: ObjectRef) -> Manifest:
        self.note("account")
        if not self.accounts:
            raise NotFound("no such account", status=404)
        return {}

    async def resource(self, api_version: str, kind: str) -> Resource:
        try:
            return WELL_KNOWN[api_version, kind]
        except KeyError:
            raise NotFound("no such kind", status=404) from None

    def note(self, what: str) -> None:
        self.asked.append((asyncio.get_running_loop().time(), what))
        if self.error is not None:
            raise self.error

    def count(self, what: str) -> int:
        return sum(one == what for _, one in self.asked)

    def most_in(self, seconds: float) -> int:
        """Return the most requests that came within so many seconds."""
        times = [at for at, _ in self.asked]
        return max(bisect_left(times, at + seconds) - index for index, at in enumerate(times))


class Account:
    def __init__(self, server: Server, namespace: str, name: str) -> None:
        self.server, self.key = server, (namespace, name)

    async def rules(self, namespace: str) -> Sequence[Mapping[str, Any]]:
        self.server.note("rules")
        return self.server.rules.get(self.key, [])

    async def allowed(self, right: Right, namespace: str) -> bool:
        self.server.note("access")
        where = "" if namespace == "shop" else f" in {namespace}"
        return f"{right}{where}" in self.server.quietly

    async def get(self, ref: ObjectRef) -> Manifest:
        self.server.note(str(ref))
        if str(ref) in self.server.unread:
            raise Forbidden(f"may not get {ref}", status=403)
        try:
            return self.server.objects[str(ref)]
        except KeyError:
            raise NotFound(f"no {ref}", status=404) from None


def workflow(
    name: str = "fix", namespace: str = "shop", account: str = "repair", generation: int = 1
) -> Manifest:
    return {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-{namespace}-{name}",
            "generation": generation,
        },
        "spec": {
            "serviceAccountName": account,
            "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "steps": [{"name": "restart", "action": "restart_deployment"}],
        },
    }


class Desk:
    """The watch at work."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.changed: list[WorkflowKey] = []
        self.watch = PermissionWatch(
            server,
            self.changed.append,
            monotonic=asyncio.get_running_loop().time,
            spread=lambda low, high: (low + high) / 2,
        )

    def look(self, manifest: Manifest, told: bool = False) -> Permissions | None:
        spec = WorkflowSpec.model_validate(manifest["spec"])
        return self.watch.look(manifest, compile_plan(spec, REGISTRY), told)

    async def found(self, manifest: Manifest | None = None) -> Permissions:
        manifest = manifest or workflow()
        self.look(manifest)
        await asyncio.sleep(10)
        known = self.look(manifest)
        assert known is not None
        return known


@asynccontextmanager
async def at_work(server: Server) -> AsyncIterator[Desk]:
    desk = Desk(server)
    task = asyncio.create_task(desk.watch.run())
    try:
        yield desk
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_an_account_with_the_rights_is_ready_after_one_request() -> None:
    server = Server()
    server.rules["shop", "repair"] = [ALL]
    async with at_work(server) as desk:
        found = await desk.found()
        assert (found.ready, found.reason) == (True, Reason.GRANTED)
        assert desk.changed == [KEY]
        assert Counter(what for _, what in server.asked) == {"rules": 1}


async def test_what_lacks_is_named_with_the_step_and_the_fix() -> None:
    server = Server()
    server.rules["shop", "repair"] = [ALL | {"verbs": ["get"]}]
    async with at_work(server) as desk:
        found = await desk.found()
        assert (found.ready, found.reason) == (False, Reason.MISSING_RIGHT)
        assert "patch deployments.apps web (restart)" in found.message
        assert "get" not in found.message.split("lacks")[1].split("Fix")[0]
        assert "kubernaut rbac fix -n shop | kubectl apply -f -" in found.message


async def test_what_an_authorizer_does_not_tell_but_allows_is_not_missed() -> None:
    server = Server()
    server.quietly = {"get deployments.apps", "patch deployments.apps"}
    async with at_work(server) as desk:
        assert (await desk.found()).ready is True
        assert server.count("access") == 2


async def test_a_right_on_what_is_in_no_namespace_is_asked_for_whatever_the_rules_of_one_give() -> None:
    server = Server()
    server.rules["shop", "repair"] = [ALL]
    manifest = workflow()
    manifest["spec"]["target"] = {"apiVersion": "v1", "kind": "Node", "name": "n1"}
    manifest["spec"]["steps"] = [{"name": "tell", "action": "notify_only", "with": {"message": "x"}}]
    async with at_work(server) as desk:
        found = await desk.found(manifest)
        assert found.ready is False
        assert "get nodes n1 (the target)" in found.message


async def test_after_the_right_is_granted_it_is_ready_within_a_minute() -> None:
    server = Server()
    async with at_work(server) as desk:
        assert (await desk.found()).ready is False
        await asyncio.sleep(3600)
        server.rules["shop", "repair"] = [ALL]
        await asyncio.sleep(LATEST * 1.3)
        known = desk.look(workflow())
        assert known is not None
        assert known.ready is True
        assert desk.changed == [KEY, KEY]


async def test_what_stays_as_it_is_is_told_once_and_asked_seldom() -> None:
    server = Server()
    server.rules["shop", "repair"] = [ALL]
    async with at_work(server) as desk:
        await desk.found()
        await asyncio.sleep(24 * 3600)
        assert desk.changed == [KEY]
        assert server.count("rules") <= 24 * 3600 / AGAIN + 1


async def test_a_run_that_was_refused_has_it_looked_at_soon_but_a_thousand_do_not_each() -> None:
    server = Server()
    server.rules["shop", "repair"] = [ALL]
    async with at_work(server) as desk:
        await desk.found()
        server.rules.clear()
        for _ in range(1000):
            desk.watch.refused(KEY)
        await asyncio.sleep(10)
        known = desk.look(workflow())
        assert known is not None
        assert known.ready is False
        assert server.count("rules") <= 3


async def test_a_thousand_workflows_make_no_storm() -> None:
    server = Server()
    async with at_work(server) as desk:
        manifests = [workflow(f"fix-{at}", f"ns-{at % 50}", f"repair-{at % 100}") for at in range(1000)]
        for manifest in manifests:
            desk.look(manifest)
        await asyncio.sleep(1800)
        assert all((known := desk.look(one)) and known.ready is False for one in manifests)
        assert server.most_in(1.0) <= PER_SECOND + 1


async def test_workflows_of_one_account_share_an_answer() -> None:
    server = Server()
    server.rules["shop", "repair"] = [ALL]
    async with at_work(server) as desk:
        for at in range(200):
            desk.look(workflow(f"fix-{at}"))
        await asyncio.sleep(10)
        assert server.count("rules") <= 3
        assert len(desk.changed) == 200


async def test_a_review_that_fails_is_not_known_and_says_why() -> None:
    server = Server()
    server.error = Forbidden("repair may not create selfsubjectrulesreviews", status=403)
    async with at_work(server) as desk:
        found = await desk.found()
        assert (found.ready, found.reason) == (None, Reason.REVIEW_FAILED)
        assert "may not create selfsubjectrulesreviews" in found.message


async def test_what_was_known_stays_while_the_api_server_is_away() -> None:
    server = Server()
    server.rules["shop", "repair"] = [ALL]
    async with at_work(server) as desk:
        await desk.found()
        server.error = Unavailable("away", status=503)
        await asyncio.sleep(3 * AGAIN)
        known = desk.look(workflow())
        assert known is not None
        assert known.ready is True
        assert desk.changed == [KEY]


async def test_an_account_that_the_operator_may_not_act_as_lacks_that() -> None:
    server = Server()
    server.error = MayNotActAs("operator may not act as shop/repair", status=403)
    async with at_work(server) as desk:
        found = await desk.found()
        assert (found.ready, found.reason) == (False, Reason.MISSING_RIGHT)
        assert "may not act as shop/repair" in found.message


async def test_an_account_that_does_not_exist_is_said_to_be_the_trouble() -> None:
    server = Server()
    server.accounts = False
    async with at_work(server) as desk:
        found = await desk.found()
        assert (found.ready, found.reason) == (False, Reason.SERVICE_ACCOUNT_NOT_FOUND)


async def test_an_edit_is_looked_at_anew() -> None:
    server = Server()
    server.rules["shop", "repair"] = [ALL]
    async with at_work(server) as desk:
        await desk.found()
        assert desk.look(workflow(account="other", generation=2)) is None
        await asyncio.sleep(10)
        known = desk.look(workflow(account="other", generation=2))
        assert known is not None
        assert known.ready is False


async def test_a_workflow_that_is_gone_is_asked_for_no_more() -> None:
    server = Server()
    async with at_work(server) as desk:
        await desk.found()
        desk.watch.forget(KEY)
        asked = len(server.asked)
        await asyncio.sleep(7200)
        assert len(server.asked) == asked


async def test_another_replica_asks_nothing() -> None:
    server = Server()
    async with at_work(server) as desk:
        desk.watch.active = lambda: False
        desk.look(workflow())
        await asyncio.sleep(7200)
        assert not server.asked
        desk.watch.active = lambda: True
        await asyncio.sleep(120)
        assert server.count("rules") >= 1


async def test_more_doubt_than_can_be_asked_for_is_not_taken_for_a_right() -> None:
    server = Server()
    server.quietly = {"get deployments.apps", "patch deployments.apps", "get configmaps", "patch configmaps"}
    manifest = workflow()
    manifest["spec"]["steps"] = [
        {
            "name": f"s{at}",
            "action": "patch_resource",
            "with": {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "name": f"c{at}",
                "patch": {"metadata": {"labels": {"a": "b"}}},
            },
        }
        for at in range(MOST_SINGLY)
    ]
    async with at_work(server) as desk:
        desk.look(manifest)
        await asyncio.sleep(60)
        found = desk.look(manifest)
        assert found is not None
        assert found.ready is None
        assert server.count("access") <= 4 * MOST_SINGLY


async def test_the_message_names_no_more_than_can_be_read() -> None:
    server = Server()
    manifest = workflow()
    manifest["spec"]["steps"] = [
        {
            "name": f"s{at}",
            "action": "patch_resource",
            "with": {
                "apiVersion": f"x{at}.example.com/v1",
                "kind": "Thing",
                "name": "a",
                "patch": {"spec": {"a": 1}},
            },
        }
        for at in range(20)
    ]
    async with at_work(server) as desk:
        desk.look(manifest)
        await asyncio.sleep(60)
        found = desk.look(manifest)
        assert found is not None
        assert "and 13 more" in found.message
        assert len(found.message) < 1500


async def test_the_status_tells_it_and_is_written_only_where_it_changes() -> None:
    world, server = World(), Server()
    server.rules["shop", "repair"] = [ALL]
    world.workflow(scale("one", 2))
    async with at_work(server) as desk:
        reconciler = WorkflowReconciler(world.cluster, REGISTRY, world.clock, permissions=desk.watch)

        async def conditions() -> dict[str, Any]:
            await reconciler.reconcile(world.cluster.find("Workflow", "fix"))
            found = world.cluster.find("Workflow", "fix")["status"]["conditions"]
            return {one["type"]: one for one in found}

        assert set(await conditions()) == {"Ready"}
        await asyncio.sleep(10)
        told = (await conditions())["PermissionsReady"]
        assert (told["status"], told["reason"], told["observedGeneration"]) == ("True", "Granted", 1)
        writes = len(world.cluster.writes)
        await conditions()
        assert len(world.cluster.writes) == writes
        world.cluster.edit("Workflow", "fix", {"spec": {"steps": [scale("one", 3)]}})
        again = await conditions()
        assert again["PermissionsReady"] == told, "what was known stays until more is known"
        assert again["Ready"]["observedGeneration"] == 2
        world.cluster.edit(
            "Workflow", "fix", {"spec": {"steps": [{"name": "x", "action": "nothing_like_it"}]}}
        )
        assert "PermissionsReady" not in await conditions()


# What PauseSync needs
