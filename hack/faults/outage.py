"""The API server dies, or hangs, in the middle of runs, and comes back."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

from faults.oracle import Findings
from faults.proxy import Exchange, Fault, Peace
from faults.shapes import SHAPES
from faults.world import World, say

API = "kube-apiserver"
_OPENING = 3.0


class Watching(Peace):
    """Nothing is done to requests, but when they come is noted; ``busy`` is set once runs are at work."""

    def __init__(self, enough: int) -> None:
        self._enough = enough
        self.busy = asyncio.Event()
        self.seen: list[tuple[float, bool, bool]] = []

    def decide(self, exchange: Exchange) -> Fault | None:
        self.seen.append((asyncio.get_running_loop().time(), exchange.mutates, exchange.streams))
        if sum(mutates for _, mutates, _ in self.seen) >= self._enough:
            self.busy.set()
        return None


async def outage(world: World, *, pause: bool, seconds: float) -> dict[str, Any]:
    """Take the API server away for so long; ``pause`` has it hang instead of die."""
    findings, began, loop = Findings(), time.monotonic(), asyncio.get_running_loop()
    script = Watching(20)
    world.proxy.script = script
    trials = await world.begin([*SHAPES, *SHAPES])
    await asyncio.wait_for(script.busy.wait(), 30)
    settling = asyncio.create_task(world.settle(trials, 120))
    await asyncio.to_thread(world.cluster.stop, API, pause=pause)
    gone, attempts = loop.time(), len(world.proxy.attempts)
    await asyncio.sleep(seconds)
    during = [at for at in world.proxy.attempts[attempts:] if at > gone + _OPENING]
    tried = len(during) / (loop.time() - gone - _OPENING)
    await asyncio.to_thread(world.cluster.start, API)
    back = loop.time()
    say(f"the API server {'hung' if pause else 'was dead'} for {back - gone:.1f} s")
    runs = await settling
    await asyncio.sleep(1.0)
    await world.judge(trials, runs, findings)
    world.proxy.script = Peace()
    at_work = [at for at, mutates, _ in script.seen if mutates and at >= back]
    verdicts = Counter(run["status"].get("verdict") for run in runs.values())
    return {
        "what": "SIGSTOP" if pause else "SIGKILL",
        "seconds_away": round(back - gone, 1),
        "requests_per_second_once_the_breaker_is_open": round(tried, 2),
        "back_to_work_after_seconds": round(at_work[0] - back, 2) if at_work else None,
        "verdicts": dict(verdicts),
        **findings.report(),
        "seconds": round(time.monotonic() - began, 1),
    }
