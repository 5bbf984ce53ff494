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
_AT_WORK = 20
_OPENING = 2.0


class _AtWork(Peace):
    """Does nothing to requests; ``reached`` is set once runs are well under way."""

    def __init__(self) -> None:
        self._writes = 0
        self.reached = asyncio.Event()

    def decide(self, exchange: Exchange) -> Fault | None:
        self._writes += exchange.mutates
        if self._writes >= _AT_WORK:
            self.reached.set()
        return None


async def outage(world: World, *, pause: bool, seconds: float) -> dict[str, Any]:
    """Take the API server away for so long; ``pause`` has it hang instead of die."""
    findings, began, loop = Findings(), time.monotonic(), asyncio.get_running_loop()
    script = _AtWork()
    world.proxy.script = script
    trials = await world.begin([*SHAPES, *SHAPES])
    settling = asyncio.create_task(world.settle(trials, 120))
    await asyncio.wait_for(script.reached.wait(), 30)
    await asyncio.to_thread(world.cluster.stop, API, pause=pause)
    gone = loop.time()
    await asyncio.sleep(seconds)
    during = [exchange for at, exchange in world.proxy.attempts if at > gone + _OPENING]
    span = loop.time() - gone - _OPENING
    streams = sum(exchange.streams for exchange in during)
    await asyncio.to_thread(world.cluster.start, API)
    back = loop.time()
    say(f"the API server {'hung' if pause else 'was dead'} for {back - gone:.1f} s")
    runs = await settling
    await asyncio.sleep(1.0)
    await world.judge(trials, runs, findings)
    at_work = [at for at, exchange in world.proxy.attempts if exchange.mutates and at >= back]
    world.proxy.attempts.clear()
    verdicts = Counter(run["status"].get("verdict") for run in runs.values())
    return {
        "what": "SIGSTOP" if pause else "SIGKILL",
        "seconds_away": round(back - gone, 1),
        "requests_per_second_once_the_breaker_is_open": round((len(during) - streams) / span, 2),
        "watches_tried_per_second": round(streams / span, 2),
        "tried": dict(Counter(f"{one.method} {one.path.split('?')[0]}" for one in during)),
        "back_to_work_after_seconds": round(at_work[0] - back, 2) if at_work else None,
        "verdicts": dict(verdicts),
        **findings.report(),
        "seconds": round(time.monotonic() - began, 1),
    }
