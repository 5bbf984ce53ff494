"""A step that creates an object and waits for its end: once, without a worker, and stopped where it has to be."""

from __future__ import annotations

from typing import Any

import pytest

from builders import GONE, Story, a_dry_story, a_story, a_workflow, an_object
from kubernaut.api.reasons import Reason
from kubernaut.core.recalling import recalled, to_recall
from kubernaut.core.run import Decision, Hold, Outcome, OutcomeKind, Watched

JOB = Watched("batch/v1", "Job", "job")
FOUND = Outcome(
    OutcomeKind.DONE,
    "found",
    None,
    True,
    ("created",),
    awaits={"apiVersion": "batch/v1", "kind": "Job", "name": "job", "uid": "uid-of-job"},
)


def a_job(**more: Any) -> Story:
    story = a_story(a_workflow().step("job", "fake_job", **more).step("after", needs="job"))
    story.decide()
    return story


def a_job_that_runs(**more: Any) -> Story:
    story = a_job(**more)
    story.awaits("job")
    return story


def seen(story: Story, phase: str = "", uid: str = "uid-of-job") -> Decision:
    story.objects = {JOB: an_object(uid, status={"phase": phase})}
    return story.decide()


def stopped(story: Story, *, acted: bool = True) -> Decision:
    return story.end("job", Outcome(OutcomeKind.DONE, "Job job: deleted", None, acted))


def test_it_waits_for_the_object_and_takes_no_room() -> None:
    story = a_story(a_workflow().set(parallelism=1).step("job", "fake_job").step("b"))
    story.decide()
    assert story.begun == ["job"]
    decision = story.awaits("job")
    assert decision.objects == {JOB}
    assert (story.step("job").phase, story.step("job").changed) == ("Waiting", ["created"])
    assert story.begun == ["b"]
    assert decision.store_first


def test_its_outcome_is_read_when_the_object_has_ended() -> None:
    story = a_job_that_runs()
    seen(story)
    assert story.begun == []
    seen(story, "Complete")
    assert (story.begun, story.acts[0].intent) == (["job"], dict(FOUND.awaits or {}))
    story.done("job", exitCode=0)
    assert story.step("job").outputs == {"exitCode": 0}
    assert story.begun == ["after"]


def test_it_is_read_again_where_it_went_on_after_all() -> None:
    story = a_job_that_runs()
    seen(story, "Complete")
    story.objects = {}
    decision = story.awaits("job")
    assert (story.step("job").phase, story.begun) == ("Waiting", [])
    assert decision.objects == {JOB}


@pytest.mark.parametrize("now", [GONE, an_object("another", status={})])
def test_one_that_is_gone_or_another_is_for_the_action_to_tell(now: Any) -> None:
    story = a_job_that_runs()
    story.objects = {JOB: now}
    story.decide()
    assert story.begun == ["job"]


def test_a_failure_keeps_what_it_gave() -> None:
    story = a_job_that_runs()
    seen(story, "Failed")
    failed = Outcome(OutcomeKind.FAILED, "exit code 3", Reason.JOB_FAILED, outputs={"exitCode": 3})
    story.end("job", failed)
    assert (story.step("job").reason, story.step("job").outputs) == ("JobFailed", {"exitCode": 3})
    assert story.end_state == ("Failed", "NotFixed", "JobFailed")


def test_outputs_that_can_not_be_kept_do_not_hide_the_failure() -> None:
    story = a_job_that_runs()
    seen(story, "Failed")
    failed = Outcome(OutcomeKind.FAILED, "exit code 3", Reason.JOB_FAILED, outputs={"log": "x" * 100_000})
    story.end("job", failed)
    assert (story.step("job").reason, story.step("job").outputs) == ("JobFailed", None)


def test_a_retry_is_a_new_attempt_and_so_a_new_object() -> None:
    story = a_job_that_runs(retries=1)
    seen(story, "Failed")
    story.failed("job", Reason.JOB_FAILED)
    assert story.step("job").intent is None
    story.after("1s")
    assert (story.acts[0].attempt, story.acts[0].intent) == (2, None)
    assert story.last is not None
    assert story.last.store_first


def test_trouble_in_reading_is_met_by_reading_again() -> None:
    story = a_job_that_runs()
    seen(story, "Complete")
    story.failed("job", Reason.UNAVAILABLE)
    assert story.begun == []
    story.after("2s")
    assert (story.begun, story.acts[0].attempt) == (["job"], 1)
    assert story.acts[0].intent == FOUND.awaits


def test_after_a_crash_it_is_waited_for_as_before() -> None:
    story = a_job_that_runs()
    story.store()
    story.objects = {}
    decision = story.crash()
    assert decision.objects == {JOB}
    assert story.begun == []
    seen(story, "Complete")
    story.store()
    story.crash()
    assert story.begun == ["job"]


def test_after_a_crash_before_a_word_was_stored_it_is_looked_for_and_found() -> None:
    story = a_job()
    story.store()
    act = to_recall(story.run, story.plan, story.now)[0]
    assert (act.step.name, act.attempt) == ("job", 1)
    story.run = recalled(story.run, story.plan, {"job": FOUND}, story.now)
    story.flying.clear()
    story.decide(job=FOUND)
    assert (story.step("job").phase, story.begun) == ("Waiting", [])


def test_at_its_timeout_the_object_is_taken_back() -> None:
    story = a_job_that_runs(timeout="1m")
    seen(story)
    story.after("1m")
    assert (story.begun, story.acts[0].intent) == (["undo job"], FOUND.awaits)
    stopped(story)
    assert story.step("job").reason == "StepTimeout"
    assert "Job job: deleted" in (story.step("job").message or "")
    assert story.end_state == ("Failed", "NotFixed", "StepTimeout")


@pytest.mark.parametrize("acted", [True, False])
def test_a_cancelled_run_takes_the_object_back(acted: bool) -> None:
    story = a_job_that_runs()
    seen(story)
    story.control(cancel=True)
    story.decide()
    assert story.begun == ["undo job"]
    stopped(story, acted=acted)
    assert story.phases == {"job": "Failed", "after": "Skipped"}
    assert story.end_state == ("Cancelled", "Inconclusive", "Cancelled")


def test_a_cancelled_run_reads_what_has_ended_already() -> None:
    story = a_job_that_runs()
    story.control(cancel=True)
    seen(story, "Complete")
    assert story.begun == ["job"]
    story.done("job", exitCode=0)
    assert story.phases == {"job": "Succeeded", "after": "Skipped"}
    assert story.end_state[0] == "Cancelled"


def test_what_can_not_be_stopped_now_is_stopped_later() -> None:
    story = a_job_that_runs()
    story.control(cancel=True)
    story.decide()
    story.failed("job", Reason.UNAVAILABLE)
    assert (story.step("job").phase, story.begun) == ("Waiting", [])
    story.after("2s")
    assert story.begun == ["undo job"]


def test_what_may_not_be_stopped_is_told() -> None:
    story = a_job_that_runs()
    story.control(cancel=True)
    story.decide()
    story.failed("job", Reason.MISSING_RIGHT, "add verb delete on jobs")
    told = story.step("job").message or ""
    assert (story.step("job").phase, story.step("job").reason) == ("Failed", "Cancelled")
    assert "Job job could not be stopped: add verb delete on jobs" in told


def test_while_nothing_may_be_sent_it_is_neither_read_nor_stopped() -> None:
    story = a_job_that_runs(timeout="1m")
    story.hold = Hold(Reason.STOPPED, "acting is switched off")
    seen(story, "Complete")
    assert story.begun == []
    story.after("1m")
    assert story.begun == []
    assert (story.step("job").phase, story.step("job").reason) == ("Failed", "StepTimeout")
    assert "Job job goes on" in (story.step("job").message or "")


def test_a_run_that_fails_elsewhere_takes_the_object_back_before_it_ends() -> None:
    story = a_story(a_workflow().rolling_back().step("job", "fake_job").step("b"))
    story.decide()
    story.awaits("job")
    seen(story)
    story.failed("b", Reason.REJECTED)
    assert story.begun == ["undo job"]
    stopped(story)
    assert story.step("job").phase == "Failed"


@pytest.mark.parametrize(
    ("reasons", "fails"),
    [
        ([Reason.REJECTED], False),
        ([Reason.UNKNOWN_OUTCOME, Reason.REJECTED], True),
        ([Reason.INTERNAL], True),
        ([Reason.UNKNOWN_OUTCOME, Reason.PRECONDITION_FAILED], False),
    ],
)
def test_while_an_object_may_exist_no_other_name_is_tried(reasons: list[Reason], fails: bool) -> None:
    story = a_job(retries=3)
    for reason in reasons:
        story.failed("job", reason)
        story.after("2s")
    if fails:
        assert (story.step("job").phase, story.step("job").reason) == ("Failed", "UnknownOutcome")
        assert "may have been created all the same" in (story.step("job").message or "")
    else:
        assert story.acts[0].attempt == 2


def test_a_lost_answer_is_asked_for_again_under_the_same_name() -> None:
    story = a_job(retries=3)
    story.failed("job", Reason.UNKNOWN_OUTCOME)
    story.after("2s")
    assert (story.begun, story.acts[0].attempt) == (["job"], 1)


def test_where_an_earlier_owner_may_have_created_it_the_name_is_taken_before_the_run_ends() -> None:
    story = a_job()
    story.store()
    story.unfenced = frozenset({"job"})
    story.control(cancel=True)
    story.crash()
    assert story.begun == ["fence job"]
    story.end("job", Outcome(OutcomeKind.DONE, "its name is taken"))
    assert story.end_state == ("Cancelled", "Declined", "Cancelled")


def test_one_that_an_earlier_owner_had_created_is_taken_back() -> None:
    story = a_job()
    story.store()
    story.unfenced = frozenset({"job"})
    story.control(cancel=True)
    story.crash()
    story.end("job", FOUND)
    assert story.begun == ["undo job"]
    stopped(story)
    assert story.end_state == ("Cancelled", "Inconclusive", "Cancelled")


def test_a_dry_run_waits_for_nothing() -> None:
    story = a_dry_story(a_workflow().step("job", "fake_job"))
    story.decide()
    story.awaits("job")
    assert story.step("job").phase == "Succeeded"
