"""What is done once the operator is gone for good."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from kubernaut import cleanup
from kubernaut.api.names import FINALIZER, LABEL_PART_OF, LABEL_PAUSE
from kubernaut.cluster.account import OperatorCluster
from kubernaut.core.errors import Conflict, NotFound
from kubernaut.core.ports import Manifest, ObjectRef


class Store:
    """Runs and leases, and how often each was written."""

    def __init__(self, runs: dict[str, list[str]], leases: dict[str, dict[str, str]]) -> None:
        self.runs = {name: self._object(name, finalizers=list(held)) for name, held in runs.items()}
        self.leases = {
            name: self._object(name, labels={LABEL_PART_OF: "kubernaut", **labels})
            for name, labels in leases.items()
        }
        self.served = True
        self.pods = 2
        self.scaled: list[Manifest] = []
        self.conflicts = 0

    def _object(self, name: str, **meta: Any) -> Manifest:
        return {"metadata": {"name": name, "namespace": "shop", "uid": name, "resourceVersion": "1", **meta}}

    async def list_pages(self, api_version: str, kind: str) -> AsyncIterator[list[Manifest]]:
        if not self.served:
            raise NotFound("no such kind", status=404)
        for run in list(self.runs.values()):
            yield [copy.deepcopy(run)]

    async def patch_metadata(self, ref: ObjectRef, metadata: Manifest, *, resource_version: str) -> None:
        if self.conflicts:
            self.conflicts -= 1
            raise Conflict("changed meanwhile", status=409)
        if ref.name not in self.runs:
            raise NotFound("gone", status=404)
        self.runs[ref.name]["metadata"].update(metadata)

    async def get(self, ref: ObjectRef) -> Manifest:
        if not self.pods:
            raise NotFound("no such StatefulSet", status=404)
        return self._object(ref.name)

    async def patch(self, ref: ObjectRef, body: Manifest, *, resource_version: str) -> None:
        self.scaled.append(body)

    async def list(self, api_version: str, kind: str, *_: object, **__: object) -> list[Manifest]:
        return [self._object("pod")] * self.pods if kind == "Pod" else list(self.leases.values())

    async def delete(self, ref: ObjectRef, *, uid: str, resource_version: str) -> None:
        del self.leases[ref.name]


def of(store: Store) -> OperatorCluster:
    return cast(OperatorCluster, store)


async def test_our_finalizer_is_taken_off_and_that_of_others_stays() -> None:
    store = Store({"a": [FINALIZER], "b": ["other/one", FINALIZER], "c": ["other/one"]}, {})
    assert await cleanup.let_go(of(store)) == 2
    assert [run["metadata"]["finalizers"] for run in store.runs.values()] == [
        [],
        ["other/one"],
        ["other/one"],
    ]


async def test_done_twice_there_is_nothing_left_to_do() -> None:
    store = Store({"a": [FINALIZER]}, {"member": {}})
    assert (await cleanup.let_go(of(store)), await cleanup.take_leases(of(store), "shop")) == (1, 1)
    assert (await cleanup.let_go(of(store)), await cleanup.take_leases(of(store), "shop")) == (0, 0)


async def test_without_the_kind_there_are_no_runs() -> None:
    store = Store({"a": [FINALIZER]}, {})
    store.served = False
    assert await cleanup.let_go(of(store)) == 0


async def test_a_run_that_changes_meanwhile_is_told_so_that_all_is_read_again() -> None:
    store = Store({"a": [FINALIZER]}, {})
    store.conflicts = 1
    with pytest.raises(Conflict):
        await cleanup.let_go(of(store))
    assert await cleanup.let_go(of(store)) == 1


async def test_a_paused_sync_keeps_its_lease_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    store = Store({}, {"kubernaut-shard-1": {}, "kubernaut-pause-x": {LABEL_PAUSE: "true"}})
    assert await cleanup.take_leases(of(store), "shop") == 1
    assert list(store.leases) == ["kubernaut-pause-x"]
    assert "still paused" in caplog.text


async def test_the_operator_is_stopped_and_waited_for() -> None:
    store = Store({}, {})
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        store.pods -= 1

    await cleanup.stop_operator(of(store), "shop", sleep)
    assert store.scaled == [{"spec": {"replicas": 0}}]
    assert len(slept) == 2


async def test_without_an_operator_there_is_nothing_to_stop() -> None:
    store = Store({}, {})
    store.pods = 0
    await cleanup.stop_operator(of(store), "shop")
    assert not store.scaled


async def test_an_operator_that_does_not_end_is_told() -> None:
    async def sleep(_: float) -> None:
        return

    with pytest.raises(cleanup.StillThere, match="do not end"):
        await cleanup.stop_operator(of(Store({}, {})), "shop", sleep)
