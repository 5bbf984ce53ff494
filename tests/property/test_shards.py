"""Whatever happens to requests, processes and clocks: at most one replica believes that it holds a shard."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from leasing import DURATION, RENEW, LeaseStore, Replica, Request

COUNT = 4
NAMES = ("ann", "robert", "eve")
SKEWS = (0.0, 300.0, -300.0)
Step = tuple[str, int, float]


class Cluster:
    """Three replicas, each moved by hand: a request lands when told to, a sleep ends when told to."""

    def __init__(self) -> None:
        self.time = 0.0
        self.store = LeaseStore()
        self.late: list[Request] = []
        self.replicas: dict[str, Replica] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.sleeps: dict[str, asyncio.Event] = {}

    async def start(self, name: str) -> None:
        skew = SKEWS[NAMES.index(name)]
        self.sleeps[name] = woken = asyncio.Event()

        async def sleep(_: float) -> None:
            woken.clear()
            await woken.wait()

        replica = Replica(self.store, name, lambda: self.time, count=COUNT, skew=skew, hold=True, sleep=sleep)
        self.replicas[name] = replica
        self.tasks[name] = asyncio.create_task(replica.keeper.run())

    async def kill(self, name: str) -> None:
        """SIGKILL: what was on its way may still arrive."""
        replica = self.replicas.pop(name)
        self.late += replica.cluster.pending
        self.tasks[name].cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.tasks.pop(name)
        for task in replica.keeper._giving:
            task.cancel()

    async def settle(self) -> None:
        """Let every process run until it waits."""
        for _ in range(12):
            await asyncio.sleep(0)

    async def do(self, step: Step) -> None:
        what, number, amount = step
        name = NAMES[number % len(NAMES)]
        pending = self.replicas[name].cluster.pending
        match what:
            case "wake":
                self.sleeps[name].set()
            case "look":
                self.sleeps[name].set()
                await self.look(self.replicas[name])
            case "time":
                self.time += amount
            case "late" if self.late:
                self.late.pop(number % len(self.late)).arrive()
            case "kill":
                await self.kill(name)
                await self.start(name)
            case "arrive" if pending:
                pending.pop(0).arrive()
            case "lose" if pending:
                pending.pop(0).lose(landed=True)
            case "drop" if pending:
                pending.pop(0).lose(landed=False)
            case "delay" if pending:
                request = pending.pop(0)
                request.lose(landed=False)
                self.late.append(request)
        await self.settle()

    async def calm(self, seconds: float) -> None:
        """Let everything land at once, and everybody wake in time."""
        for _ in range(int(seconds / 0.5)):
            self.time += 0.5
            for name, replica in self.replicas.items():
                self.sleeps[name].set()
                await self.look(replica)
            self.check()

    async def look(self, replica: Replica) -> None:
        """Let one replica do all it has to, without any trouble."""
        await self.settle()
        while replica.cluster.pending:
            while replica.cluster.pending:
                replica.cluster.pending.pop(0).arrive()
            await self.settle()
            self.check()

    def check(self) -> None:
        holders = Counter(shard for replica in self.replicas.values() for shard in replica.holding)
        assert not [shard for shard, count in holders.items() if count > 1], holders


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(["look"] * 4 + ["arrive"] * 2 + ["wake", "lose", "drop", "delay", "late"]),
            st.integers(0, 11),
            st.just(0.0),
        ),
        st.tuples(
            st.just("time"), st.just(0), st.sampled_from([0.3, RENEW, DURATION - 0.1, DURATION, 2 * DURATION])
        ),
        st.tuples(st.just("kill"), st.integers(0, 2), st.just(0.0)),
    ),
    min_size=10,
    max_size=60,
)


async def lived_through(calm: float, steps: Sequence[Step]) -> Cluster:
    """Return what becomes of replicas that had some peace, then trouble, and peace again."""
    cluster = Cluster()
    for name in NAMES:
        await cluster.start(name)
    await cluster.calm(calm)
    for step in steps:
        await cluster.do(step)
        cluster.check()
    for request in cluster.late:
        request.arrive()
    cluster.late.clear()
    await cluster.calm(4 * DURATION)
    return cluster


@settings(max_examples=40)
@given(st.sampled_from([0.0, 10.0]), STEPS)
def test_at_most_one_replica_holds_a_shard_and_in_peace_each_is_held(calm: float, steps: list[Step]) -> None:
    async def story() -> None:
        cluster = await lived_through(calm, steps)
        held = [sorted(replica.holding) for replica in cluster.replicas.values()]
        assert sorted(shard for shards in held for shard in shards) == list(range(-1, COUNT)), held
        assert sorted(len(shards) for shards in held) == [1, 2, 2], "fair shares"
        for name in NAMES:
            await cluster.kill(name)

    asyncio.run(story())
