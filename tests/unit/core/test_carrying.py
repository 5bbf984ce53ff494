"""What of a run still counts when it is tried again, and when it moves to another revision."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from builders import Story, WorkflowBuilder, a_story, a_target, a_workflow, steps
from kubernaut.api.execution import Decision, Remedy
from kubernaut.api.reasons import Reason
from kubernaut.core.carrying import carried_over, migration_problem
from kubernaut.core.errors import StepError
from kubernaut.core.recalling import to_recall


def taken(
    story: Story, workflow: WorkflowBuilder | None = None, params: dict[str, Any] | None = None
) -> list[str]:
    """Return the steps that a new run takes over."""
    plan = workflow.plan() if workflow is not None else story.plan
    given = story.run.params if params is None else params
    answers = story.run.control.approvals
    found = carried_over(plan, given, "run-1", story.run.status, story.plan, story.run.params, answers)
    return [record.name for record in found]


def three(last: str = "fake_marked") -> WorkflowBuilder:
    workflow = a_workflow().parameter("n", "integer", default="1").step("a", with_={"replicas": "=params.n"})
    return workflow.step("b", needs="a").step("c", last, needs="b")


def failed_at(story: Story, name: str) -> Story:
    """Let all go well until one step fails."""
    story.decide()
    for _ in range(20):
        for flying in list(story.flying):
            if flying == name and not story.flying[flying].undo:
                story.failed(flying, Reason.REJECTED)
            else:
                story.done(flying)
    return story


def test_what_was_done_is_taken_over_and_is_not_done_again() -> None:
    story = failed_at(a_story(three()), "c")
    found = carried_over(
        story.plan, story.run.params, "run-1", story.run.status, story.plan, story.run.params
    )
    assert [record.name for record in found] == ["a", "b"]
    assert {(record.reason, record.attempt) for record in found} == {("CarriedOver", 0)}
    assert found[0].message == "done by run run-1"


def test_only_a_failed_or_cancelled_run_is_tried_again() -> None:
    story = failed_at(a_story(three()), "")
    with pytest.raises(StepError, match="only a failed or cancelled run") as raised:
        taken(story)
    assert raised.value.reason is Reason.RETRY_REFUSED


def test_a_step_declared_otherwise_and_all_behind_it_are_done_again() -> None:
    story = failed_at(a_story(three()), "c")
    other = a_workflow().parameter("n", "integer", default="1").step("a", with_={"replicas": "=params.n"})
    other.step("b", needs="a", retries=3).step("c", needs="b")
    assert taken(story, other) == ["a"]


def test_a_step_that_sees_other_parameters_is_done_again() -> None:
    story = failed_at(a_story(three()), "c")
    assert taken(story, params={"n": 2}) == []


def test_what_was_put_back_is_done_again() -> None:
    assert taken(failed_at(a_story(three().rolling_back()), "c")) == []


def test_a_step_that_was_only_cut_short_is_done_again() -> None:
    story = a_story(a_workflow().set(parallelism=1).step("a").step("b").step("c", when="false"))
    story.decide()
    story.failed("a", Reason.REJECTED)
    assert story.phases == {"a": "Failed", "b": "Skipped", "c": "Skipped"}
    assert taken(story) == []
    story = a_story(a_workflow().step("c", when="false").step("a"))
    story.decide()
    story.failed("a", Reason.REJECTED)
    assert taken(story) == ["c"]


def a_loop(body: WorkflowBuilder, **more: Any) -> WorkflowBuilder:
    workflow = a_workflow().parameter("n", "integer", default="1").each("each", items_from="[1, 2]", **more)
    return workflow.step("after", needs="each").template("one", body)


def test_a_group_is_taken_over_as_a_whole_only() -> None:
    assert taken(failed_at(a_story(a_loop(steps().step("x"))), "each/1/x")) == []
    story = failed_at(a_story(a_loop(steps().step("x"))), "after")
    assert taken(story) == ["each", "each/0/x", "each/1/x"]


def test_a_group_whose_template_changed_or_sees_other_parameters_is_done_again() -> None:
    body = steps().step("x", with_={"replicas": "=params.n"})
    story = failed_at(a_story(a_loop(body)), "after")
    assert taken(story, params={"n": 2}) == []
    assert taken(story, a_loop(steps().step("x").step("y"))) == []
    assert taken(story, a_loop(body)) == ["each", "each/0/x", "each/1/x"]


def test_a_group_with_an_alternate_that_nobody_needed_is_taken_over() -> None:
    body = steps().step("x", onFailure="Alternate", alternate="plan-b")
    workflow = a_loop(body).template("plan-b", steps().step("y"))
    assert taken(failed_at(a_story(workflow), "after")) == ["each", "each/0/x", "each/1/x"]


def test_what_an_alternate_did_is_not_taken_for_the_step_it_stood_for() -> None:
    workflow = a_workflow().step("a", onFailure="Alternate", alternate="plan-b").step("b", needs="a")
    story = a_story(workflow.template("plan-b", steps().step("x")))
    story.decide()
    story.failed("a")
    story.done("a/alternate/x")
    story.failed("b", Reason.REJECTED)
    assert taken(story) == []


def test_a_run_whose_alternate_did_not_help_begins_with_its_steps_again() -> None:
    workflow = a_workflow().set(onFailure="Alternate", alternate="plan-b").step("a").step("b", needs="a")
    story = a_story(workflow.template("plan-b", steps().step("x")).last(steps().step("z")))
    story.decide()
    story.done("a")
    story.failed("b")
    story.done("alternate/x")
    story.failed("z")
    assert story.run.status.phase == "Failed"
    assert taken(story) == ["a"]


def asking(*may: str, when: str | None = None) -> WorkflowBuilder:
    workflow = a_workflow().parameter("n", "integer", default="1").step("x", with_={"replicas": "=params.n"})
    workflow.approval("ask", "x", may=may, when=when)
    return workflow.step("y", with_={"replicas": "=params.n"}).step("a", needs="ask").step("b", needs="a")


def asked(workflow: WorkflowBuilder, decision: Decision = Decision.APPROVE, **values: str) -> Story:
    story = a_story(workflow)
    story.answer("ask", decision, **values)
    return failed_at(story, "b")


def test_an_approval_holds_for_the_same_workflow_and_parameters() -> None:
    assert taken(asked(asking())) == ["x", "y", "ask", "a"]


def test_an_approval_is_asked_for_again_where_the_run_has_other_parameters() -> None:
    workflow = asking().parameter("m", "integer", default="1")
    story = failed_at(asked(workflow), "b")
    assert taken(story, params={"n": 1, "m": 2}) == ["x", "y"]


def test_an_approval_is_asked_for_again_where_the_workflow_has_changed() -> None:
    assert taken(asked(asking()), asking().step("c", needs="b")) == ["x", "y"]


def test_a_question_that_may_change_parameters_is_asked_again() -> None:
    assert taken(asked(asking("n"))) == ["x", "y"]


def test_what_may_have_seen_an_approvers_values_is_done_again_and_what_was_done_before_is_not() -> None:
    assert taken(asked(asking("n"), n="5")) == ["x"]


def test_an_approval_that_a_person_passed_over_is_asked_for_again() -> None:
    workflow = asking().set(onFailure="Manual")
    story = a_story(workflow)
    story.answer("ask", Decision.DENY)
    story.decide()
    story.done("x")
    story.done("y")
    story.says("ask", Remedy.SKIP)
    story.done("a")
    story.failed("b", Reason.REJECTED)
    story.says("b", Remedy.FAIL)
    assert (story.step("ask").phase, story.step("a").phase) == ("Skipped", "Succeeded")
    assert taken(story) == ["x", "y"]


def test_whether_an_approval_is_needed_is_decided_again_where_that_hangs_on_the_target() -> None:
    assert "ask" in taken(asked(asking(when="params.n > 1")))
    story = a_story(asking(when="target.spec.replicas > 2"))
    story.target = a_target()
    story.decide()
    story.done("x")
    story.sees(a_target())
    assert story.step("ask").reason == "WhenFalse"
    assert "ask" not in taken(failed_at(story, "b"))


def test_an_answer_to_a_question_that_was_carried_over_changes_no_parameter() -> None:
    earlier = asked(asking())
    records = carried_over(
        earlier.plan,
        {"n": 1},
        "run-1",
        earlier.run.status,
        earlier.plan,
        {"n": 1},
        earlier.run.control.approvals,
    )
    story = a_story(asking())
    story.run = replace(story.run, status=story.run.status.replace(steps=records))
    story.answer("ask", Decision.APPROVE, n="9")
    story.store()
    assert to_recall(story.run, story.plan, story.now) != []
    failed_at(story, "")
    assert story.phases["b"] == "Succeeded"


def test_steps_under_finally_are_run_by_each_run() -> None:
    story = failed_at(a_story(a_workflow().step("a").step("b", needs="a").last(steps().step("z"))), "b")
    assert story.phases["z"] == "Succeeded"
    assert taken(story) == ["a"]


# Migration.


def under_way() -> Story:
    story = a_story(three())
    story.decide()
    story.done("a")
    return story


def problem(workflow: WorkflowBuilder) -> str | None:
    story = under_way()
    return migration_problem(story.plan, workflow.plan(), story.run.status)


def test_a_run_may_move_where_what_was_begun_is_declared_alike() -> None:
    assert problem(three("fake_read")) is None
    assert problem(three().step("d")) is None


def test_why_a_run_may_not_move_is_told() -> None:
    here = three()
    other_target = three().target_name("api")
    assert problem(other_target) == "the target is declared otherwise"
    assert problem(three().set(serviceAccountName="x")) == "it acts as another ServiceAccount"
    assert problem(a_workflow().step("b")) == "step a was begun and is not declared there"
    changed = a_workflow().step("a").step("b", needs="a")
    assert problem(changed) == "step a was begun and is declared otherwise there"
    begun = a_workflow().parameter("n", "integer", default="1").step("a", with_={"replicas": "=params.n"})
    begun.step("x").step("b", needs="a x")
    assert problem(begun) == "step b was begun and depends there on x, which is not done"
    done = failed_at(a_story(here), "c")
    assert migration_problem(done.plan, done.plan, done.run.status) == "the run is Failed"
