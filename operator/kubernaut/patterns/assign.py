"""Which pattern a new run belongs to, between two clusterings: the nearest whose radius holds it.

The cost does not depend on the length of the history: one vector, and one distance per pattern.
"""

from __future__ import annotations

import numpy as np

from kubernaut.patterns.discovery import Discovery
from kubernaut.patterns.terms import RunTerms


class Assigner:
    """Assigns runs to the patterns of one discovery; equal looks are answered from memory."""

    def __init__(self, discovery: Discovery) -> None:
        self._features = discovery.features
        self._ids = [pattern.id for pattern in discovery.patterns]
        self._centres = np.array([pattern.where.centre for pattern in discovery.patterns])
        self._radii = np.array([pattern.where.radius for pattern in discovery.patterns])
        self._answers: dict[RunTerms, str | None] = {}

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
