"""Kill points: several operators at once, each killed at its writes and commits while it works on all shapes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from faults.arena import Arena
from faults.fault import KILLS, Fault
from faults.killing import WEIGHTS, Killing, reported
from faults.ledger import Ledger, together
from faults.oracle import Findings
from faults.proxy import Peace
from faults.shapes import SHAPES
from faults.shapes.model import Shape
from faults.stages import Stage
from faults.world import World, say
from localpostgres import LocalPostgres

_LANES = 1


async def calm(worlds: Sequence[World]) -> dict[str, Any]:
    """Run every shape without a fault: the harness must agree with itself first."""
    findings, began = Findings(), time.monotonic()
    await asyncio.gather(*(world.run_all(SHAPES, findings) for world in worlds))
    return {**findings.report(), "seconds": round(time.monotonic() - began, 1)}


async def killed(
    worlds: Sequence[World],
    seed: int,
    points: int,
    shapes: Sequence[Shape] = SHAPES,
    *,
    ways: Sequence[Fault] = KILLS,
    weights: Mapping[Stage, int] = WEIGHTS,
    ledgers: Sequence[Ledger] = (),
) -> dict[str, Any]:
    """Kill operators at ``points`` writes in all, over as many rounds of the shapes as that takes."""
    findings, began = Findings(), time.monotonic()
    share = -(-points // len(worlds))
    scripts = [
        Killing(world, seed + number, most=share, ways=ways, weights=weights)
        for number, world in enumerate(worlds)
    ]
    starts = sum(world.operator.starts for world in worlds)
    for ledger, script in zip(ledgers, scripts, strict=False):
        ledger.relay.decide, ledger.relay.kill = script.commit, script.kill
    lanes = [
        _lane(world, script, share, shapes, findings, number / _LANES)
        for world, script in zip(worlds, scripts, strict=True)
        for number in range(_LANES)
    ]
    telling = asyncio.create_task(_tell(scripts, points, findings))
    rounds = sum(await asyncio.gather(*lanes))
    telling.cancel()
    return {
        "seed": seed,
        **reported(scripts),
        "starts_of_the_operators": sum(world.operator.starts for world in worlds) - starts,
        "operators": len(worlds),
        "rounds_of_all_shapes": rounds,
        "shapes": len(shapes),
        **findings.report(),
        "seconds": round(time.monotonic() - began, 1),
    }


async def _lane(
    world: World, script: Killing, points: int, shapes: Sequence[Shape], findings: Findings, delay: float
) -> int:
    """Run rounds of shapes until the world's points are done; return how many rounds that took."""
    await asyncio.sleep(delay * 3)  # so that one lane is at work while the other one ends
    world.proxy.script = script
    rounds = 0
    while script.done < points and findings.stuck == 0 and rounds < 10 + points:
        rounds += 1
        await world.run_all(shapes, findings)
    world.proxy.script = Peace() if script.done >= points else script
    return rounds


async def _tell(scripts: Sequence[Killing], points: int, findings: Findings) -> None:
    while True:
        await asyncio.sleep(10)
        done = sum(script.done for script in scripts)
        say(f"{done} of {points} kill points, {findings.runs} runs, doubled {findings.doubled}")


async def kill_points(arena: Arena, folder: Path, seed: int, points: int) -> dict[str, Any]:
    """Kill operators with a history at their writes and commits; first without, to compare with."""
    postgres = LocalPostgres.up(arena.cluster.name)
    try:
        async with AsyncExitStack() as stack:
            ledgers = [
                await stack.enter_async_context(Ledger.kept(postgres, place.namespace))
                for place in arena.places
            ]
            running = [
                World.running(arena, place, folder / place.namespace, dsn=ledger.relay.dsn)
                for place, ledger in zip(arena.places, ledgers, strict=True)
            ]
            worlds = [await stack.enter_async_context(one) for one in running]
            report = {
                "without_faults": await calm(worlds[:1]),
                **await killed(worlds, seed, points, ledgers=ledgers),
            }
            pairs = zip(worlds, ledgers, strict=True)
            history = [await ledger.compare(world.finished) for world, ledger in pairs]
            return {**report, **together(history)}
    finally:
        postgres.down()
