"""A step that runs another Workflow: it starts the run once, follows it, and ends as it ends."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from builders import GONE, Story, a_dry_story, a_story, a_workflow, an_object, steps
from kubernaut.api.execution import Decision as Answer
from kubernaut.api.reasons import Reason
from kubernaut.core.features import Feature
from kubernaut.core.naming import child_run
from kubernaut.core.recalling import recalled, to_recall
from kubernaut.core.run import Decision, Outcome, OutcomeKind, Watched

FIRST, SECOND = (child_run("run-1", "uid-of-run", "sub", attempt) for attempt in (1, 2))


def a_subflow(**more: Any) -> Story:
    story = a_story(a_workflow().subflow("sub", **more).step("after", needs="sub"))
    story.decide()
    return story


def started(story: Story, name: str = FIRST) -> Decision:
    return story.done("sub", acted=False, run=name, uid=f"uid-of-{name}")


def child(story: Story, phase: str, name: str = FIRST, **status: Any) -> Decision:
    seen = an_object(f"uid-of-{name}", status={"phase": phase, **status})
    story.objects = {Watched("kubernaut.io/v1alpha1", "WorkflowExecution", name): seen}
    return story.decide()


def test_it_starts_a_run_of_a_fixed_name_with_its_parameters() -> None:
    params = {"deployment": "=run.name", "n": "=1 + 1", "on": "=true", "none": "=null", "text": "x"}
    story = a_subflow(params=params)
    (act,) = story.acts
    assert act.parameters == {
        "workflow": "other",
        "name": FIRST,
        "depth": 1,
        "parameters": [
            {"name": "deployment", "value": "run-1"},
            {"name": "n", "value": "2"},
            {"name": "on", "value": "true"},
            {"name": "text", "value": "x"},
        ],
    }
    story.crash()
    assert story.acts[0].parameters["name"] == FIRST


def test_the_depth_is_one_more_than_that_of_its_run() -> None:
    story = a_story(a_workflow().subflow("sub"))
    story.run = replace(story.run, depth=3)
    story.decide()
    assert story.acts[0].parameters["depth"] == 4


def test_it_follows_the_run_that_it_started() -> None:
    story = a_subflow()
    decision = started(story)
    assert decision.objects == {Watched("kubernaut.io/v1alpha1", "WorkflowExecution", FIRST)}
    child(story, "Running", progress="1/3")
    assert (story.step("sub").phase, story.step("sub").progress) == ("Waiting", "1/3")
    assert story.begun == []


def test_it_ends_as_that_run_ends_with_its_outputs() -> None:
    story = a_subflow()
    started(story)
    child(story, "Succeeded", verdict="Remediated", outputs={"n": 3})
    assert story.step("sub").outputs == {"n": 3, "run": FIRST, "verdict": "Remediated"}
    assert story.begun == ["after"]


def test_it_takes_no_room_while_it_waits() -> None:
    story = a_story(a_workflow().set(parallelism=1).subflow("sub").step("b"))
    story.decide()
    assert story.begun == ["sub"]
    started(story)
    assert story.begun == ["b"]


def test_a_run_that_fails_fails_the_step() -> None:
    story = a_subflow()
    started(story)
    child(story, "Failed", message="no luck")
    assert (story.step("sub").reason, story.step("sub").message) == ("SubflowFailed", f"run {FIRST}: no luck")
    assert story.end_state == ("Failed", "NotFixed", "SubflowFailed")


@pytest.mark.parametrize("seen", [GONE, an_object("another", status={"phase": "Succeeded"})])
def test_a_run_that_was_deleted_counts_as_cancelled(seen: Any) -> None:
    story = a_subflow()
    started(story)
    story.objects = {Watched("kubernaut.io/v1alpha1", "WorkflowExecution", FIRST): seen}
    story.decide()
    assert story.step("sub").reason == "SubflowFailed"
    assert "was deleted" in (story.step("sub").message or "")


def test_a_retry_is_a_new_run() -> None:
    story = a_subflow(retries=1)
    started(story)
    child(story, "Failed")
    story.after("1s")
    assert (story.acts[0].attempt, story.acts[0].parameters["name"]) == (2, SECOND)
    assert story.last is not None
    assert story.last.store_first
    started(story, SECOND)
    child(story, "Succeeded", SECOND)
    assert story.begun == ["after"]


def test_a_cancelled_run_cancels_the_run_that_it_started_and_waits_for_its_end() -> None:
    story = a_subflow()
    started(story)
    story.control(cancel=True)
    story.decide()
    assert story.begun == ["undo sub"]
    story.done("sub")
    assert story.run.status.phase == "Running"
    assert story.begun == []
    child(story, "Cancelled")
    assert story.end_state[0] == "Cancelled"
    assert story.step("sub").reason == "Cancelled"


def test_cancelling_the_started_run_is_tried_again_until_it_is_told() -> None:
    story = a_subflow()
    started(story)
    story.control(cancel=True)
    story.decide()
    story.failed("sub", Reason.UNAVAILABLE)
    assert story.begun == []
    story.after("2s")
    assert story.begun == ["undo sub"]


def test_after_its_timeout_the_started_run_is_cancelled() -> None:
    story = a_subflow(timeout="1m")
    started(story)
    story.after("1m")
    assert story.begun == ["undo sub"]
    story.done("sub")
    child(story, "Cancelled")
    assert story.step("sub").reason == "StepTimeout"


def test_a_run_that_was_started_perhaps_is_found_before_the_step_times_out() -> None:
    story = a_subflow(timeout="1m")
    story.failed("sub", Reason.UNKNOWN_OUTCOME)
    story.after("5m")
    assert story.begun == ["sub"]
    assert story.acts[0].deadline > story.now
    started(story)
    assert story.begun == ["undo sub"]


def test_a_start_that_took_too_long_may_have_happened_and_is_looked_for() -> None:
    story = a_subflow(retries=1)
    story.failed("sub", Reason.STEP_TIMEOUT)
    story.after("2s")
    assert (story.begun, story.acts[0].parameters["name"]) == (["sub"], FIRST)


def test_after_an_unexpected_error_the_run_is_looked_for_under_the_same_name() -> None:
    story = a_subflow(retries=3)
    story.failed("sub", Reason.INTERNAL)
    story.after("2s")
    assert (story.acts[0].attempt, story.acts[0].parameters["name"]) == (1, FIRST)
    story.failed("sub", Reason.UNAVAILABLE)
    assert story.step("sub").reason == "InternalError", "that nothing was sent says nothing of what was"
    story.store()
    story.crash()
    story.after("2s")
    assert (story.acts[0].attempt, story.acts[0].parameters["name"]) == (1, FIRST)
    started(story)
    child(story, "Succeeded")
    assert story.begun == ["after"]


def test_an_unexpected_error_that_is_told_twice_counts_once() -> None:
    story = a_subflow()
    story.failed("sub", Reason.INTERNAL)
    story.decide(sub=Outcome(OutcomeKind.FAILED, "oh", Reason.INTERNAL, attempt=1))
    assert story.step("sub").phase == "Waiting"
    story.after("2s")
    assert story.begun == ["sub"]


@pytest.mark.parametrize("second", [Reason.INTERNAL, Reason.REJECTED, Reason.MISSING_RIGHT])
@pytest.mark.parametrize("first", [Reason.INTERNAL, Reason.UNKNOWN_OUTCOME, Reason.STEP_TIMEOUT])
def test_a_start_in_doubt_is_never_followed_by_that_of_a_second_run(first: Reason, second: Reason) -> None:
    story = a_subflow(retries=3)
    story.failed("sub", first)
    story.after("2s")
    story.failed("sub", second, "no")
    if second is Reason.INTERNAL and first is not Reason.INTERNAL:
        story.after("2s")
        story.failed("sub", second, "no")
    assert (story.step("sub").phase, story.step("sub").reason) == ("Failed", "UnknownOutcome")
    assert story.step("sub").message == (
        f"run {FIRST} may have been started all the same; look for it. {second.value}: no"
    )


def test_a_start_that_surely_failed_is_tried_again_as_a_new_run() -> None:
    story = a_subflow(retries=1)
    story.failed("sub", Reason.REJECTED)
    story.after("1s")
    assert story.acts[0].parameters["name"] == SECOND
    story = a_subflow(retries=1)
    story.failed("sub", Reason.UNKNOWN_OUTCOME)
    story.after("2s")
    story.failed("sub", Reason.PRECONDITION_FAILED)
    story.after("1s")
    assert story.acts[0].parameters["name"] == SECOND, "another run has the name, so the first one has not"


def test_a_refusal_after_another_owner_may_have_started_it_leaves_that_open() -> None:
    story = a_subflow(retries=3)
    story.unfenced = frozenset({"sub"})
    story.failed("sub", Reason.REJECTED)
    assert (story.step("sub").phase, story.step("sub").reason) == ("Failed", "UnknownOutcome")


def test_after_a_crash_a_run_that_was_started_is_found_and_cancelled_with_its_parent() -> None:
    story = a_subflow()
    story.run = replace(story.run, status=story.run.stored.replace(steps=[]))
    story.flying.clear()
    act = to_recall(story.run, story.plan, story.now)[0]
    assert act.parameters["name"] == FIRST
    outcome = Outcome(OutcomeKind.DONE, outputs={"run": FIRST, "uid": f"uid-of-{FIRST}"}, attempt=1)
    story.run = recalled(story.run, story.plan, {"sub": outcome}, story.now)
    story.control(cancel=True)
    story.decide({"sub": outcome})
    assert story.begun == ["undo sub"]


def test_a_dry_run_only_checks_that_it_could_be_started() -> None:
    story = a_dry_story(a_workflow().subflow("sub"))
    story.decide()
    started(story)
    assert (story.step("sub").phase, story.step("sub").reason) == ("Succeeded", "DryRun")
    assert story.step("sub").message == "dry run, nothing was started: done"


def test_outputs_that_are_too_large_fail_the_step() -> None:
    story = a_subflow()
    started(story)
    child(story, "Succeeded", outputs={"x": "x" * 100_000})
    assert story.step("sub").reason == "OutputTooLarge"


def test_what_it_changed_is_not_put_back_from_here_and_is_told() -> None:
    story = a_story(a_workflow().rolling_back().subflow("sub").approval("ask", "sub", expires="1s"))
    story.decide()
    started(story)
    child(story, "Succeeded", steps=[{"name": "x", "phase": "Succeeded", "changed": ["y"]}])
    story.after("1s")
    assert story.end_state == ("Failed", "NotFixed", "RollbackFailed")
    assert "that Workflow only" in (story.step("sub").message or "")


def test_the_feature_may_be_off() -> None:
    story = a_story(a_workflow().subflow("sub"))
    story.off = frozenset({Feature.SUBFLOWS})
    story.decide()
    assert (story.begun, story.step("sub").reason) == ([], "FeatureOff")


def test_a_started_run_does_not_say_that_a_person_cancelled_it_where_it_may_have_been_its_parent() -> None:
    story = a_story(a_workflow().approval("ask"))
    story.run = replace(story.run, depth=1)
    story.decide()
    story.control(cancel=True)
    story.decide()
    told = "The run was cancelled by the run that started it, or by a person."
    assert story.run.status.message == told
    assert all("person declined" not in condition.message for condition in story.run.status.conditions)


@pytest.mark.parametrize("within", [False, True])
def test_what_failed_is_told_and_not_what_was_cut_short_for_it(within: bool) -> None:
    """The started run stands first, and is cancelled because somebody said no to what stands beside it."""
    beside = steps() if within else a_workflow()
    beside.subflow("sub").approval("ask")
    story = a_story(a_workflow().each("all", items=["x"]).template("one", beside) if within else beside)
    prefix = "all/0/" if within else ""
    name = child_run("run-1", "uid-of-run", f"{prefix}sub", 1)
    story.decide()
    story.done(f"{prefix}sub", acted=False, run=name, uid=f"uid-of-{name}")
    story.answer(f"{prefix}ask", Answer.DENY, "no")
    story.decide()
    story.done(f"{prefix}sub", acted=False)
    child(story, "Cancelled", name)
    assert story.step(f"{prefix}sub").reason == "Cancelled"
    assert story.end_state == ("Failed", "Declined", "ApprovalDenied")
