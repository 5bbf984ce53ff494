"""The API server dies, hangs and answers badly while runs are at work: hardly anything is asked, nothing is lost."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from faults import campaigns, outage
from faults.arena import Arena
from faults.campaigns import shown
from faults.world import World


async def test_while_the_api_server_answers_badly_hardly_anything_is_asked(
    arena: Arena, tmp_path: Path
) -> None:
    async def tried(number: int, name: str) -> dict[str, Any]:
        async with World.running(arena, arena.places[number], tmp_path / name) as world:
            return await outage.refused(world, outage.REFUSALS[name], 12.0)

    names = ("429", "500", "503", "reset")
    reports = await asyncio.gather(*(tried(number, name) for number, name in enumerate(names)))
    for name, report in zip(names, reports, strict=True):
        assert campaigns.good(report), (name, shown(report))


@pytest.mark.parametrize("pause", [False, True], ids=["dies", "hangs"])
async def test_runs_survive_an_api_server_that_dies_or_hangs(
    arena: Arena, tmp_path: Path, pause: bool
) -> None:
    async with World.running(arena, arena.places[0], tmp_path) as world:
        report = await outage.stopped(world, pause=pause, seconds=14.0)
    assert campaigns.good(report), shown(report)
