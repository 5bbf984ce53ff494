"""What follows from a step that failed: it may fail, something else is done, a person decides."""

from __future__ import annotations

import pytest

from builders import Story, a_story, a_target, a_workflow, steps
from kubernaut.api.execution import Remedy
from kubernaut.api.reasons import Reason
from kubernaut.core.run import Hold


def manual(**more: object) -> Story:
    workflow = a_workflow().step("a", onFailure="Manual", **more).step("b", needs="a")  # type: ignore[arg-type]
    story = a_story(workflow)
    story.decide()
    return story


def or_else(on_failure: str = "Fail") -> Story:
    workflow = a_workflow().set(onFailure=on_failure).step("a", onFailure="Alternate", alternate="plan-b")
    story = a_story(
        workflow.step("after", needs="a").template("plan-b", steps().step("x").step("y", needs="x"))
    )
    story.decide()
    return story


def test_a_step_that_may_fail_lets_its_dependents_go_on() -> None:
    story = a_story(a_workflow().step("a", onFailure="Continue").step("b", needs="a"))
    story.decide()
    story.failed("a", Reason.REJECTED)
    assert story.begun == ["b"]
    story.done("b")
    assert story.end_state[0] == "Succeeded"
    assert story.phases["a"] == "Failed"


def test_the_steps_own_policy_counts_more_than_the_workflows() -> None:
    story = a_story(a_workflow().set(onFailure="Continue").step("a", onFailure="Fail").step("b", needs="a"))
    story.decide()
    story.failed("a", Reason.REJECTED)
    assert story.end_state == ("Failed", "NotFixed", "Rejected")


def test_the_alternate_is_run_and_counts_for_the_step() -> None:
    story = or_else()
    assert "a/alternate" not in [name for name, phase in story.phases.items() if phase != "Pending"]
    story.failed("a")
    assert story.begun == ["a/alternate/x"]
    story.done("a/alternate/x")
    assert story.begun == ["a/alternate/y"]
    story.done("a/alternate/y")
    assert story.begun == ["after"]
    story.done("after")
    assert story.end_state[0] == "Succeeded"


def test_an_alternate_that_nobody_needs_is_not_counted() -> None:
    story = or_else()
    assert story.run.status.progress == "0/2"
    story.done("a")
    story.done("after")
    assert story.run.status.progress == "2/2"


@pytest.mark.parametrize(
    ("policy", "end"),
    [
        ("Fail", ("Failed", "NotFixed", "Conflict")),
        ("Continue", ("Succeeded", "Inconclusive", "NoExpectation")),
        ("Manual", ("Suspended", None, "NeedsPerson")),
    ],
)
def test_where_the_alternate_fails_too_the_workflows_policy_counts(
    policy: str, end: tuple[str, str | None, str]
) -> None:
    story = or_else(policy)
    story.failed("a")
    story.failed("a/alternate/x")
    if policy == "Continue":
        assert story.begun == ["after"]
        story.done("after")
    assert story.end_state == end


def test_a_person_may_have_a_step_tried_again_whose_alternate_failed() -> None:
    story = or_else("Manual")
    story.failed("a")
    story.failed("a/alternate/x")
    story.says("a", Remedy.RETRY)
    assert (story.begun, story.acts[0].attempt) == (["a"], 2)
    story.done("a")
    assert story.begun == ["after"]


def test_an_alternate_needs_no_resources_of_the_step_it_stands_for() -> None:
    workflow = a_workflow().step(
        "a", onFailure="Alternate", alternate="plan-b", resources=[{"name": "drain"}]
    )
    story = a_story(workflow.template("plan-b", steps().step("x")))
    story.granted = frozenset({"a"})
    story.decide()
    story.granted = frozenset()
    assert story.failed("a").wants == ()
    assert story.begun == ["a/alternate/x"]


def plan_b(body: object = None) -> Story:
    workflow = a_workflow().set(onFailure="Alternate", alternate="plan-b").step("a").step("b", needs="a")
    story = a_story(workflow.template("plan-b", body or steps().step("x")))  # type: ignore[arg-type]
    story.decide()
    story.failed("a")
    return story


def test_the_workflows_alternate_is_run_in_place_of_the_rest() -> None:
    story = plan_b()
    assert story.begun == ["alternate/x"]
    assert story.phases["b"] == "Skipped"
    story.crash()
    assert story.begun == ["alternate/x"]
    story.done("alternate/x")
    assert story.end_state[0] == "Succeeded"


def test_where_the_workflows_alternate_fails_the_run_fails() -> None:
    story = plan_b()
    story.failed("alternate/x", Reason.REJECTED)
    assert story.end_state == ("Failed", "NotFixed", "Rejected")


def test_a_person_is_asked_within_the_workflows_alternate_too() -> None:
    story = plan_b(steps().step("x", onFailure="Manual"))
    story.failed("alternate/x")
    assert story.run.status.phase == "Suspended"
    story.says("alternate/x", Remedy.SKIP)
    assert story.end_state[0] == "Succeeded"


def test_a_failed_attempt_waits_for_a_person_and_says_so() -> None:
    story = manual()
    story.failed("a")
    assert story.end_state == ("Suspended", None, "NeedsPerson")
    assert "a" in (story.run.status.message or "")
    assert story.begun == []
    story.after("50m")
    assert story.run.status.phase == "Suspended"


def test_a_person_may_have_it_tried_again() -> None:
    story = manual()
    story.failed("a")
    story.says("a", Remedy.RETRY)
    assert story.run.status.phase == "Running"
    assert (story.begun, story.acts[0].attempt) == (["a"], 2)
    story.done("a")
    assert story.begun == ["b"]


def test_what_was_said_of_one_attempt_says_nothing_of_a_later_one() -> None:
    story = manual()
    story.failed("a")
    story.says("a", Remedy.RETRY)
    story.failed("a")
    assert story.run.status.phase == "Suspended"
    assert story.begun == []
    story.says("a", Remedy.SKIP, attempt=2)
    assert story.begun == ["b"]


def test_a_step_that_failed_before_it_was_begun_can_be_tried_again_and_skipped_then() -> None:
    workflow = (
        a_workflow()
        .step("look", "fake_read")
        .step("a", needs="look", when="steps.look.outputs.x > 1", onFailure="Manual")
    )
    story = a_story(workflow)
    story.decide()
    story.done("look", acted=False)
    assert (story.run.status.phase, story.step("a").attempt) == ("Suspended", 0)
    story.says("a", Remedy.RETRY, attempt=0)
    assert (story.run.status.phase, story.step("a").attempt) == ("Suspended", 1)
    story.says("a", Remedy.SKIP, attempt=1)
    assert story.step("a").reason == "SkippedByPerson"


def test_trying_again_by_a_persons_word_has_its_own_retries() -> None:
    story = manual(retries=1)
    story.failed("a")
    story.after("1s")
    story.failed("a")
    assert story.run.status.phase == "Suspended"
    story.says("a", Remedy.RETRY, attempt=2)
    story.failed("a")
    assert story.run.status.phase == "Running"
    story.after("2s")
    assert story.acts[0].attempt == 4


def test_a_person_may_have_it_left_out() -> None:
    story = manual()
    story.failed("a")
    story.says("a", Remedy.SKIP)
    assert (story.step("a").phase, story.step("a").reason) == ("Skipped", "SkippedByPerson")
    assert story.begun == ["b"]


def test_what_is_left_out_still_says_how_it_failed() -> None:
    story = manual()
    story.failed("a", reason=Reason.STEP_TIMEOUT)
    story.says("a", Remedy.SKIP)
    assert (story.step("a").message or "").startswith("StepTimeout: ")


def test_a_person_may_give_up() -> None:
    story = manual()
    story.failed("a")
    story.says("a", Remedy.FAIL)
    assert story.end_state == ("Failed", "NotFixed", "Conflict")
    assert story.phases["b"] == "Skipped"


def test_a_person_may_have_everything_put_back() -> None:
    story = a_story(a_workflow().step("first").step("a", needs="first", onFailure="Manual"))
    story.decide()
    story.done("first")
    story.failed("a")
    story.says("a", Remedy.ROLLBACK)
    assert story.run.status.phase == "RollingBack"
    assert story.begun == ["undo a"]


def test_a_person_may_have_everything_put_back_for_a_step_of_a_template_too() -> None:
    workflow = a_workflow().step("first").each("each", needs="first", items_from="[1]", onFailure="Continue")
    story = a_story(workflow.template("one", steps().step("do", onFailure="Manual")))
    story.decide()
    story.done("first")
    story.failed("each/0/do")
    story.says("each/0/do", Remedy.ROLLBACK)
    assert story.run.status.phase == "RollingBack"


def test_a_group_tried_again_does_again_what_had_not_succeeded() -> None:
    workflow = a_workflow().each("each", items_from="[1, 2, 3]", onFailure="Manual")
    story = a_story(workflow.template("one", steps().step("do")))
    story.decide()
    story.done("each/0/do")
    story.failed("each/1/do")
    assert story.phases["each/2/do"] == "Skipped"
    story.says("each", Remedy.RETRY)
    assert (story.begun, story.acts[0].attempt) == (["each/1/do"], 2)
    assert story.phases["each/0/do"] == "Succeeded"
    story.done("each/1/do")
    assert story.begun == ["each/2/do"]


def test_what_was_begun_goes_on_while_a_person_has_to_decide() -> None:
    story = a_story(a_workflow().step("b", retries=2).step("a", onFailure="Manual").step("c", needs="b"))
    story.decide()
    story.failed("a")
    story.failed("b")
    story.after("1s")
    assert story.begun == ["b"]
    story.done("b")
    assert story.begun == []
    story.says("a", Remedy.SKIP)
    assert story.begun == ["c"]


def test_what_may_have_acted_stays_pinned_when_a_person_has_it_tried_again() -> None:
    story = a_story(a_workflow().step("a", "fake_pinned", onFailure="Manual"))
    story.decide()
    story.prepared("a", pod="x")
    story.failed("a", Reason.STEP_TIMEOUT)
    story.says("a", Remedy.RETRY)
    assert (story.begun, story.acts[0].intent) == (["a"], {"pod": "x"})


def test_a_retry_held_back_by_a_suspension_in_the_same_decision_is_asked_for_again() -> None:
    workflow = a_workflow().step("b", retries=1, initial="5s")
    story = a_story(workflow.approval("ask", expires="5s", onFailure="Manual"))
    story.decide()
    story.failed("b")
    decision = story.after("5s")
    assert story.run.status.phase == "Suspended"
    if not story.begun:
        assert decision.wake_at == story.now
        story.decide()
    assert story.begun == ["b"]


def may_have_acted() -> Story:
    """A step whose effect may have happened, and made its condition false; a person says to try it again."""
    story = manual(when="target.spec.replicas < 3")
    story.sees(a_target(replicas=2))
    story.failed("a", Reason.INTERNAL, "oh")
    return story


def test_what_a_step_may_have_done_does_not_decide_that_it_is_left_out() -> None:
    story = may_have_acted()
    story.says("a", Remedy.RETRY)
    story.sees(a_target(replicas=3))
    assert (story.begun, story.step("a").attempt) == (["a"], 2)


def test_a_step_that_may_have_acted_is_not_told_as_skipped_where_nothing_more_comes_of_it() -> None:
    story = may_have_acted()
    story.hold = Hold(Reason.STOPPED, "stopped")
    story.says("a", Remedy.RETRY)
    assert story.step("a").phase == "Pending"
    story.store()
    story.control(cancel=True)
    story.crash()
    assert (story.step("a").phase, story.step("a").reason) == ("Failed", "InternalError")
    assert story.end_state == ("Cancelled", "Inconclusive", "Cancelled")


def test_only_what_a_person_is_waited_for_is_named_and_no_longer_once_it_was_said() -> None:
    story = a_story(
        a_workflow()
        .step("may-fail", onFailure="Continue")
        .step("a", onFailure="Manual")
        .step("b", onFailure="Manual")
    )
    story.decide()
    story.failed("may-fail")
    story.failed("a")
    story.decide()
    story.failed("b")
    assert story.run.status.phase == "Suspended"
    asked = "Failed, and a person has to say what becomes of it: "
    assert story.run.status.message == f"{asked}a, b."
    story.says("a", Remedy.SKIP)
    assert story.run.status.message == f"{asked}b."


def test_a_run_of_which_steps_failed_that_may_does_not_say_that_all_succeeded() -> None:
    story = or_else("Continue")
    story.failed("a")
    story.failed("a/alternate/x")
    story.done("after")
    told = "All steps are done, but failed: a; the Workflow declares no expectation."
    assert story.run.status.message == told
