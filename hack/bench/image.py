"""How large the images are, and how long a pod of the operator takes from its create to Ready, on a real node."""

from __future__ import annotations

import asyncio
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.client import PlainClient, Refused
from bench.figures import Report, interval
from bench.ground import DRIVER, ROOT, Say, driver_with_all_rights
from bench.plan import Plan
from image import KINDS, build_or_cached, pods
from image.layers import read_archive
from localcluster import Cluster
from localrun.access import account_kubeconfig

ABOUT = (
    "The images that hack/image builds. megabytes: of the OCI archive, whose layers are not compressed, as they lie "
    "on a node; compressed_megabytes: of the same by zlib at level 6, about what a registry stores and a node pulls. "
    "created_to_ready_seconds: one pod of the operator after the other, from its create being sent to a read, every "
    "20 ms, that finds it Ready, with the image on the node; in it is the readiness probe's period of 1 s. "
    "running_to_ready_seconds: the same from the first read that finds its container running."
)
PATIENCE = 120.0
_PODS = f"/api/v1/namespaces/{pods.NAMESPACE}/pods"


def measure(say: Say, plan: Plan) -> Report:
    """Bring a cluster with a real node up, measure on it, take it away."""
    report = Report("image", ABOUT)
    archives = {name: build_or_cached(name) for name in KINDS}
    for name, archive in archives.items():
        say(f"image: {name}")
        report.figures[name] = sizes(archive)
    cluster = Cluster.up("bench-image", nodes="real", audit="metadata")
    try:
        cluster.load_image(archives["operator"])
        cluster.run_kubectl("apply", "-k", str(ROOT / "manifests" / "base"))
        cluster.run_kubectl("apply", "-f", "-", stdin=driver_with_all_rights())
        with tempfile.TemporaryDirectory(prefix="kubernaut-bench-") as folder:
            kubeconfig = account_kubeconfig(cluster, DRIVER, Path(folder))
            created, running = asyncio.run(_starts(kubeconfig, plan.rounds, say))
    finally:
        cluster.down()
    report.figures["created_to_ready_seconds"] = ready = interval(created)
    report.figures["running_to_ready_seconds"] = interval(running)
    report.at_most("operator image", "MB", report.figures["operator"]["megabytes"], 160)
    report.at_most("operator image, compressed", "MB", report.figures["operator"]["compressed_megabytes"], 60)
    report.at_most("analyst image, compressed", "MB", report.figures["analyst"]["compressed_megabytes"], 130)
    report.at_most("operator, created to ready", "s", ready["upper_95"], 10)
    return report


def sizes(archive: Path) -> dict[str, Any]:
    """Return the size of an archive and of its layers, from the lowest up."""
    packer, packed = zlib.compressobj(6), 0
    with archive.open("rb") as file:
        while data := file.read(2**20):
            packed += len(packer.compress(data))
    manifest, _ = read_archive(archive)
    return {
        "megabytes": round(archive.stat().st_size / 1e6, 1),
        "compressed_megabytes": round((packed + len(packer.flush())) / 1e6, 1),
        "layers_megabytes": [round(layer["size"] / 1e6, 1) for layer in manifest["layers"]],
    }


async def _starts(kubeconfig: Path, rounds: int, say: Say) -> tuple[list[float], list[float]]:
    """Start so many pods, one after the other; return the seconds each took from create, and from running."""
    created, running = [], []
    async with PlainClient(kubeconfig, pool=4) as client:
        for number in range(rounds):
            say(f"image: start {number + 1} of {rounds}")
            name = f"operator-{number}"
            began = time.monotonic()
            await client.send("POST", _PODS, pods.pod(name, pods.spec("operator")))
            ran = await _when(client, name, _runs)
            ready = await _when(client, name, _is_ready)
            created.append(ready - began)
            running.append(ready - ran)
            await client.send("DELETE", f"{_PODS}/{name}")
            await _gone(client, name)
    return created, running


def _runs(status: dict[str, Any]) -> bool:
    return any("running" in one["state"] for one in status.get("containerStatuses", ()))


def _is_ready(status: dict[str, Any]) -> bool:
    conditions = status.get("conditions", ())
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


async def _when(client: PlainClient, name: str, holds: Callable[[dict[str, Any]], bool]) -> float:
    """Return when a pod was seen so.

    Raises:
        TimeoutError: it was not in time.
    """
    async with asyncio.timeout(PATIENCE):
        while True:
            pod = await client.send("GET", f"{_PODS}/{name}")
            if holds(pod.get("status", {})):
                return time.monotonic()
            await asyncio.sleep(0.02)


async def _gone(client: PlainClient, name: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await client.send("GET", f"{_PODS}/{name}")
            except Refused as refused:
                if refused.code == 404:
                    return
                raise
            await asyncio.sleep(0.1)
