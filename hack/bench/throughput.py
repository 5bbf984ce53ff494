"""How many durable steps and runs a second, beside a plain Kopf operator and what the API server bears."""

from __future__ import annotations

import os
import statistics
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from bench.ceilings import Ceilings
from bench.client import PlainClient
from bench.driver import Driver
from bench.figures import Report, interval, ratio, rounded
from bench.ground import Ground
from bench.machine import CpuMeter
from bench.plan import Plan
from bench.shapes import OTHERS, RUNS, Change, Manifest, Peer, Shape, Storage, target
from bench.wholeruns import WholeRuns

ABOUT = (
    "As many runs as there are Deployments are started at once, one each; the rate is their steps (or "
    "runs) by the time from the first create sent to the last end seen, by a watch that tells of each run "
    "once. Ours, the peer and plain requests take turns, each with its process freshly started and "
    "warmed, the others stopped. scale: each step sets spec.replicas of a paused Deployment (ours: "
    "scale_deployment, a read and a patch, and every five seconds a list of autoscalers); annotate: each "
    "step writes an annotation (ours: patch_resource, a read, a dry run and a patch). The peer patches "
    "without reading, and Deployments of its own. plain: Kopf's own "
    "storage, an object for each patch, so three writes a patch; the others keep everything in the status. "
    "stepwise: Kopf stores each step's end; at_once: one handler makes all patches and stores nothing in "
    "between, which is not durable. processor_ms_per_step: processor time used meanwhile, by process."
)
WARM_RUNS = 10
ONE_STEP_BATCHES = 3
OURS = {"five_scale": Shape(5), "one_scale": Shape(1), "five_annotate": Shape(5, Change.ANNOTATE)}
PEERS = {
    Storage.PLAIN: {"peer_plain_one_scale": (Peer.AT_ONCE, Shape(1))},
    Storage.STATUS: {
        "peer_five_scale_stepwise": (Peer.STEPWISE, Shape(5)),
        "peer_five_scale_at_once": (Peer.AT_ONCE, Shape(5)),
        "peer_one_scale": (Peer.AT_ONCE, Shape(1)),
        "peer_five_annotate_stepwise": (Peer.STEPWISE, Shape(5, Change.ANNOTATE)),
    },
}
Rates = dict[str, list[float]]
Part = Callable[[], Awaitable[None]]


class Throughput:
    """The rounds of ours and the peer's."""

    def __init__(self, ground: Ground, client: PlainClient, plan: Plan, whole: WholeRuns) -> None:
        self._ground = ground
        self._client = client
        self._whole = whole
        self._targets = plan.targets
        self.rates: Rates = defaultdict(list)
        self.processor_ms: dict[str, list[dict[str, float]]] = defaultdict(list)
        self._replicas = 1000

    async def ours(self) -> None:
        """Add a round of ours."""
        with self._ground.operator() as operator:
            driver = Driver(self._client, RUNS)
            async with driver.ends.watching():
                for name, shape in OURS.items():

                    def make(run: str, at: int, shape: Shape = shape) -> Manifest:
                        return shape.run(run, target(shape.change, at))

                    await driver.batch(make, WARM_RUNS)
                    await self._measure(name, driver, make, shape.steps, operator.pid)
                    if shape.change is Change.SCALE:
                        self._whole.learn(shape.steps, await driver.last_status())
                await driver.clean()

    async def peers(self) -> None:
        """Add a round of the peer's."""
        for storage, shapes in PEERS.items():
            await self._peer(storage, shapes)

    async def _peer(self, storage: Storage, shapes: Mapping[str, tuple[Peer, Shape]]) -> None:
        with self._ground.peer(storage) as process:
            for name, (kind, shape) in shapes.items():
                driver = Driver(self._client, kind.path)
                async with driver.ends.watching():

                    def make(run: str, at: int, shape: Shape = shape, kind: Peer = kind) -> Manifest:
                        self._replicas = (self._replicas + 17) % 9000 + 1
                        where = target(shape.change, at, OTHERS)
                        return kind.run(run, where, shape.change, shape.steps, self._replicas)

                    await driver.batch(make, WARM_RUNS)
                    await self._measure(name, driver, make, shape.steps, process.pid)
                    await driver.clean()

    async def _measure(self, name: str, driver: Driver, make: Any, steps: int, pid: int | None) -> None:
        assert pid is not None
        meter = CpuMeter({"operator": pid, "driver": os.getpid(), **self._ground.pids})
        # One-step runs are over in a second or two; a collection of the API server's falls into some of these or not.
        batches = ONE_STEP_BATCHES if steps == 1 else 1
        seconds = sum([await driver.batch(make, self._targets) for _ in range(batches)])
        done = batches * self._targets * steps
        self.rates[name].append(done / seconds)
        spent = meter.spent()
        self.processor_ms[name].append({p: 1000 * s / done for p, s in spent.items()})
        self._ground.say(f"  {name}: {self.rates[name][-1]:.0f} steps/s")


async def measure(ground: Ground, plan: Plan) -> Report:
    """Measure."""
    report = Report("throughput", ABOUT)
    ground.apply(*(shape.workflow() for shape in OURS.values()))
    async with PlainClient(ground.driver) as client, PlainClient(ground.rights) as own:
        for change in Change:
            for whose in ("", OTHERS):
                await ground.deployments(client, change, plan.targets, whose)
        whole = WholeRuns(client, own, plan.targets, plan.ceiling_seconds)
        work = Throughput(ground, client, plan, whole)
        ceilings = Ceilings(ground, client, plan.targets, plan.ceiling_seconds)
        await ceilings.prepare()
        for number in range(plan.rounds):
            ground.say(f"throughput: round {number + 1} of {plan.rounds}")
            # Who comes first takes turns, too.
            parts: list[Part] = [work.ours, work.peers, partial(_alone, ceilings, whole)]
            for part in parts[number % 3 :] + parts[: number % 3]:
                await part()
        await ceilings.close()
    _tell(report, work, ceilings, whole)
    return report


async def _alone(ceilings: Ceilings, whole: WholeRuns) -> None:
    await ceilings.measure()
    await whole.measure()


def _tell(report: Report, work: Throughput, ceilings: Ceilings, whole: WholeRuns) -> None:
    rates = work.rates
    figures = report.figures
    for name, values in rates.items():
        spent = work.processor_ms[name]
        figures[f"{name}_steps_per_second"] = {
            **interval(values),
            "ceiling_read_and_patch_per_second": ceilings.median(
                "read_and_patch_annotate" if "annotate" in name else "read_and_patch_scale"
            ),
            "processor_ms_per_step": {
                process: rounded(statistics.median(one[process] for one in spent)) for process in spent[0]
            },
        }
    figures["ceilings"] = {**ceilings.figures(), **whole.figures()}
    plain = figures["ratio_five_scale_to_peer_plain"] = ratio(
        rates["five_scale"], rates["peer_plain_one_scale"]
    )
    durable = figures["ratio_five_scale_to_peer_stepwise"] = ratio(
        rates["five_scale"], rates["peer_five_scale_stepwise"]
    )
    bound = figures["ratio_patches_alone_to_peer_stepwise"] = ratio(
        ceilings.rates["patch_scale"], rates["peer_five_scale_stepwise"]
    )
    figures["ratio_five_annotate_to_peer_stepwise"] = ratio(
        rates["five_annotate"], rates["peer_five_annotate_stepwise"]
    )
    figures["ratio_five_scale_to_peer_at_once_not_durable"] = ratio(
        rates["five_scale"], rates["peer_five_scale_at_once"]
    )
    figures["ratio_one_scale_to_peer"] = ratio(rates["one_scale"], rates["peer_one_scale"])
    figures["ratio_five_scale_to_read_and_patch_ceiling"] = ratio(
        rates["five_scale"], ceilings.rates["read_and_patch_scale"]
    )
    five, one = figures["five_scale_steps_per_second"], figures["one_scale_steps_per_second"]
    same = "the same requests alone, by a plain client"
    report.at_least("five-step runs (scale)", "steps/s", five["lower_95"], 250, {same: 5 * whole.median(5)})
    report.at_least(
        "five-step runs (scale), ours over the plain peer with its three writes a patch",
        "times",
        plain["lower_95"],
        2,
        {f"{same}, over that peer": 5 * whole.median(5) / statistics.median(rates["peer_plain_one_scale"])},
    )
    report.at_least(
        "five-step runs (scale), ours over the durable peer tuned to two writes a patch",
        "times",
        durable["lower_95"],
        2,
        {"the same patches alone, over the durable peer": bound["median"]},
    )
    report.at_least("one-step runs (scale)", "runs/s", one["lower_95"], 130, {same: whole.median(1)})
    report.remark(
        f"alone, the API server bears {ceilings.median('read_and_patch_scale'):.0f} reads and patches a second, "
        f"etcd {ceilings.median('etcd_put'):.0f} puts"
    )
