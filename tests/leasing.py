"""A store of leases with the API server's preconditions, whose requests land when a test says so."""

from __future__ import annotations

import asyncio
import contextlib
import copy
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from kubernaut.cluster.leases import Leases
from kubernaut.cluster.session import Session
from kubernaut.core.errors import AlreadyExists, Conflict, NotFound, UnknownOutcome
from kubernaut.core.fields import apply_merge_patch, without_nulls
from kubernaut.core.ports import Manifest, ObjectRef
from kubernaut.engine.ownership import Shards
from kubernaut.engine.shards import ShardKeeper

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
DURATION, RENEW = 6.0, 2.0


class LeaseStore:
    """The leases as etcd has them."""

    def __init__(self) -> None:
        self.objects: dict[str, Manifest] = {}
        self.requests: list[str] = []
        self._version = 100

    def holders(self) -> dict[str, str]:
        """Return who is written into each lease."""
        return {name: one["spec"].get("holderIdentity", "") for name, one in self.objects.items()}

    def edit(self, name: str, patch: Manifest) -> None:
        """Change a lease as a person would."""
        self._store(name, apply_merge_patch(self.objects[name], patch))

    def list(self) -> list[Manifest]:
        return copy.deepcopy(list(self.objects.values()))

    def create(self, manifest: Manifest) -> Manifest:
        name = manifest["metadata"]["name"]
        if name in self.objects:
            raise AlreadyExists(f"{name} exists", status=409)
        made = copy.deepcopy(manifest)
        made["metadata"]["uid"] = f"uid-{self._version}"
        return self._store(name, made)

    def patch(self, name: str, body: Manifest, version: str) -> Manifest:
        if name not in self.objects:
            raise NotFound(f"{name} is gone", status=404)
        if self.objects[name]["metadata"]["resourceVersion"] != version:
            raise Conflict(f"{name} changed", status=409)
        return self._store(name, apply_merge_patch(self.objects[name], body))

    def delete(self, name: str, uid: str, version: str) -> None:
        if name not in self.objects:
            raise NotFound(f"{name} is gone", status=404)
        meta = self.objects[name]["metadata"]
        if (meta["uid"], meta["resourceVersion"]) != (uid, version):
            raise Conflict(f"{name} changed", status=409)
        del self.objects[name]

    def _store(self, name: str, manifest: Manifest) -> Manifest:
        self._version += 1
        new: Manifest = without_nulls(copy.deepcopy(manifest))
        new["metadata"]["resourceVersion"] = str(self._version)
        self.objects[name] = new
        return copy.deepcopy(new)


@dataclass
class Request:
    """A request on its way."""

    land: Callable[[], Any]
    mutates: bool
    answer: asyncio.Future[Any] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def arrive(self) -> None:
        """Land, and be answered."""
        try:
            found = self.land()
        except (AlreadyExists, Conflict, NotFound) as error:
            self._answer(error)
        else:
            if not self.answer.done():
                self.answer.set_result(found)

    def lose(self, *, landed: bool) -> None:
        """Have the answer lost, whether or not it landed."""
        if landed:
            with contextlib.suppress(AlreadyExists, Conflict, NotFound):
                self.land()
        self._answer(UnknownOutcome("the answer was lost"))

    def _answer(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class LeaseCluster:
    """The store as one replica reaches it. With ``hold``, requests wait until they are let land."""

    def __init__(self, store: LeaseStore, *, hold: bool = False) -> None:
        self.store = store
        self.hold = hold
        self.pending: list[Request] = []

    async def _send(self, what: str, land: Callable[[], Any]) -> Any:
        self.store.requests.append(what)
        request = Request(land, not what.startswith("list"))
        if not self.hold:
            request.arrive()
        else:
            self.pending.append(request)
        return await request.answer

    async def list(
        self, api_version: str, kind: str, namespace: str, *, label_selector: str = ""
    ) -> list[Manifest]:
        found: list[Manifest] = await self._send("list", self.store.list)
        return found

    async def create(self, manifest: Manifest) -> Manifest:
        name = manifest["metadata"]["name"]
        made: Manifest = await self._send(f"create {name}", lambda: self.store.create(manifest))
        return made

    async def patch(self, ref: ObjectRef, body: Manifest, *, resource_version: str) -> Manifest:
        land = lambda: self.store.patch(ref.name, body, resource_version)  # noqa: E731
        made: Manifest = await self._send(f"patch {ref.name}", land)
        return made

    async def delete(self, ref: ObjectRef, *, uid: str, resource_version: str) -> None:
        await self._send(f"delete {ref.name}", lambda: self.store.delete(ref.name, uid, resource_version))


class Told:
    """Takes note of which shards came and went."""

    def __init__(self) -> None:
        self.log: list[tuple[str, Shards]] = []

    def gained(self, shards: Shards) -> None:
        self.log.append(("gained", shards))

    def lost(self, shards: Shards) -> None:
        self.log.append(("lost", shards))

    async def leave(self, shards: Shards) -> None:
        self.log.append(("left", shards))


class Replica:
    """One replica's keeper of shards.

    Args:
        now: the true time in seconds; this replica's own clock began at another moment, and is set ``skew`` apart.
    """

    def __init__(
        self,
        store: LeaseStore,
        identity: str,
        now: Callable[[], float],
        *,
        count: int = 4,
        skew: float = 0.0,
        hold: bool = False,
        sleep: Callable[[float], Coroutine[Any, Any, None]] = asyncio.sleep,
    ) -> None:
        self.identity = identity
        self.cluster = LeaseCluster(store, hold=hold)
        self.told = Told()
        began = 1000.0 * len(identity) + skew
        monotonic = lambda: now() + began  # noqa: E731
        clock = lambda: EPOCH + timedelta(seconds=now() + skew)  # noqa: E731
        leases = Leases(self.cluster, "kubernaut-system", clock, timeout=1e9)
        self.session = Session(leases, identity, count, DURATION, monotonic)
        self.keeper = ShardKeeper(leases, self.session, count, RENEW, monotonic, sleep)
        self.keeper.listen(self.told)

    @property
    def holding(self) -> set[int]:
        """The shards that it believes it holds now."""
        return {shard for shard in range(-1, 64) if self.keeper.may_send(shard)}
