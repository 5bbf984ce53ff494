"""The canary: what is renewed has to come back, and an API server that is away makes no watch deaf."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from kubernaut.cluster.canary import Canary
from kubernaut.cluster.collections import GAP, Event

pytestmark = pytest.mark.looptime


def canary() -> Canary:
    return Canary(lambda: asyncio.get_running_loop().time())


async def test_as_long_as_renewals_come_back_it_is_young() -> None:
    one = canary()
    for version in range(1, 50):
        one.wrote(str(version))
        await asyncio.sleep(0.1)
        one.saw(str(version))
        await asyncio.sleep(2)
        assert one.age == 0


async def test_it_ages_by_each_renewal_that_does_not_come_back_and_one_that_does_tells_of_all_before() -> (
    None
):
    one = canary()
    for version in range(1, 12):
        one.wrote(str(version))
        await asyncio.sleep(2)
    assert one.age == 20
    one.saw("5")
    assert one.age == 10
    one.saw("11")
    assert one.age == 0


async def test_while_nothing_can_be_renewed_it_does_not_age() -> None:
    one = canary()
    one.wrote("1")
    await asyncio.sleep(3600)
    assert one.age == 0


async def test_of_a_long_silence_the_oldest_renewal_counts_however_many_came_after() -> None:
    one = canary()
    for version in range(1, 10_001):
        one.wrote(str(version))
        await asyncio.sleep(2)
    assert one.age == 2 * 9_999


async def test_a_watch_that_begins_anew_is_believed_once_it_brings_something() -> None:
    class Cluster:
        async def watch_in(
            self, api_version: str, kind: str, namespace: str, *, field_selector: str = ""
        ) -> AsyncIterator[Event]:
            assert (kind, namespace, field_selector) == ("Lease", "system", "metadata.name=mine")
            yield Event(GAP, {})
            await asyncio.sleep(10)
            yield Event("MODIFIED", {"metadata": {"resourceVersion": "3"}})
            await asyncio.Event().wait()

    one = canary()
    task = asyncio.create_task(one.watch(Cluster(), "system", "mine"))
    for version in ("1", "2", "3"):
        one.wrote(version)
        await asyncio.sleep(2)
    assert one.age == 4
    await asyncio.sleep(10)
    assert one.age == 0
    task.cancel()
