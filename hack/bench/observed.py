"""The operator with an observer in its event loop: ``python -m bench.observed``.

Twice a second the observer appends one JSON line to ``$BENCH_OBSERVATIONS``: the longest time since the last line for
which the loop was held, how many tasks there are, how many files and sockets are open, and resident memory.

A loop can be held by its own work or by not being given a processor. So each hold is told twice: as time that passed,
and as processor time of the loop's thread within it; only the second is the operator's own doing.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import uvloop

from bench.machine import memory_mib

_TICK = 0.01
_EVERY = 0.5
_real_run = uvloop.run


def _sockets() -> tuple[int, int]:
    files = sockets = 0
    for entry in os.scandir("/proc/self/fd"):
        try:
            sockets += os.readlink(entry.path).startswith("socket:")
        except OSError:
            continue
        files += 1
    return files, sockets


async def observe(path: Path) -> None:
    """Write down how the loop is, for ever."""
    held = own = 0.0
    told = time.monotonic()
    with path.open("a", buffering=1) as file:
        while True:
            began, used = time.monotonic(), time.thread_time()
            await asyncio.sleep(_TICK)
            now = time.monotonic()
            held = max(held, now - began - _TICK)
            # Work within the tick itself delays nobody.
            own = max(own, min(time.thread_time() - used, now - began - _TICK))
            if now - told < _EVERY:
                continue
            files, sockets = _sockets()
            line = {
                "at": time.time(),
                "held_seconds": round(held, 4),
                "held_by_own_work_seconds": round(own, 4),
                "tasks": len(asyncio.all_tasks()),
                "files": files,
                "sockets": sockets,
                **memory_mib(os.getpid()),
            }
            file.write(json.dumps(line) + "\n")
            told, held, own = time.monotonic(), 0.0, 0.0


async def _with_observer(main: Coroutine[Any, Any, Any], path: Path) -> Any:
    observer = asyncio.create_task(observe(path))
    try:
        return await main
    finally:
        observer.cancel()


def _run(main: Coroutine[Any, Any, Any], **options: Any) -> Any:
    return _real_run(_with_observer(main, Path(os.environ["BENCH_OBSERVATIONS"])), **options)


if __name__ == "__main__":
    uvloop.run = _run
    from kubernaut.app import main

    raise SystemExit(main())
