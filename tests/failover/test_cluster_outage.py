"""What the client does while a real API server hangs, stops and comes back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest

from kubernaut.cluster.call import MERGE, Call
from kubernaut.cluster.client import ApiConnection
from kubernaut.cluster.resources import WELL_KNOWN
from kubernaut.cluster.switch import ActingSwitch, set_switch
from kubernaut.core.errors import Conflict, NotFound, Unavailable, UnknownOutcome
from kubernaut.core.ports import Manifest, ObjectRef
from localcluster import Cluster

API = "kube-apiserver"
CONFIGMAP = WELL_KNOWN["v1", "ConfigMap"]


@pytest.fixture(scope="module")
def fragile() -> Iterator[Cluster]:
    """A cluster of this module's own, for its API server is stopped."""
    cluster = Cluster.up("outage", nodes="kwok", kwok_nodes=1)
    yield cluster
    cluster.down()


@pytest.fixture
async def connection(fragile: Cluster) -> AsyncIterator[ApiConnection]:
    fragile.start(API)
    async with await ApiConnection.load(fragile.kubeconfig) as made:
        yield made
    fragile.start(API)


async def made(connection: ApiConnection, name: str) -> Manifest:
    """A ConfigMap, made anew."""
    ref = ObjectRef("v1", "ConfigMap", "default", name)
    own = connection.own()
    try:
        old = await own.get(ref)
        await own.delete(ref, uid=old["metadata"]["uid"])
    except NotFound:
        pass
    meta = {"name": name, "namespace": "default"}
    return await own.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"n": "0"}})


async def test_a_patch_to_a_server_that_hangs_lands_at_most_once(
    connection: ApiConnection, fragile: Cluster
) -> None:
    before = await made(connection, "hanging")
    ref, version = ObjectRef.of(before), before["metadata"]["resourceVersion"]
    body = {"metadata": {"resourceVersion": version}, "data": {"n": "1"}}
    fragile.stop(API, pause=True)
    call = Call("patch", CONFIGMAP, "default", "hanging", body=body, content_type=MERGE)
    try:
        with pytest.raises(UnknownOutcome):
            await connection.send(call, timeout=1)
        with pytest.raises(Unavailable):
            await connection.own().get(ref, timeout=1)
    finally:
        fragile.start(API)
    # Whether the first one landed or not: sent again with the same precondition it has its effect once.
    with contextlib.suppress(Conflict):
        await connection.send(call)
    after = await connection.own().get(ref)
    assert after["data"] == {"n": "1"}
    with pytest.raises(Conflict):
        await connection.send(call)


async def test_without_a_server_nothing_was_sent_and_soon_hardly_anything_is_tried(
    connection: ApiConnection, fragile: Cluster
) -> None:
    before = await made(connection, "stopped")
    ref, version = ObjectRef.of(before), before["metadata"]["resourceVersion"]
    fragile.stop(API)
    try:
        with pytest.raises((Unavailable, UnknownOutcome)):
            await connection.own().patch(ref, {"data": {"n": "1"}}, resource_version=version)
        for _ in range(30):
            with pytest.raises(Unavailable):
                await connection.own().patch(ref, {"data": {"n": "1"}}, resource_version=version)
        assert connection.breaker.is_open
        assert connection.mutations["patch", "configmaps"] <= 15
    finally:
        fragile.start(API)
    async with asyncio.timeout(30):
        while True:
            try:
                found = await connection.own().get(ref)
                break
            except Unavailable as error:
                await asyncio.sleep(error.retry_after or 0.1)
    assert found["data"] == {"n": "0"}
    assert not connection.breaker.is_open


async def test_a_watch_outlives_the_server(connection: ApiConnection, fragile: Cluster) -> None:
    first = await made(connection, "watched")
    states = connection.own().watch(ObjectRef.of(first))
    async with asyncio.timeout(90):
        assert await anext(states) is not None
        coming = asyncio.ensure_future(anext(states))
        fragile.stop(API)
        fragile.start(API)
        async with await ApiConnection.load(fragile.kubeconfig) as other:
            await other.own().patch(
                ObjectRef.of(first),
                {"data": {"n": "1"}},
                resource_version=first["metadata"]["resourceVersion"],
            )
        changed = await coming
        assert changed is not None
        assert changed["data"] == {"n": "1"}
    await states.aclose()  # type: ignore[attr-defined]


@pytest.mark.parametrize("pause", [True, False], ids=["hangs", "stops"])
async def test_acting_ends_while_the_switch_can_not_be_read_and_is_allowed_again_after(
    connection: ApiConnection, fragile: Cluster, pause: bool
) -> None:
    await set_switch(connection.own(), acting=True, by="anna", reason="", namespace="default", wait=0)
    switch = ActingSwitch(connection.own(), "default")
    told: asyncio.Queue[tuple[bool, str]] = asyncio.Queue()
    switch.on_change(lambda *now: told.put_nowait(now))
    await switch.read()
    reading = asyncio.create_task(switch.run())
    async with asyncio.timeout(60):
        assert await told.get() == (True, "on")
        fragile.stop(API, pause=pause)
        try:
            assert await told.get() == (False, "unreadable")
            assert not switch.acting_allowed()
        finally:
            fragile.start(API)
        assert await told.get() == (True, "on")
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
