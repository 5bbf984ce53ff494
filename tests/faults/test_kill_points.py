"""Operators are killed at their writes and commits; the audit log says that each effect happened once."""

from __future__ import annotations

from pathlib import Path

from faults import between, campaigns, kills
from faults.arena import Arena
from faults.campaigns import shown
from faults.fault import KILLS, Fault
from faults.shapes import SHAPES
from faults.stages import Stage
from faults.world import World

HERE = Path(__file__).resolve().parent
SEED = 7
#: what every shape does
_EACH = {Stage.FINALIZER, Stage.CLAIM, Stage.EFFECT, Stage.PROGRESS, Stage.END, Stage.MIRROR, Stage.RELEASE}


async def test_operators_killed_at_200_writes_and_commits_do_everything_once(
    arena: Arena, tmp_path: Path
) -> None:
    report = await campaigns.kill_points(arena, tmp_path, SEED, False)
    print(shown(report))
    assert campaigns.good(report), shown(report)
    assert report["kill_points"] >= 200
    assert report["operators"] == 4
    assert set(report["by_way"]) == set(KILLS)
    assert set(report["by_write"]) >= {stage.value for stage in _EACH}
    assert report["starts_of_the_operators"] == report["kill_points"]
    least = sum(shape.effects.total() for shape in SHAPES if not shape.races)
    assert report["effects"] >= report["rounds_of_all_shapes"] * least
    assert report["finished_runs"] == report["runs"] + report["without_faults"]["runs"]


async def test_a_crash_between_any_two_dependent_writes_changes_nothing(arena: Arena, tmp_path: Path) -> None:
    report = await between.killed_between(arena, tmp_path, SEED, 12)
    print(shown(report))
    assert campaigns.good(report), shown(report)
    assert report["kill_points"] >= 12
    assert set(report["by_way"]) == {Fault.KILL_AFTER}


async def test_the_harness_sees_effects_that_happen_twice(arena: Arena, tmp_path: Path) -> None:
    some = [shape for shape in SHAPES if shape.name in ("sequential", "outputs", "parallel", "verified")]
    async with World.running(arena, arena.places[0], tmp_path, before=HERE / "without_marker.py") as world:
        ways = (Fault.KILL_UNANSWERED, Fault.KILL_AFTER)
        report = await kills.killed([world], SEED, 6, some, ways=ways, weights={Stage.EFFECT: 1})
    print(shown(report))
    assert report["doubled"] > 0, shown(report)
    assert not campaigns.good(report)


async def test_the_harness_sees_requests_without_precondition(arena: Arena, tmp_path: Path) -> None:
    some = [shape for shape in SHAPES if shape.name == "sequential"]
    async with World.running(arena, arena.places[1], tmp_path, before=HERE / "without_version.py") as world:
        report = await kills.killed([world], SEED, 1, some)
    assert report["mutating_requests_without_precondition"] > 0, shown(report)
    assert not campaigns.good(report)
