"""How runs end early: cancel, timeout, a target that is lost; and how pause and stop hold them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from builders import GONE, NOW, a_story, a_target, a_workflow
from kubernaut.api.reasons import Reason
from kubernaut.core.run import Hold, Seen

STOPPED = Hold(Reason.STOPPED, "Acting is stopped by ada.")


def test_a_run_cancelled_before_anything_began_is_declined() -> None:
    story = a_story(a_workflow().step("a"))
    story.control(cancel=True)
    story.decide()
    assert story.begun == []
    assert story.step("a").reason == "Cancelled"
    assert story.end_state == ("Cancelled", "Declined", "Cancelled")


def test_cancelling_lets_an_effect_that_is_under_way_come_to_its_end() -> None:
    story = a_story(a_workflow().rolling_back().step("a").step("b", needs="a"))
    story.decide()
    story.control(cancel=True)
    story.decide()
    assert story.phases == {"a": "Running", "b": "Skipped"}
    story.done("a")
    assert story.phases == {"a": "Succeeded", "b": "Skipped"}
    assert story.end_state == ("Cancelled", "Inconclusive", "Cancelled")


def test_cancelling_performs_once_more_a_step_whose_outcome_is_not_known() -> None:
    story = a_story(a_workflow().step("a"))
    story.decide()
    story.store()
    story.control(cancel=True)
    story.crash()
    assert story.begun == ["a"]
    story.failed("a", Reason.UNKNOWN_OUTCOME)
    assert story.last
    assert story.last.wake_at == NOW + timedelta(seconds=2)
    story.after("2s")
    assert story.begun == ["a"]
    story.done("a")
    assert story.end_state == ("Cancelled", "Inconclusive", "Cancelled")


def test_a_call_that_certainly_had_no_effect_does_not_settle_the_doubt_about_the_one_before() -> None:
    story = a_story(a_workflow().step("a"))
    story.decide()
    story.failed("a", Reason.UNKNOWN_OUTCOME)
    story.after("2s")
    story.failed("a", Reason.UNAVAILABLE)
    story.control(cancel=True)
    story.decide()
    assert story.phases["a"] == "Waiting"
    story.after("2s")
    assert story.begun == ["a"]


@pytest.mark.parametrize("reason", [Reason.INTERNAL, Reason.STEP_TIMEOUT])
def test_a_cancelled_run_is_not_declined_where_a_failed_step_may_have_acted(reason: Reason) -> None:
    story = a_story(a_workflow().step("a"))
    story.decide()
    story.control(cancel=True)
    story.failed("a", reason)
    assert story.end_state == ("Cancelled", "Inconclusive", "Cancelled")


def test_cancelling_finishes_a_pinned_step_whose_last_attempt_ended_unexpectedly() -> None:
    story = a_story(a_workflow().step("a", "fake_pinned", retries=2))
    story.decide()
    story.prepared("a", pod="web-1")
    story.failed("a", Reason.INTERNAL)
    story.control(cancel=True)
    story.after("1s")
    assert story.begun == ["a"]
    assert story.acts[0].intent == {"pod": "web-1"}


def test_cancelling_does_not_perform_a_step_that_was_only_being_prepared() -> None:
    story = a_story(a_workflow().step("a", "fake_pinned"))
    story.decide()
    story.control(cancel=True)
    story.prepared("a", pod="web-1")
    assert story.begun == []
    assert story.end_state == ("Cancelled", "Declined", "Cancelled")


def test_cancelling_finishes_a_pinned_step_that_may_have_acted() -> None:
    story = a_story(a_workflow().step("a", "fake_pinned"))
    story.decide()
    story.prepared("a", pod="web-1")
    story.control(cancel=True)
    story.crash()
    assert story.begun == ["a"]


def test_cancelling_does_not_read_once_more() -> None:
    story = a_story(a_workflow().step("a", "fake_read"))
    story.decide()
    story.store()
    story.control(cancel=True)
    story.crash()
    assert story.end_state == ("Cancelled", "Declined", "Cancelled")


def test_cancelling_gives_up_on_a_retry() -> None:
    story = a_story(a_workflow().step("a", retries=3))
    story.decide()
    story.failed("a")
    story.control(cancel=True)
    story.decide()
    assert story.phases["a"] == "Skipped"
    assert story.step("a").retry_at is None
    assert story.end_state == ("Cancelled", "Declined", "Cancelled")


def test_cancelling_ends_waits_and_questions() -> None:
    story = a_story(a_workflow().wait("w", "1m").approval("ask"))
    story.decide()
    story.control(cancel=True)
    story.decide()
    assert story.phases == {"w": "Skipped", "ask": "Skipped"}
    assert story.run.status.phase == "Cancelled"


def test_cancelling_ends_a_verification() -> None:
    story = a_story(a_workflow().step("a").verify("target.status.readyReplicas == 2"))
    story.decide()
    story.done("a")
    story.control(cancel=True)
    story.decide()
    assert story.end_state == ("Cancelled", "Inconclusive", "Cancelled")


def test_a_cancelled_run_that_is_paused_ends_all_the_same() -> None:
    story = a_story(a_workflow().step("a"))
    story.decide()
    story.store()
    story.control(cancel=True, paused=True)
    story.crash()
    assert story.begun == ["a"]
    story.done("a")
    assert story.run.status.phase == "Cancelled"


def test_a_cancelled_run_that_may_not_act_ends_when_its_step_has_timed_out() -> None:
    story = a_story(a_workflow().step("a", timeout="1m"))
    story.decide()
    story.store()
    story.control(cancel=True)
    story.hold = STOPPED
    assert story.crash().wake_at == NOW + timedelta(minutes=1)
    assert story.begun == []
    story.after("1m")
    assert story.step("a").message == "not done within 1m; it may have happened"
    assert story.run.status.phase == "Cancelled"


@pytest.mark.parametrize("paused", [True, False])
def test_nothing_begins_while_held_and_the_conditions_say_why(paused: bool) -> None:
    story = a_story(a_workflow().step("a").wait("w", "1s"))
    story.control(paused=paused)
    story.hold = None if paused else STOPPED
    decision = story.decide()
    assert story.begun == []
    assert story.phases == {"a": "Pending", "w": "Pending"}
    ready = next(c for c in decision.status.conditions if c.type == "Ready")
    assert ready.reason == ("Paused" if paused else "Stopped")
    assert ("spec.control.paused" if paused else "kubernaut start") in ready.message
    story.control(paused=False)
    story.hold = None
    story.decide()
    assert story.begun == ["a"]


def test_a_retry_is_held_too() -> None:
    story = a_story(a_workflow().step("a", retries=1))
    story.decide()
    story.failed("a")
    story.control(paused=True)
    story.after("1m")
    assert story.begun == []
    story.control(paused=False)
    story.decide()
    assert story.begun == ["a"]


def test_what_was_under_way_when_the_hold_came_is_taken_note_of() -> None:
    story = a_story(a_workflow().step("a").step("b", needs="a"))
    story.decide()
    story.hold = STOPPED
    story.done("a")
    assert story.phases == {"a": "Succeeded", "b": "Pending"}


def test_putting_back_is_held_too() -> None:
    story = a_story(a_workflow().rolling_back().step("a").step("b", needs="a"))
    story.decide()
    story.done("a")
    story.hold = STOPPED
    story.failed("b", Reason.REJECTED)
    assert story.run.status.phase == "RollingBack"
    assert story.begun == []
    story.hold = None
    story.decide()
    assert story.begun == ["undo b"]


def test_a_run_that_takes_too_long_stops_short() -> None:
    story = a_story(a_workflow().set(timeout="10m").wait("w", "1h").step("a", needs="w"))
    assert story.decide().wake_at == NOW + timedelta(minutes=10)
    story.after("10m")
    assert story.phases == {"w": "Skipped", "a": "Skipped"}
    assert story.end_state == ("Failed", "NotFixed", "RunTimeout")
    assert story.run.status.message == "The run took longer than 10m."


def test_a_run_that_stops_short_finishes_what_was_begun_and_begins_nothing() -> None:
    story = a_story(a_workflow().set(timeout="4m").step("a").step("b", needs="a"))
    story.decide()
    story.after("4m")
    assert story.phases == {"a": "Running", "b": "Skipped"}
    assert story.run.status.reason == "RunTimeout"
    story.now -= timedelta(minutes=2)  # Another replica's clock.
    story.done("a")
    assert story.begun == []
    assert story.end_state == ("Failed", "NotFixed", "RunTimeout")


@pytest.mark.parametrize(
    ("target", "reason", "message"),
    [
        (GONE, "TargetNotFound", "Deployment web was deleted during the run."),
        (a_target(uid="other"), "TargetReplaced", "Deployment web was deleted and made anew during the run."),
    ],
)
def test_a_run_whose_target_is_lost_stops_short(target: Seen, reason: str, message: str) -> None:
    story = a_story(a_workflow().step("a").step("b", needs="a"))
    story.decide()
    story.sees(target)
    assert story.phases == {"a": "Running", "b": "Skipped"}
    story.done("a")
    assert story.target is None
    assert story.end_state == ("Failed", "NotFixed", reason)
    assert story.run.status.message == message


def test_a_run_whose_target_is_lost_while_verifying_did_not_help() -> None:
    story = a_story(a_workflow().step("a").verify("target.status.readyReplicas == 2"))
    story.decide()
    story.done("a")
    story.sees(GONE)
    assert story.end_state == ("Failed", "NotFixed", "TargetNotFound")


def test_a_step_in_doubt_that_needs_a_look_at_the_target_gets_it_before_the_run_stops_short() -> None:
    workflow = a_workflow().set(timeout="4m").step("a", with_={"replicas": "=target.spec.replicas"})
    story = a_story(workflow)
    story.decide()
    story.sees(a_target())
    story.crash()
    decision = story.after("4m")
    assert decision.observe
    story.sees(a_target())
    assert story.begun == ["a"]
    story.done("a")
    assert story.end_state == ("Failed", "NotFixed", "RunTimeout")


def test_when_a_step_fails_what_runs_beside_it_is_finished_and_the_rest_skipped() -> None:
    story = a_story(a_workflow().step("a").step("b").step("c", needs="a"))
    story.decide()
    story.failed("a", Reason.REJECTED, "no")
    assert story.phases == {"a": "Failed", "b": "Running", "c": "Skipped"}
    assert story.step("c").reason == "DependencyFailed"
    story.done("b")
    assert story.end_state == ("Failed", "NotFixed", "Rejected")


def test_after_a_crash_a_step_in_doubt_is_finished_though_another_has_failed() -> None:
    story = a_story(a_workflow().step("a").step("b").step("c", needs="a"))
    story.decide()
    story.failed("a", Reason.REJECTED, "no")
    story.store()
    story.crash()
    assert story.begun == ["b"]
