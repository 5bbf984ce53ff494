"""The stop switch, the signing key, snapshots and the policy check against a real API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from apiserver.rights import in_force
from kubernaut.api.workflow import WorkflowSpec
from kubernaut.cluster.client import ApiConnection
from kubernaut.cluster.policies import PolicyCheck
from kubernaut.cluster.sharedwatches import MOST_ALONE, SharedWatches
from kubernaut.cluster.signing import load_signer
from kubernaut.cluster.snapshots import Snapshots
from kubernaut.cluster.switch import ActingSwitch, set_switch
from kubernaut.core.errors import NotFound
from kubernaut.core.ports import Manifest, ObjectRef
from localcluster import Cluster

SPEC = WorkflowSpec.model_validate(
    {
        "serviceAccountName": "repair",
        "parameters": [{"name": "deployment", "required": True}],
        "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "=params.deployment"},
        "steps": [
            {"name": "wait", "wait": {"duration": "1m30s"}},
            {
                "name": "patch",
                "action": "patch_resource",
                "with": {"patch": {"spec": {"replicas": 2, "paused": None, "x": 1.5}}},
                "dependsOn": ["wait"],
            },
        ],
        "verify": {"expect": ["target.status.readyReplicas == 1"]},
    }
)


@pytest.fixture
async def connection(cluster: Cluster) -> AsyncIterator[ApiConnection]:
    """The administrator's connection."""
    async with await ApiConnection.load(cluster.kubeconfig) as made:
        yield made


async def test_a_stop_reaches_the_operator_and_is_acknowledged_and_a_start_too(
    connection: ApiConnection, namespace: str
) -> None:
    own = connection.own()
    switch = ActingSwitch(own, namespace)
    told: asyncio.Queue[tuple[bool, str]] = asyncio.Queue()
    switch.on_change(lambda *now: told.put_nowait(now))
    reading = asyncio.create_task(switch.run())
    async with asyncio.timeout(20):
        assert await told.get() == (False, "missing")
        for acting, kind in ((True, "on"), (False, "stopped"), (True, "on")):
            done = await set_switch(
                own, acting=acting, by="anna", reason="bad rollout", namespace=namespace, wait=10
            )
            assert done.acknowledged
            assert await told.get() == (acting, kind)
            assert switch.acting_allowed() is acting
            assert switch.refusal() == ("" if acting else "stopped by anna: bad rollout")
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)


async def test_many_operators_that_start_at_once_sign_with_one_key(
    connection: ApiConnection, namespace: str
) -> None:
    own = connection.own()
    with pytest.raises(NotFound):
        await load_signer(own, namespace)
    meta = {"name": "kubernaut-signing", "namespace": namespace}
    await own.create({"apiVersion": "v1", "kind": "Secret", "metadata": meta})
    signers = await asyncio.gather(*(load_signer(own, namespace) for _ in range(6)))
    assert len({signer.key for signer in signers}) == 1


async def test_a_snapshot_comes_back_as_it_was(connection: ApiConnection, namespace: str) -> None:
    snapshots = Snapshots(connection.own())
    names = await asyncio.gather(*(snapshots.ensure(namespace, "crash-loop", SPEC, 1) for _ in range(4)))
    assert len(set(names)) == 1
    assert await snapshots.get(namespace, names[0]) == SPEC


async def test_the_policies_as_applied_are_in_force(connection: ApiConnection) -> None:
    assert await PolicyCheck(connection.own()).problems() == []


def _may_watch(cluster: Cluster, namespace: str, names: Sequence[str] = ()) -> None:
    only = [f"--resource-name={name}" for name in names]
    cluster.run_kubectl(
        "create", "role", "r", "--verb=list,watch", "--resource=configmaps", *only, "-n", namespace
    )
    cluster.run_kubectl(
        "create", "rolebinding", "r", "--role=r", f"--serviceaccount={namespace}:repair", "-n", namespace
    )
    what = f"configmaps/{names[0]}" if names else "configmaps"
    in_force(cluster, namespace, f"system:serviceaccount:{namespace}:repair", "watch", what)


@pytest.mark.parametrize("each", [False, True], ids=["all", "single objects only"])
async def test_many_objects_are_watched_with_rights_on(
    each: bool, connection: ApiConnection, cluster: Cluster, namespace: str
) -> None:
    own = connection.own()
    names = [f"c{number}" for number in range(MOST_ALONE + 3)]
    _may_watch(cluster, namespace, names if each else ())
    watches = SharedWatches(connection)
    told: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    def tell(name: str) -> Callable[[Manifest | None], None]:
        return lambda seen: told.put_nowait((name, (seen or {}).get("data", {}).get("a", "gone")))

    for name in names:
        watches.subscribe(namespace, "repair", ObjectRef("v1", "ConfigMap", namespace, name), tell(name))
    async with asyncio.timeout(30):
        assert sorted([await told.get() for _ in names]) == sorted((name, "gone") for name in names)
        for value in ("1", "2"):
            for name in names:
                meta = {"name": name, "namespace": namespace}
                body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"a": value}}
                if value == "1":
                    await own.create(body)
                else:
                    seen = await own.get(ObjectRef.of(body))
                    version = seen["metadata"]["resourceVersion"]
                    await own.patch(ObjectRef.of(seen), {"data": {"a": value}}, resource_version=version)
            assert sorted([await told.get() for _ in names]) == sorted((name, value) for name in names)
    running = {task.get_name() for task in asyncio.all_tasks()}
    assert ("watch ConfigMap" in running) is not each
    await watches.close()


async def test_waiters_share_a_watch(connection: ApiConnection, cluster: Cluster, namespace: str) -> None:
    _may_watch(cluster, namespace)
    watches = SharedWatches(connection)
    told: asyncio.Queue[Manifest | None] = asyncio.Queue()
    ref = ObjectRef("v1", "ConfigMap", namespace, "c")
    ends = [watches.subscribe(namespace, "repair", ref, told.put_nowait) for _ in range(3)]
    async with asyncio.timeout(20):
        assert [await told.get() for _ in range(3)] == [None] * 3
        meta = {"name": "c", "namespace": namespace}
        made = await connection.own().create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta})
        for _ in range(3):
            seen = await told.get()
            assert seen is not None
            assert seen["metadata"]["uid"] == made["metadata"]["uid"]
    for end in ends:
        end()
    assert len(watches) == 0
    await watches.close()
