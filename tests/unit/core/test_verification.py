"""Whether the run helped: by evidence on the target, gathered after the act, for a whole window."""

from __future__ import annotations

from datetime import timedelta

from builders import Story, a_story, a_target, a_workflow
from kubernaut.core.run import Seen

HEALTHY = "target.status.readyReplicas == target.spec.replicas"


def verifying(*expect: str, window: str = "0s", timeout: str = "5m", acted: bool = True) -> Story:
    story = a_story(
        a_workflow().step("a").verify(*(expect or (HEALTHY,)), stabilization=window, timeout=timeout)
    )
    story.decide()
    decision = story.done("a", acted=acted)
    assert decision.observe
    assert story.run.status.phase == "Verifying"
    assert story.run.status.verify_since == story.now
    return story


def test_expectations_met_at_once_are_success() -> None:
    story = verifying()
    story.sees(a_target(ready=2))
    assert story.end_state == ("Succeeded", "Remediated", "ExpectationMet")


def test_nothing_is_success_before_the_target_was_seen() -> None:
    story = verifying()
    story.after("4m")
    assert story.run.status.phase == "Verifying"


def test_expectations_have_to_hold_for_the_whole_window() -> None:
    story = verifying(window="30s")
    decision = story.sees(a_target(ready=2))
    assert story.run.status.healthy_since == story.now
    assert decision.wake_at == story.now + timedelta(seconds=30)
    story.after("29s")
    assert story.run.status.phase == "Verifying"
    story.after("1s")
    assert story.end_state == ("Succeeded", "Remediated", "ExpectationMet")


def test_a_break_starts_the_window_anew() -> None:
    story = verifying(window="30s")
    story.sees(a_target(ready=2))
    story.now += timedelta(seconds=20)
    story.sees(a_target(ready=1))
    assert story.run.status.healthy_since is None
    story.now += timedelta(seconds=5)
    story.sees(a_target(ready=2))
    story.after("29s")
    assert story.run.status.phase == "Verifying"
    story.after("1s")
    assert story.run.status.phase == "Succeeded"


def test_the_window_may_reach_beyond_the_deadline() -> None:
    story = verifying(window="2m", timeout="1m")
    story.now += timedelta(seconds=59)
    story.sees(a_target(ready=2))
    story.after("119s")
    assert story.run.status.phase == "Verifying"
    story.after("1s")
    assert story.run.status.verdict == "Remediated"


def test_an_expectation_that_is_not_met_in_time_is_not_fixed() -> None:
    story = verifying(timeout="1m")
    decision = story.sees(a_target(ready=1))
    assert decision.wake_at == story.now + timedelta(minutes=1)
    story.after("59s")
    assert story.run.status.phase == "Verifying"
    story.after("1s")
    assert story.end_state == ("Failed", "NotFixed", "ExpectationNotMet")
    assert story.run.status.message == f"Not met within 1m: {HEALTHY}."


def test_all_expectations_have_to_hold_and_the_first_that_does_not_is_named() -> None:
    story = verifying("true", "target.status.readyReplicas > 5", "false", timeout="1m")
    story.sees(a_target(ready=1))
    story.after("1m")
    assert "target.status.readyReplicas > 5" in (story.run.status.message or "")


def test_an_expectation_on_a_field_that_is_missing_is_not_met() -> None:
    story = verifying("target.status.extra == 1", timeout="1m")
    story.sees(a_target())
    story.after("1m")
    assert story.end_state == ("Failed", "NotFixed", "ExpectationNotMet")
    assert 'Key not found in map : "extra"' in (story.run.status.message or "")


def test_a_status_of_an_older_generation_is_no_evidence() -> None:
    story = verifying(timeout="1m")
    story.sees(a_target(ready=2, generation=4, observed=3))
    assert story.run.status.phase == "Verifying"
    story.after("1m")
    assert story.end_state == ("Failed", "NotFixed", "ExpectationNotMet")
    assert "newest generation" in (story.run.status.message or "")


def test_a_target_without_generations_is_taken_as_it_is() -> None:
    story = verifying("target.data.x == 'y'")
    uid = story.run.status.target.uid if story.run.status.target else ""
    story.sees(Seen({"metadata": {"uid": uid}, "data": {"x": "y"}}))
    assert story.run.status.verdict == "Remediated"


def test_a_target_that_can_not_be_read_leaves_no_verdict_either_way() -> None:
    story = verifying(timeout="1m")
    decision = story.after("89s")
    assert story.run.status.phase == "Verifying"
    assert decision.wake_at == story.now + timedelta(seconds=1)
    story.after("1s")
    assert story.end_state == ("Failed", "Inconclusive", "Unavailable")


def test_expectations_that_hold_though_nothing_was_changed_need_no_action() -> None:
    story = verifying(acted=False)
    story.sees(a_target(ready=2))
    assert story.end_state == ("Succeeded", "NoActionRequired", "ExpectationMet")


def test_a_workflow_without_expectations_proves_nothing() -> None:
    story = a_story(a_workflow().step("a"))
    story.decide()
    story.done("a")
    assert story.end_state == ("Succeeded", "Inconclusive", "NoExpectation")


def test_the_window_survives_a_crash() -> None:
    story = verifying(window="30s")
    story.sees(a_target(ready=2))
    story.store()
    story.crash()
    story.now += timedelta(seconds=30)
    story.sees(a_target(ready=2))
    assert story.run.status.verdict == "Remediated"
