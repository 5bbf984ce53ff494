"""From terms to feature vectors: named, versioned, deterministic; no category is ever hashed to a number.

Each run is a concatenation of blocks. A block of categories is a weighted multi-hot vector scaled to unit
length (so that a run with many symptoms is no longer than one with few) and multiplied by the block's
weight; two runs therefore differ by at most ``weight * sqrt(2)`` in it, which bounds each block's say:

=========  ======  =========================================================================================
block      weight  why
=========  ======  =========================================================================================
symptom    1.0     what an incident *is*; those that few runs have count more
kind       0.6     an OOM-killed Deployment and a Job are different incidents
action     0.35    1- and 2-grams; at most 0.49 apart, below ``clustering.RESOLUTION``: what was done must
                   not alone part incidents, else treatments could not be compared within a pattern
reason     0.3     typed failure reasons; at most 0.42 apart, for the same reason
namespace  0.5     only where the settings ask for it
duration   0.3     octaves / 16 (2^16 s = 18 h)
time       0.05    cosine and sine of the time of day, so that 23:59 is near 00:01
=========  ======  =========================================================================================
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kubernaut.patterns.terms import SLOTS_A_DAY, RunTerms

FEATURES_VERSION: Final = 1
WEIGHTS: Final[Mapping[str, float]] = {
    "symptom": 1.0,
    "kind": 0.6,
    "action": 0.35,
    "reason": 0.3,
    "namespace": 0.5,
    "duration": 0.3,
    "time": 0.05,
}
# A vocabulary is bounded, so that a careless producer of symptoms can't make vectors of any length.
LIMITS: Final[Mapping[str, int]] = {"symptom": 96, "kind": 24, "action": 96, "reason": 32, "namespace": 64}
_OCTAVES = 16.0
_NUMBERS = (("duration", "octaves"), ("time", "cos"), ("time", "sin"))

Matrix = NDArray[np.float64]


def categories(row: RunTerms) -> Iterable[tuple[str, str]]:
    """Yield the categorical terms of a row as (block, term); n-grams are written ``a>b``."""
    yield from (("symptom", name) for name in row.symptoms)
    if row.kind:
        yield ("kind", row.kind)
    yield from (("action", name) for name in sorted(set(row.actions)))
    pairs = {f"{first}>{second}" for first, second in zip(row.actions, row.actions[1:], strict=False)}
    yield from (("action", pair) for pair in sorted(pairs))
    yield from (("reason", name) for name in row.reasons)
    if row.namespace:
        yield ("namespace", row.namespace)


@dataclass(frozen=True)
class FeatureSet:
    """A vocabulary with the weight of each term: what makes vectors of different days comparable.

    Attributes:
        terms: (block, term), in the order of the vector; the last three entries are the numbers.
        rarity: one factor per categorical term, 0.5 to 1.5; 1 for all but symptoms.
        fitted_runs: how many runs it was fitted on.
    """

    terms: tuple[tuple[str, str], ...]
    rarity: tuple[float, ...]
    fitted_runs: int
    version: int = FEATURES_VERSION

    @classmethod
    def fit(cls, rows: Sequence[RunTerms], weights: Sequence[int]) -> FeatureSet:
        """Learn vocabulary and rarity from distinct rows and how many runs have each."""
        total = sum(weights)
        seen: Counter[tuple[str, str]] = Counter()
        for row, weight in zip(rows, weights, strict=True):
            for term in categories(row):
                seen[term] += weight
        kept: list[tuple[str, str]] = []
        for block, limit in LIMITS.items():
            ranked = sorted((term for term in seen if term[0] == block), key=lambda t: (-seen[t], t))
            kept.extend(sorted(ranked[:limit]))
        rarity = tuple(_rarity(seen[term], total) if term[0] == "symptom" else 1.0 for term in kept)
        return cls((*kept, *_NUMBERS), rarity, total)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, e.g. ``symptom=OOMKilled``."""
        return tuple(f"{block}={term}" for block, term in self.terms)

    @property
    def digest(self) -> str:
        """Identity of the feature set: equal digests make equal vectors of equal runs."""
        text = json.dumps([self.version, self.terms, self.rarity, sorted(WEIGHTS.items())])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def outdated(self, rows: Sequence[RunTerms], weights: Sequence[int]) -> bool:
        """Whether to fit anew: the history has doubled, or terms came up that enough runs have.

        Fitting anew rewrites every vector, so a term that a stray run in a thousand has must wait; and terms
        beyond a block's limit are no news, else a full vocabulary would never rest.
        """
        runs = sum(weights)
        if self.version != FEATURES_VERSION or runs >= 2 * self.fitted_runs:
            return True
        known = set(self.terms)
        sizes = Counter(block for block, _ in self.terms)
        unknown: Counter[tuple[str, str]] = Counter()
        for row, weight in zip(rows, weights, strict=True):
            for term in categories(row):
                if term not in known and sizes[term[0]] < LIMITS[term[0]]:
                    unknown[term] += weight
        return any(count >= max(3, runs // 1000) for count in unknown.values())

    def vectors(self, rows: Sequence[RunTerms]) -> Matrix:
        """Return one vector per row: float64, shape (rows, len(terms)); unknown terms are ignored."""
        index = {term: column for column, term in enumerate(self.terms)}
        out: Matrix = np.zeros((len(rows), len(self.terms)))
        first_number = len(self.terms) - len(_NUMBERS)
        for vector, row in zip(out, rows, strict=True):
            squares: dict[str, float] = defaultdict(float)
            columns = [(term[0], index[term]) for term in categories(row) if term in index]
            for block, column in columns:
                squares[block] += self.rarity[column] ** 2
            for block, column in columns:
                vector[column] = WEIGHTS[block] * self.rarity[column] / math.sqrt(squares[block])
            angle = 2 * math.pi * (row.slot + 0.5) / SLOTS_A_DAY
            vector[first_number:] = (
                WEIGHTS["duration"] * max(row.octave, 0) / _OCTAVES,
                WEIGHTS["time"] * math.cos(angle),
                WEIGHTS["time"] * math.sin(angle),
            )
        return out

    def to_json(self) -> dict[str, Any]:
        """Return the feature set as plain JSON, for the history."""
        return {
            "version": self.version,
            "terms": [list(term) for term in self.terms],
            "rarity": list(self.rarity),
            "fittedRuns": self.fitted_runs,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> FeatureSet:
        """Read back what ``to_json`` wrote. Raises KeyError or ValueError on anything else."""
        terms = tuple((str(block), str(term)) for block, term in value["terms"])
        return cls(terms, tuple(map(float, value["rarity"])), int(value["fittedRuns"]), int(value["version"]))


def _rarity(runs_with: int, total: int) -> float:
    """How telling a symptom is: 0.5 where all runs have it, 1.5 where a quarter or fewer do, in half steps.

    An inverse document frequency, damped so that one stray symptom can't outweigh those that matter, and
    in steps so that it rests while a history grows.
    """
    return min(1.5, 0.5 + round(math.log2(total / runs_with)) / 2)
