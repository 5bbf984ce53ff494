"""A relay in front of the API server through which watches fall silent, as behind a firewall that forgot them."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from faults.events import Meddler
from faults.fault import Fault
from faults.places import Place
from faults.proxy import Proxy
from faults.wire import Exchange


class _Everywhere(Place):
    """The whole cluster as it is."""

    def turned(self, exchange: Exchange) -> Exchange:
        return exchange


class Muting:
    """Lets all requests through, and all watches; but those that are muted bring nothing, and say nothing of that."""

    def __init__(self) -> None:
        self.muted: tuple[str, ...] = ()

    def decide(self, exchange: Exchange) -> Fault | None:
        return None

    def kill(self) -> None:
        raise AssertionError("nobody is killed here")

    def meddler(self, exchange: Exchange) -> Meddler | None:
        return _Mute(self, exchange.path.partition("?")[0].rpartition("/")[2])


class _Mute(Meddler):
    def __init__(self, owner: Muting, kind: str) -> None:
        super().__init__(random.Random(0), 0.0, Counter())
        self._owner, self._kind = owner, kind

    async def passed(self, line: bytes) -> tuple[list[bytes], bool]:
        """Swallow what comes of a kind that is muted, bookmarks too."""
        return ([] if self._kind in self._owner.muted else [line]), False


@contextlib.contextmanager
def muting(kubeconfig: Path, folder: Path) -> Iterator[tuple[Muting, Path]]:
    """Relay to the cluster of a kubeconfig; yield what mutes, and the kubeconfig that leads through it."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    script = Muting()

    async def start() -> tuple[Proxy, Path]:
        proxy = Proxy(kubeconfig, folder, _Everywhere("", ""))
        proxy.script = script
        return proxy, await proxy.start()

    async def stop() -> None:
        await proxy.stop()
        # Connections that were broken off are closed by the loop in its next rounds.
        for _ in range(5):
            await asyncio.sleep(0)

    proxy, path = asyncio.run_coroutine_threadsafe(start(), loop).result(30)
    try:
        yield script, path
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
