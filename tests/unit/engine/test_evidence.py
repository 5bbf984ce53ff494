"""What was seen of ReplicaSets: memory first, the history if it answers, never waiting long."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from kubernaut.core.ports import Manifest
from kubernaut.engine.evidence import AvailabilityEvidence
from kubernaut.history.errors import HistoryUnavailable

pytestmark = pytest.mark.looptime


class Store:
    def __init__(self, known: frozenset[str] = frozenset(), wait: float = 0.0) -> None:
        self.remembered: list[str] = []
        self._known, self._wait = known, wait

    def remember(self, manifest: Manifest) -> None:
        self.remembered.append(manifest["metadata"]["uid"])

    async def known(self, uids: Sequence[str]) -> frozenset[str]:
        await asyncio.sleep(self._wait)
        return self._known & frozenset(uids)


def replica_set(uid: str, available: int) -> Manifest:
    return {"metadata": {"uid": uid}, "status": {"availableReplicas": available} if available else {}}


async def test_only_what_was_available_is_remembered_and_once() -> None:
    store = Store()
    evidence = AvailabilityEvidence(store)
    for available in (0, 1, 0, 2):
        evidence.observe(replica_set("a", available))
    evidence.observe(replica_set("b", 0))
    assert store.remembered == ["a"]
    assert await evidence.seen_available(["a", "b"]) == {"a"}


async def test_the_history_knows_what_was_seen_before_the_start() -> None:
    assert await AvailabilityEvidence(Store(frozenset({"old"}))).seen_available(["old", "x"]) == {"old"}


async def test_a_history_that_does_not_answer_is_not_waited_for() -> None:
    evidence = AvailabilityEvidence(Store(frozenset({"old"}), wait=60))
    evidence.observe(replica_set("a", 1))
    began = asyncio.get_running_loop().time()
    assert await evidence.seen_available(["a", "old"]) == {"a"}
    assert asyncio.get_running_loop().time() - began < 1


async def test_a_history_that_is_away_costs_only_what_it_knew() -> None:
    class Away(Store):
        async def known(self, uids: Sequence[str]) -> frozenset[str]:
            raise HistoryUnavailable("away")

    evidence = AvailabilityEvidence(Away())
    evidence.observe(replica_set("a", 1))
    assert await evidence.seen_available(["a", "b"]) == {"a"}


async def test_without_a_history_memory_is_all() -> None:
    evidence = AvailabilityEvidence(None)
    evidence.observe(replica_set("a", 1))
    assert await evidence.seen_available(["a", "b"]) == {"a"}
