"""Runs that other runs started, and what is an incident of its own."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from bench.synthetic_runs import history
from kubernaut.history.records import RunRecord, StepRecord
from kubernaut.patterns.clustering import Clustering, Hdbscan
from kubernaut.patterns.discovery import discover
from kubernaut.patterns.geometry import Matrix, Weights
from kubernaut.patterns.table import RunTable
from kubernaut.patterns.terms import RunTerms
from unit.patterns.test_rounds import World

RUN = replace(next(record for record, _ in history(1, stray=0)), target_uid="t1", namespace="shop")


def parent(number: int = 0, **changes: object) -> RunRecord:
    """A run whose steps start others: it has seen nothing itself."""
    step = StepRecord("heal", 0, "Failed", attempts=1, reason="SubflowFailed")
    made = replace(RUN, uid=f"p{number}", workflow="all", symptoms=(), steps=(step,))
    return replace(made, **changes)  # type: ignore[arg-type]


def child(name: str, of: str = "p0", **changes: object) -> RunRecord:
    made = replace(
        RUN,
        uid=name,
        parent_uid=of,
        created_at=RUN.created_at + timedelta(seconds=ord(name[0])),
        reason="Denied",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def looks(runs: Sequence[RunRecord], at_once: int = 99) -> dict[str, RunTerms]:
    table = RunTable()
    for start in range(0, len(runs), at_once):
        table.extend(runs[start : start + at_once])
    return {uid: table.rows[look] for uid, look in zip(table.uids, table.look, strict=True)}


@pytest.mark.parametrize("at_once", [1, 99])
def test_a_run_and_those_it_started_for_the_same_target_count_once_in_whatever_order_they_come(
    at_once: int,
) -> None:
    below = child("c", of="a", symptoms=("OOMKilled",), target_uid=None)
    family = [parent(), child("a"), child("b", steps=()), below]
    found = [looks(list(order), at_once) for order in itertools.permutations(family)]
    assert all(one == found[0] for one in found)
    (look,) = found[0].values()
    assert look.symptoms == ("CrashLoopBackOff", "ExitCode3", "OOMKilled")
    assert look.actions == ("collect_diagnostics", "rollback_deployment") * 2
    assert look.reasons == ("Denied",)
    assert (look.kind, look.octave) == ("Deployment", 4)


def test_a_run_for_another_target_is_an_incident_of_its_own() -> None:
    found = looks([child("a", target_uid="t2"), child("b", of="a", target_uid="t2"), parent(target_uid=None)])
    assert set(found) == {"p0", "a"}
    assert found["p0"].symptoms == ()


def test_a_run_that_another_namespace_is_said_to_have_started_is_no_part_of_it() -> None:
    assert set(looks([child("a", namespace="other"), parent()])) == {"p0", "a"}


def test_a_part_whose_record_comes_again_is_read_anew() -> None:
    table = RunTable()
    assert table.extend([parent(), child("a")]) == [0]
    assert table.extend([child("a", symptoms=("OOMKilled",))]) == [0]
    assert table.extend([parent(target_kind="Job")]) == [0]
    assert (table.rows[table.look[0]].symptoms, table.rows[table.look[0]].kind) == (("OOMKilled",), "Job")


async def test_an_incident_that_several_runs_repaired_supports_its_pattern_once() -> None:
    world = World(30)
    parts = [
        replace(run, uid=f"part-{run.uid}", name=f"part-{run.name}", parent_uid=run.uid, target_uid="t")
        for run in world.source.runs
    ]
    whole = [replace(run, target_uid="t") for run in world.source.runs]
    world.source.runs = [run for both in zip(parts, whole, strict=True) for run in both]
    done = await world.analysis.round()
    assert (done.runs, done.patterns, done.vectors_written) == (30, 5, 30)
    assert [world.sink.status(name)["support"] for name in world.sink.objects] == [6] * 5
    # One that comes late changes what its run looks like.
    world.source.runs.append(replace(parts[0], uid="late", symptoms=("DiskPressure",)))
    assert (await world.analysis.round()).clustered


def test_a_look_that_no_run_has_any_more_is_no_point_to_cluster() -> None:
    seen: list[Weights] = []

    class Watched(Hdbscan):
        def cluster(self, points: Matrix, weights: Weights) -> Clustering:
            seen.append(weights)
            return super().cluster(points, weights)

    table = RunTable()
    table.extend([parent(number) for number in range(6)])
    table.extend([child(f"c{number}", of=f"p{number}") for number in range(6)])
    found = discover(table, {}, Watched())
    assert [weights.tolist() for weights in seen] == [[6]]
    assert [len(pattern.members) for pattern in found.patterns] == [6]
    assert not np.isnan(found.space.membership).any()
    assert "reason=SubflowFailed" not in found.features.names
