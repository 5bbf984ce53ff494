"""When the status has to be written before the next effect, and when it may follow."""

from __future__ import annotations

import pytest

from builders import Story, WorkflowBuilder, a_story, a_target, a_workflow
from kubernaut.api.execution import StepPhase, StepStatus
from kubernaut.api.reasons import Reason
from kubernaut.core.storing import must_store_first, worth_telling


def begun(workflow: WorkflowBuilder) -> Story:
    story = a_story(workflow)
    assert story.decide().store_first
    return story


def test_the_claim_is_stored_before_the_first_effect() -> None:
    assert begun(a_workflow().step("a")).run.stored.workflow is not None


def test_nothing_has_to_be_stored_where_no_effect_follows() -> None:
    story = a_story(a_workflow().wait("w", "1m"))
    assert not story.decide().store_first


def test_marked_steps_run_on_and_the_status_follows() -> None:
    story = begun(a_workflow().step("a").step("b", needs="a").step("c", needs="b"))
    assert not story.done("a").store_first
    assert not story.done("b").store_first
    assert story.begun == ["c"]


def test_a_marked_step_that_changed_nothing_left_no_mark_and_is_stored() -> None:
    story = begun(a_workflow().step("a").step("b", needs="a"))
    assert story.done("a", acted=False).store_first


def test_what_a_read_only_step_saw_is_stored_before_an_effect_that_may_change_it() -> None:
    story = begun(a_workflow().step("a", "fake_read").step("b", needs="a"))
    assert story.done("a", acted=False).store_first


def test_outputs_that_later_steps_use_are_stored() -> None:
    workflow = a_workflow().step("a").step("b", needs="a").step("c", needs="b", when="has(steps.a.outputs.x)")
    story = begun(workflow)
    assert story.done("a", x=1).store_first


def test_outputs_that_expectations_use_are_stored() -> None:
    story = begun(a_workflow().step("a").step("b", needs="a").verify("steps.a.outputs.x == 1"))
    assert story.done("a", x=1).store_first


def test_outputs_that_nobody_uses_are_not_waited_for() -> None:
    story = begun(a_workflow().step("a").step("b", needs="a"))
    assert not story.done("a", x=1).store_first


def test_a_step_with_a_condition_is_stored_before_it_begins() -> None:
    story = begun(a_workflow().step("a").step("b", needs="a", when="true"))
    assert story.done("a").store_first
    assert story.begun == ["b"]


def test_a_step_that_hangs_on_the_target_is_stored_before_it_begins() -> None:
    story = begun(a_workflow().step("a").step("b", needs="a", with_={"replicas": "=target.spec.replicas"}))
    story.done("a")
    assert story.sees(a_target()).store_first
    assert story.begun == ["b"]


def test_a_step_that_was_decided_and_stored_is_not_stored_again_when_it_succeeds() -> None:
    story = begun(a_workflow().step("a", when="true").step("b", needs="a"))
    assert not story.done("a").store_first


def test_a_skipped_step_is_stored_before_what_follows() -> None:
    story = begun(a_workflow().step("a").step("s", needs="a", when="false").step("b", needs="s"))
    assert story.done("a").store_first


def test_a_wait_that_is_over_is_stored_before_what_follows() -> None:
    story = a_story(a_workflow().step("a").wait("w", "1s").step("b", needs="w"))
    story.decide()
    story.store()
    assert story.after("1s").store_first


def test_an_intent_is_stored_before_the_effect_and_success_behind_it_is_not_waited_for() -> None:
    story = begun(a_workflow().step("a", "fake_pinned").step("b", needs="a"))
    assert story.prepared("a", pod="x").store_first
    assert not story.done("a").store_first


def test_a_new_attempt_is_stored_before_it_begins() -> None:
    story = begun(a_workflow().step("a", retries=1))
    story.failed("a")
    assert story.after("1s").store_first


def test_the_same_attempt_goes_on_without_storing() -> None:
    story = begun(a_workflow().step("a"))
    story.failed("a", Reason.UNAVAILABLE)
    assert not story.after("2s").store_first


def test_beside_an_attempt_that_goes_on_others_begin_without_storing() -> None:
    story = begun(a_workflow().step("a").step("b").step("c", needs="b"))
    story.failed("a", Reason.UNAVAILABLE)
    assert not story.done("b").store_first
    assert story.begun == ["c"]


@pytest.mark.parametrize(("stored", "first"), [(1, True), (2, False)])
def test_a_later_attempt_that_met_trouble_is_stored_unless_it_was(stored: int, first: bool) -> None:
    story = begun(a_workflow().step("a"))
    trouble = StepStatus(name="a", phase=StepPhase.WAITING, attempt=2, reason="Unavailable")
    known = story.run.stored.replace(steps=[StepStatus(name="a", phase=StepPhase.RUNNING, attempt=stored)])
    assert must_store_first(story.plan.steps, known, known.replace(steps=[trouble])) is first


def test_a_failure_is_stored_before_what_was_begun_is_finished() -> None:
    story = begun(a_workflow().step("a").step("b"))
    story.failed("b", Reason.UNKNOWN_OUTCOME)
    story.failed("a", Reason.REJECTED)
    assert story.after("2s").store_first
    assert story.begun == ["b"]


def test_trouble_that_passes_is_not_worth_a_write_and_progress_is() -> None:
    story = begun(a_workflow().step("a").step("b", needs="a"))
    story.failed("a", Reason.UNAVAILABLE)
    story.after("2s")
    assert not worth_telling(story.run.stored, story.run.status)
    story.done("a")
    assert worth_telling(story.run.stored, story.run.status)


def test_a_hold_is_worth_a_write() -> None:
    story = begun(a_workflow().step("a"))
    story.control(paused=True)
    story.decide()
    assert worth_telling(story.run.stored, story.run.status)
