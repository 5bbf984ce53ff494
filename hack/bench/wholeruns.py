"""All requests of whole runs, sent by a plain client that decides, checks and remembers nothing.

An operator that writes the same statuses and makes the same patches can't do more runs a second on the same machine.
"""

from __future__ import annotations

import itertools
import statistics
from functools import partial
from typing import Any, Final

from bench.ceilings import rate
from bench.client import PlainClient, Refused
from bench.figures import interval
from bench.shapes import DEPLOYMENTS, RUNS, Change, Manifest, one_more, run, target

_UNDER_WAY: Final = 32
_PINNED: Final = ("observedGeneration", "startedAt", "target", "workflow")


class WholeRuns:
    """Rates of the runs of a plain client, round by round.

    A run is its create, the status of its claim, a patch of its Deployment for each step, and the status of its
    end. The first patch rests on a read, as ours do; the others are sent without one.
    """

    def __init__(self, client: PlainClient, own: PlainClient, targets: int, seconds: float) -> None:
        """Take the clients of who starts runs and makes patches, and with the operator's rights."""
        self._client = client
        self._own = own
        self._targets = targets
        self._seconds = seconds
        self._names = itertools.count()
        self._ended: dict[int, Manifest] = {}
        self.rates: dict[int, list[float]] = {}

    def learn(self, steps: int, ended: Manifest) -> None:
        """Take what the status of a run of ours with so many steps is in the end."""
        self._ended.setdefault(steps, ended)

    async def measure(self) -> None:
        """Add one round of each that was learnt; no operator may be running."""
        for steps in self._ended:
            each = await rate(partial(self._one, steps), _UNDER_WAY, self._seconds)
            self.rates.setdefault(steps, []).append(each)
            names = await self._client.names(RUNS)
            for name in names:
                await self._client.send("DELETE", f"{RUNS}/{name}")

    def median(self, steps: int) -> float:
        """Return the median rate, in runs a second."""
        return statistics.median(self.rates[steps])

    def figures(self) -> dict[str, Any]:
        """Return the rates with their intervals."""
        return {
            f"runs_of_{steps}_steps_per_second": {**interval(values), "runs_under_way": _UNDER_WAY}
            for steps, values in self.rates.items()
        }

    async def _one(self, steps: int, number: int) -> None:
        name, ended = f"whole-{next(self._names)}", self._ended[steps]
        made = run(name, "none", "none")
        del made["metadata"]["finalizers"]
        await self._client.send("POST", RUNS, made)
        await self._own.patch(f"{RUNS}/{name}/status", {"status": claimed(ended)})
        await self._steps(steps, f"{DEPLOYMENTS}/{target(Change.SCALE, number % self._targets)}")
        await self._own.patch(f"{RUNS}/{name}/status", {"status": ended})

    async def _steps(self, steps: int, path: str) -> None:
        replicas = await self._first(path)
        for _ in range(steps - 1):
            replicas += 1
            await self._client.patch(path, {"spec": {"replicas": replicas}})

    async def _first(self, path: str) -> int:
        while True:
            seen = await self._client.send("GET", path)
            try:
                patched = await self._client.patch(path, one_more(seen))
            except Refused as refusal:
                # The deployment controller writes these objects too.
                if refusal.code != 409:
                    raise
            else:
                replicas: int = patched["spec"]["replicas"]
                return replicas


def claimed(ended: Manifest) -> Manifest:
    """Return the status with which a run of ours is claimed, of one that ended so."""
    step, condition = ended["steps"][0], ended["conditions"][0]
    same = {key: condition[key] for key in ("lastTransitionTime", "observedGeneration")}
    going = {**same, "reason": "Running", "message": ""}
    return {
        **{key: ended[key] for key in _PINNED},
        "phase": "Running",
        "progress": f"0/{len(ended['steps'])}",
        "steps": [{key: step[key] for key in ("name", "attempt", "startedAt")} | {"phase": "Running"}],
        "conditions": [
            {**going, "type": "Ready", "status": "False"},
            {**going, "type": "Reconciling", "status": "True"},
        ],
    }
