"""The canary of watching: what this replica renews anyway, its own lease, has to come back through a watch.

A watch can fall silent while requests are answered as ever: nobody is told, and nothing fails. Here each renewal that
the API server took is waited for. Time counts only from renewal to renewal, so an API server that is away, and takes
none, makes no watch look deaf.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final, Protocol

from kubernaut.cluster.collections import GAP, Event
from kubernaut.cluster.leases import API, boottime
from kubernaut.core.versions import newer

_MOST: Final = 4096


class Watching(Protocol):
    """What is needed of the cluster."""

    def watch_in(
        self, api_version: str, kind: str, namespace: str, *, field_selector: str = ""
    ) -> AsyncIterator[Event]:
        """Yield what happens to objects of one namespace from now on."""
        ...


class Canary:
    """Compares what was written with what came back."""

    def __init__(self, monotonic: Callable[[], float] = boottime) -> None:
        self._monotonic = monotonic
        # resourceVersion and time of each renewal that did not come back yet, oldest first
        self._unseen: deque[tuple[str, float]] = deque(maxlen=_MOST)
        self._oldest: float | None = None
        self._last = 0.0

    @property
    def age(self) -> float:
        """For how many seconds renewals were taken of which none came back."""
        return 0.0 if self._oldest is None else max(self._last - self._oldest, 0.0)

    def wrote(self, version: str) -> None:
        """Take note of a renewal that the API server took, by the version it made."""
        self._last = self._monotonic()
        if self._oldest is None:
            self._oldest = self._last
        self._unseen.append((version, self._last))

    def saw(self, version: str) -> None:
        """Take note of a version that a watch has brought: all before it are seen, too."""
        while self._unseen and not newer(self._unseen[0][0], version):
            self._unseen.popleft()
        self._oldest = self._unseen[0][1] if self._unseen else None

    async def watch(self, cluster: Watching, namespace: str, lease: str) -> None:
        """Watch a lease, until cancelled."""
        selector = f"metadata.name={lease}"
        async for event in cluster.watch_in(API, "Lease", namespace, field_selector=selector):
            if event.type != GAP:
                self.saw(event.manifest["metadata"]["resourceVersion"])
