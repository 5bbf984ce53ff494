"""Reads that are shared."""

import asyncio

import pytest

from kubernaut.cluster.sharedreads import SharedReads
from kubernaut.core.errors import NotFound
from kubernaut.core.ports import Manifest, ObjectRef

ONE = ObjectRef("kubernaut.io/v1alpha1", "Workflow", "shop", "one")
OTHER = ObjectRef("kubernaut.io/v1alpha1", "Workflow", "shop", "other")


class Server:
    """Answers reads one by one, when it is told to; an answer holds what was true when the read began."""

    def __init__(self) -> None:
        self.version = 1
        self.begun: list[ObjectRef] = []
        self.error: Exception | None = None
        self._open = asyncio.Event()

    async def read(self, ref: ObjectRef) -> Manifest:
        self.begun.append(ref)
        version = self.version
        await self._open.wait()
        if self.error is not None:
            raise self.error
        return {"version": version}

    def answer(self) -> None:
        self._open.set()


async def asked(reads: SharedReads, *refs: ObjectRef) -> list[asyncio.Task[Manifest]]:
    tasks = [asyncio.create_task(reads.get(ref)) for ref in refs]
    for _ in range(4):
        await asyncio.sleep(0)
    return tasks


async def test_who_asks_at_once_shares_one_read_of_each_object() -> None:
    server = Server()
    reads = SharedReads(server.read)
    tasks = await asked(reads, ONE, ONE, OTHER, ONE)
    server.answer()
    assert await asyncio.gather(*tasks) == [{"version": 1}] * 4
    assert server.begun == [ONE, OTHER]


async def test_who_asks_during_a_read_is_answered_by_one_that_begins_later() -> None:
    server = Server()
    reads = SharedReads(server.read)
    early = await asked(reads, ONE)
    server.version = 2
    late = await asked(reads, ONE, ONE)
    assert server.begun == [ONE], "the next read waits for the one under way"
    server.answer()
    assert await asyncio.gather(*early, *late) == [{"version": 1}, {"version": 2}, {"version": 2}]
    assert server.begun == [ONE, ONE]


async def test_who_asks_again_after_all_was_answered_has_it_read_anew() -> None:
    server = Server()
    reads = SharedReads(server.read)
    server.answer()
    await reads.get(ONE)
    server.version = 2
    assert await reads.get(ONE) == {"version": 2}


async def test_a_failure_is_told_to_all_who_share_the_read_and_the_next_read_begins_anew() -> None:
    server = Server()
    server.error = NotFound("no such object", status=404)
    reads = SharedReads(server.read)
    tasks = await asked(reads, ONE, ONE)
    server.answer()
    for task in tasks:
        with pytest.raises(NotFound):
            await task
    server.error = None
    assert await reads.get(ONE) == {"version": 1}


async def test_one_who_gives_up_does_not_take_the_read_from_the_others() -> None:
    server = Server()
    reads = SharedReads(server.read)
    first, second = await asked(reads, ONE, ONE)
    first.cancel()
    server.answer()
    assert await second == {"version": 1}
    assert first.cancelled()
