"""What a failed attempt leads to: retries and their pauses, the same attempt again, timeouts, late outcomes."""

from __future__ import annotations

from datetime import timedelta

import pytest

from builders import NOW, a_story, a_workflow
from kubernaut.api.reasons import Reason
from kubernaut.api.workflow import Backoff, Retry
from kubernaut.core.retry import delay, retry_at
from kubernaut.core.run import Outcome, OutcomeKind


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


@pytest.mark.parametrize(
    ("initial", "factor", "longest", "pauses"),
    [
        (1, 2, 30, [1, 2, 4, 8, 16, 30, 30]),
        (0.25, 3, 60, [0.25, 0.75, 2.25, 6.75, 20.25, 60]),
        (5, 1, 30, [5, 5, 5]),
        (40, 2, 30, [30, 30]),
        (0, 10, 30, [0, 0, 0]),
    ],
)
def test_pauses_grow_by_the_factor_up_to_the_longest(
    initial: float, factor: int, longest: float, pauses: list[float]
) -> None:
    retry = Retry(limit=20, backoff=Backoff(initial=seconds(initial), factor=factor, max=seconds(longest)))
    assert [delay(retry, attempt + 1) for attempt in range(len(pauses))] == [
        seconds(pause) for pause in pauses
    ]


@pytest.mark.parametrize(
    "reason",
    [
        Reason.INVALID_PARAMETERS,
        Reason.MISSING_RIGHT,
        Reason.PAUSED,
        Reason.OUTPUT_TOO_LARGE,
        Reason.STEP_TIMEOUT,
        Reason.EXPRESSION_FAILED,
    ],
)
def test_what_only_a_person_can_mend_is_not_tried_again(reason: Reason) -> None:
    assert retry_at(Retry(limit=20), 1, reason, NOW) is None


@pytest.mark.parametrize(("attempt", "again"), [(1, 1), (2, 2), (3, None)])
def test_the_limit_counts_the_retries(attempt: int, again: int | None) -> None:
    at = retry_at(Retry(limit=2), attempt, Reason.CONFLICT, NOW)
    assert at == (None if again is None else NOW + seconds(again))


def test_a_failed_attempt_is_tried_again_after_its_pause() -> None:
    story = a_story(a_workflow().step("a", retries=2, initial="3s"))
    story.decide()
    decision = story.failed("a", message="replicas were changed")
    record = story.step("a")
    assert (record.phase, record.attempt, record.reason) == ("Waiting", 2, "Conflict")
    assert record.retry_at == NOW + seconds(3)
    assert record.message == "replicas were changed"
    assert decision.wake_at == NOW + seconds(3)
    assert story.after("2999ms").acts == ()
    story.after("1ms")
    assert [act.attempt for act in story.acts] == [2]
    assert story.step("a").retry_at is None


def test_when_all_retries_are_used_the_step_has_failed() -> None:
    story = a_story(a_workflow().step("a", retries=1))
    story.decide()
    story.failed("a")
    story.after("1s")
    story.failed("a", Reason.REJECTED, "spec.replicas: must not be negative")
    assert story.step("a").phase == "Failed"
    assert story.step("a").finished_at == story.now
    assert story.end_state == ("Failed", "NotFixed", "Rejected")
    assert story.run.status.message == "Step a: spec.replicas: must not be negative."


def test_an_outcome_without_a_reason_is_an_internal_error() -> None:
    story = a_story(a_workflow().step("a"))
    story.decide()
    story.end("a", Outcome(OutcomeKind.FAILED, "oh"))
    assert story.step("a").reason == "InternalError"


@pytest.mark.parametrize("reason", [Reason.UNAVAILABLE, Reason.UNKNOWN_OUTCOME, Reason.STOPPED])
def test_trouble_that_is_not_the_steps_fault_costs_no_attempt(reason: Reason) -> None:
    story = a_story(a_workflow().step("a"))
    story.decide()
    for _ in range(5):
        decision = story.failed("a", reason)
        assert (story.step("a").phase, story.step("a").attempt) == ("Waiting", 1)
        assert decision.wake_at == story.now + seconds(2)
        story.after("2s")
        assert [act.attempt for act in story.acts] == [1]


def test_a_timeout_bounds_all_attempts_of_a_step() -> None:
    story = a_story(a_workflow().step("a", timeout="10s"))
    assert story.decide().acts[0].deadline == NOW + seconds(10)
    story.failed("a", Reason.UNAVAILABLE, "the server is away")
    story.after("9s")
    assert story.acts[0].deadline == NOW + seconds(10)
    story.failed("a", Reason.UNAVAILABLE, "the server is away")
    story.after("1s")
    assert story.step("a").reason == "StepTimeout"
    assert story.step("a").message == "not done within 10s; last: the server is away"


def test_a_step_that_is_never_heard_of_again_times_out() -> None:
    story = a_story(a_workflow().step("a", timeout="10s"))
    story.decide()
    story.flying.clear()
    story.now += seconds(10)
    story.decide()
    assert story.step("a").message == "not done within 10s"
    assert story.end_state == ("Failed", "NotFixed", "StepTimeout")


def test_an_effect_that_ran_into_its_timeout_is_not_tried_again_because_it_may_have_happened() -> None:
    story = a_story(a_workflow().step("a", "fake_pinned", retries=5, timeout="10s"))
    story.decide()
    story.prepared("a", pod="x")
    story.failed("a", Reason.STEP_TIMEOUT)
    assert (story.step("a").phase, story.step("a").attempt) == ("Failed", 1)


def test_an_outcome_that_comes_twice_changes_nothing() -> None:
    story = a_story(a_workflow().step("a", retries=3).step("b", needs="a"))
    story.decide()
    failed = Outcome(OutcomeKind.FAILED, "no", Reason.CONFLICT, attempt=1)
    story.failed("a")
    before = story.run.status
    assert story.decide(a=failed).status == before
    story.after("1s")
    story.flying.clear()
    story.decide(a=failed)
    assert story.step("a").attempt == 2
    assert story.step("a").phase == "Running"


def test_an_outcome_of_an_earlier_attempt_says_nothing_of_an_effect_under_way() -> None:
    story = a_story(a_workflow().step("a", retries=3))
    story.decide()
    story.failed("a")
    story.after("1s")
    story.decide(a=Outcome(OutcomeKind.FAILED, "no", Reason.CONFLICT))
    assert (story.step("a").phase, story.step("a").attempt) == ("Running", 2)


def test_what_was_done_is_done_whichever_attempt_did_it() -> None:
    story = a_story(a_workflow().step("a", retries=3))
    story.decide()
    story.failed("a")
    story.after("1s")
    story.flying.clear()
    story.decide(a=Outcome(OutcomeKind.DONE, "done", acted=True, attempt=1))
    assert story.step("a").phase == "Succeeded"
    assert story.step("a").changed == ["an object was changed"]


def test_outcomes_of_steps_that_do_not_exist_or_did_not_begin_change_nothing() -> None:
    story = a_story(a_workflow().step("a").step("b", needs="a"))
    before = story.decide().status
    late = Outcome(OutcomeKind.DONE, acted=True)
    assert story.decide(b=late, zz=late).status == before


def test_an_outcome_of_putting_back_says_nothing_of_the_way_forward() -> None:
    story = a_story(a_workflow().step("a"))
    story.decide()
    story.flying.clear()
    story.decide(a=Outcome(OutcomeKind.DONE, acted=True, undo=True))
    assert story.step("a").phase == "Running"


def test_an_outcome_of_putting_back_does_not_undo_a_success_on_the_way_forward() -> None:
    story = a_story(a_workflow().step("a").step("b", needs="a"))
    story.decide()
    story.done("a")
    story.decide(a=Outcome(OutcomeKind.DONE, acted=True, undo=True))
    assert story.step("a").phase == "Succeeded"


# Actions that pin what they act on before they act.


def test_a_pinned_step_is_prepared_then_stored_then_performed() -> None:
    story = a_story(a_workflow().step("a", "fake_pinned"))
    story.decide()
    assert story.begun == ["prepare a"]
    decision = story.prepared("a", pod="web-1", uid="u1")
    assert story.begun == ["a"]
    assert decision.store_first
    assert story.acts[0].intent == {"pod": "web-1", "uid": "u1"}
    assert story.run.stored_step("a").intent == {"pod": "web-1", "uid": "u1"}
    story.done("a")
    assert story.end_state == ("Succeeded", "Inconclusive", "NoExpectation")


def test_a_pinned_step_with_nothing_to_pin_is_performed_too() -> None:
    story = a_story(a_workflow().step("a", "fake_pinned"))
    story.decide()
    story.prepared("a")
    assert story.begun == ["a"]
    assert story.acts[0].intent == {}


def test_after_a_crash_a_pinned_step_acts_on_the_same_object() -> None:
    story = a_story(a_workflow().step("a", "fake_pinned"))
    story.decide()
    story.prepared("a", pod="web-1")
    story.crash()
    assert story.begun == ["a"]
    assert story.acts[0].intent == {"pod": "web-1"}


def test_what_is_pinned_is_not_replaced_by_a_late_answer() -> None:
    story = a_story(a_workflow().step("a", "fake_pinned"))
    story.decide()
    story.prepared("a", pod="web-1")
    story.flying.clear()
    story.decide(a=Outcome(OutcomeKind.PREPARED, intent={"pod": "web-2"}))
    assert story.step("a").intent == {"pod": "web-1"}


def test_a_failed_attempt_pins_anew() -> None:
    story = a_story(a_workflow().step("a", "fake_pinned", retries=1))
    story.decide()
    story.prepared("a", pod="web-1")
    story.failed("a", Reason.PRECONDITION_FAILED)
    assert story.step("a").intent is None
    story.after("1s")
    assert story.begun == ["prepare a"]


@pytest.mark.parametrize("reason", [Reason.INTERNAL, Reason.UNKNOWN_OUTCOME])
def test_an_attempt_that_may_have_had_its_effect_keeps_what_it_pinned(reason: Reason) -> None:
    story = a_story(a_workflow().step("a", "fake_pinned", retries=1))
    story.decide()
    story.prepared("a", pod="web-1")
    story.failed("a", reason)
    story.after("2s")
    assert story.begun == ["a"]
    assert story.acts[0].intent == {"pod": "web-1"}
