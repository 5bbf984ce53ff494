"""A run that ends early sees to it that no request of an earlier owner still has its effect."""

from __future__ import annotations

import pytest

from builders import Story, a_story, a_workflow, an_object
from kubernaut.api.reasons import Reason
from kubernaut.core.naming import child_run
from kubernaut.core.run import Hold, Outcome, OutcomeKind, Watched


def taken_over(*unfenced: str) -> Story:
    """A run whose earlier owner may have begun these steps; it is cancelled now."""
    story = a_story(a_workflow().step("a").step("b", needs="a"))
    story.decide()
    if "b" in unfenced:
        story.done("a")
    story.crash()
    story.flying.clear()
    story.unfenced = frozenset(unfenced)
    story.control(cancel=True)
    story.decide()
    return story


def test_a_step_that_may_have_been_begun_is_fenced_off_before_the_run_ends() -> None:
    story = taken_over("a")
    assert story.begun == ["fence a"]
    assert story.run.status.phase == "Running"
    story.done("a", acted=False)
    assert story.step("a").phase == "Skipped"
    assert story.end_state == ("Cancelled", "Declined", "Cancelled")


def test_what_is_found_done_is_taken_as_done() -> None:
    story = taken_over("a")
    story.done("a")
    assert (story.step("a").phase, story.step("a").changed) == ("Succeeded", ["replicas: 1 -> 2"])
    assert story.end_state == ("Cancelled", "Inconclusive", "Cancelled")


def test_a_step_that_is_not_recorded_at_all_is_fenced_off_too() -> None:
    story = a_story(a_workflow().step("a"))
    story.store()
    story.unfenced = frozenset({"a"})
    story.control(cancel=True)
    story.decide()
    assert story.begun == ["fence a"]
    story.done("a")
    assert story.step("a").phase == "Succeeded"


@pytest.mark.parametrize("why", [Reason.UNAVAILABLE, Reason.UNKNOWN_OUTCOME])
def test_a_fence_that_could_not_be_written_or_was_not_answered_is_asked_for_again(why: Reason) -> None:
    story = taken_over("a")
    story.failed("a", why)
    assert story.begun == ["fence a"]
    story.done("a", acted=False)
    assert story.step("a").phase == "Skipped"


def test_a_step_that_could_not_be_fenced_off_is_told_as_failed_with_what_is_unknown() -> None:
    story = taken_over("a")
    story.failed("a", Reason.MISSING_RIGHT, "the account lacks verb patch")
    assert (story.step("a").phase, story.step("a").reason) == ("Failed", "UnknownOutcome")
    assert story.step("a").message == (
        "it may have happened, and could not be fenced off: MissingRight: the account lacks verb patch"
    )
    assert story.end_state == ("Cancelled", "Inconclusive", "Cancelled")


def test_so_is_one_of_which_nothing_is_recorded_and_it_is_put_back_where_it_happened() -> None:
    story = a_story(a_workflow().rolling_back().set(timeout="1m").step("a", timeout="1h"))
    story.store()
    story.unfenced = frozenset({"a"})
    story.after("1m")
    assert story.begun == ["fence a"]
    story.failed("a", Reason.MISSING_RIGHT)
    assert (story.step("a").phase, story.step("a").reason) == ("Failed", "UnknownOutcome")
    assert (story.run.status.phase, story.begun) == ("RollingBack", ["undo a"])
    story.done("a", acted=False)
    assert story.end_state == ("Failed", "NotFixed", "RunTimeout")


def a_subflow_taken_over() -> Story:
    """A run whose earlier owner may have started another one, of which nothing is recorded; it is cancelled now."""
    story = a_story(a_workflow().subflow("sub").subflow("later", needs="sub"))
    story.store()
    story.unfenced = frozenset({"sub", "later"})
    story.control(cancel=True)
    story.decide()
    return story


def test_a_run_that_may_be_started_late_has_its_name_taken_before_its_parent_ends() -> None:
    story = a_subflow_taken_over()
    assert story.begun == ["fence sub"], "the other one can't have been begun: it depends on this one"
    assert story.acts[0].parameters["name"] == child_run("run-1", "uid-of-run", "sub", 1)
    assert story.run.status.phase == "Running"
    story.done("sub", acted=False)
    assert story.phases == {"sub": "Skipped", "later": "Skipped"}
    assert story.end_state == ("Cancelled", "Declined", "Cancelled")


def test_a_run_that_was_started_after_all_is_cancelled_and_its_end_is_waited_for() -> None:
    story = a_subflow_taken_over()
    name = child_run("run-1", "uid-of-run", "sub", 1)
    story.done("sub", acted=False, run=name, uid="uid-of-child")
    assert (story.begun, story.step("sub").phase, story.step("sub").changed) == (
        ["undo sub"],
        "Waiting",
        None,
    )
    story.done("sub")
    child = an_object("uid-of-child", status={"phase": "Cancelled"})
    story.objects = {Watched("kubernaut.io/v1alpha1", "WorkflowExecution", name): child}
    story.decide()
    assert story.end_state[0] == "Cancelled"


def test_while_held_no_fence_is_written_and_the_run_does_not_end() -> None:
    story = taken_over("a")
    story.flying.clear()
    story.hold = Hold(Reason.STOPPED, "stopped")
    story.decide()
    assert story.begun == []
    assert story.run.status.phase == "Running"


def test_a_run_that_goes_on_needs_no_fence() -> None:
    story = a_story(a_workflow().step("a"))
    story.decide()
    story.crash()
    story.unfenced = frozenset({"a"})
    story.flying.clear()
    story.decide()
    assert story.begun == ["a"]


def test_an_outcome_that_comes_late_does_not_begin_a_step_that_nobody_began() -> None:
    story = a_story(a_workflow().step("a").step("b", needs="a"))
    story.decide()
    story.unfenced = frozenset({"b"})
    story.decide(b=Outcome(OutcomeKind.DONE, acted=False))
    assert story.step("b").phase == "Pending"
