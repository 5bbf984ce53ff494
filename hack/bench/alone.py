"""What the API server, etcd and a bare process need by themselves, one request at a time: nobody can need less.

``ceilings`` has what they bear when many ask.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Sequence
from typing import Any, Final
from urllib.parse import urlencode

from bench.ceilings import etcd_puts
from bench.client import PlainClient, Refused
from bench.figures import interval, percentile, spread
from bench.ground import Ground
from bench.machine import memory_mib
from bench.shapes import DEPLOYMENTS, RUNS, Change, Manifest, one_more, run, target
from kubernaut.cluster.watching import PAGE
from kubernaut.engine.endings import LIVE

#: what a run is to the API server beside its steps: the create, the claim and the end
_AROUND: Final = ("create_run", "patch_status_of_run", "patch_status_of_run")
#: a replica whose process stands still must not lose its lease for it
_ETCD_SECONDS: Final = 0.5
_OF_EVERYTHING: Final = "/apis/kubernaut.io/v1alpha1"
_BARE: Final = "import sys, uvloop, kubernaut.app; print(flush=True); sys.stdin.read()"


class OneByOne:
    """The requests of a run, sent by a plain client to an idle API server; and puts to an idle etcd."""

    def __init__(self, client: PlainClient, own: PlainClient, same: PlainClient) -> None:
        """Take the clients: of who creates runs, with the operator's rights, and as the runs' account."""
        self._client = client
        self._own = own
        self._same = same
        self._number = 0
        self.seconds: dict[str, list[float]] = {
            name: [] for name in (*_AROUND, "get_deployment", "patch_deployment", "etcd_put")
        }
        #: of all requests of one one-step run, one after the other
        self.one_step: list[float] = []

    async def measure(self, ground: Ground, count: int) -> None:
        """Add so many one-step runs, each on a Deployment of its own; no operator may be awake."""
        # The first opens the connections.
        await self._one(0, {name: [] for name in self.seconds})
        for number in range(count):
            self.one_step.append(await self._one(number, self.seconds))
        puts = await asyncio.to_thread(etcd_puts, ground, _ETCD_SECONDS, 1)
        self.seconds["etcd_put"] += puts["put_seconds"]

    async def _one(self, number: int, seconds: dict[str, list[float]]) -> float:
        self._number += 1
        name = f"alone-{self._number}"
        made = run(name, "none", "none")
        del made["metadata"]["finalizers"]
        status = f"{RUNS}/{name}/status"

        async def timed(what: str, work: Awaitable[Any]) -> float:
            began = time.monotonic()
            await work
            seconds[what].append(time.monotonic() - began)
            return seconds[what][-1]

        took = await timed("create_run", self._client.send("POST", RUNS, made))
        took += await timed("patch_status_of_run", self._own.patch(status, _message("claimed")))
        read, patch = await self._read_and_patch(f"{DEPLOYMENTS}/{target(Change.SCALE, number)}")
        seconds["get_deployment"].append(read)
        seconds["patch_deployment"].append(patch)
        took += await timed("patch_status_of_run", self._own.patch(status, _message("ended")))
        await self._client.send("DELETE", f"{RUNS}/{name}")
        return took + read + patch

    async def _read_and_patch(self, path: str) -> tuple[float, float]:
        while True:
            began = time.monotonic()
            seen = await self._same.send("GET", path)
            read = time.monotonic()
            try:
                await self._same.patch(path, one_more(seen))
            except Refused as refusal:
                # The deployment controller was in between, so this was not alone.
                if refusal.code != 409:
                    raise
            else:
                return read - began, time.monotonic() - read

    def beside_run(self, steps: int) -> dict[str, float]:
        """Return what a run of so many sequential steps on one object takes at the least, in seconds.

        One step's was measured in one piece. More are computed from medians: one read, for a step that follows
        another can patch what that one's answer showed.
        """
        usual = {name: statistics.median(values) for name, values in self.seconds.items()}
        whole = sum(usual[name] for name in (*_AROUND, "get_deployment")) + steps * usual["patch_deployment"]
        return {
            "API server alone": statistics.median(self.one_step) if steps == 1 else whole,
            f"{len(_AROUND) + steps} etcd puts alone": (len(_AROUND) + steps) * usual["etcd_put"],
        }

    def read_and_patch(self, share: float) -> float:
        """Return the percentile (0 to 1) of the seconds of a read and the patch after it."""
        pairs = zip(self.seconds["get_deployment"], self.seconds["patch_deployment"], strict=True)
        return percentile([read + patch for read, patch in pairs], share)

    def figures(self) -> dict[str, Any]:
        """Return how long each request took."""
        whole = {**interval(self.one_step), **spread(self.one_step)}
        del whole["rounds"]
        each = {f"{name}_seconds": spread(values) for name, values in self.seconds.items()}
        return {"requests_of_a_one_step_run_seconds": whole, **each}


def _message(text: str) -> Manifest:
    return {"status": {"message": text}}


async def list_as_at_start(client: PlainClient) -> float:
    """Return the seconds of the lists that a start waits for: Workflows, then live runs, page by page."""
    began = time.monotonic()
    await _pages(client, f"{_OF_EVERYTHING}/workflows", {})
    await _pages(client, f"{_OF_EVERYTHING}/workflowexecutions", {"fieldSelector": LIVE})
    return time.monotonic() - began


async def _pages(client: PlainClient, path: str, query: dict[str, str]) -> None:
    rest = ""
    while True:
        asked = {**query, "limit": str(PAGE), **({"continue": rest} if rest else {})}
        page = await client.send("GET", f"{path}?{urlencode(asked)}")
        rest = page["metadata"].get("continue", "")
        if not rest:
            return


def bare_process() -> tuple[float, float]:
    """Start a Python process that imports what the operator does and no more; return its seconds and resident MiB."""
    began = time.monotonic()
    command: Sequence[str] = [sys.executable, "-c", _BARE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        if not process.stdout.readline():
            raise RuntimeError("the operator's modules can't be imported")
        return time.monotonic() - began, memory_mib(process.pid)["resident_mib"]
