"""Steps that go on over many calls: looked after again as the same attempt, and put back where they are cut short."""

from __future__ import annotations

import pytest

from builders import NOW, Story, a_dry_story, a_story, a_workflow
from kubernaut.api.duration import parse_duration
from kubernaut.api.reasons import Reason
from kubernaut.core.run import Hold


def under_way(timeout: str = "5m") -> Story:
    """Return a story whose step has begun and is not done."""
    story = a_story(a_workflow().step("a", action="fake_halting", timeout=timeout).step("b", needs="a"))
    story.decide()
    story.goes_on("a", "1/3")
    return story


def test_an_unfinished_step_is_looked_after_again_as_the_same_attempt_and_tells_how_far_it_is() -> None:
    story = under_way()
    record = story.step("a")
    assert (record.phase, record.attempt, record.reason, record.progress) == (
        "Waiting",
        1,
        "InProgress",
        "1/3",
    )
    assert record.message == "1/3 is done"
    assert story.after("999ms").acts == ()
    story.after("1ms")
    assert [(act.step.name, act.attempt, act.undo) for act in story.acts] == [("a", 1, False)]
    story.goes_on("a", "2/3")
    assert story.step("a").progress == "2/3"
    story.after("1s")
    story.done("a")
    assert story.phases == {"a": "Succeeded", "b": "Running"}
    assert story.step("a").reason is None


def test_going_on_uses_up_no_retries() -> None:
    story = under_way(timeout="1h")
    for _ in range(50):
        story.after("1s")
        story.goes_on("a", "1/3")
    assert story.step("a").attempt == 1


def test_an_api_server_that_is_away_meanwhile_does_not_make_it_forgotten_that_it_is_under_way() -> None:
    story = under_way()
    story.after("1s")
    story.failed("a", Reason.UNAVAILABLE, "away")
    assert (story.step("a").reason, story.step("a").message) == ("InProgress", "away")
    story.control(cancel=True)
    story.decide()
    assert story.begun == ["undo a"]


def test_a_step_that_runs_into_its_timeout_is_put_back_and_then_fails() -> None:
    story = under_way(timeout="10s")
    story.after("10s")
    assert story.begun == ["undo a"]
    story.done("a", changed=["x: 2 -> 1"])
    record = story.step("a")
    assert (record.phase, record.reason, record.changed) == ("Failed", "StepTimeout", ["x: 2 -> 1"])
    assert record.message == "not done within 10s; done; last: 1/3 is done"
    assert story.end_state[0] == "Failed"


def test_a_call_that_was_cut_off_by_the_timeout_is_put_back_too() -> None:
    story = under_way(timeout="10s")
    story.after("1s")
    story.now = NOW + parse_duration("10s")
    story.failed("a", Reason.STEP_TIMEOUT, "drain was not done")
    assert story.step("a").phase == "Waiting"
    assert story.begun == ["undo a"]
    story.done("a")
    assert story.step("a").reason == "StepTimeout"


def test_a_cancelled_run_puts_it_back_before_it_ends() -> None:
    story = under_way()
    story.control(cancel=True)
    story.decide()
    assert story.begun == ["undo a"]
    story.done("a")
    assert (story.step("a").phase, story.step("a").reason) == ("Failed", "Cancelled")
    assert story.step("a").message == "cut short; done; last: 1/3 is done"
    assert story.phases["b"] == "Skipped"
    assert story.end_state == ("Cancelled", "Inconclusive", "Cancelled")


def test_a_run_that_is_out_of_time_puts_it_back() -> None:
    story = a_story(a_workflow().step("a", action="fake_halting", timeout="1h").set(timeout="1m"))
    story.decide()
    story.goes_on("a")
    story.after("1m")
    assert story.begun == ["undo a"]
    story.done("a")
    assert story.end_state == ("Failed", "NotFixed", "RunTimeout")


def test_while_a_call_is_under_way_it_is_waited_for() -> None:
    story = under_way()
    story.after("1s")
    story.control(cancel=True)
    story.decide()
    assert story.begun == []
    story.goes_on("a", "2/3")
    assert story.begun == ["undo a"]


def test_what_is_done_in_the_meantime_is_done() -> None:
    story = under_way()
    story.after("1s")
    story.control(cancel=True)
    story.decide()
    story.done("a")
    assert story.step("a").phase == "Succeeded"


@pytest.mark.parametrize(
    "reason", [Reason.UNAVAILABLE, Reason.UNKNOWN_OUTCOME, Reason.CONFLICT, Reason.STOPPED]
)
def test_putting_back_is_tried_again_where_that_may_help(reason: Reason) -> None:
    story = under_way()
    story.control(cancel=True)
    story.decide()
    story.failed("a", reason, "away")
    assert story.step("a").phase == "Waiting"
    assert story.begun == []
    story.after("2s")
    assert story.begun == ["undo a"]
    story.done("a")
    assert story.step("a").reason == "Cancelled"
    assert story.step("a").undo_attempt is None


def test_what_can_not_be_put_back_is_told() -> None:
    story = under_way()
    story.control(cancel=True)
    story.decide()
    story.failed("a", Reason.CHANGED_SINCE, "changed since")
    assert story.step("a").message == "cut short; could not be put back: changed since; last: 1/3 is done"
    assert story.end_state[0] == "Cancelled"


def test_during_a_stop_nothing_is_sent_not_even_to_put_it_back() -> None:
    story = under_way()
    story.hold = Hold(Reason.STOPPED, "Acting is stopped.")
    story.control(cancel=True)
    story.decide()
    assert story.begun == []
    story.hold = None
    story.decide()
    assert story.begun == ["undo a"]


def test_after_a_crash_it_goes_on_or_is_put_back_as_is_due() -> None:
    story = under_way(timeout="10s")
    story.store()
    story.crash()
    story.after("1s")
    assert story.begun == ["a"]
    story.now += parse_duration("1m")
    story.crash()
    assert story.begun == ["undo a"]


def test_with_rollback_it_is_looked_at_once_more_with_the_other_steps() -> None:
    workflow = (
        a_workflow().step("z").step("a", needs="z", action="fake_halting", timeout="10s").rolling_back()
    )
    story = a_story(workflow)
    story.decide()
    story.done("z")
    story.goes_on("a")
    story.after("10s")
    assert story.begun == ["undo a"]
    story.done("a")
    assert story.begun == ["undo a"]
    story.done("a")
    assert story.begun == ["undo z"]
    story.done("z")
    assert story.end_state == ("Failed", "RolledBack", "StepTimeout")


def test_a_dry_run_has_nothing_to_put_back() -> None:
    story = a_dry_story(a_workflow().step("a", action="fake_halting", timeout="10s"))
    story.decide()
    story.failed("a", Reason.UNAVAILABLE)
    story.after("10s")
    assert story.begun == []
    assert story.step("a").phase == "Failed"


def test_a_step_that_may_be_left_half_done_is_not_put_back_by_itself() -> None:
    story = a_story(a_workflow().step("a", timeout="10s"))
    story.decide()
    story.failed("a", Reason.UNKNOWN_OUTCOME)
    story.after("10s")
    assert story.begun == []
    assert story.step("a").phase == "Failed"
