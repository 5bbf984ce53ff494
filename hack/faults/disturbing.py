"""Requests that are lost, delayed, doubled and refused; watches that are cut off, and whose events go astray."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

from faults.events import Meddler
from faults.fault import DISTURBANCES, WATCH_DISTURBANCES, Fault
from faults.oracle import Findings
from faults.proxy import Peace
from faults.shapes import SHAPES
from faults.shapes.model import Shape
from faults.wire import Exchange
from faults.world import World

_CUT_EVERY = 1.5
#: seconds for which leases are renewed, and are not: longer than those of ``forked`` last
_RENEWED, _LAPSED = 3.0, 4.5


class Disturbing(Peace):
    """Loses, delays, doubles and refuses requests, the reading ones less often."""

    def __init__(self, seed: int, *, share: float = 0.25) -> None:
        self._random = random.Random(seed)
        self._share = share
        self.points: Counter[str] = Counter()

    def decide(self, exchange: Exchange) -> Fault | None:
        if exchange.streams or self._random.random() >= self._share * (1 if exchange.mutates else 0.2):
            return None
        fault = self._random.choice(DISTURBANCES)
        self.points[fault] += 1
        return fault


class Meddling(Peace):
    """Drops, doubles, swaps and delays events of watches, ends streams with 410, refuses and cuts watches off."""

    def __init__(self, seed: int, *, share: float = 0.4) -> None:
        self._random = random.Random(seed)
        self._share = share
        self.points: Counter[str] = Counter()

    def decide(self, exchange: Exchange) -> Fault | None:
        if not exchange.streams or self._random.random() >= self._share:
            return None
        fault = self._random.choice(WATCH_DISTURBANCES)
        self.points[fault] += 1
        return fault

    def meddler(self, exchange: Exchange) -> Meddler:
        return Meddler(self._random, self._share, self.points)


class Lapsing(Peace):
    """Refuses to renew leases for so long that they lapse; nobody else takes them meanwhile."""

    def __init__(self) -> None:
        self.refuses = False
        self.points: Counter[str] = Counter()

    def decide(self, exchange: Exchange) -> Fault | None:
        return Fault.AWAY if self.refuses and exchange.mutates and "/leases/" in exchange.path else None

    async def go_on(self) -> None:
        """Have leases lapse again and again."""
        while True:
            await asyncio.sleep(_RENEWED)
            self.refuses = True
            await asyncio.sleep(_LAPSED)
            self.refuses = False
            self.points["lease lapsed"] += 1


async def disturbed(world: World, seed: int, least: int, shapes: Sequence[Shape] = SHAPES) -> dict[str, Any]:
    """Disturb at least so many requests."""
    script = Disturbing(seed)
    world.proxy.script = script
    return {"seed": seed, "by_way": script.points, **await _rounds(world, script.points, least, shapes)}


async def lapsed(world: World, least: int, shapes: Sequence[Shape] = SHAPES) -> dict[str, Any]:
    """Have leases lapse at least so often."""
    script = Lapsing()
    world.proxy.script = script
    async with _beside(script.go_on()):
        report = await _rounds(world, script.points, least, shapes)
    return {"by_way": script.points, **report}


async def meddled(world: World, seed: int, least: int, shapes: Sequence[Shape] = SHAPES) -> dict[str, Any]:
    """Meddle at least so often with watches."""
    script = Meddling(seed)
    world.proxy.script = script
    cut: Counter[str] = Counter()
    async with _beside(_cut(world, cut)):
        report = await _rounds(world, script.points, least, shapes)
    return {"seed": seed, "by_way": script.points + cut, **report}


@asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()


async def _rounds(world: World, points: Counter[str], least: int, shapes: Sequence[Shape]) -> dict[str, Any]:
    findings, began, rounds = Findings(), time.monotonic(), 0
    while points.total() < least and rounds <= least and findings.good:
        rounds += 1
        await world.run_all(shapes, findings)
    world.proxy.script = Peace()
    return {
        "cases": points.total(),
        "rounds_of_all_shapes": rounds,
        **findings.report(),
        "seconds": round(time.monotonic() - began, 1),
    }


async def _cut(world: World, points: Counter[str]) -> None:
    """Cut the open watches off again and again."""
    while True:
        await asyncio.sleep(_CUT_EVERY)
        points[Fault.CUT] += world.proxy.cut_watches()
