"""Who starts runs and sees them end: one process, one watch that tells of each run once, at its end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence

from bench.client import PlainClient, Refused
from bench.shapes import Manifest

PATIENCE = 300.0


class Stuck(Exception):
    """Runs did not succeed in time; tells how they stand."""


class Ends:
    """When runs were seen to have succeeded, by a watch that only brings those (monotonic seconds)."""

    def __init__(self, client: PlainClient, path: str) -> None:
        self._client = client
        self._path = path
        self._seen: dict[str, float] = {}
        self._changed = asyncio.Event()

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[Ends]:
        """Watch meanwhile."""
        task = asyncio.create_task(self._watch())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            events = self._client.watch(self._path, "fieldSelector=status.phase%3DSucceeded")
            async for kind, meta in events:
                if kind in ("ADDED", "MODIFIED"):
                    self._seen.setdefault(meta["name"], time.monotonic())
                    self._changed.set()

    async def all_of(self, names: Sequence[str], patience: float = PATIENCE) -> list[float]:
        """Return when each run was seen to have succeeded.

        Raises:
            Stuck: not all did in time.
        """
        try:
            async with asyncio.timeout(patience):
                while not all(name in self._seen for name in names):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            found = await self._client.send("GET", self._path)
            wanted = set(names)
            states: Counter[str] = Counter()
            told = ""
            for item in found["items"]:
                if item["metadata"]["name"] in wanted:
                    status = item.get("status", {})
                    states[f"{status.get('phase')} {status.get('reason', '')}".strip()] += 1
                    if status.get("phase") != "Succeeded":
                        told = f"; {item['metadata']['name']}: {status.get('message', '')}"
            message = f"after {patience:.0f} s runs of {self._path} are: {dict(states)}{told}"
            raise Stuck(message) from None
        return [self._seen[name] for name in names]


class Driver:
    """Starts runs of one collection and waits for their end."""

    _number = 0

    def __init__(self, client: PlainClient, path: str) -> None:
        self.client = client
        self.path = path
        self.ends = Ends(client, path)

    @classmethod
    def name(cls) -> str:
        """Return a name that no run had before."""
        Driver._number += 1
        return f"run-{Driver._number}"

    async def batch(self, make: Callable[[str, int], Manifest], count: int) -> float:
        """Start ``count`` runs at once; return the seconds from the first request to the last end seen."""
        names = [self.name() for _ in range(count)]
        objects = [make(name, at) for at, name in enumerate(names)]
        began = time.monotonic()
        await asyncio.gather(*(self.client.send("POST", self.path, one) for one in objects))
        return max(await self.ends.all_of(names)) - began

    async def one(self, make: Callable[[str], Manifest]) -> tuple[str, float]:
        """Run one alone; return its name and the seconds from its create being sent to its end being seen."""
        name = self.name()
        body = make(name)
        began = time.monotonic()
        await self.client.send("POST", self.path, body)
        (ended,) = await self.ends.all_of([name])
        return name, ended - began

    async def last_status(self) -> Manifest:
        """Return the status of the run that was started last."""
        found = await self.client.send("GET", f"{self.path}/run-{Driver._number}")
        status: Manifest = found["status"]
        return status

    async def standing(self, phase: str, count: int) -> None:
        """Wait until so many runs are in a phase.

        Raises:
            Stuck: they are not in time.
        """
        query = f"fieldSelector=status.phase%3D{phase}"
        await self._until(lambda names: len(names) >= count, query, f"{count} runs are not {phase}")

    async def gone(self) -> None:
        """Wait until there are no runs.

        Raises:
            Stuck: there still are.
        """
        await self._until(lambda names: not names, "limit=1", "some are not let go")

    async def _until(self, holds: Callable[[list[str]], bool], query: str, else_: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not holds(await self.client.names(self.path, query)):
            if time.monotonic() > deadline:
                raise Stuck(f"of the runs of {self.path}, {else_} after {PATIENCE:.0f} s")
            await asyncio.sleep(0.2)

    async def clean(self) -> None:
        """Delete all runs and wait until they are gone."""
        slots = asyncio.Semaphore(16)

        async def delete(name: str) -> None:
            async with slots:
                with contextlib.suppress(Refused):
                    await self.client.send("DELETE", f"{self.path}/{name}")

        names = await self.client.names(self.path)
        await asyncio.gather(*(delete(name) for name in names))
        await self.gone()
