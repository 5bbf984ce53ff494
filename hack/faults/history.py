"""Postgres crashes and returns, again and again, or is gone for long, while runs go on: each is stored once."""

from __future__ import annotations

import asyncio
import contextlib
import random
import statistics
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from faults.arena import Arena
from faults.ledger import Ledger
from faults.oracle import Findings
from faults.shapes import SHAPES
from faults.shapes.model import Manifest
from faults.world import World, say
from localpostgres import LocalPostgres

#: shapes whose duration is theirs alone: nothing in them waits for time or for somebody
_BRISK = ("sequential", "outputs", "parallel", "rollback", "parallel-rollback")


class _Outages:
    """Stops Postgres for a moment, again and again, until told to end."""

    def __init__(
        self, postgres: LocalPostgres, seed: int, away: tuple[float, float], every: tuple[float, float]
    ) -> None:
        self._postgres = postgres
        self._random = random.Random(seed)
        self._away, self._every = away, every
        self._ending = asyncio.Event()
        self.times = 0

    def end(self) -> None:
        """Leave Postgres alone once it is there again."""
        self._ending.set()

    async def run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), self._random.uniform(*self._every))
                return
            await asyncio.to_thread(self._postgres.stop)
            await asyncio.sleep(self._random.uniform(*self._away))
            await asyncio.to_thread(self._postgres.start)
            self.times += 1


async def crashing(
    arena: Arena, folder: Path, seed: int, *, runs: int, every: tuple[float, float], gone: float
) -> dict[str, Any]:
    """Run shapes while Postgres crashes 0-2 s long, then through one long absence of ``gone`` seconds."""
    postgres = LocalPostgres.up(f"{arena.cluster.name}-history")
    place = arena.places[0]
    findings, began = Findings(), time.monotonic()
    try:
        async with (
            Ledger.kept(postgres, place.namespace) as ledger,
            World.running(arena, place, folder, dsn=ledger.relay.dsn) as world,
        ):
            calm = await _brisk(world, findings)
            outages = _Outages(postgres, seed, (0.0, 2.0), every)
            crashes = asyncio.create_task(outages.run())
            disturbed: list[float] = []
            while findings.runs < runs and findings.good:
                disturbed += await _brisk(world, findings)
            outages.end()
            await crashes
            say(f"{outages.times} crashes of Postgres in {findings.runs} runs")
            await asyncio.to_thread(postgres.stop)
            absent = await _without(world, findings, gone)
            await asyncio.to_thread(postgres.start)
            rows = await ledger.compare(world.finished)
        return {
            "seed": seed,
            "crashes_of_postgres": outages.times,
            "seconds_gone_in_the_end": gone,
            "median_run_seconds": {
                "postgres_there": _median(calm),
                "postgres_crashing": _median(disturbed),
                "postgres_gone": _median(absent),
            },
            **findings.report(),
            **rows,
            "seconds": round(time.monotonic() - began, 1),
        }
    finally:
        postgres.down()


async def _brisk(world: World, findings: Findings) -> list[float]:
    """Run all shapes; return how long those took whose duration is theirs alone, in seconds."""
    return _durations(await world.run_all(SHAPES, findings))


async def _without(world: World, findings: Findings, seconds: float) -> list[float]:
    """Let runs end while Postgres is gone for so long; they are judged, and wait for it to be let go."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    durations: list[float] = []
    while True:
        batch = await world.begin(SHAPES)
        runs = await batch.settle()
        durations += _durations(runs)
        await batch.leave(runs, findings)
        if loop.time() >= until:
            return durations


def _durations(runs: dict[str, Manifest]) -> list[float]:
    ended = [run["status"] for name, run in runs.items() if name.rsplit("-", 1)[0] in _BRISK]
    return [
        (_time(status["finishedAt"]) - _time(status["startedAt"])).total_seconds()
        for status in ended
        if status.get("finishedAt") and status.get("startedAt")
    ]


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _median(seconds: list[float]) -> float | None:
    return round(statistics.median(seconds), 3) if seconds else None
