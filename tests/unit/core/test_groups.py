"""Decisions and loops: which steps a switch and a forEach have, and how they end."""

from __future__ import annotations

import pytest

from builders import Story, WorkflowBuilder, a_story, a_target, a_workflow, steps
from kubernaut.api.execution import Control, Decision, Remedy, WorkflowExecutionStatus
from kubernaut.api.reasons import Reason
from kubernaut.core.features import Feature


def one() -> WorkflowBuilder:
    return steps().step("do")


def a_switch(cases: dict[str, str], default: str | None = None, **more: str) -> Story:
    workflow = a_workflow().step("look", "fake_read").switch("which", cases, "look", default=default, **more)
    for name in {*cases, *([default] if default else [])}:
        workflow.template(name, one())
    story = a_story(workflow.step("after", needs="which"))
    story.decide()
    story.done("look", acted=False, n=3)
    return story


def an_each(items: str, **more: object) -> Story:
    workflow = a_workflow().each("each", items_from=items, **more).template("one", one())  # type: ignore[arg-type]
    story = a_story(workflow.step("after", needs="each"))
    story.decide()
    return story


def test_the_first_case_that_holds_is_taken() -> None:
    story = a_switch({"no": "false", "yes": "steps.look.outputs.n > 2", "too": "true"})
    assert story.begun == ["which/yes/do"]
    assert story.step("which").branch == "yes"
    story.done("which/yes/do")
    assert story.phases["which"] == "Succeeded"
    assert story.begun == ["after"]


def test_where_no_case_holds_the_default_is_taken() -> None:
    assert a_switch({"no": "false"}, "other").begun == ["which/default/do"]


def test_where_no_case_holds_and_there_is_no_default_the_step_is_done() -> None:
    story = a_switch({"no": "false"})
    assert (story.step("which").phase, story.step("which").reason) == ("Succeeded", "NoCase")
    assert story.begun == ["after"]


def test_a_case_on_the_target_waits_until_the_target_was_seen() -> None:
    story = a_switch({"down": "target.status.readyReplicas == 0"})
    assert story.last is not None
    assert story.last.observe
    assert story.begun == []
    assert story.sees(a_target(ready=0)).store_first
    assert story.begun == ["which/down/do"]


def test_a_case_that_can_not_be_evaluated_fails_the_step() -> None:
    story = a_switch({"bad": "steps.look.outputs.missing > 1"}, "other")
    assert story.step("which").reason == "ExpressionFailed"
    assert story.end_state[0] == "Failed"


def test_which_branch_was_taken_is_stored_before_its_first_effect() -> None:
    story = a_switch({"yes": "steps.look.outputs.n > 2"})
    assert story.run.stored_step("which").branch == "yes"
    story.crash()
    assert story.begun == ["which/yes/do"]


def test_a_step_that_fails_in_a_branch_fails_the_switch() -> None:
    story = a_switch({"yes": "true"})
    story.failed("which/yes/do", Reason.REJECTED, "no")
    assert (story.step("which").phase, story.step("which").reason) == ("Failed", "Rejected")
    assert "which/yes/do: no" in (story.step("which").message or "")


def test_a_group_whose_steps_were_done_in_time_is_done_though_that_is_seen_late() -> None:
    story = a_switch({"yes": "true"}, timeout="1m")
    story.now += story.plan.timeout / 30
    story.done("which/yes/do")
    assert story.phases["which"] == "Succeeded"


def test_a_group_that_takes_too_long_fails() -> None:
    story = a_switch({"yes": "true"}, timeout="1m")
    story.failed("which/yes/do", Reason.UNAVAILABLE)
    story.now += story.plan.timeout / 2
    story.decide()
    assert story.step("which").reason in (None, "StepTimeout")
    while story.flying:
        story.done(next(iter(story.flying)))
    assert story.step("which").reason == "StepTimeout"


def test_items_are_done_one_after_the_other_unless_told_otherwise() -> None:
    story = an_each("['a', 'b']")
    assert story.begun == ["each/0/do"]
    assert story.step("each").outputs == {"items": ["a", "b"]}
    story.done("each/0/do")
    assert story.begun == ["each/1/do"]
    story.done("each/1/do")
    assert story.begun == ["after"]


def test_the_items_are_stored_before_the_first_effect_and_stay_the_same() -> None:
    workflow = a_workflow().step("look", "fake_read")
    workflow.each("each", needs="look", items_from="steps.look.outputs.found").template("one", one())
    story = a_story(workflow)
    story.decide()
    assert story.done("look", acted=False, found=["a", "b"]).store_first
    assert story.run.stored_step("each").outputs == {"items": ["a", "b"]}
    story.crash()
    assert story.begun == ["each/0/do"]


def test_steps_see_their_item_and_its_index() -> None:
    workflow = (
        a_workflow().parameter("name", default="web").each("each", items=["a", "=params.name"], parallelism=2)
    )
    body = steps().step("do", with_={"imageName": "=item", "replicas": "=index"})
    story = a_story(workflow.template("one", body))
    story.decide()
    given = [act.parameters for act in story.acts]
    assert given == [{"imageName": "a", "replicas": 0}, {"imageName": "web", "replicas": 1}]


def test_parallelism_counts_items_not_steps() -> None:
    body = steps().step("a").step("b").step("c", needs="a b")
    workflow = a_workflow().each("each", items_from="[1, 2, 3]", parallelism=2).template("one", body)
    story = a_story(workflow)
    story.decide()
    assert story.begun == ["each/0/a", "each/0/b", "each/1/a", "each/1/b"]
    story.done("each/1/a")
    assert story.begun == []
    story.done("each/1/b")
    assert story.begun == ["each/1/c"]
    story.done("each/1/c")
    assert story.begun == ["each/2/a", "each/2/b"]


def test_an_item_that_is_skipped_makes_room_for_the_next() -> None:
    body = steps().step("do", when="item == 2")
    story = a_story(a_workflow().each("each", items_from="[1, 2]").template("one", body))
    story.decide()
    assert story.phases == {"each": "Running", "each/0/do": "Skipped", "each/1/do": "Running"}


def test_an_item_that_may_fail_makes_room_for_the_next() -> None:
    body = steps().step("do", onFailure="Continue")
    story = a_story(a_workflow().each("each", items_from="[1, 2]").template("one", body))
    story.decide()
    story.failed("each/0/do")
    assert story.begun == ["each/1/do"]
    story.done("each/1/do")
    assert story.end_state[0] == "Succeeded"


def test_an_item_waiting_for_its_alternate_keeps_its_place() -> None:
    body = steps().step("do", onFailure="Alternate", alternate="plan-b")
    workflow = a_workflow().each("each", items_from="[1, 2]").template("one", body)
    story = a_story(workflow.template("plan-b", steps().step("other", with_={"replicas": "=item"})))
    story.decide()
    story.failed("each/0/do")
    assert story.begun == ["each/0/do/alternate/other"]
    assert story.acts[0].parameters == {"replicas": 1}
    story.done("each/0/do/alternate/other")
    assert story.begun == ["each/1/do"]


def test_where_there_is_nothing_to_do_it_is_done() -> None:
    story = an_each("[].filter(x, x > 1)")
    assert story.phases["each"] == "Succeeded"
    assert story.begun == ["after"]


def test_more_items_than_allowed_fail_the_step_before_anything_is_done() -> None:
    story = an_each("[1, 2, 3]", most=2)
    assert story.step("each").reason == "TooManyItems"
    assert "3 items; at most 2" in (story.step("each").message or "")
    assert story.begun == []


def test_what_gives_no_list_fails_the_step() -> None:
    workflow = a_workflow().step("look", "fake_read")
    workflow.each("each", needs="look", items_from="steps.look.outputs.found").template("one", one())
    story = a_story(workflow)
    story.decide()
    story.done("look", acted=False, found="a")
    assert story.step("each").reason == "ExpressionFailed"


def test_items_that_are_too_large_fail_the_step() -> None:
    workflow = a_workflow().step("look", "fake_read")
    workflow.each("each", needs="look", items_from="[steps.look.outputs.x, steps.look.outputs.x]")
    story = a_story(workflow.template("one", one()))
    story.decide()
    story.done("look", acted=False, x="x" * 50_000)
    assert story.step("each").reason == "OutputTooLarge"


def a_selection(retries: int = 0) -> Story:
    workflow = a_workflow().each(
        "pods", select="='app=' + run.name", most=7, retry={"limit": retries, "backoff": {"initial": "1s"}}
    )
    story = a_story(workflow.template("one", steps().step("do", with_={"imageName": "=item.name"})))
    story.decide()
    return story


def test_objects_are_selected_by_label_and_each_is_an_item() -> None:
    story = a_selection()
    (act,) = story.acts
    assert act.step.action is not None
    assert act.step.action.name == "select_objects"
    assert act.parameters == {"apiVersion": "v1", "kind": "Pod", "labelSelector": "app=run-1", "limit": 7}
    story.done("pods", acted=False, items=[{"name": "x", "uid": "1"}, {"name": "y", "uid": "2"}])
    assert [act.parameters for act in story.acts] == [{"imageName": "x"}]
    assert story.run.stored_step("pods").outputs == {
        "items": [{"name": "x", "uid": "1"}, {"name": "y", "uid": "2"}]
    }


def test_a_selection_that_failed_is_tried_again() -> None:
    story = a_selection(retries=1)
    story.failed("pods", Reason.CONFLICT)
    assert story.begun == []
    story.after("1s")
    assert (story.begun, story.acts[0].attempt) == (["pods"], 2)
    story.done("pods", acted=False, items=[{"name": "x", "uid": "1"}])
    assert story.begun == ["pods/0/do"]


def test_a_selection_is_asked_for_again_after_a_crash() -> None:
    story = a_selection()
    story.crash()
    assert story.begun == ["pods"]


def test_a_loop_in_a_loop_has_items_of_its_own() -> None:
    inner = steps().each("inner", "leaf", items_from="[item * 10, item * 10 + 1]")
    leaf = steps().step("do", with_={"replicas": "=item", "labels": {"i": "=index"}})
    workflow = a_workflow().each("outer", "mid", items_from="[1, 2]", parallelism=2)
    story = a_story(workflow.template("mid", inner).template("leaf", leaf))
    story.decide()
    assert story.begun == ["outer/0/inner/0/do", "outer/1/inner/0/do"]
    assert [act.parameters["replicas"] for act in story.acts] == [10, 20]
    story.done("outer/1/inner/0/do")
    assert [act.parameters for act in story.acts] == [{"replicas": 21, "labels": {"i": 1}}]


def test_steps_of_a_template_see_each_other_and_those_the_using_step_sees() -> None:
    body = (
        steps()
        .step("first", "fake_read")
        .step(
            "then",
            needs="first",
            with_={"replicas": "=steps.first.outputs.n + steps.look.outputs.n"},
        )
    )
    workflow = a_workflow().step("look", "fake_read").each("each", needs="look", items_from="[1, 2]")
    story = a_story(workflow.template("one", body))
    story.decide()
    story.done("look", acted=False, n=1)
    story.done("each/0/first", acted=False, n=10)
    assert story.acts[0].parameters == {"replicas": 11}


def test_a_step_of_a_template_hides_one_outside_of_the_same_name() -> None:
    body = (
        steps()
        .step("look", "fake_read")
        .step("do", needs="look", with_={"replicas": "=steps.look.outputs.n"})
    )
    workflow = a_workflow().step("look", "fake_read").switch("s", {"t": "true"}, "look").template("t", body)
    story = a_story(workflow)
    story.decide()
    story.done("look", acted=False, n=1)
    story.done("s/t/look", acted=False, n=2)
    assert story.acts[0].parameters == {"replicas": 2}


def test_items_that_make_the_run_too_large_fail_the_step() -> None:
    workflow = a_workflow()
    for at in range(12):
        workflow.each(f"e{at}", items_from="['" + "','".join("x" * 100) + "']", parallelism=100)
    story = a_story(workflow.template("one", one()))
    story.decide()
    reasons = [story.step(f"e{at}").reason for at in range(12)]
    assert "TooManyItems" in reasons
    assert story.end_state[0] in ("Running", "Failed")
    assert len(story.run.status.steps) <= 1032


def asking(items: int, approvals: int) -> WorkflowBuilder:
    """A Workflow that asks so often for each of so many items."""
    body = steps()
    for at in range(approvals):
        body.approval(f"ask{at}")
    workflow = a_workflow().each("each", items_from=f"{list(range(items))}", parallelism=100)
    return workflow.template("one", body)


def test_each_of_a_hundred_items_can_be_approved() -> None:
    story = a_story(asking(100, 2))
    story.decide()
    for at in range(100):
        story.answer(f"each/{at}/ask0", Decision.APPROVE)
        story.answer(f"each/{at}/ask1", Decision.APPROVE)
    Control.from_wire(story.run.control.wire())
    story.decide()
    assert story.step("each").phase == "Succeeded"


def test_more_questions_than_a_run_can_hold_answers_to_fail_the_step_before_any_is_asked() -> None:
    story = a_story(asking(100, 3))
    story.decide()
    assert [record.name for record in story.run.status.steps] == ["each"]
    assert story.step("each").reason == "TooManyItems"
    assert "asks for 300 approvals; at most 256" in (story.step("each").message or "")


@pytest.mark.parametrize("count", [3, 11])
def test_so_does_a_decision_that_would_add_as_many(count: int) -> None:
    body, branch = steps().switch("which", {"t": "true"}, onFailure="Continue"), steps()
    for at in range(count):
        branch.approval(f"ask{at}")
    workflow = a_workflow().each("each", items_from=f"{list(range(100))}", parallelism=100)
    story = a_story(workflow.template("one", body).template("t", branch))
    story.decide()
    assert story.step("each").phase == "Running"
    kinds = [record.phase for record in story.run.status.steps if "/ask" in record.name]
    assert 0 < len(kinds) <= 256
    assert "TooManyItems" in {record.reason for record in story.run.status.steps}
    WorkflowExecutionStatus.from_wire(story.run.status.wire())


def test_a_feature_that_is_off_holds_a_loop_back_until_it_is_on_again() -> None:
    workflow = a_workflow().each("each", items_from="[1]").step("beside").template("one", one())
    story = a_story(workflow)
    story.off = frozenset({Feature.FOR_EACH})
    story.decide()
    assert story.begun == ["beside"]
    assert (story.step("each").phase, story.step("each").reason) == ("Pending", "FeatureOff")
    story.off = frozenset()
    story.decide()
    assert story.begun == ["each/0/do"]
    assert story.step("each").reason is None


@pytest.mark.parametrize("remedy", [Remedy.SKIP, Remedy.RETRY])
def test_while_a_person_has_to_decide_nothing_is_begun_not_even_within_groups(remedy: Remedy) -> None:
    workflow = a_workflow().step("a", onFailure="Manual").each("each", items_from="[1, 2]")
    story = a_story(workflow.template("one", steps().step("x").step("y", needs="x")))
    story.decide()
    story.failed("a")
    story.done("each/0/x")
    assert story.begun == []
    story.says("a", remedy)
    assert "each/0/y" in story.begun
