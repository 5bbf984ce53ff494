"""Replicas of the operator on one cluster, and a relay that holds one request back."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from e2e.world import World, until
from faults.events import Meddler
from faults.fault import Fault
from faults.places import Place
from faults.proxy import Proxy
from faults.wire import Exchange, Upstream
from localrun.process import Operator

SHARDS = 8
QUICK = {"KUBERNAUT_LEASE_DURATION": "3s", "KUBERNAUT_LEASE_RENEW": "1s"}
SLOW = {"KUBERNAUT_LEASE_DURATION": "60s", "KUBERNAUT_LEASE_RENEW": "1s"}


class Replicas:
    """Starts replicas, and ends those that are left."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self._folder = folder
        self._all: list[Operator] = []

    def start(
        self,
        name: str,
        env: Mapping[str, str] = QUICK,
        *,
        rights: Path | None = None,
        skew: float = 0.0,
        ready: bool = True,
    ) -> Operator:
        """Start a replica and wait until it is ready."""
        folder = self._folder / f"{name}-{len(self._all)}"
        settings = {"KUBERNAUT_IDENTITY": name, "KUBERNAUT_POLICY_CHECK": "1s", **env}
        made = Operator(rights or self.world.rights, folder, self.world.postgres.dsn, settings)
        if skew:
            made._command = [sys.executable, str(Path(__file__).parent / "failover" / "skewed.py")]
            made._env["SKEW"] = str(skew)
        self._all.append(made)
        made.start()
        if ready:
            made.wait_ready(60)
        return made

    def end(self) -> None:
        """Kill what is left, so that what is held back by a relay holds nobody up."""
        for one in self._all:
            if one.running:
                one.kill()


def held(operator: Operator) -> float:
    """Return how many shards a replica holds."""
    return operator.metric("kubernaut_shards_held")


def await_share(operator: Operator, shards: int = SHARDS + 1, seconds: float = 60.0) -> None:
    """Wait until a replica holds so many shards (all of them, and the global one)."""
    until(f"a replica holds {shards} shards", lambda: held(operator) == shards, seconds)


class _Everywhere(Place):
    """The whole cluster as it is."""

    def turned(self, exchange: Exchange) -> Exchange:
        return exchange


class _Holding(Proxy):
    """Holds the first request back that is told; until it is let go, and then sends it all the same."""

    def __init__(self, kubeconfig: Path, folder: Path, wanted: Callable[[Exchange], bool]) -> None:
        super().__init__(kubeconfig, folder, _Everywhere("", ""))
        self.script = self
        self._wanted = wanted
        self.arrived = threading.Event()
        self.let_go = asyncio.Event()

    def decide(self, exchange: Exchange) -> Fault | None:
        return None if self.arrived.is_set() or not self._wanted(exchange) else Fault.SLOW

    def kill(self) -> None:
        raise AssertionError("nobody is killed here")

    def meddler(self, exchange: Exchange) -> Meddler | None:
        return None

    async def _befall(
        self, fault: Fault, exchange: Exchange, upstream: Upstream, writer: asyncio.StreamWriter
    ) -> bool:
        self.arrived.set()
        await self.let_go.wait()
        # The upstream may have closed an idle connection meanwhile: the request itself must arrive.
        fresh = await self._connect(self._target)
        try:
            return await super()._befall(fault, exchange, fresh, writer)
        finally:
            fresh.writer.transport.abort()


class Relay:
    """A relay in a thread of its own, for tests that wait without a loop."""

    def __init__(self, proxy: _Holding, loop: asyncio.AbstractEventLoop, kubeconfig: Path) -> None:
        self._proxy = proxy
        self._loop = loop
        self.kubeconfig = kubeconfig

    def await_held(self) -> None:
        """Wait until the request has come that is held back."""
        assert self._proxy.arrived.wait(60), "the request never came"

    def let_go(self) -> None:
        """Send it on now."""
        self._loop.call_soon_threadsafe(self._proxy.let_go.set)


@contextlib.contextmanager
def holding(kubeconfig: Path, folder: Path, wanted: Callable[[Exchange], bool]) -> Iterator[Relay]:
    """Relay to the cluster of a kubeconfig; hold the first request back that is wanted."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> tuple[_Holding, Path]:
        proxy = _Holding(kubeconfig, folder, wanted)
        return proxy, await proxy.start()

    async def stop() -> None:
        await proxy.stop()
        # Connections that were broken off are closed by the loop in its next rounds.
        for _ in range(5):
            await asyncio.sleep(0)

    proxy, path = asyncio.run_coroutine_threadsafe(start(), loop).result(30)
    try:
        yield Relay(proxy, loop, path)
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
