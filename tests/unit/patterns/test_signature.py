from __future__ import annotations

import pytest

from kubernaut.patterns.signature import count_terms, describe, kebab, slug, telling_features
from kubernaut.patterns.terms import RunTerms


def row(*symptoms: str, reasons: tuple[str, ...] = (), kind: str = "Deployment") -> RunTerms:
    return RunTerms(symptoms, reasons, ("collect_diagnostics",), kind, 4, 3)


def test_features_tell_the_share_here_and_elsewhere() -> None:
    inside = count_terms([row("ExitCode137", "OOMKilled"), row("OOMKilled")], [3, 1])
    everywhere = count_terms([row("ExitCode137", "OOMKilled"), row("OOMKilled"), row()], [3, 2, 5])
    features = telling_features(inside, 4, everywhere, 10)
    assert [(f.name, f.share, f.elsewhere) for f in features[:2]] == [
        ("symptom=OOMKilled", 1.0, 0.1667),
        ("symptom=ExitCode137", 0.75, 0.0),
    ]
    assert (features[-1].share, features[-1].elsewhere) == (1.0, 1.0)


def test_what_only_a_minority_shows_is_no_signature() -> None:
    inside = count_terms([row("OOMKilled"), row("Rare", "OOMKilled")], [8, 2])
    assert "symptom=Rare" not in [f.name for f in telling_features(inside, 10, inside, 10)]


@pytest.mark.parametrize(
    ("look", "words"),
    [
        (row("ImagePullBackOff"), "Deployments whose pods can't pull their image (ImagePullBackOff) (100 %"),
        (row("ExitCode3"), "Deployments whose pods exit with code 3 (100 % vs 0 % elsewhere)"),
        (row("ScaledToZero"), "Deployments that are scaled to zero (100 % vs 0 % elsewhere)"),
        (row("Strange"), "Deployments whose pods show Strange"),
        (row(reasons=("MissingRight",)), "Deployments whose repair ended in MissingRight (100 % vs 0 %"),
        (row(kind=""), "Objects without a known symptom; no Workflow is known to help yet; seen in 4 runs."),
    ],
)
def test_signatures_are_said_in_words(look: RunTerms, words: str) -> None:
    inside = count_terms([look], [4])
    everywhere = count_terms([look, RunTerms((), (), (), "", 0, 0)], [4, 4])
    assert describe(telling_features(inside, 4, everywhere, 8), 4, None).summary.startswith(words)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("OOMKilled", "oom-killed"),
        ("CrashLoopBackOff", "crash-loop-back-off"),
        ("ExitCode137", "exit-code-137"),
        ("Ünï cødé", "n-c-d"),
        ("---", ""),
        ("A" * 80, "a" * 40),
    ],
)
def test_names_are_dns_labels(text: str, name: str) -> None:
    assert kebab(text) == name


def test_without_a_symptom_the_workflow_gives_the_name() -> None:
    assert slug([], "crash-loop") == "crash-loop"
    assert slug([], "") == "pattern"
