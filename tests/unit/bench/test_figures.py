"""Figures: intervals, ratios, goals."""

from __future__ import annotations

import pytest

from bench.figures import Report, interval, percentile, ratio, spread


def test_an_interval_holds_the_median_and_gets_narrower_as_rounds_agree() -> None:
    apart, close = interval([90, 95, 100, 105, 110, 80, 120]), interval([99, 100, 101, 100, 100, 99, 101])
    for found in (apart, close):
        assert found["lower_95"] <= found["median"] <= found["upper_95"]
    assert close["upper_95"] - close["lower_95"] < apart["upper_95"] - apart["lower_95"]


def test_a_ratio_is_taken_round_by_round_so_that_a_slow_round_harms_both() -> None:
    found = ratio([200, 20, 200], [100, 10, 100])
    assert found["lower_95"] == found["upper_95"] == 2


def test_a_ratio_of_rounds_that_do_not_belong_together_is_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        ratio([1, 2], [1])


def test_a_percentile_is_a_measured_value_and_one_slow_in_fifty_shows() -> None:
    values = [0.001] * 49 + [1.0]
    assert percentile(values, 0.5) == 0.001
    assert percentile(values, 0.99) == 1.0
    assert spread(values) == {"p50": 0.001, "p99": 1.0, "max": 1.0, "count": 50}


@pytest.mark.parametrize(("measured", "met"), [(249.9, False), (250, True), (300, True)])
def test_a_goal_to_reach_is_met_from_its_bound_up(measured: float, met: bool) -> None:
    report = Report("throughput", "")
    report.at_least("five-step runs", "steps/s", measured, 250)
    (goal,) = report.to_json()["goals"]
    assert goal["met"] is met
    assert goal["at_least"] == 250
    assert report.goals[0].told().startswith("met" if met else "MISSED")


@pytest.mark.parametrize(("measured", "met"), [(0, True), (3, True), (4, False)])
def test_a_goal_to_stay_under_is_met_up_to_its_bound(measured: float, met: bool) -> None:
    report = Report("requests", "")
    report.at_most("writes", "requests", measured, 3)
    (goal,) = report.to_json()["goals"]
    assert goal["met"] is met
    assert goal["at_most"] == 3


def test_what_the_api_server_needs_alone_is_told_beside_a_figure_and_has_no_say_in_the_verdict() -> None:
    report = Report("latency", "")
    report.at_most("one-step run", "s", 0.042, 0.05, {"API server alone": 0.0123456, "etcd alone": 2.0})
    report.remark("meanwhile nothing happened")
    assert report.told() == [
        "latency: met    one-step run: 0.042 s (goal <= 0.05) (API server alone: 0.01235, etcd alone: 2)",
        "latency: meanwhile nothing happened",
    ]
    assert report.to_json()["goals"][0]["beside"] == {"API server alone": 0.01235, "etcd alone": 2}
