"""Which pattern a new run belongs to, between two clusterings: the nearest whose radius holds it.

The cost does not depend on the length of the history: one vector, and one distance per pattern.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from kubernaut.patterns.discovery import Discovery, Pattern
from kubernaut.patterns.features import FeatureSet
from kubernaut.patterns.report import Extent, Space, report
from kubernaut.patterns.signature import count_terms
from kubernaut.patterns.table import RunTable
from kubernaut.patterns.terms import RunTerms


class Assigner:
    """Assigns runs to patterns; equal looks are answered from memory.

    Args:
        features: what the centres' columns mean.
        extents: where each pattern lies, by its id.
    """

    def __init__(self, features: FeatureSet, extents: dict[str, Extent]) -> None:
        self._features = features
        self._ids = list(extents)
        self._centres = np.array([where.centre for where in extents.values()])
        self._radii = np.array([where.radius for where in extents.values()])
        self._answers: dict[RunTerms, str | None] = {}

    @classmethod
    def of(cls, discovery: Discovery) -> Assigner:
        """Return the assigner to the patterns of a discovery."""
        return cls(discovery.features, {pattern.id: pattern.where for pattern in discovery.patterns})

    def assign(self, terms: RunTerms) -> str | None:
        """Return the id of the run's pattern, or None where it lies in none."""
        if terms not in self._answers:
            self._answers[terms] = self._nearest(terms)
        return self._answers[terms]

    def _nearest(self, terms: RunTerms) -> str | None:
        if not self._ids:
            return None
        away = np.linalg.norm(self._centres - self._features.vectors([terms])[0], axis=1)
        nearest = int(np.argmin(away))
        return self._ids[nearest] if away[nearest] <= self._radii[nearest] else None


def extend(
    discovery: Discovery, table: RunTable, added: Sequence[int], assigner: Assigner | None = None
) -> Discovery:
    """Return the discovery with new runs assigned, and with what their patterns say brought up to date.

    Identities, versions and extents stay as they are until the next clustering.
    """
    assigner = assigner or Assigner.of(discovery)
    joined: dict[str, list[int]] = defaultdict(list)
    for position in added:
        pattern = assigner.assign(table.rows[table.look[position]])
        if pattern is not None:
            joined[pattern].append(position)
    space = _grown(discovery, table)
    everywhere = count_terms(table.rows, table.weights().tolist())
    patterns = tuple(
        _refreshed(pattern, joined[pattern.id], table, space, everywhere) if joined[pattern.id] else pattern
        for pattern in discovery.patterns
    )
    assigned = sum(map(len, joined.values()))
    return replace(discovery, patterns=patterns, space=space, noise=discovery.noise + len(added) - assigned)


def _grown(discovery: Discovery, table: RunTable) -> Space:
    known = len(discovery.space.vectors)
    fresh = table.rows[known:]
    return Space(
        np.vstack((discovery.space.vectors, discovery.features.vectors(fresh))),
        np.concatenate((discovery.space.membership, np.ones(len(fresh)))),
        np.concatenate((discovery.space.silhouette, np.full(len(fresh), np.nan))),
    )


def _refreshed(
    pattern: Pattern, joined: Sequence[int], table: RunTable, space: Space, everywhere: dict[str, int]
) -> Pattern:
    members = sorted((*pattern.members, *joined), key=lambda i: (table.finished[i], table.uids[i]))
    fresh, _ = report(table, members, space, everywhere, pattern.where)
    status = pattern.status.replace(
        support=fresh.support,
        success=fresh.success,
        signature=fresh.signature,
        exemplars=fresh.exemplars,
        recommended=fresh.recommended,
        first_seen=fresh.first_seen,
        last_seen=fresh.last_seen,
    )
    return replace(pattern, members=members, status=status)
