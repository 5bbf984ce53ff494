"""Kills at chosen writes: which write, and whether before, while or after it is answered."""

from __future__ import annotations

import random
import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from faults.fault import KILLS, Fault
from faults.proxy import Peace
from faults.relay import CommitFault
from faults.stages import Stage, Stages
from faults.wire import Exchange
from faults.world import World

#: what is killed at, and how often beside the others; a run's first requests would else get all the attention
WEIGHTS: Mapping[Stage, int] = {
    Stage.FINALIZER: 2,
    Stage.SNAPSHOT: 1,
    Stage.CLAIM: 2,
    Stage.IMAGE: 3,
    Stage.EFFECT: 6,
    Stage.EVICTION: 1,
    Stage.DELETION: 1,
    Stage.START: 2,
    Stage.JOB: 2,
    Stage.PROGRESS: 4,
    Stage.END: 2,
    Stage.EVENT: 1,
    Stage.MIRROR: 4,
    Stage.RELEASE: 2,
}
#: what comes again with every restart, and would use patience up
_OFTEN = (Stage.SNAPSHOT, Stage.OTHER)
_PATIENCE = 12
_GAP = 2
_COMMIT_FAULTS = {
    Fault.KILL_BEFORE: CommitFault.BEFORE,
    Fault.KILL_UNANSWERED: CommitFault.UNANSWERED,
    Fault.KILL_AFTER: CommitFault.AFTER,
}


class Killing(Peace):
    """Kills an operator at one of the next writes of a stage, each time in another way.

    Every request on the way while it dies is let through: its answer finds nobody. Where a stage does not come
    up, any other write does after a while.

    Args:
        most: after so many kills there are no more.
        ways: how it is killed, in turn for each stage by itself.
        weights: at which stages, and how often beside the others.
    """

    def __init__(
        self,
        world: World,
        seed: int,
        *,
        most: int,
        ways: Sequence[Fault] = KILLS,
        weights: Mapping[Stage, int] = WEIGHTS,
    ) -> None:
        self._operator = world.operator
        self._proxy = world.proxy
        self._random = random.Random(seed)
        self._ways = list(ways)
        self._most = most
        self._choice = [stage for stage, weight in weights.items() for _ in range(weight)]
        self._bags: dict[Stage, list[Fault]] = {}
        self._stages = Stages()
        self._plan()
        self._dead = -1
        self.ways: Counter[str] = Counter()
        self.at: dict[Stage, Counter[str]] = {}
        self._killed_at: float | None = None
        self.recovered: list[float] = []

    @property
    def done(self) -> int:
        """How many points there were."""
        return self.ways.total()

    def decide(self, exchange: Exchange) -> Fault | None:
        if not exchange.mutates:
            return None
        stage = self._stages.of(exchange)
        return self._decide(stage, exchange.generation)

    def commit(self) -> CommitFault | None:
        """Return what befalls a commit of the operator that runs now, or None."""
        way = self._decide(Stage.MIRROR, self._proxy.generation)
        return None if way is None else _COMMIT_FAULTS.get(way, CommitFault.UNANSWERED)

    def kill(self) -> None:
        self._operator.kill()

    def _decide(self, stage: Stage, generation: int) -> Fault | None:
        current = self._proxy.generation
        if generation != current or self._dead == current:
            return None
        if self._killed_at is not None:
            self.recovered.append(time.monotonic() - self._killed_at)
            self._killed_at = None
        self._patience -= stage not in _OFTEN
        if stage is self._stage:
            self._left -= 1
        if self.done >= self._most or (self._left > 0 and self._patience > 0):
            return None
        way = self._way(stage)
        # Whatever else this process sends before it is gone belongs to the same point.
        self._dead = current
        self._killed_at = time.monotonic()
        self.ways[way] += 1
        self.at.setdefault(stage, Counter())[way] += 1
        self._plan()
        return way

    def _plan(self) -> None:
        self._stage = self._random.choice(self._choice)
        self._left = self._random.randint(1, _GAP) if self._choice.count(self._stage) > 1 else 1
        self._patience = _PATIENCE

    def _way(self, stage: Stage) -> Fault:
        """Take the ways in turn, for each stage by itself."""
        ways = [way for way in self._ways if stage is not Stage.MIRROR or way in _COMMIT_FAULTS]
        bag = self._bags.setdefault(stage, [])
        if not bag:
            bag += self._random.sample(ways, len(ways))
        return bag.pop()


def reported(scripts: Sequence[Killing]) -> dict[str, Any]:
    """Return figures on kills for a JSON file."""
    at: dict[Stage, Counter[str]] = {}
    for script in scripts:
        for stage, ways in script.at.items():
            at.setdefault(stage, Counter()).update(ways)
    recovered = [seconds for script in scripts for seconds in script.recovered]
    back = {"median": statistics.median(recovered), "max": max(recovered)} if recovered else {}
    return {
        "kill_points": sum(script.done for script in scripts),
        "by_way": dict(sum((script.ways for script in scripts), Counter())),
        "by_write": {stage.value: dict(at[stage]) for stage in Stage if stage in at},
        "seconds_from_kill_to_next_write": {name: round(value, 2) for name, value in back.items()},
    }
