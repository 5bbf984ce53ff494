"""Requests go astray, watches lie, Postgres crashes, the API server is away: the end is that of a run in peace."""

from __future__ import annotations

from pathlib import Path

from faults import campaigns, disturbing, history, stale
from faults.arena import Arena
from faults.campaigns import shown
from faults.fault import EventFault
from faults.world import World

SEED = 7


async def test_answers_lost_requests_doubled_and_refused_change_nothing(arena: Arena, tmp_path: Path) -> None:
    async with World.running(arena, arena.places[2], tmp_path) as world:
        report = await disturbing.disturbed(world, SEED, 30)
    assert campaigns.good(report), shown(report)
    assert report["cases"] >= 30


async def test_events_dropped_doubled_and_swapped_and_watches_told_410_change_nothing(
    arena: Arena, tmp_path: Path
) -> None:
    async with World.running(arena, arena.places[3], tmp_path) as world:
        report = await disturbing.meddled(world, SEED, 40)
    assert campaigns.good(report), shown(report)
    assert report["cases"] >= 40
    assert set(EventFault) <= set(report["by_way"]), shown(report)


async def test_a_stale_api_server_frozen_and_let_go_changes_nothing(arena: Arena, tmp_path: Path) -> None:
    report = await stale.stale(arena, tmp_path, SEED, 6)
    assert campaigns.good(report), shown(report)
    assert report["cases"] == 6
    assert set(report["by_way"]) == set(stale.Way)


async def test_runs_are_stored_once_whenever_postgres_crashes(arena: Arena, tmp_path: Path) -> None:
    report = await history.crashing(arena, tmp_path, SEED, runs=26, every=(0.5, 2.0), gone=2.0)
    assert campaigns.good(report), shown(report)
    assert report["crashes_of_postgres"] > 0
    assert report["finished_runs"] == report["runs"]
    assert report["step_rows"] > report["finished_runs"]
