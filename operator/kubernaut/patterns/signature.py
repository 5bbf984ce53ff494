"""What the runs of a pattern have in common, as features and in words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from kubernaut.api.pattern import Signature, SignatureFeature
from kubernaut.patterns.features import categories
from kubernaut.patterns.terms import RunTerms

_MOST_FEATURES = 16
_MOST_NAMED = 3
_TYPICAL = 0.5
_WORDS = {
    "OOMKilled": "are OOMKilled",
    "CrashLoopBackOff": "crash again and again (CrashLoopBackOff)",
    "ImagePullBackOff": "can't pull their image (ImagePullBackOff)",
    "ScaledToZero": "are scaled to zero",
    "ProgressDeadlineExceeded": "do not become available in a rollout (ProgressDeadlineExceeded)",
    "Unschedulable": "can't be scheduled",
}

Counts = Mapping[str, int]
"""How many runs have a term: ``symptom=OOMKilled`` -> 7."""


def count_terms(rows: Sequence[RunTerms], weights: Sequence[int]) -> Counter[str]:
    """Count in how many runs each term occurs, from distinct rows and how many runs have each."""
    counts: Counter[str] = Counter()
    for row, weight in zip(rows, weights, strict=True):
        if weight:
            for block, term in categories(row):
                counts[f"{block}={term}"] += int(weight)
    return counts


def telling_features(inside: Counts, runs: int, everywhere: Counts, all_runs: int) -> list[SignatureFeature]:
    """Return the features most runs of the pattern have, those that tell it from the rest first.

    ``elsewhere`` is the share among all other runs; 0 where there are none.
    """
    others = all_runs - runs
    features = [
        SignatureFeature(
            name=name[:253],
            share=round(count / runs, 4),
            elsewhere=round((everywhere[name] - count) / others, 4) if others else 0.0,
        )
        for name, count in inside.items()
        if count >= _TYPICAL * runs
    ]
    features.sort(key=lambda f: (f.elsewhere - f.share, _rank(f.name), f.name))
    return features[:_MOST_FEATURES]


def describe(
    features: Sequence[SignatureFeature], runs: int, recommended: str | None, *, muted: bool = False
) -> Signature:
    """Say the signature in words; ``recommended`` is the Workflow that helps best, if one is known."""
    kinds = [_term(f) for f in features if f.name.startswith("kind=")]
    subject = f"{kinds[0]}s" if kinds else "Objects"
    symptoms = [f for f in features if f.name.startswith("symptom=")][:_MOST_NAMED]
    reasons = [f for f in features if f.name.startswith("reason=")][:1]
    if symptoms:
        about = " and ".join(f"{_phrase(_term(f))} {_compare(f)}" for f in symptoms)
        subject = (
            f"{subject} that {about}"
            if _term(symptoms[0]) == "ScaledToZero"
            else (f"{subject} whose pods {about}")
        )
    elif reasons:
        subject = f"{subject} whose repair ended in {_term(reasons[0])} {_compare(reasons[0])}"
    else:
        subject = f"{subject} without a known symptom"
    repaired = f"usually repaired by {recommended}" if recommended else "no Workflow is known to help yet"
    repaired = "muted, so no Workflow is recommended" if muted else repaired
    return Signature(summary=f"{subject}; {repaired}; seen in {runs} runs."[:1024], features=list(features))


def slug(features: Sequence[SignatureFeature], workflow: str) -> str:
    """Return a readable first part of the pattern's name: its most telling symptom, else the Workflow."""
    for feature in features:
        if feature.name.startswith("symptom="):
            made = kebab(_term(feature))
            if made:
                return made
    return kebab(workflow) or "pattern"


def kebab(text: str) -> str:
    """Turn ``OOMKilled`` into ``oom-killed``: a DNS label of at most 40 characters, or ""."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[a-z])(?=[0-9])", "-", text)
    return re.sub(r"[^a-z0-9]+", "-", parted.lower()).strip("-")[:40].strip("-")


def _rank(name: str) -> int:
    # An exit code says less to a person than the symptom beside it.
    order = ("symptom", "symptom=ExitCode", "kind", "reason", "action", "namespace")
    return next(rank for rank in (1, 0, 2, 3, 4, 5) if name.startswith(order[rank]))


def _term(feature: SignatureFeature) -> str:
    return feature.name.partition("=")[2]


def _phrase(symptom: str) -> str:
    exit_code = re.fullmatch(r"ExitCode(\d+)", symptom)
    if exit_code:
        return f"exit with code {exit_code[1]}"
    return _WORDS.get(symptom, f"show {symptom}")


def _compare(feature: SignatureFeature) -> str:
    return f"({feature.share:.0%} vs {feature.elsewhere:.0%} elsewhere)".replace("%", " %")
