"""The API server dies, hangs, or answers badly for a while, in the middle of runs, and comes back."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from faults.fault import Fault
from faults.oracle import Findings
from faults.proxy import Attempt, Peace
from faults.shapes import SHAPES
from faults.wire import Exchange
from faults.world import World, say

API = "kube-apiserver"
_AT_WORK = 12
#: requests a second that an open breaker lets through
MOST_ASKED = 1.0
#: seconds after which work has to go on
BACK_WITHIN = 10.0
#: how long a breaker may take to open, in seconds
_OPENING = 5.0
#: and where nothing refuses, so that only time-outs tell
_OPENING_HUNG = 10.0
#: how the API server is away, by the name of the trial
REFUSALS = {
    "429": Fault.BUSY,
    "500": Fault.BROKEN,
    "503": Fault.AWAY,
    "reset": Fault.RESET,
    "slow": Fault.SLOW,
}
Away = Callable[[], AbstractAsyncContextManager[None]]


class _AtWork(Peace):
    """Does nothing to requests until told to; ``reached`` is set once runs are well under way."""

    def __init__(self) -> None:
        self._writes = 0
        self.reached = asyncio.Event()
        self.fault: Fault | None = None

    def decide(self, exchange: Exchange) -> Fault | None:
        self._writes += exchange.mutates
        if self._writes >= _AT_WORK:
            self.reached.set()
        return self.fault


async def refused(world: World, fault: Fault, seconds: float) -> dict[str, Any]:
    """Let every request meet the same fault for so long."""
    script = _AtWork()

    @asynccontextmanager
    async def away() -> AsyncIterator[None]:
        script.fault = fault
        # What is told while it is away is not to come late.
        world.proxy.cut_watches()
        try:
            yield
        finally:
            script.fault = None

    # Who answers late is there: no breaker opens.
    opens = fault is not Fault.SLOW
    return {"what": fault.value, **await _through(world, script, away, seconds, opens=opens)}


async def stopped(world: World, *, pause: bool, seconds: float) -> dict[str, Any]:
    """Kill the API server, or have it hang, for so long."""
    cluster = world.cluster

    @asynccontextmanager
    async def away() -> AsyncIterator[None]:
        await asyncio.to_thread(cluster.stop, API, pause=pause)
        try:
            yield
        finally:
            await asyncio.to_thread(cluster.start, API)

    what = "SIGSTOP" if pause else "SIGKILL"
    opening = _OPENING_HUNG if pause else _OPENING
    return {"what": what, **await _through(world, _AtWork(), away, seconds, opening)}


async def _through(
    world: World,
    script: _AtWork,
    away: Away,
    seconds: float,
    opening: float = _OPENING,
    *,
    opens: bool = True,
) -> dict[str, Any]:
    """Run all shapes through an outage, and count what is asked of the API server meanwhile."""
    findings, began, loop = Findings(), time.monotonic(), asyncio.get_running_loop()
    world.proxy.script = script
    attempts: list[Attempt] = []
    world.proxy.attempts = attempts
    batch = await world.begin(SHAPES)
    settling = asyncio.create_task(batch.settle(120 + 2 * seconds))
    await asyncio.wait_for(script.reached.wait(), 30)
    async with away():
        gone = loop.time()
        await asyncio.sleep(seconds)
        ends = loop.time()
    back = loop.time()
    say(f"the API server was away for {ends - gone:.1f} s ({script.fault or 'it came back'})")
    runs = await settling
    world.proxy.attempts = None
    world.proxy.script = Peace()
    await batch.close(runs, findings)
    during = [one for one in attempts if gone + opening < one.at < ends]
    span = max(ends - gone - opening, 0.1)
    at_work = [one.at for one in attempts if one.mutates and one.at >= back]
    late = not at_work or at_work[0] - back > BACK_WITHIN
    return {
        "seconds_away": round(ends - gone, 1),
        "requests_per_second_while_away": round(len(during) / span, 2),
        # One each second makes one more than there are seconds between the first and the last.
        "asked_too_often": opens and len(during) > MOST_ASKED * span + 1,
        "back_too_late": opens and late,
        "of_these_watches": round(sum(one.streams for one in during) / span, 2),
        "tried": dict(Counter(one.what for one in during)),
        "back_to_work_after_seconds": round(at_work[0] - back, 2) if at_work else None,
        "verdicts": dict(Counter((run.get("status") or {}).get("verdict") for run in runs.values())),
        **findings.report(),
        "seconds": round(time.monotonic() - began, 1),
    }
