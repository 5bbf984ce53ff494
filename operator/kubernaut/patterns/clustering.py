"""Clusters of runs by density: HDBSCAN (Campello, Moulavi, Sander 2013) on weighted, distinct points.

Histories are full of equal runs. Given as they are, they make HDBSCAN slow and its densities infinite
(distance 0, lambda 1/0, stability NaN). So each distinct point enters once, with its weight; core
distances, spanning tree and sizes count the weight; and no distance is below ``RESOLUTION``. The tree then
goes to the library as a sparse precomputed graph, which does the rest: hierarchy, condensing, selection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Any, Final, Protocol

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from kubernaut.patterns.geometry import (
    Indices,
    Matrix,
    Weights,
    core_distances,
    landmarks,
    reduce_dimensions,
    spanning_tree,
)

# Runs nearer than this are the same kind of incident: what was done, or why it failed, or how long it took
# stays below it alone; another symptom, unless a common one, goes beyond. See features.WEIGHTS.
RESOLUTION: Final = 0.5
MOST_POINTS: Final = 3_000
MOST_LEAVES: Final = 20_000
MOST_DIMENSIONS: Final = 32
NOISE: Final = -1


@dataclass(frozen=True)
class Clustering:
    """Which cluster each point is in.

    Attributes:
        labels: shape (n,), 0..k-1, or -1 for noise; ordered by the first point of each cluster.
        membership: shape (n,), how firmly it belongs, in [0, 1]; 0 for noise.
        parameters: what was chosen, for the pattern's status.
    """

    labels: Indices
    membership: Matrix
    parameters: Mapping[str, int | float] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return int(self.labels.max(initial=NOISE)) + 1


class Clusterer(Protocol):
    """An algorithm that clusters weighted points; points of one call are in a canonical order."""

    @property
    def name(self) -> str:
        """The name shown in a pattern's status."""
        ...

    def cluster(self, points: Matrix, weights: Weights) -> Clustering:
        """Cluster points (n, d) with weights (n,) >= 1; n may be 0."""
        ...


def default_min_cluster_size(runs: int) -> int:
    """How many runs make a pattern: 3 up to 45 runs, 15 at 1,000, 100 at 100,000."""
    return max(3, int(runs**0.4))


@dataclass(frozen=True)
class Hdbscan:
    """HDBSCAN, by the ``hdbscan`` package or, where that has no wheel, by scikit-learn.

    Attributes:
        min_cluster_size: in runs; None chooses by the number of runs.
    """

    min_cluster_size: int | None = None
    name: str = "hdbscan"

    def cluster(self, points: Matrix, weights: Weights) -> Clustering:
        runs = int(weights.sum())
        size = self.min_cluster_size or default_min_cluster_size(runs)
        parameters = {"minClusterSize": size, "minSamples": min(size, 5), "resolution": RESOLUTION}
        labels = np.full(len(points), NOISE, dtype=np.int64)
        membership = np.zeros(len(points))
        if runs < size:
            return Clustering(labels, membership, parameters)
        points = reduce_dimensions(points, weights, MOST_DIMENSIONS)
        chosen, nearest = landmarks(points, weights, MOST_POINTS)
        heavy = np.bincount(nearest, weights=weights, minlength=len(chosen)).astype(np.int64)
        found, firm = _cluster_distinct(points[chosen], heavy, size, min(size, 5))
        labels, membership = found[nearest], firm[nearest]
        if len(chosen) < len(points):
            away = np.linalg.norm(points - points[chosen][nearest], axis=1) > RESOLUTION
            labels[away], membership[away] = NOISE, 0.0
        return Clustering(_renumber(labels), membership, parameters)


def _cluster_distinct(
    points: Matrix, weights: Weights, size: int, min_samples: int
) -> tuple[Indices, Matrix]:
    cores = core_distances(points, weights, min_samples)
    edges = spanning_tree(points, cores, RESOLUTION)
    leaves, scale = _thin(weights)
    leaf_size = max(2, round(size * scale))
    labels, membership = _condense(edges, leaves, leaf_size)
    if labels.max(initial=NOISE) == NOISE:
        # HDBSCAN never returns one cluster alone, for its root is no cluster. One kind of incident is
        # what a young history has: then whatever hangs together at the resolution is a pattern.
        labels, membership = _components(edges, len(points))
    small = np.bincount(labels[labels >= 0], weights=weights[labels >= 0], minlength=1) < size
    drop = (labels >= 0) & small[labels]
    labels[drop], membership[drop] = NOISE, 0.0
    return labels, np.where(labels >= 0, membership, 0.0)


def _thin(weights: Weights) -> tuple[Weights, float]:
    """Scale weights so that their sum stays near MOST_LEAVES; every point keeps at least one leaf."""
    scale = min(1.0, MOST_LEAVES / int(weights.sum()))
    return np.maximum(1, np.rint(weights * scale)).astype(np.int64), scale


def _condense(edges: tuple[Indices, Indices, Matrix], leaves: Weights, size: int) -> tuple[Indices, Matrix]:
    """Let the library condense the spanning tree, each point with as many leaves as it weighs."""
    total = int(leaves.sum())
    if total < 2 * size or not np.isfinite(edges[2]).all():
        return np.full(len(leaves), NOISE, dtype=np.int64), np.zeros(len(leaves))
    first = np.concatenate(([0], np.cumsum(leaves)[:-1]))
    twins = np.setdiff1d(np.arange(total), first, assume_unique=True)
    source = np.concatenate((first[edges[0]], np.repeat(first, leaves - 1)))
    to = np.concatenate((first[edges[1]], twins))
    length = np.concatenate((edges[2], np.full(len(twins), RESOLUTION)))
    graph = csr_matrix(
        (np.tile(length, 2), (np.concatenate((source, to)), np.concatenate((to, source)))), (total, total)
    )
    fitted = _library()(metric="precomputed", min_cluster_size=size, min_samples=1).fit(graph)
    labels = np.asarray(fitted.labels_, dtype=np.int64)[first]
    return labels, np.asarray(fitted.probabilities_, dtype=np.float64)[first]


def _library() -> Any:
    try:
        return import_module("hdbscan").HDBSCAN
    except ImportError:
        return partial(import_module("sklearn.cluster").HDBSCAN, copy=True)


def _components(edges: tuple[Indices, Indices, Matrix], count: int) -> tuple[Indices, Matrix]:
    short = edges[2] <= RESOLUTION
    graph = csr_matrix((np.ones(int(short.sum())), (edges[0][short], edges[1][short])), (count, count))
    _, labels = connected_components(graph, directed=False)
    return labels.astype(np.int64), np.ones(count)


def _renumber(labels: Indices) -> Indices:
    """Number clusters by their first point, so that labels do not hang on the library's order."""
    out = np.full(len(labels), NOISE, dtype=np.int64)
    for new, old in enumerate(dict.fromkeys(labels[labels >= 0].tolist())):
        out[labels == old] = new
    return out
