"""The campaigns: all on the same control plane, each with operators of its own."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from faults import between, disturbing, history, kills, outage, stale
from faults.arena import Arena
from faults.world import World

Stage = Callable[[Arena, Path, int, bool], Awaitable[dict[str, Any]]]
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
    "asked_too_often",
    "back_too_late",
)
CASES = 30


def good(report: dict[str, Any]) -> bool:
    """Whether nothing was lost, doubled, stuck, otherwise, too often or too late, in a report or those in it."""
    inner = [value for value in report.values() if isinstance(value, dict)]
    return not any(report.get(key) for key in _NOTHING) and all(map(good, inner))


def shown(report: dict[str, Any]) -> str:
    """Return a report for people."""
    return json.dumps(report, indent=1)


async def kill_points(arena: Arena, folder: Path, seed: int, long: bool) -> dict[str, Any]:
    """Kill four operators before, after and in the middle of their writes and commits."""
    return await kills.kill_points(arena, folder, seed, 1000 if long else 200)


async def disturbances(arena: Arena, folder: Path, seed: int, long: bool) -> dict[str, Any]:
    """Lose, delay, double and refuse requests."""
    async with World.running(arena, arena.places[0], folder) as world:
        return await disturbing.disturbed(world, seed, 1000 if long else 2 * CASES)


async def between_writes(arena: Arena, folder: Path, seed: int, long: bool) -> dict[str, Any]:
    """Kill the operator between every two dependent writes of a run."""
    return await between.killed_between(arena, folder, seed, 10 * CASES if long else CASES)


async def watches(arena: Arena, folder: Path, seed: int, long: bool) -> dict[str, Any]:
    """Drop, double, swap and delay events of watches; cut watches off, refuse them, tell them 410."""
    async with World.running(arena, arena.places[0], folder) as world:
        return await disturbing.meddled(world, seed, 1000 if long else 4 * CASES)


async def stale_servers(arena: Arena, folder: Path, seed: int, long: bool) -> dict[str, Any]:
    """Freeze the API server that the operator talks to, and let it go when it has gone on at another one."""
    return await stale.stale(arena, folder, seed, 300 if long else CASES)


async def postgres_crashes(arena: Arena, folder: Path, seed: int, long: bool) -> dict[str, Any]:
    """Stop Postgres for 0-2 s again and again, then for long."""
    how: dict[str, Any] = {"runs": 2000, "every": (5.0, 40.0), "gone": 180.0}
    return await history.crashing(
        arena, folder, seed, **(how if long else {"runs": 60, "every": (1.0, 4.0), "gone": 5.0})
    )


async def api_server_outages(arena: Arena, folder: Path, seed: int, long: bool) -> dict[str, Any]:
    """Kill the API server in the middle of runs, have it hang, and have it answer badly for minutes."""
    seconds = 150.0 if long else 8.0
    reports: dict[str, Any] = {}
    async with World.running(arena, arena.places[0], folder) as world:
        reports["dead"] = await outage.stopped(world, pause=False, seconds=seconds)
        reports["hangs"] = await outage.stopped(world, pause=True, seconds=seconds)
        for name, fault in outage.REFUSALS.items():
            reports[name] = await outage.refused(world, fault, seconds)
    return reports


STAGES: dict[str, Stage] = {
    "kill-points": kill_points,
    "between-writes": between_writes,
    "disturbances": disturbances,
    "watches": watches,
    "stale-servers": stale_servers,
    "postgres-crashes": postgres_crashes,
    "api-server-outages": api_server_outages,
}
