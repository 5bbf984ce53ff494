"""What one cluster of runs says: support, success, signature, exemplars, recommendation, quality."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kubernaut.api.pattern import DiscoveredPatternStatus, Exemplar, Quality
from kubernaut.patterns.clustering import RESOLUTION
from kubernaut.patterns.geometry import Indices, Matrix
from kubernaut.patterns.recommend import recommend
from kubernaut.patterns.signature import count_terms, describe, slug, telling_features
from kubernaut.patterns.statistics import success_rate
from kubernaut.patterns.table import RunTable

_MOST_EXEMPLARS = 5


@dataclass(frozen=True)
class Space:
    """The distinct rows of a history in feature space; row i of each array belongs to ``table.rows[i]``.

    Attributes:
        vectors: shape (rows, d). membership: shape (rows,), in [0, 1]. silhouette: shape (rows,), or NaN.
    """

    vectors: Matrix
    membership: Matrix
    silhouette: Matrix


@dataclass(frozen=True)
class Extent:
    """Where a pattern lies in feature space: centre, shape (d,), and radius, in the units of the features."""

    centre: Matrix
    radius: float


def extent(space: Space, looks: Indices) -> Extent:
    """Return the centre of some runs and the distance that holds 95 % of them, at least the resolution."""
    rows, weights = np.unique(looks, return_counts=True)
    centre: Matrix = weights @ space.vectors[rows] / weights.sum()
    # Of rows, not of runs: a pattern of a hundred thousand runs has few rows, and each vector takes up to 2.5 KB.
    away = np.repeat(np.linalg.norm(space.vectors[rows] - centre, axis=1), weights)
    return Extent(centre, max(RESOLUTION, float(np.quantile(away, 0.95))))


def report(
    table: RunTable, members: Sequence[int], space: Space, everywhere: Mapping[str, int], where: Extent
) -> tuple[DiscoveredPatternStatus, str]:
    """Return what is known of the runs at ``members`` (positions, oldest first), and a slug for its name."""
    looks = np.asarray(table.look)[list(members)]
    rows, weights = np.unique(looks, return_counts=True)
    inside = count_terms([table.rows[row] for row in rows], weights.tolist())
    features = telling_features(inside, len(members), everywhere, len(table))
    best = recommend((table.workflows[i], table.verdicts[i], table.seconds[i]) for i in members)
    workflows = [table.workflows[i] for i in members]
    commonest = min(Counter(workflows).items(), key=lambda entry: (-entry[1], entry[0]))[0]
    moments = [table.finished[i] for i in members]
    status = DiscoveredPatternStatus(
        support=len(members),
        success=success_rate(table.verdicts[i] for i in members),
        signature=describe(features, len(members), best.workflow if best else None),
        exemplars=_exemplars(table, members, looks, space, where),
        recommended=best,
        quality=_quality(space, rows, weights),
        first_seen=min(moments),
        last_seen=max(moments),
    )
    return status, slug(features, commonest)


def _exemplars(
    table: RunTable, members: Sequence[int], looks: Indices, space: Space, where: Extent
) -> list[Exemplar]:
    rows, row_of = np.unique(looks, return_inverse=True)
    away = np.linalg.norm(space.vectors[rows] - where.centre, axis=1).round(6)[row_of]
    newest = np.array([-table.finished[i].timestamp() for i in members])
    nearest = [members[i] for i in np.lexsort((newest, away))[:_MOST_EXEMPLARS]]
    return [
        Exemplar(
            namespace=table.namespaces[i], name=table.names[i], uid=table.uids[i], verdict=table.verdicts[i]
        )
        for i in nearest
    ]


def _quality(space: Space, rows: Indices, weights: Indices) -> Quality:
    # Rows that came after the last clustering have no silhouette yet.
    known = ~np.isnan(space.silhouette[rows])
    silhouette = (
        float(np.average(space.silhouette[rows][known], weights=weights[known])) if known.any() else np.nan
    )
    membership = float(np.average(space.membership[rows], weights=weights))
    return Quality(
        silhouette=None if np.isnan(silhouette) else round(min(1.0, max(-1.0, silhouette)), 3),
        membership=round(min(1.0, max(0.0, membership)), 3),
    )
