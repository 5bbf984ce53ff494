"""Shards come and go, runs are cancelled, deleted and dropped by force, at any moment: in the end nothing is held."""

from __future__ import annotations

import asyncio
from typing import Any

import looptime
from hypothesis import given, settings
from hypothesis import strategies as st

from kubernaut.api.names import FINALIZER
from kubernaut.core.guards.deciding import Alerts
from kubernaut.core.run import Want
from kubernaut.engine.keys import RunKey
from kubernaut.engine.runs import Unlimited
from unit.engine.test_tenure import API, WEB, Half
from unit.engine.world import World, scale
from virtual_time import IDLE_TURNS

RUNS = {"web-1": "fix", "web-2": "fix", "api-1": "mend", "api-2": "mend"}
#: seconds that an answer takes: longer than some pauses between moves, and shorter than others
ANSWER = 0.05
moves = st.lists(
    st.tuples(
        st.sampled_from(["lose", "leave", "gain", "cancel", "delete", "drop", "tell"]),
        st.integers(0, 3),
        st.sampled_from([0.0, 0.02, 0.04, 0.06, 0.11, 0.3, 20.0]),
    ),
    max_size=25,
)


class Held(Unlimited):
    """Notes which runs want, or hold, scarce resources."""

    def __init__(self) -> None:
        self.runs: set[RunKey] = set()

    def arrange(self, run: RunKey, uid: str, priority: int, wants: Any) -> frozenset[str]:
        self.runs.add(run)
        kept: tuple[Want, ...] = tuple(wants)
        return frozenset(want.step for want in kept)

    def release(self, run: RunKey, *, over: bool = False) -> None:
        self.runs.discard(run)


class Slow(Half):
    """An engine whose requests, and whose questions for alerts, take their time."""

    def __init__(self) -> None:
        super().__init__(World(), WEB, API)
        world, self.wanted = self.world, Held()
        self.engine._parts.runs._capacities = self.wanted
        steps = (
            {
                "name": "ready",
                "wait": {"until": "target.status.readyReplicas == 9"},
                "timeout": "100h",
                "resources": [{"name": "drain"}],
            },
            scale("one", 2, "ready"),
        )
        guards = {"stopWhileFiring": [{"alert": "Down"}]}
        world.workflow(*steps, guards=guards, timeout="100h")
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "api"}
        world.workflow(*steps, name="mend", target=target, guards=guards, timeout="100h")
        for name, workflow in RUNS.items():
            world.run(name, workflow, finalizers=[FINALIZER])
        world.guards.source = self
        for verb in ("patch_status", "get"):
            self._slow(verb)

    async def look(self) -> Alerts:
        await asyncio.sleep(ANSWER)
        return Alerts(asked_at=self.world.clock())

    def _slow(self, verb: str) -> None:
        original = getattr(self.world.cluster, verb)

        async def slow(*args: Any, **more: Any) -> Any:
            await asyncio.sleep(ANSWER / 2)
            result = await original(*args, **more)
            await asyncio.sleep(ANSWER / 2)
            return result

        setattr(self.world.cluster, verb, slow)

    def there(self, name: str) -> bool:
        return ("WorkflowExecution", "shop", name) in self.world.cluster.objects

    def change(self, name: str, patch: dict[str, Any]) -> None:
        if self.there(name):
            self.world.cluster.edit("WorkflowExecution", name, patch)
            self.tell(name, "MODIFIED")

    def move(self, what: str, which: int) -> asyncio.Task[None] | None:
        name, shard = list(RUNS)[which], (WEB, API)[which % 2]
        match what:
            case "lose" if shard in self.shards.held:
                self.shards.lose(shard)
            case "leave" if shard in self.shards.held:
                return asyncio.create_task(self.shards.leave(shard))
            case "gain" if shard not in self.shards.held:
                self.shards.gain(shard)
            case "cancel":
                self.change(name, {"spec": {"control": {"cancel": True}}})
            case "delete":
                self.change(name, {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})
            case "drop" if self.there(name):
                gone = self.world.cluster.find("WorkflowExecution", name)
                self.world.cluster.drop("WorkflowExecution", name)
                self.engine.on_run("DELETED", gone)
            case "tell" if self.there(name):
                self.tell(name)
        return None


async def play(moves: list[tuple[str, int, float]]) -> None:
    bench, leaving = Slow(), []
    async with bench.running():
        for what, which, pause in moves:
            if (task := bench.move(what, which)) is not None:
                leaving.append(task)
            await asyncio.sleep(pause)
        await asyncio.gather(*leaving)
        bench.shards.gain(*({WEB, API} - bench.shards.held))
        await asyncio.sleep(20)
        for name in RUNS:
            bench.move("cancel", list(RUNS).index(name))
        # Longer than it takes until all runs are listed again.
        await asyncio.sleep(1300)
        phases = {name: bench.world.stored(name).get("phase") for name in RUNS if bench.there(name)}
        assert set(phases.values()) <= {"Cancelled"}, phases
        locks = bench.world.locks
        assert (len(locks), locks.waiting) == (0, 0), "a target is held, or waited for, by nobody"
        assert bench.wanted.runs == set(), "what is scarce is held by nobody"
        assert bench.world.watches.callbacks == [], "something is watched for nobody"
        assert not bench.engine.known.live


@settings(max_examples=40)
@given(moves)
def test_however_runs_come_and_go_no_lock_no_resource_and_no_watch_is_left(
    moves: list[tuple[str, int, float]],
) -> None:
    loop = looptime.new_event_loop(noop_cycles=IDLE_TURNS)
    try:
        loop.run_until_complete(play(moves))
    finally:
        loop.close()
