"""Weighted points: fewer dimensions, fewer points, core distances, spanning tree, silhouette.

A point stands for ``weight`` equal runs. All functions are deterministic. Shapes: points (n, d), weights (n,).
Memory is O(n * BLOCK), never O(n^2).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Weights = NDArray[np.int64]
Indices = NDArray[np.int64]

BLOCK: Final = 512


def reduce_dimensions(points: Matrix, weights: Weights, most: int = 32) -> Matrix:
    """Project onto the ``most`` leading principal axes (weighted PCA); returned as is where d <= most."""
    if points.shape[1] <= most:
        return points
    share = weights / weights.sum()
    centred = points - share @ points
    _, axes = np.linalg.eigh((centred * share[:, None]).T @ centred)
    leading: Matrix = centred @ axes[:, ::-1][:, :most]
    return leading


def landmarks(points: Matrix, weights: Weights, most: int) -> tuple[Indices, Indices]:
    """Choose at most ``most`` points to stand for all: half of them the heaviest, half evenly among the rest.

    With points in lexicographic order of what they mean, "evenly" gives every kind its share.
    Returns the chosen indices in ascending order, and for every point the position of its nearest chosen one.
    """
    if len(points) <= most:
        every = np.arange(len(points))
        return every, every
    by_weight = np.argsort(-weights, kind="stable")
    heavy, rest = by_weight[: most // 2], np.sort(by_weight[most // 2 :])
    evenly = rest[np.linspace(0, len(rest) - 1, most - len(heavy)).astype(np.int64)]
    chosen = np.union1d(heavy, evenly)
    nearest = np.empty(len(points), dtype=np.int64)
    for start, block in distances(points, points[chosen]):
        nearest[start : start + len(block)] = np.argmin(block, axis=1)
    return chosen, nearest


def distances(points: Matrix, others: Matrix) -> Iterator[tuple[int, Matrix]]:
    """Yield Euclidean distances in blocks of rows: (first row, matrix (<= BLOCK, len(others)))."""
    squares = np.einsum("ij,ij->i", others, others)
    for start in range(0, len(points), BLOCK):
        part = points[start : start + BLOCK]
        block = part @ others.T
        block *= -2
        block += squares
        block += np.einsum("ij,ij->i", part, part)[:, None]
        np.maximum(block, 0, out=block)
        yield start, np.sqrt(block, out=block)


def core_distances(points: Matrix, weights: Weights, neighbours: int) -> Matrix:
    """Distance within which a point has ``neighbours`` runs, itself included: shape (n,).

    Infinity where the history has fewer. A point of at least that weight has 0.
    """
    cores = np.zeros(len(points))
    light = np.flatnonzero(weights < neighbours)
    nearest = min(neighbours, len(points))
    for start, block in distances(points[light], points):
        rows = np.arange(len(block))
        # Rounding may leave a point a hair away from itself, and then another would count as the nearer.
        block[rows, light[start : start + len(block)]] = 0.0
        near = np.argpartition(block, nearest - 1, axis=1)[:, :nearest]
        order = np.argsort(np.take_along_axis(block, near, axis=1), axis=1, kind="stable")
        near = np.take_along_axis(near, order, axis=1)
        enough = np.cumsum(weights[near], axis=1) >= neighbours
        column = np.argmax(enough, axis=1)
        found = np.where(enough.any(axis=1), block[rows, near[rows, column]], np.inf)
        cores[light[start : start + len(block)]] = found
    return cores


def spanning_tree(points: Matrix, cores: Matrix, floor: float) -> tuple[Indices, Indices, Matrix]:
    """Minimum spanning tree of ``max(core_i, core_j, distance_ij, floor)`` by Prim's algorithm, O(n^2) time.

    Returns the edges as (from, to, length), each of shape (n - 1,).
    """
    count = len(points)
    best = np.full(count, np.inf)
    parent = np.zeros(count, dtype=np.int64)
    outside = np.ones(count, dtype=bool)
    squares = np.einsum("ij,ij->i", points, points)
    source, to, length = [], [], []
    current = 0
    for _ in range(count - 1):
        outside[current] = False
        reach = squares - 2 * (points @ points[current]) + squares[current]
        reach = np.sqrt(np.maximum(reach, 0, out=reach), out=reach)
        reach = np.maximum(np.maximum(reach, cores, out=reach), max(cores[current], floor), out=reach)
        nearer = outside & (reach < best)
        best[nearer] = reach[nearer]
        parent[nearer] = current
        best[current] = np.inf
        current = int(np.argmin(best))
        if not outside[current]:  # all that is left is infinitely far
            current = int(np.argmax(outside))
        source.append(int(parent[current]))
        to.append(current)
        length.append(float(best[current]))
    return np.array(source, dtype=np.int64), np.array(to, dtype=np.int64), np.array(length)


def silhouettes(points: Matrix, weights: Weights, labels: Indices) -> Matrix:
    """Silhouette of every point, weights counted as that many equal runs (Rousseeuw 1987): shape (n,).

    Exact, not sampled. Noise (label -1) takes no part and has NaN, and so has all where there are fewer
    than two clusters; a run alone in its cluster has 0.
    """
    out = np.full(len(points), np.nan)
    clusters = int(labels.max(initial=-1)) + 1
    inside = np.flatnonzero(labels >= 0)
    if clusters < 2:
        return out
    member = np.zeros((len(inside), clusters))
    member[np.arange(len(inside)), labels[inside]] = weights[inside]
    sizes = member.sum(axis=0)
    kept = points[inside]
    for start, block in distances(kept, kept):
        rows = np.arange(len(block))
        block[rows, start + rows] = 0.0
        own = labels[inside[start : start + len(block)]]
        totals = block @ member
        within = totals[rows, own] / np.maximum(sizes[own] - 1, 1)
        means = totals / sizes
        means[rows, own] = np.inf
        other = means.min(axis=1)
        scale = np.maximum(np.maximum(within, other), np.finfo(float).tiny)
        out[inside[start : start + len(block)]] = np.where(sizes[own] > 1, (other - within) / scale, 0.0)
    return out
