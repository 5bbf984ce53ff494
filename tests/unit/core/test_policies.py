"""When a step is tried again, what a run may take, what an approver may change, and what a dry run leaves out."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from builders import NOW, Story, a_dry_story, a_story, a_target, a_workflow, an_object
from kubernaut.api.execution import Decision
from kubernaut.api.reasons import Reason
from kubernaut.api.steps import Backoff, Retry
from kubernaut.core.features import Feature
from kubernaut.core.retry import delay
from kubernaut.core.run import Want, Watched


@pytest.mark.parametrize(
    ("policy", "seconds"),
    [("Fixed", [2, 2, 2, 2]), ("Linear", [2, 4, 6, 7]), ("Exponential", [2, 6, 7, 7])],
)
def test_waits_grow_as_the_policy_says_up_to_the_longest(policy: str, seconds: list[int]) -> None:
    backoff = Backoff.from_wire({"policy": policy, "initial": "2s", "factor": 3, "max": "7s"})
    waits = [delay(Retry(limit=9, backoff=backoff), attempt).total_seconds() for attempt in (1, 2, 3, 4)]
    assert waits == seconds


def test_jitter_shortens_a_wait_by_its_share_at_most_and_is_the_same_each_time() -> None:
    backoff = Backoff.from_wire({"policy": "Fixed", "initial": "10s", "jitterPercent": 30})
    retry = Retry(limit=9, backoff=backoff)
    waits = [delay(retry, 1, f"run-{n}").total_seconds() for n in range(200)]
    assert all(7 < wait <= 10 for wait in waits)
    assert min(waits) < 7.5
    assert max(waits) > 9.5
    assert waits == [delay(retry, 1, f"run-{n}").total_seconds() for n in range(200)]


def test_the_wait_with_jitter_is_the_same_after_a_restart() -> None:
    backoff = {"initial": "10s", "jitterPercent": 100}
    due = []
    for _ in range(2):
        story = a_story(a_workflow().step("a", retry={"limit": 1, "backoff": backoff}))
        story.decide()
        story.failed("a")
        due.append(story.step("a").retry_at)
    assert due[0] == due[1]
    assert due[0] is not None
    assert NOW < due[0] < NOW + timedelta(seconds=10)


@pytest.mark.parametrize(
    ("when", "again"),
    [
        ("failure.reason == 'Conflict'", True),
        ("failure.category == 'Conflict' && failure.attempt < 2", True),
        ("failure.message.contains('wrong') && failure.transient", True),
        ("failure.attempt > 1", False),
        ("failure.nothing == 1", False),
    ],
)
def test_a_condition_says_whether_it_is_tried_again(when: str, again: bool) -> None:
    story = a_story(a_workflow().step("a", retry={"limit": 3, "when": when}))
    story.decide()
    story.failed("a", Reason.CONFLICT)
    assert story.phases["a"] == ("Waiting" if again else "Failed")


def test_what_only_a_person_can_mend_is_not_tried_again_whatever_the_condition_says() -> None:
    story = a_story(a_workflow().step("a", retry={"limit": 3, "when": "true"}))
    story.decide()
    story.failed("a", Reason.MISSING_RIGHT)
    assert story.phases["a"] == "Failed"


def test_without_the_feature_nothing_is_tried_again() -> None:
    story = a_story(a_workflow().step("a", retries=3))
    story.off = frozenset({Feature.RETRIES})
    story.decide()
    story.failed("a")
    assert story.phases["a"] == "Failed"


# Scarce resources.


def a_scarce(**more: Any) -> Story:
    uses = [{"name": "drain"}, {"name": "api", "amount": 2}]
    story = a_story(a_workflow().step("a", resources=uses, **more).step("b"))
    story.decide()
    return story


def test_a_step_waits_until_it_holds_what_it_needs() -> None:
    story = a_scarce()
    assert story.begun == ["b"]
    assert story.last is not None
    assert story.last.wants == (Want("a", (("api", 2), ("drain", 1))),)
    assert (story.step("a").phase, story.step("a").reason) == ("Pending", "WaitingForCapacity")
    assert story.step("a").message == "waits for 1 of drain, 2 of api"
    story.granted = frozenset({"a"})
    story.decide()
    assert story.begun == ["a"]


def test_it_keeps_what_it_holds_while_its_effect_is_under_way_and_gives_it_back_after() -> None:
    story = a_scarce(retries=1)
    story.granted = frozenset({"a"})
    story.decide()
    assert [want.step for want in story.done("b").wants] == ["a"]
    assert [want.step for want in story.failed("a").wants] == ["a"]
    story.after("1s")
    assert story.done("a").wants == ()


def test_it_keeps_what_it_holds_while_it_is_cut_short() -> None:
    story = a_scarce()
    story.granted = frozenset({"a"})
    story.decide()
    story.control(cancel=True)
    assert [want.step for want in story.decide().wants] == ["a"]


def test_it_keeps_its_place_while_the_target_is_looked_at() -> None:
    story = a_scarce(with_={"replicas": "=target.spec.replicas"})
    assert story.last is not None
    assert story.last.observe
    story.sees(a_target())
    assert [want.step for want in story.last.wants] == ["a"]
    story.granted = frozenset({"a"})
    decision = story.sees(None)
    assert decision.observe
    assert [want.step for want in decision.wants] == ["a"]
    story.sees(a_target())
    assert story.begun == ["a"]


def test_a_group_holds_what_it_needs_until_its_last_step_has_ended() -> None:
    workflow = a_workflow().each("each", items_from="[1, 2]", resources=[{"name": "drain"}])
    story = a_story(workflow.template("one", a_workflow().step("do")))
    story.granted = frozenset({"each"})
    story.decide()
    assert [want.step for want in story.done("each/0/do").wants] == ["each"]
    assert story.done("each/1/do").wants == ()


def test_without_the_feature_nobody_waits() -> None:
    story = a_story(a_workflow().step("a", resources=[{"name": "drain"}]))
    story.off = frozenset({Feature.CAPACITIES})
    story.decide()
    assert story.begun == ["a"]


# Approvals.


def an_approval(**given: str) -> Story:
    workflow = a_workflow().parameter("n", "integer", default="1").parameter("other", default="x")
    workflow.approval("ask", may=["n"]).step("a", needs="ask", with_={"replicas": "=params.n"})
    story = a_story(workflow)
    story.decide()
    story.answer("ask", Decision.APPROVE, **given)
    story.decide()
    return story


def test_an_approver_may_give_a_parameter_another_value() -> None:
    story = an_approval(n="5")
    assert story.acts[0].parameters == {"replicas": 5}
    assert story.step("ask").message == "Approve by ada; with n=5"
    story.crash()
    assert story.acts[0].parameters == {"replicas": 5}


@pytest.mark.parametrize(
    ("given", "told"),
    [({"other": "y"}, "the approver may override: n"), ({"n": "many"}, "'many' is not of type integer")],
)
def test_a_value_that_may_not_be_given_fails_the_step(given: dict[str, str], told: str) -> None:
    story = an_approval(**given)
    assert story.step("ask").reason == "InvalidParameters"
    assert told in (story.step("ask").message or "")
    assert story.begun == []


# Waiting for another object.


def a_wait() -> Story:
    watched = {"apiVersion": "v1", "kind": "Pod", "name": "='pod-' + run.name"}
    story = a_story(a_workflow().wait("w", until="object.status.phase == 'Running'", object_=watched))
    story.decide()
    return story


POD = Watched("v1", "Pod", "pod-run-1")


def test_a_wait_sees_the_object_it_waits_for() -> None:
    story = a_wait()
    assert story.last is not None
    assert story.last.objects == {POD}
    assert not story.last.observe
    story.objects = {POD: an_object(status={"phase": "Pending"})}
    assert story.decide().objects == {POD}
    story.objects = {POD: an_object(status={"phase": "Running"})}
    story.decide()
    assert story.end_state[0] == "Succeeded"


def test_an_object_that_does_not_exist_is_waited_for_and_the_message_says_so() -> None:
    story = a_wait()
    story.objects = {POD: type(an_object())(None)}
    story.decide()
    assert story.step("w").message == "Pod pod-run-1 does not exist"
    story.after("5m")
    assert story.step("w").reason == "StepTimeout"


def test_a_status_of_an_older_generation_of_it_is_no_evidence() -> None:
    story = a_wait()
    story.objects = {POD: an_object(status={"phase": "Running", "observedGeneration": 0})}
    story.decide()
    assert story.phases["w"] == "Waiting"


# Dry runs.


def test_a_dry_run_skips_waits_and_questions_and_tells_what_would_change() -> None:
    workflow = a_workflow().wait("w", "1h").approval("ask", "w").step("a", needs="ask")
    story = a_dry_story(workflow.verify("target.status.readyReplicas > 9"))
    story.decide()
    assert {story.step(name).reason for name in ("w", "ask")} == {"DryRun"}
    story.done("a", acted=False, changed=["replicas: 1 -> 2"])
    assert story.step("a").changed == ["replicas: 1 -> 2"]
    assert story.end_state == ("Succeeded", "Inconclusive", "DryRun")


def test_a_dry_run_that_fails_puts_nothing_back_and_needs_no_resources() -> None:
    workflow = a_workflow().rolling_back().step("a", resources=[{"name": "drain"}]).step("b", needs="a")
    story = a_dry_story(workflow)
    story.decide()
    assert story.begun == ["a"]
    assert story.last is not None
    assert story.last.wants == ()
    story.done("a", acted=False, changed=["x"])
    story.failed("b", Reason.REJECTED)
    assert story.end_state[0] == "Failed"
    assert story.begun == []


# Rollback: its own retries and time.


def a_rollback(**rollback: Any) -> Story:
    workflow = a_workflow().rolling_back().set(rollback=rollback).step("a").approval("ask", "a", expires="1s")
    story = a_story(workflow)
    story.decide()
    story.done("a")
    story.after("1s")
    assert story.begun == ["undo a"]
    return story


def test_an_undo_is_tried_again_as_often_as_the_rollback_says() -> None:
    story = a_rollback(retry={"limit": 2, "backoff": {"initial": "3s", "policy": "Fixed"}})
    for _ in range(2):
        story.failed("a")
        assert story.begun == []
        story.after("3s")
        assert story.begun == ["undo a"]
        assert story.last is not None
        assert story.last.store_first
    story.failed("a")
    assert story.end_state == ("Failed", "NotFixed", "RollbackFailed")
    assert story.step("a").undo_attempt == 2


def test_how_often_an_undo_was_tried_survives_a_crash() -> None:
    story = a_rollback(retry={"limit": 1, "backoff": {"initial": "1s"}})
    story.failed("a")
    story.after("1s")
    story.crash()
    story.failed("a")
    assert story.end_state[2] == "RollbackFailed"


def test_where_someone_else_changed_the_field_since_it_is_not_tried_again() -> None:
    story = a_rollback(retry={"limit": 5})
    story.failed("a", Reason.CHANGED_SINCE, "replicas are 7 now")
    assert story.end_state[2] == "RollbackFailed"
    assert story.step("a").message == "could not be put back: replicas are 7 now"


def test_what_is_left_when_the_time_is_over_is_told() -> None:
    story = a_rollback(timeout="10s")
    story.failed("a", Reason.UNAVAILABLE)
    decision = story.after("2s")
    assert decision.wake_at == NOW + timedelta(seconds=11)
    story.failed("a", Reason.UNAVAILABLE)
    story.after("8s")
    assert story.end_state[2] == "RollbackFailed"
    assert "not within" in (story.step("a").message or "")


def test_without_the_feature_nothing_is_put_back_and_that_is_told() -> None:
    story = a_story(a_workflow().rolling_back().step("a").step("b", needs="a"))
    story.off = frozenset({Feature.ROLLBACK})
    story.decide()
    story.done("a")
    story.failed("b", Reason.REJECTED)
    assert story.end_state == ("Failed", "NotFixed", "Rejected")
    assert "feature rollback is switched off" in (story.run.status.message or "")
