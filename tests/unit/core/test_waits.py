"""Steps that wait: for a while, for the target, for a person."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from builders import GONE, NOW, Story, a_story, a_target, a_workflow
from kubernaut.api.execution import Decision
from kubernaut.core.run import Watched


def test_a_wait_lasts_as_long_as_it_says() -> None:
    story = a_story(a_workflow().wait("w", "30s").step("a", needs="w"))
    assert story.decide().wake_at == NOW + timedelta(seconds=30)
    story.after("29s")
    assert story.phases["w"] == "Waiting"
    story.after("1s")
    assert story.begun == ["a"]
    assert story.step("w").finished_at == NOW + timedelta(seconds=30)


def test_a_wait_longer_than_the_timeout_of_steps_is_not_cut_off() -> None:
    story = a_story(a_workflow().wait("w", "20m", timeout="5m"))
    story.decide()
    story.after("19m")
    assert story.phases["w"] == "Waiting"
    story.after("1m")
    assert story.phases["w"] == "Succeeded"


def test_a_wait_that_was_over_while_the_operator_was_away_succeeded() -> None:
    story = a_story(a_workflow().wait("w", "4m", timeout="5m"))
    story.decide()
    story.after("6m")
    assert story.phases["w"] == "Succeeded"


def test_a_wait_for_the_target_ends_when_it_holds() -> None:
    story = a_story(a_workflow().wait("w", until="target.status.readyReplicas == 2"))
    decision = story.decide()
    assert decision.observe
    assert story.phases["w"] == "Pending"
    story.sees(a_target(ready=1))
    assert story.phases["w"] == "Waiting"
    decision = story.sees(None)
    assert decision.observe
    assert decision.wake_at == NOW + timedelta(minutes=5)
    story.sees(a_target(ready=2))
    assert story.phases["w"] == "Succeeded"
    assert story.step("w").message is None


def test_a_status_of_an_older_generation_is_no_evidence() -> None:
    story = a_story(a_workflow().wait("w", until="target.status.readyReplicas == 2"))
    story.decide()
    story.sees(a_target(ready=2, generation=3, observed=2))
    assert story.phases["w"] == "Waiting"
    story.sees(a_target(ready=2, generation=3, observed=3))
    assert story.phases["w"] == "Succeeded"


def test_a_missing_field_is_waited_for_and_the_message_says_so() -> None:
    story = a_story(a_workflow().wait("w", until="target.status.extra == 'x'"))
    story.decide()
    story.sees(a_target())
    assert story.phases["w"] == "Waiting"
    assert "extra" in (story.step("w").message or "")
    story.sees(a_target(extra="x"))
    assert story.phases["w"] == "Succeeded"
    assert story.step("w").message is None


def test_an_object_that_can_not_be_read_is_waited_for_and_the_message_says_why() -> None:
    """Among a step's expressions only this one may wait; its timeout tells what it waited for."""
    database = Watched("v1", "Secret", "database")
    object_ = {"apiVersion": "v1", "kind": "Secret", "name": "database"}
    story = a_story(a_workflow().wait("w", until="true", object_=object_, timeout="10s"))
    story.unread = {database: "repair may not get secrets"}
    story.decide()
    assert story.step("w").message == "repair may not get secrets"
    story.after("10s")
    assert story.step("w").message == "not done within 10s; last: repair may not get secrets"


def test_a_kind_that_there_is_not_is_told_apart_from_an_object_that_there_is_not() -> None:
    key = Watched("db.io/v1", "Cluster", "main")
    story = a_story(
        a_workflow().wait(
            "w", until="true", object_={"apiVersion": "db.io/v1", "kind": "Cluster", "name": "main"}
        )
    )
    story.objects = {key: GONE}
    story.unread = {key: "the cluster has no API db.io/v1"}
    story.decide()
    assert story.step("w").message == "the cluster has no API db.io/v1"
    story.unread = {}
    story.decide()
    assert story.step("w").message == "Cluster main does not exist"


def test_a_wait_that_never_holds_times_out() -> None:
    story = a_story(a_workflow().wait("w", until="target.status.extra == 'x'", timeout="10s"))
    story.decide()
    story.sees(a_target())
    story.after("10s")
    assert story.step("w").reason == "StepTimeout"
    assert "extra" in (story.step("w").message or "")


def test_a_wait_on_outputs_needs_no_look_at_the_target() -> None:
    workflow = a_workflow().step("a", "fake_read").wait("w", needs="a", until="steps.a.outputs.n > 1")
    story = a_story(workflow)
    story.decide()
    decision = story.done("a", acted=False, n=2)
    assert not decision.observe
    assert story.phases["w"] == "Succeeded"


def asking() -> Story:
    story = a_story(a_workflow().approval("ask", expires="10m").step("a", needs="ask"))
    assert story.decide().wake_at == NOW + timedelta(minutes=10)
    return story


def test_an_approval_lets_on() -> None:
    story = asking()
    story.answer("other", Decision.DENY)
    story.decide()
    assert story.phases["ask"] == "Waiting"
    story.answer("ask", Decision.APPROVE, "looks right")
    story.decide()
    assert story.begun == ["a"]
    assert story.step("ask").message == "Approve by ada: looks right"


def test_a_denial_ends_the_run_as_declined() -> None:
    story = asking()
    story.answer("ask", Decision.DENY)
    story.decide()
    assert story.step("ask").message == "Deny by ada"
    assert story.phases == {"ask": "Failed", "a": "Skipped"}
    assert story.end_state == ("Failed", "Declined", "ApprovalDenied")


def test_silence_is_a_denial_when_the_time_is_over() -> None:
    story = asking()
    story.after("599s")
    assert story.phases["ask"] == "Waiting"
    story.after("1s")
    assert story.end_state == ("Failed", "Declined", "ApprovalExpired")
    assert story.step("ask").message == "nobody answered within 10m"


def test_an_approval_after_its_time_is_a_denial_though_nobody_saw_the_time_go_by() -> None:
    story = asking()
    story.now += timedelta(seconds=601)
    story.answer("ask", Decision.APPROVE)
    story.decide()
    assert story.end_state == ("Failed", "Declined", "ApprovalExpired")
    late = "that was too late, or nobody saw it in time: it had to be there by "
    assert late in (story.step("ask").message or "")
    assert story.begun == []


def test_an_approval_in_time_counts_though_it_is_seen_late() -> None:
    story = asking()
    story.now += timedelta(seconds=599)
    story.answer("ask", Decision.APPROVE)
    story.run = replace(story.run, answered={"ask": story.now - timedelta(seconds=1)})
    story.after("10m")
    assert story.begun == ["a"]


def test_an_approval_that_is_seen_late_does_not_count_where_its_time_is_not_known() -> None:
    story = asking()
    story.answer("ask", Decision.APPROVE)
    story.after("11m")
    assert story.end_state == ("Failed", "Declined", "ApprovalExpired")


def test_a_denial_counts_whenever_it_comes() -> None:
    story = asking()
    story.now += timedelta(seconds=601)
    story.answer("ask", Decision.DENY)
    story.decide()
    assert story.end_state == ("Failed", "Declined", "ApprovalDenied")


def test_an_answer_counts_though_it_was_given_before_it_was_asked_for() -> None:
    story = a_story(a_workflow().step("a").approval("ask", needs="a"))
    story.answer("ask", Decision.APPROVE)
    story.decide()
    story.done("a")
    assert story.phases["ask"] == "Succeeded"


def test_a_denial_after_something_was_changed_is_not_fixed() -> None:
    story = a_story(a_workflow().step("a").approval("ask", needs="a"))
    story.answer("ask", Decision.DENY)
    story.decide()
    story.done("a")
    assert story.end_state == ("Failed", "NotFixed", "ApprovalDenied")
