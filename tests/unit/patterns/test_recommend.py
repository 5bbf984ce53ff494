from __future__ import annotations

from kubernaut.patterns.recommend import recommend

GOOD, BAD = "Remediated", "NotFixed"


def test_the_surest_workflow_wins_over_the_luckiest() -> None:
    runs = [("lucky", GOOD, 1.0)] * 3 + [("sure", GOOD, 9.0)] * 28 + [("sure", BAD, 9.0)] * 2
    best = recommend(runs)
    assert best is not None
    assert (best.workflow, best.runs, best.median_seconds) == ("sure", 30, 9.0)
    assert best.success.rate > 0.9


def test_of_equally_sure_workflows_the_faster_wins() -> None:
    best = recommend([("slow", GOOD, 20.0)] * 4 + [("fast", GOOD, 5.0)] * 4)
    assert best is not None
    assert best.workflow == "fast"


def test_a_workflow_of_unknown_speed_is_not_the_faster_one() -> None:
    best = recommend([("unknown", GOOD, -1.0)] * 4 + [("known", GOOD, 5.0)] * 4)
    assert best is not None
    assert best.workflow == "known"


def test_too_few_concluded_runs_recommend_nothing() -> None:
    assert recommend([("a", GOOD, 1.0)] * 2 + [("a", "SelfHealed", 1.0)] * 5) is None


def test_what_never_helped_is_not_recommended() -> None:
    assert recommend([("a", BAD, 1.0)] * 9) is None


def test_the_median_leaves_out_unknown_durations() -> None:
    best = recommend([("a", GOOD, -1.0), ("a", GOOD, 2.0), ("a", GOOD, 4.0)])
    assert best is not None
    assert best.median_seconds == 3.0
