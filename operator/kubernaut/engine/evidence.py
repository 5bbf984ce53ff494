"""What was seen of ReplicaSets: which revisions were ever available. The API server keeps no such memory."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

from kubernaut.core.ports import Manifest
from kubernaut.history.errors import HistoryError

log = logging.getLogger(__name__)
LOOKUP_SECONDS = 0.5
MAX_REMEMBERED = 200_000


class SeenStore(Protocol):
    """The history's memory of ReplicaSets."""

    def remember(self, manifest: Manifest) -> None:
        """Store, some time soon, that this ReplicaSet was seen available."""
        ...

    async def known(self, uids: Sequence[str]) -> frozenset[str]:
        """Return which of them were ever seen available."""
        ...


class AvailabilityEvidence:
    """Remembers ReplicaSets that were seen available; asks the history for what it forgot, but never waits long."""

    def __init__(self, store: SeenStore | None) -> None:
        self._store = store
        self._seen: OrderedDict[str, None] = OrderedDict()

    def observe(self, manifest: Manifest) -> None:
        """Take note of a ReplicaSet as a watch brought it."""
        if not (manifest.get("status") or {}).get("availableReplicas"):
            return
        uid = manifest["metadata"]["uid"]
        if uid in self._seen:
            return
        self._seen[uid] = None
        if len(self._seen) > MAX_REMEMBERED:
            self._seen.popitem(last=False)
        if self._store is not None:
            self._store.remember(manifest)

    async def seen_available(self, uids: Sequence[str]) -> frozenset[str]:
        """Return those that were ever seen available; without the history, those seen since the start."""
        found = frozenset(uid for uid in uids if uid in self._seen)
        if self._store is None or len(found) == len(uids):
            return found
        try:
            async with asyncio.timeout(LOOKUP_SECONDS):
                return found | await self._store.known(uids)
        except (TimeoutError, OSError, HistoryError) as error:
            log.warning("the history could not be asked about ReplicaSets", extra={"error": str(error)})
            return found
