"""A metric that is asked for after the act: what holds is evidence, and what is not known is never success."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest

from builders import Story, a_story, a_target, a_workflow
from kubernaut.api.execution import MetricState
from kubernaut.api.reasons import Reason
from kubernaut.core.conditions import VERIFIED, of_run
from kubernaut.core.features import Feature
from kubernaut.core.run import AlertSeen, AlertState, MetricSeen, Sample

HEALTHY = "target.status.readyReplicas == target.spec.replicas"
ERRORS = "sum(rate(errors_total[1m]))"
ERROR_RATE = {"name": "error-rate", "query": ERRORS, "expect": "value < 0.05"}


def acted(*, window: str = "0s", acted: bool = True, alert: AlertSeen | None = None, **metric: str) -> Story:
    """Return the story of a run that has acted, whose target is well, and that asks for a metric."""
    workflow = a_workflow().step("a").verify(HEALTHY, stabilization=window, metrics=[ERROR_RATE | metric])
    story = a_story(workflow)
    story.alert = alert
    story.decide()
    story.done("a", acted=acted)
    story.sees(a_target(ready=2))
    return story


def answers(story: Story, *values: float, query: str = ERRORS, labels: str = "") -> None:
    """Let Prometheus answer now, and decide."""
    story.metrics[query] = MetricSeen(story.now, tuple(Sample(value, labels) for value in values))
    story.decide()


def says_nothing(story: Story, reason: Reason, told: str, *, again: bool = True) -> None:
    story.metrics[ERRORS] = MetricSeen(story.now, reason=reason, told=told, again=again)
    story.decide()


def asked(story: Story) -> set[str]:
    assert story.last is not None
    return set(story.last.queries)


def told(story: Story) -> str:
    return story.run.status.message or ""


def known(story: Story) -> list[tuple[str, str | None, int, str | None]]:
    return [(one.state.value, one.value, one.samples, one.reason) for one in story.run.status.metrics or ()]


def test_a_metric_is_asked_for_once_the_target_is_well_and_makes_it_remediated() -> None:
    story = acted()
    assert asked(story) == {ERRORS}
    assert story.run.status.phase == "Verifying"
    answers(story, 0.01)
    assert story.end_state == ("Succeeded", "Remediated", "ExpectationMet")
    assert told(story) == "Every expectation holds on the target (error-rate is 0.01)."
    assert known(story) == [("Held", "0.01", 1, None)]
    (verified,) = [c for c in of_run(story.run.status, None, story.now, 1) if c.type == VERIFIED]
    assert "error-rate is 0.01" in verified.message


def test_nothing_is_asked_before_the_target_is_well_nor_while_the_alert_fires() -> None:
    story = acted(alert=AlertSeen(AlertState.FIRING, "Broken"))
    assert not asked(story)
    story.alert = AlertSeen(AlertState.RESOLVED)
    story.sees(a_target(ready=1))
    assert not asked(story)
    story.sees(a_target(ready=2))
    assert asked(story) == {ERRORS}


def test_a_metric_that_is_not_as_expected_is_waited_for_and_then_not_fixed_with_its_value() -> None:
    story = acted()
    answers(story, 0.02, 0.31, 0.2, labels='pod="web-1"')
    assert story.run.status.phase == "Verifying"
    assert story.last is not None
    assert story.last.wake_at == story.now + timedelta(seconds=5)
    story.after("5m")
    assert asked(story) == {ERRORS}, "the answer of five minutes ago does not count"
    answers(story, 0.02, 0.31, 0.2, labels='pod="web-1"')
    assert story.end_state == ("Failed", "NotFixed", "MetricNotMet")
    assert told(story) == (
        'Not met within 5m: metric error-rate is 0.31 (pod="web-1"), but value < 0.05 is expected in each of 3 '
        "samples, of which 2 differ."
    )
    assert known(story) == [("NotMet", "0.31", 3, None)]


def test_one_that_comes_to_be_as_expected_in_time_is_enough() -> None:
    story = acted()
    answers(story, 0.31)
    story.after("4m")
    answers(story, 0.0)
    assert story.end_state == ("Succeeded", "Remediated", "ExpectationMet")


@pytest.mark.parametrize(
    ("values", "state"),
    [
        ((), ("Succeeded", "Inconclusive", "MetricMissing")),
        ((math.nan,), ("Succeeded", "Inconclusive", "MetricMissing")),
        ((0.01, math.nan), ("Succeeded", "Inconclusive", "MetricMissing")),
        ((0.31, math.nan), ("Failed", "NotFixed", "MetricNotMet")),
        ((math.inf,), ("Failed", "NotFixed", "MetricNotMet")),
        ((-math.inf,), ("Succeeded", "Remediated", "ExpectationMet")),
    ],
)
def test_no_sample_and_what_is_no_number_are_never_success(
    values: tuple[float, ...], state: tuple[str, str, str]
) -> None:
    story = acted()
    story.after("5m")
    answers(story, *values)
    assert story.end_state == state
    assert "error-rate" in told(story)


def test_when_time_is_over_it_is_asked_once_more_and_that_decides() -> None:
    story = acted()
    story.after("4m58s")
    answers(story, 0.31)
    story.after("2s")
    assert story.run.status.phase == "Verifying"
    assert asked(story) == {ERRORS}
    answers(story, 0.01)
    assert story.end_state == ("Succeeded", "Remediated", "ExpectationMet")


@pytest.mark.parametrize("reason", [Reason.METRICS_UNAVAILABLE, Reason.METRIC_REFUSED])
def test_what_can_not_be_known_is_asked_again_until_time_is_over(reason: Reason) -> None:
    story = acted()
    says_nothing(story, reason, "the Prometheus at http://p can't be asked")
    assert story.run.status.phase == "Verifying"
    story.after("4m55s")
    says_nothing(story, reason, "the Prometheus at http://p can't be asked")
    assert story.run.status.phase == "Verifying"
    story.after("5s")
    says_nothing(story, reason, "the Prometheus at http://p can't be asked")
    assert story.end_state == ("Succeeded", "Inconclusive", reason.value)
    assert told(story) == "Metric error-rate is not known: the Prometheus at http://p can't be asked."
    assert known(story) == [("Unknown", None, 0, reason.value)]


def test_where_asking_again_does_not_help_the_target_is_not_held_any_longer() -> None:
    story = acted()
    says_nothing(story, Reason.METRIC_NOT_ASKED, "the operator was told of no Prometheus", again=False)
    assert story.end_state == ("Succeeded", "Inconclusive", "MetricNotAsked")


def test_while_the_feature_is_off_nothing_is_asked_and_nothing_is_success() -> None:
    story = acted()
    answers(story, 0.31)
    story.off = frozenset({Feature.METRICS})
    story.decide()
    assert story.end_state == ("Succeeded", "Inconclusive", "FeatureOff")
    assert "feature metrics is switched off" in told(story)


def test_no_answer_at_all_ends_in_a_while() -> None:
    story = acted()
    story.after("5m")
    assert story.run.status.phase == "Verifying"
    story.after("30s")
    assert story.end_state == ("Succeeded", "Inconclusive", "MetricsUnavailable")


def test_the_alert_that_fires_is_stronger_than_any_metric() -> None:
    story = acted(alert=AlertSeen(AlertState.FIRING, "Broken"))
    answers(story, 0.0)
    story.after("5m")
    assert story.end_state == ("Failed", "NotFixed", "AlertStillFiring")


def test_where_nobody_knows_of_the_alert_a_metric_that_is_bad_is_known() -> None:
    for value, state in (
        (0.31, ("Failed", "NotFixed", "MetricNotMet")),
        (0.0, ("Succeeded", "Inconclusive", "AlertUnknown")),
    ):
        story = acted(alert=AlertSeen(AlertState.UNKNOWN, "nobody was asked"))
        story.after("5m")
        assert asked(story) == {ERRORS}
        answers(story, value)
        assert story.end_state == state


def test_a_window_ends_with_an_answer_that_was_asked_for_at_its_end() -> None:
    story = acted(window="30s")
    answers(story, 0.01)
    assert story.run.status.healthy_since == story.now
    story.after("25s")
    answers(story, 0.01)
    story.after("5s")
    assert asked(story) == {ERRORS}, "the answer from before the end is not enough"
    answers(story, 0.01)
    assert story.end_state == ("Succeeded", "Remediated", "ExpectationMet")


def test_a_metric_that_is_bad_within_the_window_begins_it_anew() -> None:
    story = acted(window="30s")
    answers(story, 0.01)
    story.after("20s")
    answers(story, 0.31)
    assert story.run.status.healthy_since is None
    story.after("5s")
    answers(story, 0.01)
    story.after("29s")
    answers(story, 0.01)
    assert story.run.status.phase == "Verifying"
    story.after("1s")
    answers(story, 0.01)
    assert story.end_state == ("Succeeded", "Remediated", "ExpectationMet")


def test_what_is_not_known_within_the_window_does_not_end_it_but_at_its_end_it_is_needed() -> None:
    story = acted(window="30s")
    answers(story, 0.01)
    since = story.run.status.healthy_since
    story.after("20s")
    says_nothing(story, Reason.METRICS_UNAVAILABLE, "away")
    assert story.run.status.healthy_since == since
    story.after("10s")
    says_nothing(story, Reason.METRICS_UNAVAILABLE, "away")
    assert story.run.status.phase == "Verifying"
    story.after("10s")
    answers(story, 0.01)
    assert story.end_state == ("Succeeded", "Remediated", "ExpectationMet")


def test_a_window_that_ends_after_the_time_has_a_while_more_and_not_for_ever() -> None:
    story = acted(window="10m")
    answers(story, 0.01)
    story.after("10m")
    says_nothing(story, Reason.METRICS_UNAVAILABLE, "away")
    assert story.run.status.phase == "Verifying"
    story.after("30s")
    says_nothing(story, Reason.METRICS_UNAVAILABLE, "away")
    assert story.end_state == ("Succeeded", "Inconclusive", "MetricsUnavailable")


def test_a_restart_loses_answers_and_asks_again() -> None:
    story = acted(window="30s")
    answers(story, 0.01)
    story.store()
    story.after("29s")
    answers(story, 0.01)
    story.metrics.clear()
    story.now += timedelta(seconds=1)
    story.crash()
    story.sees(a_target(ready=2))
    assert asked(story) == {ERRORS}
    answers(story, 0.01)
    assert story.end_state == ("Succeeded", "Remediated", "ExpectationMet")


def test_an_answer_from_before_the_act_is_none() -> None:
    story = acted()
    since = story.run.status.verify_since
    assert since is not None
    story.metrics[ERRORS] = MetricSeen(since - timedelta(milliseconds=1), (Sample(0.0),))
    story.decide()
    assert asked(story) == {ERRORS}
    assert story.run.status.phase == "Verifying"


def test_what_did_not_help_is_put_back() -> None:
    workflow = a_workflow().step("a").verify(HEALTHY, metrics=[ERROR_RATE]).rolling_back()
    story = a_story(workflow)
    story.decide()
    story.done("a")
    story.sees(a_target(ready=2))
    story.after("5m")
    answers(story, 0.31)
    assert story.begun == ["undo a"]
    story.done("a")
    assert story.end_state == ("Failed", "RolledBack", "MetricNotMet")
    assert known(story) == [("NotMet", "0.31", 1, None)]


def test_metrics_alone_are_evidence_and_all_of_them_count() -> None:
    metrics = [ERROR_RATE, {"name": "up", "query": "up", "expect": "value == 1.0"}]
    story = a_story(a_workflow().step("a").verify(metrics=metrics))
    story.decide()
    story.done("a")
    story.sees(a_target(ready=0))
    assert asked(story) == {ERRORS, "up"}
    assert told(story) == "Waiting for metrics to be as expected."
    answers(story, 0.01)
    assert story.run.status.phase == "Verifying"
    answers(story, 1.0, query="up")
    assert story.end_state == ("Succeeded", "Remediated", "ExpectationMet")
    assert told(story) == "Every metric is as expected (error-rate is 0.01, up is 1)."


def test_what_is_known_to_be_bad_is_told_before_what_is_not_known() -> None:
    metrics = [ERROR_RATE, {"name": "up", "query": "up", "expect": "value == 1.0"}]
    story = a_story(a_workflow().step("a").verify(HEALTHY, metrics=metrics))
    story.decide()
    story.done("a")
    story.sees(a_target(ready=2))
    story.after("5m")
    says_nothing(story, Reason.METRICS_UNAVAILABLE, "away", again=False)
    answers(story, 0.0, query="up")
    assert story.end_state == ("Failed", "NotFixed", "MetricNotMet")
    assert [one.state for one in story.run.status.metrics or ()] == [MetricState.UNKNOWN, MetricState.NOT_MET]


def test_a_query_and_what_is_expected_see_what_other_expressions_do() -> None:
    metric = {
        "name": "ready",
        "query": "='up{namespace=\"' + run.namespace + '\", pod=~\"' + target.metadata.name + '-.*\"}'",
        "expect": "value >= double(params.least)",
    }
    workflow = a_workflow().step("a").parameter("least", "integer", required=True)
    story = a_story(workflow.verify(HEALTHY, metrics=[metric]), least="2")
    story.decide()
    story.done("a")
    story.sees(a_target(ready=2))
    query = 'up{namespace="shop", pod=~"web-.*"}'
    assert asked(story) == {query}
    answers(story, 2.0, query=query)
    assert story.end_state == ("Succeeded", "Remediated", "ExpectationMet")


def test_a_query_that_can_not_be_had_is_inconclusive_in_the_end() -> None:
    story = acted(query="=target.metadata.labels.job")
    assert not asked(story)
    story.after("5m")
    assert story.end_state == ("Succeeded", "Inconclusive", "ExpressionFailed")
    assert told(story).startswith(
        "Metric error-rate is not known: expression 'target.metadata.labels.job' failed"
    )


def test_what_others_wrote_is_told_without_its_secrets() -> None:
    story = acted()
    story.after("5m")
    answers(story, 0.31, labels='url="postgres://me:hidden@db", password="hunter2"')
    assert "error-rate is 0.31" in told(story)
    assert "hidden" not in told(story)
    assert "hunter2" not in told(story)
