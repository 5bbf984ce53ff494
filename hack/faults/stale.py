"""A stale API server: a second one on the same etcd is frozen with what it last saw, and later let go.

While it is frozen its watches are silent, what it has to ask of etcd hangs, and what was sent to it lands when it
is let go: after the operator has gone on at the other one.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import Any

from faults.arena import Arena
from faults.oracle import Findings
from faults.shapes import SHAPES
from faults.world import World
from localcluster.second import LINK


class Way(StrEnum):
    """What the operator does with a frozen server."""

    LEAVES = "goes on at the other server, then the frozen one is let go"
    RESTARTS = "is killed, starts at the frozen one, goes on at the other, then the frozen one is let go"
    STAYS = "waits at the frozen one until it is let go"


async def stale(arena: Arena, folder: Path, seed: int, cases: int) -> dict[str, Any]:
    """Freeze the server that the operator talks to, so often, in the middle of runs."""
    second = await asyncio.to_thread(arena.cluster.second_apiserver)
    findings, began, chance = Findings(), time.monotonic(), random.Random(seed)
    ways: Counter[str] = Counter()
    async with World.running(arena, arena.places[-1], folder) as world:
        done = asyncio.Event()
        runs = asyncio.create_task(_run(world, findings, done))
        try:
            for number in range(cases):
                way = list(Way)[number % len(Way)]
                ways[way] += 1
                await _freeze(world, second, way, chance)
                if runs.done():
                    break
        finally:
            done.set()
            rounds = await runs
    return {
        "seed": seed,
        "cases": ways.total(),
        "by_way": dict(ways),
        "rounds_of_all_shapes": rounds,
        **findings.report(),
        "seconds": round(time.monotonic() - began, 1),
    }


async def _run(world: World, findings: Findings, done: asyncio.Event) -> int:
    rounds = 0
    while rounds == 0 or (not done.is_set() and findings.good):
        rounds += 1
        await world.run_all(SHAPES, findings)
    return rounds


async def _freeze(world: World, second: str, way: Way, chance: random.Random) -> None:
    first = world.cluster.state.server
    world.proxy.lead_to(second)
    await asyncio.sleep(chance.uniform(0.5, 1.5))
    await asyncio.to_thread(world.cluster.stop, LINK, pause=True)
    try:
        await asyncio.sleep(chance.uniform(0.2, 1.0))
        if way is Way.RESTARTS:
            world.operator.kill()
            await asyncio.sleep(1.0)
        if way is not Way.STAYS:
            world.proxy.lead_to(first)
            await asyncio.sleep(chance.uniform(1.0, 2.0))
    finally:
        await asyncio.to_thread(world.cluster.start, LINK)
        world.proxy.lead_to(first)
    await asyncio.sleep(chance.uniform(0.5, 1.0))
