"""A run that an alert started helped where that alert was resolved after the act, and nowhere else."""

from __future__ import annotations

from datetime import timedelta

import pytest

from builders import Story, a_story, a_target, a_workflow
from kubernaut.core.conditions import VERIFIED, of_run
from kubernaut.core.run import AlertSeen, AlertState

HEALTHY = "target.status.readyReplicas == target.spec.replicas"
FIRING = AlertSeen(AlertState.FIRING, "Broken (1 of 2 alerts)")
RESOLVED = AlertSeen(AlertState.RESOLVED)
UNKNOWN = AlertSeen(AlertState.UNKNOWN, "the Alertmanager at http://am can't be asked")


def acted(alert: AlertSeen, *expect: str, window: str = "0s", acted: bool = True, **more: str) -> Story:
    workflow = a_workflow().step("a")
    if expect:
        workflow = workflow.verify(*expect, stabilization=window, timeout="5m")
    story = a_story(workflow)
    story.alert = alert
    story.decide()
    story.done("a", acted=acted)
    return story


def told(story: Story) -> str:
    return story.run.status.message or ""


def test_nothing_is_remedied_while_the_alert_fires_though_every_expectation_holds() -> None:
    story = acted(FIRING, HEALTHY)
    decision = story.sees(a_target(ready=2))
    assert story.run.status.phase == "Verifying"
    assert decision.wake_at == story.now + timedelta(seconds=5)
    story.after("4m")
    assert story.run.status.phase == "Verifying"
    story.after("1m")
    assert story.end_state == ("Failed", "NotFixed", "AlertStillFiring")
    assert told(story) == "The alert still fires 5m after the last step: Broken (1 of 2 alerts)."


def test_where_nobody_can_be_asked_it_is_looked_at_when_it_is_told_or_time_is_over() -> None:
    story = acted(AlertSeen(AlertState.UNKNOWN, "no alert source is set", again=False), HEALTHY)
    decision = story.sees(a_target(ready=2))
    assert decision.wake_at == story.now + timedelta(minutes=5)


def test_once_it_is_resolved_the_expectations_make_it_remediated() -> None:
    story = acted(FIRING, HEALTHY)
    story.sees(a_target(ready=2))
    story.alert = RESOLVED
    story.after("2s")
    assert story.end_state == ("Succeeded", "Remediated", "ExpectationMet")
    assert told(story) == "Every expectation holds on the target, and its alert was resolved."


def test_the_alert_alone_is_no_success_where_an_expectation_does_not_hold() -> None:
    story = acted(RESOLVED, HEALTHY)
    story.sees(a_target(ready=1))
    story.after("5m")
    assert story.end_state == ("Failed", "NotFixed", "ExpectationNotMet")


def test_without_expectations_the_alert_is_the_evidence() -> None:
    story = acted(FIRING)
    assert story.run.status.phase == "Verifying"
    assert told(story) == "Waiting for its alert to be resolved."
    story.alert = RESOLVED
    story.after("1m")
    assert story.end_state == ("Succeeded", "Remediated", "AlertResolvedAfter")
    (verified,) = [c for c in of_run(story.run.status, None, story.now, 1) if c.type == VERIFIED]
    assert "alert was resolved after the act" in verified.message


def test_without_expectations_an_alert_that_fires_on_is_not_fixed_in_the_end() -> None:
    story = acted(FIRING)
    story.after("14m")
    assert story.run.status.phase == "Verifying"
    story.after("1m")
    assert story.end_state == ("Failed", "NotFixed", "AlertStillFiring")


@pytest.mark.parametrize("expect", [(), (HEALTHY,)])
def test_an_alert_of_which_nothing_is_known_is_never_success(expect: tuple[str, ...]) -> None:
    story = acted(UNKNOWN, *expect)
    if expect:
        story.sees(a_target(ready=2))
    story.after("15m")
    assert story.end_state == ("Succeeded", "Inconclusive", "AlertUnknown")
    assert "http://am can't be asked" in told(story)


def test_an_alert_that_fires_again_begins_the_window_anew() -> None:
    story = acted(RESOLVED, HEALTHY, window="30s")
    story.sees(a_target(ready=2))
    story.alert = FIRING
    story.after("20s")
    assert story.run.status.healthy_since is None
    story.alert = RESOLVED
    story.after("5s")
    story.after("29s")
    assert story.run.status.phase == "Verifying"
    story.after("1s")
    assert story.end_state == ("Succeeded", "Remediated", "ExpectationMet")


def test_a_run_that_changed_nothing_claims_nothing_while_the_alert_fires() -> None:
    story = acted(FIRING, HEALTHY, acted=False)
    story.sees(a_target(ready=2))
    story.after("5m")
    assert story.end_state == ("Failed", "NotFixed", "AlertStillFiring")
    healed = acted(RESOLVED, HEALTHY, acted=False)
    healed.sees(a_target(ready=2))
    assert healed.end_state == ("Succeeded", "NoActionRequired", "ExpectationMet")
