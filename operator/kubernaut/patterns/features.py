"""From terms to feature vectors: named, versioned, deterministic; no category is ever hashed to a number.

Each run is a concatenation of blocks. A block of categories is a weighted multi-hot vector scaled to unit
length (so that a run with many symptoms is no longer than one with few) and multiplied by the block's
weight; two runs therefore differ by at most ``weight * sqrt(2)`` in it, which bounds each block's say:

=========  ======  =========================================================================================
block      weight  why
=========  ======  =========================================================================================
symptom    1.0     what an incident *is*; mere consequences count half, see ``emphasis``
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
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kubernaut.patterns.terms import SLOTS_A_DAY, RunTerms

# Raise it when anything here changes what a vector means: all are then written anew.
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
_CONSEQUENCES = frozenset(
    {"CrashLoopBackOff", "BackOff", "ProgressDeadlineExceeded", "Unavailable", "NotReady"}
)
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


def emphasis(term: tuple[str, str]) -> float:
    """Return how much a term counts within its block: 0.5 for a symptom that merely follows from others.

    Whether it shows hangs on the moment one looks, and it shows in incidents of many causes: a container
    that is OOM-killed is now and then in back-off, and ended by a signal (exit code 128 + n). Fixed rather
    than learnt (as an inverse document frequency would be), so that vectors do not drift with the history
    and a young one is not parted by its least telling symptom.
    """
    block, name = term
    # Anything may be called a symptom: a code has three digits at most, and these are ASCII.
    signal = re.fullmatch(r"ExitCode[0-9]{3}", name) is not None and int(name[8:]) > 128
    return 0.5 if block == "symptom" and (name in _CONSEQUENCES or signal) else 1.0


@dataclass(frozen=True)
class FeatureSet:
    """A versioned vocabulary: what makes vectors of different days comparable.

    Attributes:
        terms: (block, term), in the order of the vector; the last three entries are the numbers.
    """

    terms: tuple[tuple[str, str], ...]
    version: int = FEATURES_VERSION

    @classmethod
    def fit(cls, rows: Sequence[RunTerms], weights: Sequence[int]) -> FeatureSet:
        """Learn the vocabulary from distinct rows and how many runs have each."""
        seen: Counter[tuple[str, str]] = Counter()
        for row, weight in zip(rows, weights, strict=True):
            for term in categories(row) if weight else ():
                seen[term] += weight
        kept: list[tuple[str, str]] = []
        for block, limit in LIMITS.items():
            ranked = sorted((term for term in seen if term[0] == block), key=lambda t: (-seen[t], t))
            kept.extend(sorted(ranked[:limit]))
        return cls((*kept, *_NUMBERS))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, e.g. ``symptom=OOMKilled``."""
        return tuple(f"{block}={term}" for block, term in self.terms)

    @property
    def digest(self) -> str:
        """Identity of the feature set: equal digests make equal vectors of equal runs."""
        text = json.dumps([self.version, self.terms])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def outdated(self, rows: Sequence[RunTerms], weights: Sequence[int]) -> bool:
        """Whether to fit anew: terms came up that enough runs have.

        Fitting anew rewrites every vector, so a term that a stray run in a thousand has must wait; and terms
        beyond a block's limit are no news, else a full vocabulary would never rest.
        """
        if self.version != FEATURES_VERSION:
            return True
        known = set(self.terms)
        sizes = Counter(block for block, _ in self.terms)
        unknown: Counter[tuple[str, str]] = Counter()
        for row, weight in zip(rows, weights, strict=True):
            for term in categories(row):
                if term not in known and sizes[term[0]] < LIMITS[term[0]]:
                    unknown[term] += weight
        return any(count >= max(3, sum(weights) // 1000) for count in unknown.values())

    def vectors(self, rows: Sequence[RunTerms]) -> Matrix:
        """Return one vector per row: float64, shape (rows, len(terms)); unknown terms are ignored."""
        index = {term: column for column, term in enumerate(self.terms)}
        out: Matrix = np.zeros((len(rows), len(self.terms)))
        first_number = len(self.terms) - len(_NUMBERS)
        for vector, row in zip(out, rows, strict=True):
            squares: dict[str, float] = defaultdict(float)
            terms = [term for term in categories(row) if term in index]
            for term in terms:
                squares[term[0]] += emphasis(term) ** 2
            for term in terms:
                vector[index[term]] = WEIGHTS[term[0]] * emphasis(term) / math.sqrt(squares[term[0]])
            angle = 2 * math.pi * (row.slot + 0.5) / SLOTS_A_DAY
            vector[first_number:] = (
                WEIGHTS["duration"] * max(row.octave, 0) / _OCTAVES,
                WEIGHTS["time"] * math.cos(angle),
                WEIGHTS["time"] * math.sin(angle),
            )
        return out

    def to_json(self) -> dict[str, Any]:
        """Return the feature set as plain JSON, for the history."""
        return {"version": self.version, "terms": [list(term) for term in self.terms]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> FeatureSet:
        """Read back what ``to_json`` wrote. Raises KeyError or ValueError on anything else."""
        terms = tuple((str(block), str(term)) for block, term in value["terms"])
        return cls(terms, int(value["version"]))
