"""The client against a real API server: what it answers, what it enforces, what it logs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import yaml

from apiserver.rest import MERGE_PATCH, Client
from apiserver.rights import in_force
from kubernaut.cluster.account import AccountCluster
from kubernaut.cluster.call import Call
from kubernaut.cluster.client import ApiConnection
from kubernaut.cluster.resources import WELL_KNOWN, Resource
from kubernaut.core.errors import (
    AlreadyExists,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    TooManyRequests,
    Unavailable,
)
from kubernaut.core.ports import Manifest, ObjectRef
from localcluster import Cluster

MUTATING = {"create", "update", "patch", "delete", "deletecollection"}


@pytest.fixture
async def connection(cluster: Cluster) -> AsyncIterator[ApiConnection]:
    """The administrator's connection."""
    async with await ApiConnection.load(cluster.kubeconfig) as made:
        yield made


@pytest.fixture
async def nobody(cluster: Cluster, namespace: str, tmp_path: Path) -> AsyncIterator[ApiConnection]:
    """The connection of a ServiceAccount without any right, by its token."""
    cluster.run_kubectl("create", "serviceaccount", "nobody", "-n", namespace)
    token = cluster.run_kubectl("create", "token", "nobody", "-n", namespace).strip()
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    async with await ApiConnection.load(path) as made:
        yield made


def configmap(namespace: str, name: str = "c", **meta: Any) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, **meta},
        "data": {"a": "1"},
    }


def allow(cluster: Cluster, namespace: str, account: str, *verbs: str, resource: str, name: str = "") -> None:
    """Give a ServiceAccount verbs on a resource, or on one object of it."""
    names = [f"--resource-name={name}"] if name else []
    role = f"{account}-{resource.partition('.')[0]}"
    wanted = [f"--verb={verb}" for verb in verbs]
    cluster.run_kubectl("create", "role", role, *wanted, f"--resource={resource}", *names, "-n", namespace)
    who = f"--serviceaccount={namespace}:{account}"
    cluster.run_kubectl("create", "rolebinding", role, f"--role={role}", who, "-n", namespace)
    user = f"system:serviceaccount:{namespace}:{account}"
    for verb in verbs:
        in_force(cluster, namespace, user, verb, f"{resource}/{name}" if name else resource)


def version(manifest: Manifest) -> str:
    return str(manifest["metadata"]["resourceVersion"])


async def test_a_late_resend_of_a_patch_has_no_second_effect(
    connection: ApiConnection, namespace: str
) -> None:
    own = connection.own()
    made = await own.create(configmap(namespace))
    ref = ObjectRef.of(made)
    patched = await own.patch(ref, {"data": {"a": "2"}}, resource_version=version(made))
    assert patched["data"] == {"a": "2"}
    with pytest.raises(Conflict):
        await own.patch(ref, {"data": {"a": "3"}}, resource_version=version(made))
    assert (await own.get(ref))["data"] == {"a": "2"}


async def test_version_zero_is_no_precondition_to_the_server_which_is_why_it_is_never_sent(
    connection: ApiConnection, admin: Client, namespace: str
) -> None:
    ref = ObjectRef.of(await connection.own().create(configmap(namespace)))
    body = {"metadata": {"resourceVersion": "0"}, "data": {"a": "2"}}
    path = f"/api/v1/namespaces/{namespace}/configmaps/c"
    assert admin.request("PATCH", path, body, content_type=MERGE_PATCH).ok
    sent = connection.mutations.total()
    with pytest.raises(AssertionError):
        await connection.own().patch(ref, {"data": {"a": "3"}}, resource_version="0")
    assert connection.mutations.total() == sent


async def test_what_exists_already_is_told_from_what_changed(
    connection: ApiConnection, namespace: str
) -> None:
    await connection.own().create(configmap(namespace))
    with pytest.raises(AlreadyExists):
        await connection.own().create(configmap(namespace))


async def test_a_dry_run_changes_nothing(connection: ApiConnection, namespace: str) -> None:
    own = connection.own()
    made = await own.create(configmap(namespace))
    tried = await own.patch(
        ObjectRef.of(made), {"data": {"a": "2"}}, resource_version=version(made), dry_run=True
    )
    assert tried["data"] == {"a": "2"}
    assert (await own.get(ObjectRef.of(made)))["data"] == {"a": "1"}
    await own.create(configmap(namespace, "other"), dry_run=True)
    with pytest.raises(NotFound):
        await own.get(ObjectRef("v1", "ConfigMap", namespace, "other"))
    await own.delete(ObjectRef.of(made), uid=made["metadata"]["uid"], dry_run=True)
    assert version(await own.get(ObjectRef.of(made))) == version(made)


async def test_a_delete_meets_only_the_object_it_means(connection: ApiConnection, namespace: str) -> None:
    own = connection.own()
    made = await own.create(configmap(namespace))
    ref = ObjectRef.of(made)
    with pytest.raises(Conflict):
        await own.delete(ref, uid="00000000-0000-0000-0000-000000000000")
    with pytest.raises(Conflict):
        await own.delete(ref, uid=ref.uid, resource_version="1")
    await own.delete(ref, uid=ref.uid, resource_version=version(made))
    with pytest.raises(NotFound):
        await own.delete(ref, uid=ref.uid)


async def test_a_status_is_written_under_the_same_lock(connection: ApiConnection, namespace: str) -> None:
    own = connection.own()
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "spec": {"containers": [{"name": "c", "image": "none.invalid/none"}]},
    }
    pod = await own.create({**body, "metadata": {"name": "p", "namespace": namespace}})
    # Schedulers and nodes write it too, so the version moves until ours is in.
    while True:
        try:
            status = {"status": {"message": "ours"}}
            pod = await own.patch_status(ObjectRef.of(pod), status, resource_version=version(pod))
            break
        except Conflict:
            pod = await own.get(ObjectRef.of(pod))
    assert pod["status"]["message"] == "ours"
    with pytest.raises(Conflict):
        await own.patch_status(ObjectRef.of(pod), {"status": {"message": "late"}}, resource_version="1")


async def test_an_account_has_its_own_rights_and_no_more(
    connection: ApiConnection, cluster: Cluster, namespace: str
) -> None:
    made = await connection.own().create(configmap(namespace))
    account = connection.as_account(namespace, "repair")
    with pytest.raises(Forbidden) as caught:
        await account.get(ObjectRef.of(made))
    who = f"system:serviceaccount:{namespace}:repair"
    assert f"{who} may not get configmaps in namespace {namespace}; add verb get on configmaps" in str(
        caught.value
    )
    allow(cluster, namespace, "repair", "get", resource="configmaps")
    assert (await account.get(ObjectRef.of(made)))["data"] == {"a": "1"}
    with pytest.raises(Forbidden, match="may not patch configmaps"):
        await account.patch(ObjectRef.of(made), {"data": {"a": "2"}}, resource_version=version(made))


async def test_who_may_not_impersonate_is_told_so(nobody: ApiConnection, namespace: str) -> None:
    assert await nobody.whoami() == f"system:serviceaccount:{namespace}:nobody"
    with pytest.raises(Forbidden, match=f"may not act as {namespace}/repair: it lacks verb impersonate"):
        await nobody.as_account(namespace, "repair").get(ObjectRef("v1", "ConfigMap", namespace, "c"))


async def test_credentials_that_are_refused_are_told(cluster: Cluster, tmp_path: Path) -> None:
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": "wrong"}
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    async with await ApiConnection.load(tmp_path / "kubeconfig") as wrong:
        with pytest.raises(Unavailable, match="does not accept our credentials"):
            await wrong.own().list("v1", "Namespace", "")


async def test_kinds_that_are_in_no_table_are_found_and_unknown_ones_told(connection: ApiConnection) -> None:
    own = connection.own()
    assert isinstance(await own.list("node.k8s.io/v1", "RuntimeClass", ""), list)
    with pytest.raises(NotFound, match=r"has no API shop\.example/v1"):
        await own.get(ObjectRef("shop.example/v1", "Gear", "default", "x"))
    with pytest.raises(NotFound, match="API apps/v1 has no kind Gear"):
        await own.get(ObjectRef("apps/v1", "Gear", "default", "x"))
    unserved = Resource("shop.example/v1", "Gear", "gears")
    with pytest.raises(NotFound, match=r"the cluster has no gears\.shop\.example"):
        await connection.send(Call("get", unserved, "default", "x"))


async def test_every_kind_of_the_table_is_where_the_table_says(connection: ApiConnection) -> None:
    # metrics.k8s.io is served by an add-on, which this cluster has not.
    table = {kind: one for kind, one in WELL_KNOWN.items() if one.group != "metrics.k8s.io"}
    groups = sorted({api_version for api_version, _ in table})
    paths = [f"/apis/{group}" if "/" in group else f"/api/{group}" for group in groups]
    served = dict(zip(groups, await asyncio.gather(*map(connection.read, paths)), strict=True))
    for (api_version, kind), resource in table.items():
        found = {entry["name"]: entry for entry in served[api_version]["resources"]}
        assert resource.plural in found, resource
        assert found[resource.plural]["kind"] == kind
        assert found[resource.plural]["namespaced"] is resource.namespaced


async def test_lists_are_paged_and_selected(connection: ApiConnection, namespace: str) -> None:
    own = connection.own()
    made = [configmap(namespace, f"c{number}", labels={"odd": str(number % 2)}) for number in range(7)]
    await asyncio.gather(*map(own.create, made))
    found = await own.list("v1", "ConfigMap", namespace, label_selector="odd", limit=2)
    assert sorted(one["metadata"]["name"] for one in found) == [f"c{number}" for number in range(7)]
    assert {(one["apiVersion"], one["kind"]) for one in found} == {("v1", "ConfigMap")}
    assert len(await own.list("v1", "ConfigMap", namespace, label_selector="odd=1")) == 3
    pages = [
        page async for page in own.list_pages("v1", "ConfigMap", namespace, label_selector="odd", limit=3)
    ]
    assert [len(page) for page in pages] == [3, 3, 1]


async def test_a_watch_sees_the_object_come_change_and_go(
    connection: ApiConnection, cluster: Cluster, namespace: str
) -> None:
    own = connection.own()
    # Rights on this one object are enough.
    allow(cluster, namespace, "repair", "list", "watch", resource="configmaps", name="c")
    states = connection.as_account(namespace, "repair").watch(ObjectRef("v1", "ConfigMap", namespace, "c"))
    async with asyncio.timeout(20):
        assert await anext(states) is None
        made = await own.create(configmap(namespace))
        await own.create(configmap(namespace, "other"))
        came = await anext(states)
        assert came is not None
        assert came["metadata"]["uid"] == made["metadata"]["uid"]
        await own.patch(ObjectRef.of(made), {"data": {"a": "2"}}, resource_version=version(made))
        changed = await anext(states)
        assert changed is not None
        assert (changed["data"], changed["kind"]) == ({"a": "2"}, "ConfigMap")
        await own.delete(ObjectRef.of(made), uid=made["metadata"]["uid"])
        assert await anext(states) is None
    await states.aclose()  # type: ignore[attr-defined]


async def test_a_watch_without_the_right_names_it(connection: ApiConnection, namespace: str) -> None:
    with pytest.raises(Forbidden, match="may not list configmaps"):
        await anext(
            connection.as_account(namespace, "repair").watch(ObjectRef("v1", "ConfigMap", namespace, "c"))
        )


async def _ready_pod(connection: ApiConnection, cluster: Cluster, namespace: str) -> Manifest:
    container = {
        "name": "main",
        "image": cluster.real_image("busybox"),
        "command": ["sh", "-c", "echo hello; sleep 999"],
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": namespace, "labels": {"app": "p"}},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
    }
    made = await connection.own().create(pod)
    return await _seen(connection.own(), ObjectRef.of(made), _ready)


def _ready(pod: Manifest | None) -> bool:
    conditions = pod["status"].get("conditions", ()) if pod else ()
    return any((one["type"], one["status"]) == ("Ready", "True") for one in conditions)


async def _seen(
    cluster: AccountCluster, ref: ObjectRef, holds: Callable[[Manifest | None], bool]
) -> Manifest:
    """Watch an object until something holds; close the watch, for a broken off one would live on for a while."""
    states = cluster.watch(ref)
    assert isinstance(states, AsyncGenerator)
    async with aclosing(states):
        async for seen in states:
            if holds(seen):
                return seen or {}
    raise AssertionError("the watch ended")


async def test_an_eviction_respects_budgets_and_identity(
    connection: ApiConnection, cluster: Cluster, namespace: str
) -> None:
    own = connection.own()
    async with asyncio.timeout(60):
        pod = await _ready_pod(connection, cluster, namespace)
        ref = ObjectRef.of(pod)
        spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "p"}}}
        meta = {"name": "p", "namespace": namespace}
        budget = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": meta, "spec": spec}
        made = await own.create(budget)
        made = await _seen(
            own,
            ObjectRef.of(made),
            lambda one: (one or {}).get("status", {}).get("currentHealthy") == 1,
        )
        with pytest.raises(TooManyRequests, match="disruption budget"):
            await own.evict(ref, uid=ref.uid)
        assert not connection.breaker.is_open
        await own.delete(ObjectRef.of(made), uid=made["metadata"]["uid"])
        with pytest.raises(Conflict):
            await own.evict(ref, uid="00000000-0000-0000-0000-000000000000")
        await own.evict(ref, uid=ref.uid)
        await _seen(own, ref, lambda one: one is None)
    with pytest.raises(NotFound):
        await own.evict(ref, uid=ref.uid)


async def test_logs_of_a_container_that_is_not_there_are_refused(
    connection: ApiConnection, cluster: Cluster, namespace: str
) -> None:
    async with asyncio.timeout(60):
        ref = ObjectRef.of(await _ready_pod(connection, cluster, namespace))
    with pytest.raises(Invalid):
        await connection.own().logs(ref, container="none")
    if cluster.has_real_node:
        assert await connection.own().logs(ref, container="main") == "hello\n"
        with pytest.raises(Invalid, match="previous"):
            await connection.own().logs(ref, container="main", previous=True)


def _mutations_in(log: Path, start: int, account: str) -> list[dict[str, Any]]:
    with log.open() as lines:
        lines.seek(start)
        entries = [json.loads(line) for line in lines.read().splitlines(keepends=True) if line.endswith("\n")]
    return [
        entry
        for entry in entries
        if entry["stage"] == "ResponseComplete"
        and entry["verb"] in MUTATING
        and entry.get("impersonatedUser", {}).get("username") == account
        and entry["objectRef"].get("apiGroup") != "authorization.k8s.io"
    ]


async def test_the_servers_log_shows_each_mutation_once_and_each_with_its_precondition(
    connection: ApiConnection, cluster: Cluster, namespace: str
) -> None:
    log = cluster.audit_log
    assert log is not None
    start = log.stat().st_size
    allow(cluster, namespace, "repair", "get", "create", "patch", "delete", resource="deployments.apps")
    account = connection.as_account(namespace, "repair")
    labels = {"app": "web"}
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "c", "image": "none.invalid/x"}]},
    }
    made = await account.create(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web", "namespace": namespace},
            "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": template},
        }
    )
    ref, before = ObjectRef.of(made), connection.mutations.copy()
    assert before == {("create", "deployments"): 1}
    for number in range(3):
        with pytest.raises(Conflict):
            await account.patch(ref, {"metadata": {"labels": {"n": str(number)}}}, resource_version="1")
    await account.delete(ref, uid=ref.uid)
    for any_version in ("", "0"):
        with pytest.raises(AssertionError):
            await account.patch(ref, {"spec": {}}, resource_version=any_version)

    who = f"system:serviceaccount:{namespace}:repair"
    async with asyncio.timeout(10):
        while len(logged := _mutations_in(log, start, who)) < connection.mutations.total():
            await connection.read("/version")  # the log is written by and by; each request pushes it on
    assert [entry["verb"] for entry in logged] == ["create", "patch", "patch", "patch", "delete"]
    assert connection.mutations.total() == 5
    create, *patches, delete = (entry["requestObject"] for entry in logged)
    assert create["metadata"]["name"] == "web"
    assert all(patch["metadata"]["resourceVersion"] == "1" for patch in patches)
    assert delete["preconditions"]["uid"] == ref.uid
