"""Reads that are shared by all who ask at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from kubernaut.core.ports import Manifest, ObjectRef


class SharedReads:
    """Reads objects; who asks while a read is under way shares the next one with all others who do.

    A read that began earlier could miss what the asker knows of: none is answered with one. What is returned is
    shared, too, and not to be changed.
    """

    def __init__(self, read: Callable[[ObjectRef], Awaitable[Manifest]]) -> None:
        self._read = read
        self._next: dict[ObjectRef, asyncio.Task[Manifest]] = {}
        self._under_way: dict[ObjectRef, asyncio.Task[Manifest]] = {}

    async def get(self, ref: ObjectRef) -> Manifest:
        """Return the object by a read that begins after this call.

        Raises:
            ClusterError: as the API server answers, to all who share the read.
        """
        task = self._next.get(ref)
        if task is None:
            task = asyncio.create_task(self._begin(ref, self._under_way.get(ref)))
            # Where all who asked have given up, nobody is left to be told that it failed.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._next[ref] = task
        return await asyncio.shield(task)

    async def _begin(self, ref: ObjectRef, before: asyncio.Task[Manifest] | None) -> Manifest:
        try:
            if before is not None:
                await asyncio.wait((before,))
        finally:
            task = self._next.pop(ref)
        self._under_way[ref] = task
        try:
            return await self._read(ref)
        finally:
            if self._under_way[ref] is task:
                del self._under_way[ref]
