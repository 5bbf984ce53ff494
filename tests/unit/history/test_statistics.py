"""Durations: median, and an interval that holds what it promises."""

from __future__ import annotations

from math import comb

import pytest

from kubernaut.history.repository import statistics_of


def test_without_runs_there_are_no_statistics() -> None:
    assert statistics_of([]) is None


@pytest.mark.parametrize(
    ("seconds", "median"),
    [([3.0], 3.0), ([1.0, 2.0], 1.5), ([5.0, 1.0, 3.0], 3.0), ([4.0, 1.0, 2.0, 9.0], 3.0)],
)
def test_the_median_is_the_middle(seconds: list[float], median: float) -> None:
    statistics = statistics_of(seconds)
    assert statistics is not None
    assert statistics.median_seconds == median
    assert statistics.lower_seconds <= median <= statistics.upper_seconds


@pytest.mark.parametrize("count", [*range(6, 60), 100, 200, 1000])
def test_the_interval_holds_the_true_median_in_95_of_100_cases(count: int) -> None:
    statistics = statistics_of([float(n) for n in range(count)])
    assert statistics is not None
    low, high = int(statistics.lower_seconds), int(statistics.upper_seconds)
    # The true median lies between the order statistics low and high (from 0) iff the number of
    # values below it, Binomial(count, 1/2), is in (low, high].
    inside = sum(comb(count, below) for below in range(low + 1, high + 1))
    assert inside / 2**count >= 0.95


def test_the_90th_percentile_is_a_value_that_occurred() -> None:
    statistics = statistics_of([float(n) for n in range(1, 11)])
    assert statistics is not None
    assert statistics.p90_seconds == 9.0
