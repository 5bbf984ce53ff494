"""Whatever the order of runs and rounds, patterns keep their names."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.synthetic_runs import history
from kubernaut.history.records import RunRecord
from kubernaut.patterns.clustering import NOISE, Hdbscan
from kubernaut.patterns.discovery import Discovery, FormerPattern, discover
from kubernaut.patterns.identity import match
from kubernaut.patterns.statistics import wilson_interval
from kubernaut.patterns.table import RunTable

seeds = st.integers(0, 10_000)


def discover_all(
    runs: list[RunRecord], former: dict[str, FormerPattern] | None = None, last: Discovery | None = None
) -> tuple[Discovery, dict[str, FormerPattern], dict[str, str]]:
    table = RunTable()
    table.extend(runs)
    found = discover(table, former or {}, Hdbscan(), last.features if last else None)
    uids = {p.id: frozenset(table.uids[at] for at in p.members) for p in found.patterns}
    kept = {p.id: FormerPattern(p.id, p.name, p.version, True, uids[p.id]) for p in found.patterns}
    return found, kept, {uid: p.name for p in found.patterns for uid in uids[p.id]}


@settings(max_examples=25)
@given(seeds, st.integers(0, 120))
def test_the_order_of_runs_changes_nothing(seed: int, count: int) -> None:
    runs = [record for record, _ in history(count, seed=seed)]
    shuffled = runs.copy()
    random.Random(seed).shuffle(shuffled)
    one, _, names = discover_all(runs)
    other, _, others = discover_all(shuffled)
    assert names == others
    assert [p.status for p in one.patterns] == [p.status for p in other.patterns]


@settings(max_examples=25)
@given(seeds, st.lists(st.integers(1, 60), min_size=1, max_size=4))
def test_a_growing_history_keeps_its_names(seed: int, growth: list[int]) -> None:
    runs = [record for record, _ in history(40 + sum(growth), seed=seed, stray=0)]
    found, former, names = discover_all(runs[:40])
    size = 40
    for step in growth:
        size += step
        found, former, now = discover_all(runs[:size], former, found)
        assert {uid: now.get(uid) for uid in names} == names
        names = now


@settings(max_examples=25)
@given(seeds, st.integers(0, 150), st.floats(0, 1))
def test_clustering_again_is_a_fixed_point(seed: int, count: int, stray: float) -> None:
    runs = [record for record, _ in history(count, seed=seed, stray=stray)]
    found, former, names = discover_all(runs)
    again, _, now = discover_all(runs, former, found)
    assert now == names
    assert [p.version for p in again.patterns] == [p.version for p in found.patterns]
    assert not again.retired


clusters = st.lists(st.integers(0, 40), unique=True, max_size=40).flatmap(
    lambda runs: st.lists(st.integers(0, 4), min_size=len(runs), max_size=len(runs)).map(
        lambda labels: [
            [f"r{run}" for run, label in zip(runs, labels, strict=True) if label == wanted]
            for wanted in range(5)
        ]
    )
)


@given(clusters, clusters)
def test_an_identity_goes_to_at_most_one_cluster_and_every_other_is_accounted_for(
    before: list[list[str]], after: list[list[str]]
) -> None:
    former = {f"p{n}": members for n, members in enumerate(before)}
    matching = match(former, after, {f"r{n}" for n in range(41)})
    carried = [one.pattern for one in matching.clusters if one.pattern is not None]
    assert len(set(carried)) == len(carried)
    assert set(carried) | set(matching.heirs) == set(former)
    assert not set(carried) & set(matching.heirs)


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(1, 400)),
        max_size=25,
        unique_by=lambda p: p[:2],
    )
)
def test_any_weighted_points_give_clusters_large_enough_and_sound_numbers(
    grid: list[tuple[int, int, int]],
) -> None:
    points = np.array([[x / 3, y / 3] for x, y, _ in grid]).reshape(-1, 2)
    weights = np.array([weight for *_, weight in grid], dtype=np.int64)
    found = Hdbscan().cluster(points, weights)
    assert np.isfinite(found.membership).all()
    assert ((found.membership >= 0) & (found.membership <= 1)).all()
    assert set(found.labels[found.labels >= 0]) == set(range(found.count))
    smallest = found.parameters["minClusterSize"]
    assert all(weights[found.labels == label].sum() >= smallest for label in range(found.count))
    assert (found.membership[found.labels == NOISE] == 0).all()


@given(st.integers(0, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_holds_the_share_and_mirrors(counts: tuple[int, int]) -> None:
    successes, trials = counts
    lower, upper = wilson_interval(successes, trials)
    assert 0 <= lower <= upper <= 1
    if trials:
        assert lower <= successes / trials <= upper
    mirrored = wilson_interval(trials - successes, trials)
    assert abs(1 - mirrored[1] - lower) < 1e-9
