"""How much is measured: all of it, or just enough to see that it works."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """Sizes of the benchmarks.

    Attributes:
        rounds: how often everything takes its turn.
        targets: Deployments, and so runs at once.
        ceiling_seconds: how long each plain loop goes on in a round.
        singles: runs that are alone on the cluster, per round.
        finished: finished runs that lie in the cluster.
        live: runs that wait.
        soaked: runs that come and go.
        watch_seconds: how long waiting runs are watched.
        patience_seconds: how long to wait for the machine to be calm.
    """

    rounds: int = 7
    targets: int = 240
    ceiling_seconds: float = 3.0
    singles: int = 15
    finished: int = 10_000
    live: int = 1_000
    soaked: int = 4_000
    watch_seconds: float = 60.0
    patience_seconds: float = 300.0


FULL = Plan()
QUICK = Plan(
    rounds=2,
    targets=30,
    ceiling_seconds=0.5,
    singles=3,
    finished=200,
    live=50,
    soaked=300,
    watch_seconds=10.0,
    patience_seconds=0.0,
)
