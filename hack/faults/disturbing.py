"""Requests that are lost, delayed, doubled and refused; watches that are cut off, and whose events go astray."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
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


async def disturbed(world: World, seed: int, least: int, shapes: Sequence[Shape] = SHAPES) -> dict[str, Any]:
    """Disturb at least so many requests."""
    script = Disturbing(seed)
    world.proxy.script = script
    return {"seed": seed, "by_way": script.points, **await _rounds(world, script.points, least, shapes)}


async def meddled(world: World, seed: int, least: int, shapes: Sequence[Shape] = SHAPES) -> dict[str, Any]:
    """Meddle at least so often with watches."""
    script = Meddling(seed)
    world.proxy.script = script
    cut: Counter[str] = Counter()
    cutting = asyncio.create_task(_cut(world, cut))
    try:
        report = await _rounds(world, script.points, least, shapes)
    finally:
        cutting.cancel()
    return {"seed": seed, "by_way": script.points + cut, **report}


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
