"""What one key costs on its way through the work queue, with and without priorities and namespaces.

    PYTHONPATH=hack python -m bench.workqueue [--rounds 7] [--out FILE]

A key is added twice (as events come), has a delay that the event overtakes, is taken by one of 64 workers and given
back. ``plain`` is one priority and one namespace, ``ranked`` five priorities and fifty namespaces, ``told`` the same
with the waiting time observed as the operator does. Microseconds for each key, rounds interleaved.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.figures import interval, ratio
from kubernaut.engine.gauges import show_wait
from kubernaut.engine.keys import RunKey
from kubernaut.engine.queue import KeyedQueue, Rank

KEYS = [RunKey(f"ns-{number % 50}", f"run-{number}") for number in range(2_000)]
RANKS = {key: Rank(number % 5, key.namespace) for number, key in enumerate(KEYS)}
TURNS = 10
WORKERS = 64


def makers() -> dict[str, Callable[[], KeyedQueue[RunKey]]]:
    """Return how each kind of queue is made."""
    return {
        "plain": lambda: KeyedQueue(),
        "ranked": lambda: KeyedQueue(RANKS.__getitem__),
        "told": lambda: KeyedQueue(RANKS.__getitem__, show_wait),
    }


async def through(make: Callable[[], KeyedQueue[RunKey]]) -> float:
    """Return the microseconds that a key takes."""
    queue = make()

    async def work() -> None:
        while (key := await queue.get()) is not None:
            await asyncio.sleep(0)
            queue.done(key)

    workers = [asyncio.create_task(work()) for _ in range(WORKERS)]
    await asyncio.sleep(0)
    began = time.perf_counter()
    for _ in range(TURNS):
        for key in KEYS:
            queue.add_after(key, 30)
            queue.add(key)
            queue.add(key)
        while len(queue):  # noqa: ASYNC110
            await asyncio.sleep(0)
    seconds = time.perf_counter() - began
    queue.close()
    await asyncio.gather(*workers)
    return seconds / (TURNS * len(KEYS)) * 1e6


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    found: dict[str, list[float]] = {name: [] for name in makers()}
    for _ in range(given.rounds):
        for name, make in makers().items():
            found[name].append(asyncio.run(through(make)))
    document: dict[str, Any] = {
        "microseconds_per_key": {name: interval(values) for name, values in found.items()},
        "ranked_over_plain": ratio(found["ranked"], found["plain"]),
        "told_over_plain": ratio(found["told"], found["plain"]),
    }
    text = json.dumps(document, indent=2)
    print(text, file=sys.stdout)
    if given.out is not None:
        given.out.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
