"""Asking Postgres within a bounded time, for those who can go on without the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Generic, TypeVar

from kubernaut.history.database import Database
from kubernaut.history.errors import HistoryUnavailable

T = TypeVar("T")


class Asking(Generic[T]):
    """Waits for answers, each at most ``patience`` seconds."""

    def __init__(self, database: Database, patience: float) -> None:
        self._database = database
        self._patience = patience
        self._tasks: set[asyncio.Task[T]] = set()

    async def answer(self, query: Coroutine[Any, Any, T]) -> T:
        """Return what a query returns.

        Raises:
            HistoryUnavailable: Postgres did not answer in time.
            HistoryError: as the query does.
        """
        # A task, not a timeout: giving a connection back whose query hangs takes longer than patience.
        task = asyncio.create_task(query)
        self._tasks.add(task)
        task.add_done_callback(self._drop)
        done, _ = await asyncio.wait({task}, timeout=self._patience)
        if not done:
            task.cancel()
            raise HistoryUnavailable(
                f"Postgres at {self._database.where} did not answer within {self._patience} s"
            )
        return task.result()

    def _drop(self, task: asyncio.Task[T]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # an answer that came too late is nobody's
