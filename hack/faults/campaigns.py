"""The campaigns: each on the same control plane, each with an operator of its own."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from faults import history, kills, outage
from faults.shapes import SHAPES
from faults.world import World, set_up
from localcluster import Cluster
from localpostgres import LocalPostgres

NAME = os.environ.get("KUBERNAUT_FAULTS_NAME", "faults")
Stage = Callable[[Cluster, Path, int, bool], Awaitable[dict[str, Any]]]
#: what must be nothing in a report
_NOTHING = (
    "lost",
    "doubled",
    "stuck",
    "mutating_requests_without_precondition",
    "runs_that_ended_otherwise",
    "rows_lost",
    "rows_doubled",
    "rows_that_say_otherwise",
    "step_rows_lost",
    "step_rows_doubled",
)


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Bring up a control plane with the operator's manifests and a Workflow of each shape; take it away."""
    made = Cluster.up(NAME, nodes="kwok", kwok_nodes=1)
    try:
        set_up(made, SHAPES)
        yield made
    finally:
        made.down()


def good(report: dict[str, Any]) -> bool:
    """Whether nothing was lost, doubled, stuck or otherwise, in a report or the reports in it."""
    inner = [value for value in report.values() if isinstance(value, dict)]
    return not any(report.get(key) for key in _NOTHING) and all(map(good, inner))


async def kill_points(cluster: Cluster, folder: Path, seed: int, long: bool) -> dict[str, Any]:
    """Kill the operator before, after and in the middle of its requests; first without, to compare with."""
    async with World.running(cluster, folder) as world:
        return {
            "without_faults": await kills.calm(world),
            **await kills.killed(world, seed, 300 if long else 44),
        }


async def disturbances(cluster: Cluster, folder: Path, seed: int, long: bool) -> dict[str, Any]:
    """Lose, delay, double and refuse requests."""
    async with World.running(cluster, folder) as world:
        return await kills.disturbed(world, seed, 12 if long else 1)


async def watches(cluster: Cluster, folder: Path, seed: int, long: bool) -> dict[str, Any]:
    """The same, and watches are cut off, refused and told 410: run by name only, for it still finds stuck runs."""
    async with World.running(cluster, folder) as world:
        return await kills.disturbed(world, seed, 12 if long else 1, watches=True)


async def postgres_commits(cluster: Cluster, folder: Path, seed: int, long: bool) -> dict[str, Any]:
    """Kill the operator around the commits of its history, and Postgres too."""
    postgres = LocalPostgres.up(NAME)
    try:
        return await history.killed_around_commits(cluster, postgres, folder, seed, 60 if long else 6)
    finally:
        postgres.down()


async def api_server_outages(cluster: Cluster, folder: Path, seed: int, long: bool) -> dict[str, Any]:
    """Kill the API server in the middle of runs, and have it hang."""
    seconds = 20.0 if long else 4.0
    async with World.running(cluster, folder) as world:
        return {
            "dead": await outage.outage(world, pause=False, seconds=seconds),
            "hangs": await outage.outage(world, pause=True, seconds=seconds),
        }


STAGES: dict[str, Stage] = {
    "kill-points": kill_points,
    "disturbances": disturbances,
    "postgres-commits": postgres_commits,
    "api-server-outages": api_server_outages,
    "watches": watches,
}
USUAL = [name for name in STAGES if name != "watches"]
