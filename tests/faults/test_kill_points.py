"""The operator is killed, cut off and lied to; the API server's audit log says that each effect happened once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from faults import campaigns, kills
from faults.proxy import KILLS, Fault
from faults.shapes import SHAPES
from faults.world import World
from localcluster import Cluster

HERE = Path(__file__).resolve().parent
SEED = 7


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A control plane of this module's own."""
    with campaigns.cluster() as made:
        yield made


def shown(report: dict[str, Any]) -> str:
    """Return a report for people."""
    return json.dumps(report, indent=1)


async def test_an_operator_killed_at_its_requests_does_everything_once(
    cluster: Cluster, tmp_path: Path
) -> None:
    report = await campaigns.kill_points(cluster, tmp_path, SEED, False)
    print(shown(report))
    assert campaigns.good(report), shown(report)
    assert report["kill_points"] >= 40
    assert set(report["by_way"]) == set(KILLS)
    assert report["starts_of_the_operator"] == report["kill_points"]
    least = sum(shape.effects.total() for shape in SHAPES if not shape.races)
    assert report["effects"] >= report["rounds_of_all_shapes"] * 2 * least


async def test_answers_lost_requests_doubled_and_refused_change_nothing(
    cluster: Cluster, tmp_path: Path
) -> None:
    report = await campaigns.disturbances(cluster, tmp_path, SEED, False)
    print(shown(report))
    assert campaigns.good(report), shown(report)
    assert report["disturbed_requests"] >= 40


async def test_runs_are_stored_once_whenever_operator_and_postgres_die(
    cluster: Cluster, tmp_path: Path
) -> None:
    report = await campaigns.postgres_commits(cluster, tmp_path, SEED, False)
    print(shown(report))
    assert campaigns.good(report), shown(report)
    assert report["kill_points"] == 6
    assert report["crashes_of_postgres"] > 0
    assert report["finished_runs"] > 0
    assert report["step_rows"] > report["finished_runs"]


async def test_runs_survive_an_api_server_that_dies_or_hangs(cluster: Cluster, tmp_path: Path) -> None:
    report = await campaigns.api_server_outages(cluster, tmp_path, SEED, False)
    print(shown(report))
    assert campaigns.good(report), shown(report)


async def test_the_harness_sees_effects_that_happen_twice(cluster: Cluster, tmp_path: Path) -> None:
    some = [shape for shape in SHAPES if shape.name in ("sequential", "outputs", "parallel", "verified")]
    async with World.running(cluster, tmp_path, before=HERE / "without_marker.py") as world:
        report = await kills.killed(
            world,
            SEED,
            6,
            some,
            ways=(Fault.KILL_UNANSWERED, Fault.KILL_AFTER),
            kinds={"PATCH deployments": 1},
        )
    print(shown(report))
    assert report["doubled"] > 0, shown(report)
    assert not campaigns.good(report)


async def test_the_harness_sees_requests_without_precondition(cluster: Cluster, tmp_path: Path) -> None:
    some = [shape for shape in SHAPES if shape.name == "sequential"]
    async with World.running(cluster, tmp_path, before=HERE / "without_version.py") as world:
        report = await kills.killed(world, SEED, 1, some)
    assert report["mutating_requests_without_precondition"] > 0, shown(report)
    assert not campaigns.good(report)
