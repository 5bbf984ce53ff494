"""Patterns keep their identity when the history is clustered anew.

New clusters are matched one to one to former patterns so that the sum of Jaccard overlaps is largest (the
assignment problem; Kuhn 1955, solved by scipy). Only runs known to both sides count, so new runs and runs
that retention dropped move nothing. It follows that on a split the largest heir keeps the identity and the
others are new, and on a merge the identity of the largest forebear lives on. Retired patterns are matched
too: what comes back is recognised.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.optimize import linear_sum_assignment

KEEPS_IDENTITY: Final = 0.2
SAME_VERSION: Final = 0.8


@dataclass(frozen=True)
class Match:
    """What became of one new cluster.

    Attributes:
        pattern: the identity it carries on, or None for a new pattern.
        overlap: Jaccard overlap with the former members among runs known to both sides; None where new.
    """

    pattern: str | None
    overlap: float | None

    @property
    def changed(self) -> bool:
        """Whether the membership changed so much that the pattern gets a new version."""
        return self.overlap is not None and self.overlap < SAME_VERSION


@dataclass(frozen=True)
class Matching:
    """What became of every cluster, and of every former pattern that has none.

    Attributes:
        clusters: one Match per new cluster.
        heirs: former pattern without a cluster -> index of the cluster that holds most of its runs, or None.
    """

    clusters: tuple[Match, ...]
    heirs: Mapping[str, int | None]


def match(
    former: Mapping[str, Collection[str]], clusters: Sequence[Collection[str]], history: Container[str]
) -> Matching:
    """Match new clusters to former patterns.

    Args:
        former: uids of the runs of each former pattern, by pattern id; a run may be in several.
        clusters: uids of the runs of each new cluster, disjoint.
        history: all runs known now, noise included.
    """
    patterns = sorted(former)
    cluster_of = {uid: column for column, members in enumerate(clusters) for uid in members}
    shared = np.zeros((len(patterns), len(clusters)))
    present = np.zeros(len(patterns))
    known_before: set[str] = set()
    for row, pattern in enumerate(patterns):
        members = [uid for uid in former[pattern] if uid in history]
        known_before.update(members)
        present[row] = len(members)
        for column, count in Counter(map(cluster_of.get, members)).items():
            if column is not None:
                shared[row, column] = count
    sizes = np.array([sum(uid in known_before for uid in members) for members in clusters], dtype=float)
    union = present[:, None] + sizes[None, :] - shared
    overlap = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    rows, columns = linear_sum_assignment(overlap, maximize=True)
    won = {int(c): int(r) for r, c in zip(rows, columns, strict=True) if overlap[r, c] >= KEEPS_IDENTITY}
    matches = tuple(
        Match(patterns[won[c]], float(overlap[won[c], c])) if c in won else Match(None, None)
        for c in range(len(clusters))
    )
    carried = set(won.values())
    heirs = {
        pattern: int(np.argmax(shared[row])) if shared[row].any() else None
        for row, pattern in enumerate(patterns)
        if row not in carried
    }
    return Matching(matches, heirs)


def new_identity(members: Sequence[str], taken: Collection[str]) -> str:
    """Return the identity of a new pattern: 16 hex digits of its oldest member's uid that are not taken.

    It hangs on the runs alone, so that a history restored from the cluster gives the same patterns again.
    ``members`` are in order of age.
    """
    for uid in members:
        identity = hashlib.sha256(uid.encode()).hexdigest()[:16]
        if identity not in taken:
            return identity
    return hashlib.sha256("".join(members).encode()).hexdigest()[:16]
