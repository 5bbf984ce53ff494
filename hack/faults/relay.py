"""A relay in front of Postgres that can kill the operator around its commits."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote

_SOCKET = ".s.PGSQL.5432"


class CommitFault(StrEnum):
    """When the operator is killed."""

    BEFORE = "killed before the commit is sent"
    UNANSWERED = "killed after the commit is sent, the answer dropped"
    AFTER = "killed after the commit is answered"


class CommitKiller:
    """Relays a Postgres' unix socket; what befalls each commit is decided elsewhere.

    Attributes:
        decide: asked before each commit is sent.
        kill: kills the operator.
    """

    def __init__(self, folder: Path, database: str) -> None:
        self._upstream = str(folder / _SOCKET)
        self._database = database
        self._folder = tempfile.TemporaryDirectory(prefix="faults-")
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.decide: Callable[[], CommitFault | None] = _nothing
        self.kill: Callable[[], None] = _nobody

    @property
    def dsn(self) -> str:
        """The address that leads through here."""
        return f"postgresql://postgres@/{self._database}?host={quote(self._folder.name, safe='/')}"

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_unix_server(self._accept, f"{self._folder.name}/{_SOCKET}")

    async def stop(self) -> None:
        """Close everything."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._folder.cleanup()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        upstream: asyncio.StreamWriter | None = None
        try:
            answers, upstream = await asyncio.open_unix_connection(self._upstream)
            armed: list[CommitFault] = []
            ways = {
                asyncio.create_task(self._requests(reader, upstream, armed)),
                asyncio.create_task(self._answers(answers, writer, armed)),
            }
            self._tasks |= ways
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._tasks -= ways
        except (OSError, asyncio.CancelledError):
            pass  # Postgres is away, or we are
        finally:
            if upstream is not None:
                upstream.transport.abort()
            writer.transport.abort()
            self._tasks.discard(task)

    async def _requests(
        self, reader: asyncio.StreamReader, upstream: asyncio.StreamWriter, armed: list[CommitFault]
    ) -> None:
        while data := await reader.read(2**16):
            if b"COMMIT;" in data:
                fault = self.decide()
                if fault is CommitFault.BEFORE:
                    self.kill()
                    return
                armed += [fault] if fault else []
            upstream.write(data)
            await upstream.drain()

    async def _answers(
        self, answers: asyncio.StreamReader, writer: asyncio.StreamWriter, armed: list[CommitFault]
    ) -> None:
        while data := await answers.read(2**16):
            fault = armed.pop() if armed else None
            if fault is CommitFault.UNANSWERED:
                self.kill()
                return
            writer.write(data)
            await writer.drain()
            if fault is CommitFault.AFTER:
                self.kill()
                return


def _nothing() -> CommitFault | None:
    return None


def _nobody() -> None:
    raise AssertionError("nobody said whom to kill")
