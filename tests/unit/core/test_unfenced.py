"""Effects that can't be fenced: what is stored before, and what follows where their outcome is not known."""

from __future__ import annotations

from typing import Any

import pytest

from builders import FakeCatalogue, Story, a_story, a_workflow
from kubernaut.api.reasons import Reason
from kubernaut.core.compiling import compile_plan
from kubernaut.core.plan import PlanInvalid

UNKNOWN = [Reason.UNKNOWN_OUTCOME, Reason.INTERNAL]


def about_to_send(*, repeatable: bool = False, **step: Any) -> Story:
    """A run whose step is under way, its intent stored."""
    story = a_story(a_workflow().step("a", "fake_intent", **step).step("b", needs="a"))
    story.decide()
    assert story.begun == ["prepare a"]
    assert story.prepared("a", key="k", repeatable=repeatable).store_first
    assert story.begun == ["a"]
    return story


def test_that_it_is_about_to_be_sent_is_stored_before_it_is() -> None:
    story = about_to_send()
    assert story.run.stored_step("a").intent == {"key": "k", "repeatable": False}


def test_its_success_is_stored_before_anything_follows() -> None:
    assert about_to_send().done("a").store_first


@pytest.mark.parametrize("reason", UNKNOWN)
def test_where_it_is_not_known_whether_it_happened_it_fails_and_is_not_sent_again(reason: Reason) -> None:
    story = about_to_send(retries=5)
    story.failed("a", reason)
    assert story.begun == []
    assert (story.step("a").phase, story.step("a").reason) == ("Failed", reason.value)
    assert story.end_state[0] == "Failed"


@pytest.mark.parametrize("reason", UNKNOWN[:1])
def test_with_on_unknown_retry_it_is_sent_again_as_the_same_attempt(reason: Reason) -> None:
    story = about_to_send(onUnknown="Retry")
    story.failed("a", reason)
    story.after("2s")
    assert story.begun == ["a"]
    assert (story.acts[0].attempt, story.acts[0].intent) == (1, {"key": "k", "repeatable": False})


def test_what_does_no_harm_is_repeated_by_itself() -> None:
    story = about_to_send(repeatable=True)
    story.failed("a", Reason.UNKNOWN_OUTCOME)
    story.after("2s")
    assert story.begun == ["a"]


def test_what_was_not_sent_is_sent_as_the_same_attempt() -> None:
    story = about_to_send()
    story.failed("a", Reason.UNAVAILABLE)
    story.after("2s")
    assert story.begun == ["a"]
    assert story.acts[0].attempt == 1


def test_an_answer_that_is_a_failure_is_tried_again_with_an_intent_of_its_own() -> None:
    story = about_to_send(retries=1)
    story.failed("a", Reason.UNEXPECTED_ANSWER)
    story.after("1s")
    assert story.begun == ["prepare a"]
    assert story.acts[0].attempt == 2


def test_after_a_crash_it_fails_with_what_is_unknown() -> None:
    story = about_to_send()
    story.crash()
    assert story.begun == []
    assert (story.step("a").phase, story.step("a").reason) == ("Failed", "UnknownOutcome")
    assert "whether it was is not known" in (story.step("a").message or "")
    assert story.step("b").phase == "Skipped" or story.end_state[0] == "Failed"


def test_after_a_crash_it_is_sent_again_where_that_is_wanted() -> None:
    story = about_to_send(onUnknown="Retry")
    story.crash()
    assert story.begun == ["a"]
    assert story.acts[0].attempt == 1
    story.done("a")
    assert story.begun == ["b"]


def test_after_a_crash_what_does_no_harm_is_repeated() -> None:
    story = about_to_send(repeatable=True)
    story.crash()
    assert story.begun == ["a"]


def test_a_crash_before_the_intent_was_stored_leaves_nothing_open() -> None:
    story = a_story(a_workflow().step("a", "fake_intent"))
    story.decide()
    story.crash()
    assert story.begun == ["prepare a"]


def test_a_cancelled_run_says_that_it_may_have_happened() -> None:
    story = about_to_send()
    story.control(cancel=True)
    story.crash()
    assert story.begun == []
    assert (story.step("a").phase, story.step("a").reason) == ("Failed", "UnknownOutcome")
    assert story.end_state == ("Cancelled", "Inconclusive", "Cancelled")


def test_a_cancelled_run_finds_out_where_repeating_does_no_harm() -> None:
    story = about_to_send(repeatable=True)
    story.control(cancel=True)
    story.crash()
    assert story.begun == ["a"]
    story.done("a")
    assert story.end_state[0] == "Cancelled"


def test_a_cancelled_run_does_not_send_what_was_not_about_to_be_sent() -> None:
    story = a_story(a_workflow().step("a", "fake_intent"))
    story.decide()
    story.control(cancel=True)
    story.crash()
    assert story.begun == []
    assert story.step("a").phase == "Skipped"


@pytest.mark.parametrize("action", ["fake_marked", "fake_pinned", "fake_read", "fake_job"])
def test_on_unknown_is_refused_where_it_never_comes_to_that(action: str) -> None:
    spec = a_workflow().step("a", action, onUnknown="Retry").spec()
    with pytest.raises(PlanInvalid) as caught:
        compile_plan(spec, FakeCatalogue())
    (problem,) = caught.value.problems
    assert (problem.reason, problem.path) == (Reason.INVALID_SPEC, "spec.steps[0].onUnknown")
