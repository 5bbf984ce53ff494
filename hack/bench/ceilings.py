"""What the API server and etcd bear on this machine, by one plain client: nobody can be faster than this.

Each is a closed loop: so many requests under way at any time, for so many seconds. The number under way is what came
out best when it was tried before the rounds.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from bench.client import PlainClient, Refused
from bench.figures import interval
from bench.ground import Ground
from bench.shapes import DEPLOYMENTS, NAMESPACE, OTHERS, RUNS, Change, run, target

_CONFIGMAPS: Final = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
_UNDER_WAY: Final = (4, 8, 16, 32)
_IDLE_RUNS: Final = 64
_ETCD_UNDER_WAY: Final = 16
Work = Callable[[int], Awaitable[object]]


async def rate(work: Work, under_way: int, seconds: float) -> float:
    """Return how many pieces of work are done a second, with so many under way."""
    numbers = itertools.count()
    began = time.monotonic()
    done = 0

    async def loop() -> None:
        nonlocal done
        while time.monotonic() - began < seconds:
            await work(next(numbers))
            done += 1

    await asyncio.gather(*(loop() for _ in range(under_way)))
    return done / (time.monotonic() - began)


def etcd_puts(ground: Ground, seconds: float, under_way: int) -> dict[str, Any]:
    """Return what etcd takes by itself with so many puts under way: ``puts_per_second``, and ``put_seconds`` of each.

    Raises:
        RuntimeError: it could not be measured.
    """
    script = Path(__file__).with_name("etcdputs.py")
    argv = [sys.executable, str(script), ground.etcd_url, str(seconds), str(under_way)]
    done = ground.cluster.in_network(argv)
    if done.returncode:
        raise RuntimeError(f"etcd could not be measured: {done.stderr[-500:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


class Ceilings:
    """The plain client's rates, round by round."""

    def __init__(self, ground: Ground, client: PlainClient, targets: int, seconds: float) -> None:
        self._ground = ground
        self._client = client
        self._targets = targets
        self._seconds = seconds
        self._own = PlainClient(ground.rights)
        self._best: dict[str, int] = {}
        self.rates: dict[str, list[float]] = {name: [] for name in (*self._works, "etcd_put")}

    @property
    def _works(self) -> dict[str, Work]:
        return {
            "read_and_patch_scale": lambda n: self._read_and_patch(Change.SCALE, n),
            "read_and_patch_annotate": lambda n: self._read_and_patch(Change.ANNOTATE, n),
            "patch_scale": lambda n: self._patch(Change.SCALE, n),
            "create_configmap": self._create,
            "patch_status_of_run": self._patch_status,
        }

    async def prepare(self) -> None:
        """Find out how many requests under way are best for each; also the warm-up."""
        async with self._idle_runs():
            for name, work in self._works.items():
                tried = {width: await rate(work, width, self._seconds / 2) for width in _UNDER_WAY}
                self._best[name] = max(tried, key=lambda width: tried[width])

    async def measure(self) -> None:
        """Add one round; no operator may be running."""
        async with self._idle_runs():
            for name, work in self._works.items():
                self.rates[name].append(await rate(work, self._best[name], self._seconds))
        puts = await asyncio.to_thread(etcd_puts, self._ground, self._seconds, _ETCD_UNDER_WAY)
        self.rates["etcd_put"].append(puts["puts_per_second"])
        await self._client.send("DELETE", f"{_CONFIGMAPS}?labelSelector=bench%3Dceiling")

    async def close(self) -> None:
        """Close its connections."""
        await self._own.close()

    @contextlib.asynccontextmanager
    async def _idle_runs(self) -> AsyncIterator[None]:
        """Have runs whose status can be written: by the operator's account alone, so with its rights."""
        runs = [run(f"idle-{number}", "none", "none") for number in range(_IDLE_RUNS)]
        for one in runs:
            del one["metadata"]["finalizers"]
        await asyncio.gather(*(self._client.send("POST", RUNS, one) for one in runs))
        try:
            yield
        finally:
            paths = [f"{RUNS}/{one['metadata']['name']}" for one in runs]
            await asyncio.gather(*(self._client.send("DELETE", path) for path in paths))

    def figures(self) -> dict[str, Any]:
        """Return the rates with their intervals."""
        return {
            f"{name}_per_second": {
                **interval(values),
                "requests_under_way": self._best.get(name, _ETCD_UNDER_WAY),
            }
            for name, values in self.rates.items()
        }

    def median(self, name: str) -> float:
        """Return the median rate."""
        return statistics.median(self.rates[name])

    async def _read_and_patch(self, change: Change, number: int) -> None:
        path = f"{DEPLOYMENTS}/{target(change, number % self._targets, OTHERS)}"
        while True:
            seen = await self._client.send("GET", path)
            body = _changed(change, number, seen["metadata"]["resourceVersion"])
            try:
                await self._client.patch(path, body)
            except Refused as refusal:
                # The deployment controller writes these objects too.
                if refusal.code != 409:
                    raise
            else:
                return

    async def _patch(self, change: Change, number: int) -> None:
        path = f"{DEPLOYMENTS}/{target(change, number % self._targets, OTHERS)}"
        await self._client.patch(path, _changed(change, number))

    async def _create(self, number: int) -> None:
        name = f"ceiling-{time.monotonic_ns()}-{number}"
        meta = {"name": name, "labels": {"bench": "ceiling"}}
        await self._client.send("POST", _CONFIGMAPS, {"metadata": meta, "data": {"k": "v"}})

    async def _patch_status(self, number: int) -> None:
        path = f"{RUNS}/idle-{number % _IDLE_RUNS}/status"
        await self._own.patch(path, {"status": {"message": f"number {number}"}})


def _changed(change: Change, number: int, version: str = "") -> dict[str, Any]:
    meta: dict[str, Any] = {"resourceVersion": version} if version else {}
    if change is Change.ANNOTATE:
        return {"metadata": {**meta, "annotations": {"bench/ceiling": str(random.random())}}}
    return {"metadata": meta, "spec": {"replicas": number % 997}}
