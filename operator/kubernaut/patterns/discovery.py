"""One discovery: from the table of finished runs and the former patterns to the present ones."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kubernaut.api.pattern import DiscoveredPatternStatus
from kubernaut.patterns.clustering import MOST_DIMENSIONS, MOST_POINTS, NOISE, Clusterer, Clustering
from kubernaut.patterns.features import FeatureSet
from kubernaut.patterns.geometry import Indices, Matrix, landmarks, reduce_dimensions, silhouettes
from kubernaut.patterns.identity import Match, match, new_identity
from kubernaut.patterns.report import Extent, Space, extent, report
from kubernaut.patterns.signature import count_terms
from kubernaut.patterns.table import RunTable


@dataclass(frozen=True)
class FormerPattern:
    """A pattern as it was at the last clustering.

    Attributes:
        id: identity, 16 hex digits. name: name of the DiscoveredPattern, given once and for all.
        members: uids of its runs when it was last active.
    """

    id: str
    name: str
    version: int
    active: bool
    members: Collection[str]


@dataclass(frozen=True)
class Pattern:
    """A pattern of the present history.

    Attributes:
        members: positions in the table, oldest first.
        status: all that was learned, without conditions and observedGeneration.
    """

    id: str
    name: str
    version: int
    members: Sequence[int]
    where: Extent
    status: DiscoveredPatternStatus


@dataclass(frozen=True)
class Discovery:
    """The outcome of one clustering.

    Attributes:
        patterns: the present patterns, largest first.
        retired: former patterns without a cluster -> name of the pattern that has most of their runs, or "".
        space: the distinct rows of the table; the columns of its vectors are named by ``features``.
        noise: how many runs are in no pattern.
    """

    features: FeatureSet
    patterns: tuple[Pattern, ...]
    retired: Mapping[str, str]
    space: Space
    noise: int


def discover(
    table: RunTable,
    former: Mapping[str, FormerPattern],
    clusterer: Clusterer,
    features: FeatureSet | None = None,
) -> Discovery:
    """Cluster a history and carry identities over; the order in which runs were added does not matter.

    Args:
        table: the finished runs.
        former: patterns of the last clustering by id, retired ones included.
        clusterer: the algorithm.
        features: the feature set of the last time; fitted anew where it is None or outdated.
    """
    weights = table.weights()
    if features is None or features.outdated(table.rows, weights.tolist()):
        features = FeatureSet.fit(table.rows, weights.tolist())
    vectors = features.vectors(table.rows)
    # Rows that no run has any more, since its record or its parts came again, are no points.
    order = np.array([row for row in _canonical(table) if weights[row]], dtype=np.int64)
    clustering = clusterer.cluster(vectors[order], weights[order])
    labels = np.full(len(weights), NOISE, dtype=np.int64)
    membership = np.zeros(len(weights))
    labels[order], membership[order] = clustering.labels, clustering.membership
    silhouette = np.full(len(weights), np.nan)
    silhouette[order] = _silhouettes(vectors[order], weights[order], clustering)
    clusters = _members(table, labels, clustering.count)
    uids = [[table.uids[i] for i in members] for members in clusters]
    matching = match({id_: one.members for id_, one in former.items()}, uids, table)
    space = Space(vectors, membership, silhouette)
    everywhere = count_terms(table.rows, weights.tolist())
    patterns, taken = [], set(former)
    for members, names, one in zip(clusters, uids, matching.clusters, strict=True):
        identity = one.pattern or new_identity(names, taken)
        taken.add(identity)
        where = extent(space, np.asarray(table.look)[members])
        status, slug = report(table, members, space, everywhere, where)
        status = _dress(status, clusterer.name, clustering, former.get(identity), one)
        name = former[identity].name if identity in former else f"{slug}-{identity[:8]}"
        patterns.append(Pattern(identity, name, status.version, members, where, status))
    retired = {id_: "" if heir is None else patterns[heir].name for id_, heir in matching.heirs.items()}
    noise = int(weights[labels == NOISE].sum())
    ranked = tuple(sorted(patterns, key=lambda p: (-len(p.members), p.id)))
    return Discovery(features, ranked, retired, space, noise)


def _canonical(table: RunTable) -> list[int]:
    rows = table.rows
    return sorted(
        range(len(rows)),
        key=lambda i: (
            rows[i].symptoms,
            rows[i].reasons,
            rows[i].actions,
            rows[i].kind,
            rows[i].octave,
            rows[i].slot,
            rows[i].namespace,
        ),
    )


def _members(table: RunTable, labels: Indices, count: int) -> list[list[int]]:
    if not len(table):
        return []
    of_run = labels[np.asarray(table.look, dtype=np.int64)]
    return [
        sorted(np.flatnonzero(of_run == label).tolist(), key=lambda i: (table.finished[i], table.uids[i]))
        for label in range(count)
    ]


def _silhouettes(vectors: Matrix, weights: Indices, clustering: Clustering) -> Matrix:
    if not len(vectors):
        return np.empty(0)
    points = reduce_dimensions(vectors, weights, MOST_DIMENSIONS)
    chosen, nearest = landmarks(points, weights, MOST_POINTS)
    values: Matrix = silhouettes(points[chosen], weights[chosen], clustering.labels[chosen])[nearest]
    return values


def _dress(
    status: DiscoveredPatternStatus,
    algorithm: str,
    clustering: Clustering,
    before: FormerPattern | None,
    one: Match,
) -> DiscoveredPatternStatus:
    version = before.version + int(one.changed) if before else 1
    quality = status.quality
    if quality is not None and one.overlap is not None:
        quality = quality.replace(stability=round(one.overlap, 3))
    return status.replace(
        version=version, quality=quality, algorithm=algorithm, parameters=dict(clustering.parameters)
    )
