"""Intervals against values worked out by hand and in print."""

from __future__ import annotations

import pytest

from kubernaut.patterns.statistics import success_rate, wilson_interval


@pytest.mark.parametrize(
    ("successes", "trials", "lower", "upper"),
    [
        # Newcombe, Statistics in Medicine 17 (1998) 857-872, table I, method 3 (score, no correction).
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        # By hand: z^2 = 3.8415; 3 of 3: lower = 1 / (1 + z^2 / 3) = 3 / 6.8415.
        (3, 3, 0.4385, 1.0),
        (0, 0, 0.0, 1.0),
    ],
)
def test_wilson_interval_matches_published_values(
    successes: int, trials: int, lower: float, upper: float
) -> None:
    assert list(wilson_interval(successes, trials)) == pytest.approx([lower, upper], abs=5e-5)


@pytest.mark.parametrize(("successes", "trials"), [(-1, 3), (4, 3), (1, 0)])
def test_impossible_counts_are_refused(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match="give 0 <= successes <= trials"):
        wilson_interval(successes, trials)


def test_only_concluded_runs_count_for_the_rate() -> None:
    rate = success_rate(
        ["Remediated", "Remediated", "NotFixed", "RolledBack", "SelfHealed", "Inconclusive", "Declined", ""]
    )
    assert rate is not None
    assert (rate.remediated, rate.concluded, rate.rate) == (2, 4, 0.5)


def test_no_concluded_run_gives_no_rate() -> None:
    assert success_rate(["SelfHealed", "Inconclusive"]) is None
