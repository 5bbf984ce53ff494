"""The steps under finally: run once, however the run went."""

from __future__ import annotations

from datetime import timedelta

import pytest

from builders import Story, WorkflowBuilder, a_story, a_target, a_workflow, steps
from kubernaut.api.reasons import Reason
from kubernaut.core.features import Feature
from kubernaut.core.run import Outcome, OutcomeKind


def tidy(workflow: WorkflowBuilder | None = None, **more: object) -> Story:
    told = {"imageName": "=run.outcome + ' ' + run.verdict"}
    last = steps().step("tidy", with_=told, **more)  # type: ignore[arg-type]
    story = a_story((workflow or a_workflow()).step("a").last(last))
    story.decide()
    return story


def told(story: Story) -> object:
    assert story.run.status.phase == "Finalizing"
    assert story.begun == ["tidy"]
    return story.acts[0].parameters["imageName"]


def test_it_follows_a_success() -> None:
    story = tidy()
    assert story.done("a").store_first
    assert told(story) == "Succeeded Inconclusive"
    assert story.run.status.finished_at is None
    story.done("tidy")
    assert story.end_state == ("Succeeded", "Inconclusive", "NoExpectation")
    assert story.run.status.finished_at is not None


def test_it_follows_a_failure() -> None:
    story = tidy()
    story.failed("a", Reason.REJECTED)
    assert told(story) == "Failed NotFixed"
    story.done("tidy")
    assert story.end_state == ("Failed", "NotFixed", "Rejected")


def test_it_follows_a_rollback_and_is_not_put_back() -> None:
    story = tidy(a_workflow().rolling_back().step("first").approval("ask", "first", expires="1s"))
    story.done("first")
    story.done("a")
    story.after("1s")
    while story.run.status.phase == "RollingBack":
        story.done(story.begun[0].removeprefix("undo "))
    assert told(story) == "Failed RolledBack"
    story.done("tidy")
    assert story.end_state[:2] == ("Failed", "RolledBack")
    assert story.phases["tidy"] == "Succeeded"


def test_it_follows_a_cancel_and_a_verification() -> None:
    story = tidy(a_workflow().verify("target.status.readyReplicas > 0"))
    story.done("a")
    story.control(cancel=True)
    story.decide()
    assert told(story) == "Cancelled Inconclusive"
    story.done("tidy")
    assert story.end_state[0] == "Cancelled"
    story = tidy(a_workflow().verify("target.status.readyReplicas > 0"))
    story.done("a")
    story.sees(a_target(ready=1))
    assert told(story) == "Succeeded Remediated"


def test_it_goes_on_after_a_crash_and_nothing_else_does() -> None:
    story = tidy(a_workflow().step("b", needs="a"))
    story.failed("a", Reason.REJECTED)
    story.crash()
    assert told(story) == "Failed NotFixed"


@pytest.mark.parametrize("cancelled", [False, True])
def test_one_that_fails_fails_a_run_that_had_succeeded_only(cancelled: bool) -> None:
    story = tidy()
    if cancelled:
        story.control(cancel=True)
    story.done("a")
    story.failed("tidy", Reason.REJECTED)
    phase, _, reason = story.end_state
    assert (phase, reason) == (("Cancelled", "Cancelled") if cancelled else ("Failed", "FinallyFailed"))
    assert "failed: tidy" in (story.run.status.message or "")


def test_one_that_fails_holds_up_none_of_the_others() -> None:
    last = steps().step("x").step("y", needs="x").step("z", needs="x", when="steps.x.phase == 'Failed'")
    story = a_story(a_workflow().step("a").last(last))
    story.decide()
    story.done("a")
    story.failed("x", Reason.REJECTED)
    assert story.begun == ["y", "z"]


def test_a_retry_is_its_own() -> None:
    story = tidy(retries=1)
    story.done("a")
    story.failed("tidy")
    story.after("1s")
    assert story.acts[0].attempt == 2


def test_the_time_of_the_run_does_not_bound_it() -> None:
    story = tidy(retries=1)
    story.now += story.plan.timeout
    story.done("a")
    assert told(story) == "Failed NotFixed"
    story.after("10s")
    story.done("tidy")
    assert story.end_state == ("Failed", "NotFixed", "RunTimeout")


def test_templates_are_used_under_finally_too() -> None:
    last = steps().each("each", items_from="[1, 2]")
    story = a_story(a_workflow().step("a").last(last).template("one", steps().step("do")))
    story.decide()
    story.done("a")
    story.done("each/0/do")
    story.done("each/1/do")
    assert story.end_state[0] == "Succeeded"


def test_outputs_of_the_run_are_those_of_its_steps() -> None:
    workflow = (
        a_workflow().step("look", "fake_read").set(outputs=[{"name": "n", "value": "=steps.look.outputs.n"}])
    )
    story = a_story(workflow)
    story.decide()
    story.done("look", acted=False, n=3)
    assert story.run.status.outputs == {"n": 3}


def test_an_output_that_can_not_be_had_fails_the_run() -> None:
    workflow = (
        a_workflow().step("look", "fake_read").set(outputs=[{"name": "n", "value": "=steps.look.outputs.n"}])
    )
    story = a_story(workflow)
    story.decide()
    story.done("look", acted=False)
    assert story.end_state[2] == "ExpressionFailed"


def waiting(tidy: WorkflowBuilder) -> Story:
    """Return a run that is at its last steps, after one that took a minute; its own timeout is an hour."""
    story = a_story(a_workflow().step("a").last(tidy.step("tell")))
    story.decide()
    story.after("1m")
    story.done("a")
    story.done("tell")
    assert story.run.status.phase == "Finalizing"
    return story


@pytest.mark.parametrize("cause", ["capacity", "feature"])
def test_what_it_waits_for_in_vain_ends_with_the_time_of_the_run(cause: str) -> None:
    """Nothing else would end it: a cancel begins these steps, and a deletion waits for them."""
    tidy = steps()
    if cause == "capacity":
        story = waiting(tidy.step("tidy", resources=[{"name": "drain", "amount": 2}]))
        reason = "WaitingForCapacity"
    else:
        tidy.each("tidy", items=["x"])
        story = a_story(a_workflow().step("a").template("one", steps().step("x")).last(tidy.step("tell")))
        story.off = frozenset({Feature.FOR_EACH})
        story.decide()
        story.after("1m")
        story.done("a")
        story.done("tell")
        reason = "FeatureOff"
    assert (story.step("tidy").phase, story.step("tidy").reason) == ("Pending", reason)
    story.after("59m")
    assert story.last is not None
    assert story.last.wake_at == story.now + timedelta(minutes=1)
    story.after("1m")
    assert (story.step("tidy").phase, story.step("tidy").reason) == ("Failed", reason)
    assert story.end_state == ("Failed", "Inconclusive", "FinallyFailed")
    assert story.last.wants == ()


def test_who_cancels_or_deletes_a_run_waits_no_longer_than_a_step_may_take() -> None:
    story = waiting(steps().step("tidy", resources=[{"name": "drain", "amount": 2}]))
    story.control(cancel=True)
    story.after("4m")
    assert story.phases["tidy"] == "Pending"
    story.after("1m")
    assert story.end_state == ("Failed", "Inconclusive", "FinallyFailed")


def test_a_run_that_it_started_and_that_does_not_end_is_cancelled_with_the_time_of_the_run() -> None:
    story = waiting(steps().subflow("call"))
    story.end("call", Outcome(OutcomeKind.DONE, outputs={"run": "child", "uid": "uid-of-child"}))
    story.after("59m")
    assert story.begun == []
    story.after("1m")
    assert story.begun == ["undo call"]
