"""Kill points and disturbances: what a script does to requests, and campaigns over all shapes."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from faults.forked import ForkedOperator
from faults.oracle import Findings, Trial
from faults.proxy import DISTURBANCES, KILLS, WATCH_DISTURBANCES, Exchange, Fault, Peace
from faults.shapes import SHAPES, Manifest, Shape
from faults.world import World, say


def _what(exchange: Exchange) -> str:
    """Return the kind of a request without the names in it, as in ``PATCH deployments``."""
    parts = exchange.path.split("?")[0].split("/")
    rest = parts[parts.index("namespaces") + 2 :] if "namespaces" in parts else parts[-1:]
    return f"{exchange.method} {'/'.join(part for at, part in enumerate(rest) if at != 1)}"


#: what is killed at, and how often beside the others; a run's first requests would else get all the attention
_KINDS = {
    "PATCH deployments": 6,
    "PATCH workflowexecutions/status": 5,
    "PATCH workflowexecutions": 1,
    "POST controllerrevisions": 1,
    "POST pods/eviction": 1,
    "DELETE pods": 1,
    "POST events": 1,
}
#: what comes again with every restart, and would use patience up
_OFTEN = ("POST controllerrevisions",)
_PATIENCE = 40


class Killing:
    """Kills the operator at one of the next mutating requests of a kind, each time in another way.

    Every request on the way while it dies is let through: its answer finds nobody. Where a kind does not come up, any
    other request does after a while.
    """

    def __init__(
        self,
        world: World,
        seed: int,
        *,
        most: int,
        gap: int = 4,
        ways: Sequence[Fault] = KILLS,
        kinds: Mapping[str, int] = _KINDS,
    ) -> None:
        self._operator: ForkedOperator = world.operator
        self._proxy = world.proxy
        self._random = random.Random(seed)
        self._gap = gap
        self._ways = list(ways)
        self._most = most
        self._kinds = [kind for kind, weight in kinds.items() for _ in range(weight)]
        self._bags: dict[str, list[Fault]] = {}
        self._plan()
        self._dead = -1
        self.points: Counter[str] = Counter()
        self.at: Counter[str] = Counter()
        self._killed_at: float | None = None
        self._recovered: list[float] = []

    @property
    def done(self) -> int:
        """How many points there were."""
        return self.points.total()

    def decide(self, exchange: Exchange) -> Fault | None:
        current = self._proxy.generation
        if not exchange.mutates or exchange.generation != current or self._dead == current:
            return None
        if self._killed_at is not None:
            self._recovered.append(time.monotonic() - self._killed_at)
            self._killed_at = None
        what = _what(exchange)
        self._patience -= what not in _OFTEN
        if what == self._kind:
            self._left -= 1
        if self.done >= self._most or (self._left > 0 and self._patience > 0):
            return None
        fault = self._way(what)
        # Whatever else this process sends before it is gone belongs to the same point.
        self._dead = current
        self._killed_at = time.monotonic()
        self.points[fault] += 1
        self.at[what] += 1
        self._plan()
        return fault

    def _plan(self) -> None:
        self._kind = self._random.choice(self._kinds)
        self._left = self._random.randint(1, self._gap) if self._kinds.count(self._kind) > 1 else 1
        self._patience = _PATIENCE

    def _way(self, what: str) -> Fault:
        """Take the ways in turn, for each kind of request by itself."""
        bag = self._bags.setdefault(what, [])
        if not bag:
            bag += self._random.sample(self._ways, len(self._ways))
        return bag.pop()

    def kill(self) -> None:
        self._operator.kill()

    def recovery(self) -> dict[str, float]:
        """Return how long it took from kills to the next operator's first write, in seconds."""
        if not self._recovered:
            return {}
        return {"median": round(statistics.median(self._recovered), 2), "max": round(max(self._recovered), 2)}


class Disturbing(Peace):
    """Loses, delays, doubles and refuses requests, the reading ones less often; cuts watches off if so told."""

    def __init__(self, seed: int, *, share: float = 0.25, watches: bool = False) -> None:
        self._watches = watches
        self._random = random.Random(seed)
        self._share = share
        self.points: Counter[str] = Counter()

    def decide(self, exchange: Exchange) -> Fault | None:
        if exchange.streams and not self._watches:
            return None
        often = 2 if exchange.streams else 1 if exchange.mutates else 0.2
        share = self._share * often
        if self._random.random() >= share:
            return None
        fault = self._random.choice(WATCH_DISTURBANCES if exchange.streams else DISTURBANCES)
        self.points[fault] += 1
        return fault


async def run_all(world: World, shapes: Sequence[Shape], findings: Findings) -> dict[str, Manifest]:
    """Run shapes side by side to their ends, and judge them."""
    trials: list[Trial] = await world.begin(shapes)
    runs = await world.settle(trials)
    await world.proxy.all_arrived()
    await asyncio.sleep(0.5)  # the audit log is written after the answer
    await world.judge(trials, runs, findings)
    return runs


async def calm(world: World) -> dict[str, Any]:
    """Run every shape once without a fault: the harness must agree with itself first."""
    findings, began = Findings(), time.monotonic()
    await run_all(world, SHAPES, findings)
    return {**findings.report(), "seconds": round(time.monotonic() - began, 1)}


async def killed(
    world: World, seed: int, points: int, shapes: Sequence[Shape] = SHAPES, **how: Any
) -> dict[str, Any]:
    """Kill the operator at ``points`` requests, over as many rounds of all shapes as that takes."""
    findings, began, rounds = Findings(), time.monotonic(), 0
    script = Killing(world, seed, most=points, **how)
    world.proxy.script = script
    starts = world.operator.starts
    while script.done < points and findings.stuck == 0 and rounds < 10 + points:
        rounds += 1
        await run_all(world, [*shapes, *shapes], findings)
        say(f"{script.done} of {points} kill points, {findings.runs} runs, doubled {findings.doubled}")
    world.proxy.script = Peace()
    return {
        "seed": seed,
        "kill_points": script.done,
        "by_way": dict(script.points),
        "by_request": dict(script.at),
        "starts_of_the_operator": world.operator.starts - starts,
        "rounds_of_all_shapes": rounds,
        "seconds_from_kill_to_next_write": script.recovery(),
        "shapes": len(shapes),
        **findings.report(),
        "seconds": round(time.monotonic() - began, 1),
    }


async def _cut_watches(world: World, points: Counter[str]) -> None:
    """Cut the open watches off again and again, so that events are missed."""
    while True:
        await asyncio.sleep(1.5)
        points[Fault.CUT] += world.proxy.cut_watches()


async def disturbed(world: World, seed: int, rounds: int, *, watches: bool = False) -> dict[str, Any]:
    """Lose, delay, double and refuse requests for some rounds."""
    findings, began = Findings(), time.monotonic()
    script = Disturbing(seed, watches=watches)
    world.proxy.script = script
    cutting = asyncio.create_task(_cut_watches(world, script.points)) if watches else None
    for number in range(rounds):
        await run_all(world, [*SHAPES, *SHAPES], findings)
        say(f"{script.points.total()} disturbed requests in {number + 1} rounds")
    if cutting is not None:
        cutting.cancel()
    world.proxy.script = Peace()
    return {
        "seed": seed,
        "disturbed_requests": script.points.total(),
        "by_way": dict(script.points),
        **findings.report(),
        "seconds": round(time.monotonic() - began, 1),
    }
