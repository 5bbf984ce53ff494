"""What begins when: order, parallelism, conditions, outputs of earlier steps."""

from __future__ import annotations

import pytest

from builders import NOW, a_story, a_target, a_workflow


def test_steps_without_dependencies_begin_together() -> None:
    story = a_story(a_workflow().step("a").step("b"))
    story.decide()
    assert story.begun == ["a", "b"]


def test_a_step_waits_for_all_it_depends_on() -> None:
    story = a_story(a_workflow().step("c", needs="a b").step("a").step("b"))
    story.decide()
    assert story.begun == ["a", "b"]
    story.done("a")
    assert story.begun == []
    story.done("b")
    assert story.begun == ["c"]
    assert story.acts[0].attempt == 1


def test_no_more_steps_than_parallelism_allows_run_at_once() -> None:
    story = a_story(a_workflow().set(parallelism=2).step("a").step("b").step("c"))
    story.decide()
    assert story.begun == ["a", "b"]
    story.done("b")
    assert story.begun == ["c"]


def test_waiting_steps_take_no_room() -> None:
    workflow = a_workflow().set(parallelism=1).wait("w", "1m").approval("ask").step("a")
    story = a_story(workflow)
    story.decide()
    assert story.begun == ["a"]
    assert story.phases == {"w": "Waiting", "ask": "Waiting", "a": "Running"}


def test_a_retry_waits_for_room_too() -> None:
    story = a_story(a_workflow().set(parallelism=1).step("a", retries=3).step("b"))
    story.decide()
    story.failed("a")
    assert story.begun == ["b"]
    story.after("10s")
    assert story.begun == []
    assert story.phases["a"] == "Waiting"
    story.done("b")
    assert story.begun == ["a"]


def test_an_effect_that_is_under_way_is_not_begun_again() -> None:
    story = a_story(a_workflow().step("a"))
    story.decide()
    story.after("1s")
    assert story.begun == []


def test_when_true_lets_the_step_begin() -> None:
    story = a_story(
        a_workflow().parameter("n", "integer", required=True).step("a", when="params.n > 3"), n="4"
    )
    story.decide()
    assert story.begun == ["a"]


def test_when_false_skips_the_step_and_lets_on_those_behind_it() -> None:
    story = a_story(a_workflow().step("a", when="1 > 2").step("b", needs="a"))
    story.decide()
    assert story.phases == {"a": "Skipped", "b": "Running"}
    assert story.step("a").reason == "WhenFalse"
    assert story.step("a").finished_at == NOW
    assert story.step("a").attempt == 0


def test_a_when_that_fails_fails_the_step_before_anything_happened() -> None:
    story = a_story(a_workflow().rolling_back().step("a").step("b", needs="a", when="steps.a.outputs.x > 1"))
    story.decide()
    story.done("a", acted=False)
    assert story.step("b").phase == "Failed"
    assert story.step("b").reason == "ExpressionFailed"
    assert story.step("b").attempt == 0
    assert "steps.a.outputs.x > 1" in (story.step("b").message or "")


@pytest.mark.parametrize("value", [1, "true", None, {"a": 1}])
def test_a_when_that_is_neither_true_nor_false_fails_the_step(value: object) -> None:
    story = a_story(a_workflow().step("a", "fake_read").step("b", needs="a", when="steps.a.outputs.flag"))
    story.decide()
    story.done("a", acted=False, flag=value)
    assert story.step("b").reason == "ExpressionFailed"
    assert "not true or false" in (story.step("b").message or "")


def test_a_when_on_the_target_waits_until_the_target_was_seen() -> None:
    story = a_story(a_workflow().step("a", when="target.status.readyReplicas == 0"))
    decision = story.decide()
    assert decision.observe
    assert story.begun == []
    story.sees(a_target(ready=0))
    assert story.begun == ["a"]


def test_with_on_the_target_waits_until_the_target_was_seen() -> None:
    story = a_story(a_workflow().step("a", with_={"replicas": "=target.spec.replicas * 2"}))
    assert story.decide().observe
    story.sees(a_target(replicas=3))
    assert story.acts[0].parameters == {"replicas": 6}


def test_a_begun_step_whose_target_must_be_seen_again_asks_for_it() -> None:
    story = a_story(a_workflow().step("a", with_={"replicas": "=target.spec.replicas * 2"}, retries=1))
    story.decide()
    story.sees(a_target())
    story.failed("a")
    decision = story.after("1s")
    assert decision.observe
    assert story.begun == []
    story.sees(a_target(replicas=5))
    assert story.acts[0].parameters == {"replicas": 10}


def test_outputs_feed_later_steps() -> None:
    workflow = a_workflow().step("look", "fake_read")
    workflow.step(
        "act", needs="look", with_={"replicas": "=steps.look.outputs.found + 1", "imageName": "==x"}
    )
    story = a_story(workflow)
    story.decide()
    story.done("look", acted=False, found=4)
    assert story.acts[0].parameters == {"replicas": 5, "imageName": "=x"}
    assert story.step("look").outputs == {"found": 4}


def test_outputs_of_a_skipped_step_are_empty_and_its_phase_is_known() -> None:
    workflow = a_workflow().step("a", when="false")
    workflow.step("b", needs="a", when="!has(steps.a.outputs.x) && steps.a.phase == 'Skipped'")
    story = a_story(workflow)
    story.decide()
    assert story.begun == ["b"]


def test_parameters_that_turn_out_not_to_fit_fail_the_step() -> None:
    workflow = a_workflow().step("look", "fake_read")
    workflow.step("act", needs="look", with_={"labels": {"x": "=steps.look.outputs.found"}})
    story = a_story(workflow)
    story.decide()
    story.done("look", acted=False, found="many")
    assert story.step("act").reason == "InvalidParameters"
    assert (story.step("act").message or "").startswith("fake_marked: with.labels.x: ")
    assert story.begun == []


def test_a_value_read_from_the_cluster_that_does_not_fit_is_not_told() -> None:
    workflow = a_workflow().step("look", "fake_read")
    workflow.step("act", needs="look", with_={"imageName": "=steps.look.outputs.found"})
    story = a_story(workflow)
    story.decide()
    story.done("look", acted=False, found="hunter2?")
    message = story.step("act").message or ""
    assert message.startswith("fake_marked: with.imageName: what the expression gives does not fit")
    assert "hunter2" not in message


def test_an_expression_under_with_that_fails_fails_the_step() -> None:
    workflow = a_workflow().step("look", "fake_read")
    workflow.step("act", needs="look", with_={"replicas": "=steps.look.outputs.found"})
    story = a_story(workflow)
    story.decide()
    story.done("look", acted=False)
    assert story.step("act").reason == "ExpressionFailed"
    assert story.end_state == ("Failed", "NotFixed", "ExpressionFailed")


def test_what_a_failure_forestalls_in_the_same_decision_is_not_begun() -> None:
    story = a_story(
        a_workflow().step("look", "fake_read").step("a", needs="look").approval("ask", expires="1s")
    )
    story.decide()
    story.now += story.plan.timeout / 100
    story.done("look", acted=False)
    assert story.begun == []
    assert story.phases == {"look": "Succeeded", "a": "Skipped", "ask": "Failed"}
    assert story.end_state == ("Failed", "Declined", "ApprovalExpired")


def test_a_retry_that_a_failure_forestalls_in_the_same_decision_is_not_begun() -> None:
    story = a_story(a_workflow().step("a", retries=1, initial="5s").approval("ask", expires="5s"))
    story.decide()
    story.failed("a")
    story.after("5s")
    assert story.begun == []
    assert story.phases == {"a": "Skipped", "ask": "Failed"}


def test_progress_counts_steps_that_are_over() -> None:
    story = a_story(a_workflow().step("a").step("b", needs="a", when="false").step("c", needs="b"))
    assert story.decide().status.progress == "0/3"
    assert story.done("a").status.progress == "2/3"


def test_only_steps_that_began_have_a_record() -> None:
    story = a_story(a_workflow().step("a").step("b", needs="a"))
    assert [record.name for record in story.decide().status.steps] == ["a"]


def test_a_finished_run_stays_as_it_is() -> None:
    story = a_story(a_workflow().step("a"))
    story.decide()
    final = story.done("a").status
    story.control(cancel=True)
    story.now += story.plan.timeout
    decision = story.decide()
    assert decision.status == final
    assert (decision.acts, decision.wake_at, decision.observe) == ((), None, False)


def test_room_that_is_found_late_in_a_decision_is_used_at_once() -> None:
    workflow = a_workflow().set(parallelism=1).step("a", retries=1, initial="10s", longest="10s")
    story = a_story(workflow.step("b", timeout="10s", onFailure="Continue"))
    story.decide()
    story.failed("a")
    assert story.begun == ["b"]
    story.flying.clear()
    decision = story.after("10s")
    assert story.phases == {"a": "Waiting", "b": "Failed"}
    assert decision.wake_at == story.now
    story.decide()
    assert story.begun == ["a"]
