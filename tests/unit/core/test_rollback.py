"""Putting back: in reverse order, one at a time, and what the run says of it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from builders import GONE, Story, a_story, a_target, a_workflow
from kubernaut.api.reasons import Reason
from kubernaut.core.run import Outcome, OutcomeKind


def after_three_steps() -> Story:
    workflow = a_workflow().rolling_back().step("a").step("read", "fake_read", "a").step("b", needs="read")
    story = a_story(workflow.step("c", needs="b"))
    story.decide()
    story.done("a")
    story.done("read", acted=False)
    story.done("b")
    story.failed("c", Reason.REJECTED, "no")
    return story


def test_steps_are_put_back_last_first_and_one_at_a_time() -> None:
    story = after_three_steps()
    assert story.run.status.phase == "RollingBack"
    assert story.run.stored.phase == "RollingBack"
    assert story.begun == ["undo c"]
    story.decide()
    assert story.begun == []
    story.done("c", acted=False)
    assert story.begun == ["undo b"]
    story.done("b")
    assert story.begun == ["undo a"]
    story.done("a")
    assert story.phases == {"a": "RolledBack", "read": "Succeeded", "b": "RolledBack", "c": "Failed"}
    assert story.end_state == ("Failed", "RolledBack", "Rejected")
    assert story.run.status.message == "Step c: no. What the run had changed was put back."


def test_each_step_put_back_is_stored_before_the_next() -> None:
    story = after_three_steps()
    story.done("c", acted=False)
    story.done("b")
    assert story.begun == ["undo a"]
    assert story.run.stored_step("b").phase == "RolledBack"


def test_putting_back_goes_on_past_a_step_that_can_not_be_put_back() -> None:
    story = after_three_steps()
    story.done("c", acted=False)
    story.failed("b", Reason.CHANGED_SINCE, "replicas is 7")
    assert story.begun == ["undo a"]
    story.done("a")
    assert story.step("b").reason == "RollbackFailed"
    assert story.step("b").message == "could not be put back: replicas is 7"
    assert story.end_state == ("Failed", "NotFixed", "RollbackFailed")
    assert story.run.status.message == "Step c: no. Not all could be put back: b."


@pytest.mark.parametrize(
    "reason", [Reason.UNAVAILABLE, Reason.UNKNOWN_OUTCOME, Reason.STOPPED, Reason.CONFLICT]
)
def test_putting_back_is_tried_again_after_trouble_that_passes(reason: Reason) -> None:
    story = after_three_steps()
    decision = story.failed("c", reason)
    assert story.begun == []
    assert decision.wake_at == story.now + timedelta(seconds=2)
    story.after("2s")
    assert story.begun == ["undo c"]
    story.done("c", acted=False)
    assert story.step("c").retry_at is None


def test_after_a_crash_putting_back_goes_on() -> None:
    story = after_three_steps()
    story.done("c", acted=False)
    story.crash()
    assert story.begun == ["undo b"]


def test_a_late_outcome_of_the_way_forward_is_not_taken_for_putting_back() -> None:
    story = after_three_steps()
    story.decide(a=Outcome(OutcomeKind.DONE, acted=True, attempt=1))
    assert story.phases["a"] == "Succeeded"


def test_an_outcome_of_putting_back_that_comes_twice_changes_nothing() -> None:
    story = after_three_steps()
    story.done("c", acted=False)
    before = story.run.status
    again = Outcome(OutcomeKind.FAILED, "no", Reason.CHANGED_SINCE, undo=True)
    assert story.decide(c=again).status == before


def test_steps_that_changed_nothing_are_not_put_back() -> None:
    story = a_story(a_workflow().rolling_back().step("a").step("b", needs="a"))
    story.decide()
    story.done("a", acted=False)
    story.failed("b", Reason.REJECTED)
    assert story.begun == ["undo b"]
    story.done("b", acted=False)
    assert story.phases["a"] == "Succeeded"


def test_a_run_that_had_changed_nothing_does_not_claim_to_have_put_something_back() -> None:
    story = a_story(a_workflow().rolling_back().step("a"))
    story.decide()
    story.failed("a", Reason.MISSING_RIGHT, "no")
    story.done("a", acted=False)
    assert story.end_state == ("Failed", "NotFixed", "MissingRight")
    assert story.run.status.message == "Step a: no. The run had changed nothing."


def test_a_failed_step_that_turns_out_to_have_acted_is_put_back() -> None:
    story = a_story(a_workflow().rolling_back().step("a"))
    story.decide()
    story.failed("a", Reason.STEP_TIMEOUT, "slow")
    story.done("a", changed=["replicas: 2 -> 1"])
    assert story.step("a").changed == ["replicas: 2 -> 1"]
    assert story.end_state == ("Failed", "RolledBack", "StepTimeout")


def test_without_anything_to_put_back_the_run_just_fails() -> None:
    story = a_story(a_workflow().rolling_back().step("a", "fake_read"))
    story.decide()
    story.failed("a", Reason.NOT_FOUND)
    assert story.end_state == ("Failed", "NotFixed", "NotFound")


def test_a_workflow_that_does_not_ask_for_it_puts_nothing_back() -> None:
    story = a_story(a_workflow().step("a").step("b", needs="a"))
    story.decide()
    story.done("a")
    story.failed("b", Reason.REJECTED)
    assert story.begun == []
    assert story.end_state == ("Failed", "NotFixed", "Rejected")


def test_what_did_not_help_is_put_back() -> None:
    workflow = a_workflow().rolling_back().step("a").verify("target.status.readyReplicas == 2", timeout="1m")
    story = a_story(workflow)
    story.decide()
    story.done("a")
    story.sees(a_target(ready=1))
    story.after("1m")
    assert story.begun == ["undo a"]
    assert story.run.stored.phase == "RollingBack"
    story.done("a")
    assert story.end_state == ("Failed", "RolledBack", "ExpectationNotMet")


def test_a_pinned_step_is_put_back_with_what_it_pinned() -> None:
    story = a_story(a_workflow().rolling_back().step("a", "fake_pinned").step("b", needs="a"))
    story.decide()
    story.prepared("a", pod="web-1")
    story.done("a")
    story.failed("b", Reason.REJECTED)
    story.done("b", acted=False)
    assert story.begun == ["undo a"]
    assert story.acts[0].intent == {"pod": "web-1"}


def test_a_step_whose_parameters_can_not_be_had_again_stays_and_the_others_are_put_back() -> None:
    workflow = a_workflow().rolling_back().step("a")
    workflow.step("b", needs="a", with_={"replicas": "=target.spec.replicas"}).step("c", needs="b")
    story = a_story(workflow)
    story.decide()
    story.done("a")
    story.sees(a_target())
    story.done("b")
    story.failed("c", Reason.REJECTED, "no")
    story.done("c", acted=False)
    assert story.last
    assert story.last.observe
    story.sees(GONE)
    assert story.begun == ["undo a"]
    assert story.phases["b"] == "Succeeded"
    assert story.step("b").reason == "RollbackFailed"
    story.done("a")
    assert story.end_state == ("Failed", "NotFixed", "RollbackFailed")


def test_steps_beside_one_another_are_put_back_in_the_order_of_what_they_did() -> None:
    """Both may have changed the same field: only the later change can be taken from it."""
    story = a_story(a_workflow().rolling_back().step("a").step("b").step("c", needs="a b"))
    story.decide()
    story.now += timedelta(seconds=1)
    story.done("b")
    story.now += timedelta(seconds=1)
    story.done("a")
    story.failed("c", Reason.REJECTED, "no")
    assert story.begun == ["undo c"]
    story.done("c", acted=False)
    assert story.begun == ["undo a"]
    story.done("a")
    assert story.begun == ["undo b"]
