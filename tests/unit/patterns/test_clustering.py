from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import cdist
from sklearn.metrics import silhouette_samples

from kubernaut.patterns import clustering
from kubernaut.patterns.clustering import NOISE, Hdbscan, default_min_cluster_size
from kubernaut.patterns.geometry import (
    core_distances,
    landmarks,
    reduce_dimensions,
    silhouettes,
    spanning_tree,
)


def blobs(count: int, each: int, *, spread: float = 0.1) -> np.ndarray:
    dice = np.random.default_rng(1)
    return np.concatenate(
        [2 * np.eye(count)[i] + spread * dice.normal(size=(each, count)) for i in range(count)]
    )


def test_core_distances_count_every_equal_run() -> None:
    points = np.array([[0.0], [1.0], [3.0], [10.0]])
    weights = np.array([1, 2, 1, 5])
    assert core_distances(points, weights, 3).tolist() == [1.0, 1.0 + 0.0, 2.0, 0.0]


def test_core_distances_agree_with_the_expanded_points() -> None:
    points = blobs(3, 8)
    weights = np.random.default_rng(0).integers(1, 4, len(points))
    expanded = np.repeat(points, weights, axis=0)
    wanted = np.sort(cdist(points, expanded), axis=1)[:, 4]
    assert core_distances(points, weights, 5) == pytest.approx(wanted, abs=1e-7)


def test_a_history_shorter_than_the_neighbourhood_has_no_core_distance() -> None:
    assert np.isinf(core_distances(np.zeros((2, 1)), np.array([1, 1]), 3)).all()


def test_the_spanning_tree_is_minimal() -> None:
    points = blobs(3, 10)
    cores = core_distances(points, np.ones(30, dtype=np.int64), 4)
    length = spanning_tree(points, cores, 0.05)[2]
    full = np.maximum(np.maximum(np.maximum(cdist(points, points), cores), cores[:, None]), 0.05)
    assert length.sum() == pytest.approx(minimum_spanning_tree(csr_matrix(full)).sum())


def test_silhouettes_agree_with_scikit_learn_on_the_expanded_points() -> None:
    points = blobs(3, 6, spread=0.4)
    weights = np.random.default_rng(0).integers(1, 5, len(points))
    labels = np.repeat([0, 1, 2], 6)
    wanted = silhouette_samples(np.repeat(points, weights, axis=0), np.repeat(labels, weights))
    first = np.concatenate(([0], np.cumsum(weights)[:-1]))
    assert silhouettes(points, weights, labels) == pytest.approx(wanted[first], abs=1e-6)


def test_one_cluster_alone_has_no_silhouette() -> None:
    assert np.isnan(
        silhouettes(np.zeros((3, 1)), np.ones(3, dtype=np.int64), np.zeros(3, dtype=np.int64))
    ).all()


def test_projection_keeps_distances_that_lie_in_few_directions() -> None:
    dice = np.random.default_rng(0)
    flat = dice.normal(size=(40, 5)) @ np.linalg.qr(dice.normal(size=(80, 5)))[0].T
    small = reduce_dimensions(flat, np.ones(40, dtype=np.int64), 32)
    assert small.shape == (40, 32)
    assert cdist(small, small) == pytest.approx(cdist(flat, flat), abs=1e-6)


def test_landmarks_are_the_heaviest_and_an_even_choice_of_the_rest() -> None:
    points = np.array([[0.0], [0.1], [5.0], [5.1], [9.0], [9.1]])
    chosen, nearest = landmarks(points, np.array([1, 9, 1, 9, 1, 1]), 4)
    assert chosen.tolist() == [0, 1, 3, 5]
    assert nearest.tolist() == [0, 1, 2, 2, 3, 3]


def test_blobs_are_found_and_a_stray_is_noise() -> None:
    points = np.concatenate((blobs(4, 10), [[9.0, 9.0, 9.0, 9.0]]))
    found = Hdbscan().cluster(points, np.ones(len(points), dtype=np.int64))
    assert found.labels.tolist() == [0] * 10 + [1] * 10 + [2] * 10 + [3] * 10 + [NOISE]
    assert found.membership[-1] == 0
    assert (found.membership[:-1] > 0).all()


@pytest.mark.parametrize("weight", [5, 1_000, 50_000])
def test_many_equal_runs_neither_warn_nor_give_nan(weight: int) -> None:
    found = Hdbscan().cluster(2 * np.eye(3), np.array([weight, weight, weight]))
    assert found.labels.tolist() == [0, 1, 2]
    assert np.isfinite(found.membership).all()


def test_a_single_kind_of_incident_is_one_cluster() -> None:
    found = Hdbscan().cluster(np.array([[0.0, 0.0], [0.1, 0.0]]), np.array([4, 3]))
    assert found.labels.tolist() == [0, 0]


@pytest.mark.parametrize("runs", [0, 1, 2])
def test_too_few_runs_are_noise(runs: int) -> None:
    found = Hdbscan().cluster(np.zeros((runs, 2)), np.ones(runs, dtype=np.int64))
    assert found.labels.tolist() == [NOISE] * runs


def test_more_distinct_points_than_landmarks_still_find_the_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clustering, "MOST_POINTS", 30)
    points = blobs(3, 100, spread=0.05)
    found = Hdbscan().cluster(points, np.ones(300, dtype=np.int64))
    assert found.labels.tolist() == [0] * 100 + [1] * 100 + [2] * 100


def test_thinning_a_long_history_keeps_the_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    points, weights = blobs(3, 20), np.full(60, 40)
    whole = Hdbscan().cluster(points, weights)
    monkeypatch.setattr(clustering, "MOST_LEAVES", 300)
    assert Hdbscan().cluster(points, weights).labels.tolist() == whole.labels.tolist()


def test_without_the_hdbscan_package_scikit_learn_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    points, weights = blobs(4, 12, spread=0.3), np.tile([1, 2, 3], 16)
    wanted = Hdbscan().cluster(points, weights)
    monkeypatch.setitem(sys.modules, "hdbscan", None)
    assert Hdbscan().cluster(points, weights).labels.tolist() == wanted.labels.tolist()


def test_the_smallest_pattern_grows_slowly_with_the_history() -> None:
    assert [default_min_cluster_size(n) for n in (0, 24, 30, 1_000, 100_000)] == [3, 3, 3, 15, 100]
