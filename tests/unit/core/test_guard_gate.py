"""Guards in a run: held before its first effect and not after, declined for good, a person asked in the usual way."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from builders import (
    NOW,
    FakeCatalogue,
    Story,
    WorkflowBuilder,
    a_dry_story,
    a_story,
    a_target,
    a_workflow,
    steps,
)
from kubernaut.api.execution import Decision
from kubernaut.api.guards import GUARD_APPROVAL, Guards
from kubernaut.api.reasons import Reason
from kubernaut.core.carrying import carried_over
from kubernaut.core.compiling import compile_plan
from kubernaut.core.guards.facts import Guarded
from kubernaut.core.guards.levels import Level, Reach, Refusal
from kubernaut.core.guards.risk import high
from kubernaut.core.plan import PlanInvalid

COOLING = Refusal(Reason.COOLDOWN, "Cooldown of it.", NOW + timedelta(minutes=5))
PROTECTED = Refusal(Reason.PROTECTED, "It is protected.", final=True)
ON_RISK = Guarded(asks_on_risk="guards.approval of the cluster is OnRisk")
ALWAYS = Guarded(asks_always="guards.approval of the cluster is Always")


def told(story: Story) -> tuple[str, str]:
    ready = next(one for one in story.run.status.conditions if one.type == "Ready")
    return ready.reason, ready.message


def healthy(percent: int) -> Guarded:
    return Guarded(levels=(Level(Reach.CLUSTER, "", Guards(max_unavailable_percent=percent)),))


def available(count: int, of: int) -> Any:
    seen = a_target(ready=count, replicas=of, availableReplicas=count)
    assert seen.manifest is not None
    return type(seen)({"kind": "Deployment", **seen.manifest})


# Held


def test_a_guard_holds_what_changes_something_and_not_what_only_looks() -> None:
    story = a_story(a_workflow().step("look", "fake_read").step("act", needs="look"))
    story.guards = Guarded(COOLING)
    story.decide()
    assert story.begun == ["look"]
    story.done("look", acted=False)
    assert story.begun == []
    reason, message = told(story)
    assert reason == "Cooldown"
    assert message.startswith("Cooldown of it. Wait until the time named")
    assert story.last is not None
    assert story.last.wake_at == COOLING.until
    story.guards = Guarded()
    story.after("5m")
    assert story.begun == ["act"]


def test_what_only_looking_again_can_tell_is_looked_at_again() -> None:
    story = a_story(a_workflow().step("act"))
    story.guards = Guarded(Refusal(Reason.ALERT_FIRING, "It fires."))
    assert story.decide().wake_at == NOW + timedelta(seconds=10)


def test_a_run_that_has_begun_goes_on() -> None:
    story = a_story(a_workflow().step("one").step("two", needs="one"))
    story.guards = Guarded()
    story.decide()
    story.guards = Guarded(COOLING)
    story.done("one")
    assert story.begun == ["two"]


def test_what_was_taken_over_from_another_run_is_no_beginning() -> None:
    failing = a_story(a_workflow().step("one").step("two", needs="one"))
    failing.decide()
    failing.done("one")
    failing.failed("two", Reason.REJECTED)
    taken = carried_over(failing.plan, {}, "old", failing.run.status, failing.plan, {})
    story = a_story(a_workflow().step("one").step("two", needs="one"))
    story.run = story.run.__class__(
        **{
            **{name: getattr(story.run, name) for name in story.run.__dataclass_fields__},
            "status": story.run.status.replace(steps=taken),
        }
    )
    story.guards = Guarded(COOLING)
    assert story.decide().acts == ()


def test_what_is_over_by_the_time_a_person_approves_is_not_acted_upon() -> None:
    story = a_story(a_workflow().step("look", "fake_read").step("act", needs="look"))
    story.guards = ALWAYS
    story.decide()
    story.done("look", acted=False)
    story.healed = "Alert Broken was resolved at noon, before anything was done."
    # It may fire again meanwhile, and then somebody has to have been asked.
    story.after("5m")
    assert story.run.status.phase == "Running"
    story.answer(GUARD_APPROVAL, Decision.APPROVE)
    story.decide()
    assert story.begun == []
    assert story.end_state == ("Cancelled", "SelfHealed", "AlertResolved")
    assert story.run.status.message == story.healed
    assert story.phases["act"] == "Skipped"


def test_what_fires_again_by_the_time_a_person_approves_is_acted_upon() -> None:
    story = a_story(a_workflow().step("act"))
    story.guards = ALWAYS
    story.healed = "Alert Broken was resolved."
    story.decide()
    story.healed = ""
    story.answer(GUARD_APPROVAL, Decision.APPROVE)
    story.decide()
    assert story.begun == ["act"]


def test_what_has_begun_goes_on_though_its_alert_is_over_and_what_only_looks_does_so_too() -> None:
    story = a_story(a_workflow().step("one").step("two", needs="one"))
    story.decide()
    story.healed = "Alert Broken was resolved."
    story.done("one")
    assert story.begun == ["two"]
    looking = a_story(a_workflow().step("look", "fake_read"))
    looking.healed = story.healed
    looking.decide()
    assert looking.begun == ["look"]


def test_what_is_over_after_a_wait_ends_only_once_what_is_under_way_has() -> None:
    story = a_story(a_workflow().step("look", "fake_read").wait("first", "1m").step("act", needs="first"))
    story.decide()
    story.healed = "Alert Broken was resolved."
    story.after("1m")
    assert story.run.status.phase == "Running"
    story.healed = ""
    story.done("look", acted=False)
    assert story.end_state == ("Cancelled", "SelfHealed", "AlertResolved")


def test_a_dry_run_is_held_by_no_guard() -> None:
    story = a_dry_story(a_workflow().step("one"))
    story.guards = Guarded(COOLING, asks_always="always")
    story.decide()
    assert story.begun == ["one"]


def test_what_is_protected_ends_the_run_as_declined_with_nothing_done() -> None:
    story = a_story(a_workflow().step("one"))
    story.guards = Guarded(PROTECTED)
    story.decide()
    assert story.end_state == ("Failed", "Declined", "Protected")
    verified = next(one for one in story.run.status.conditions if one.type == "Verified")
    assert verified.message == "A guard declined the run. It is protected."


def test_what_becomes_protected_while_the_run_acts_does_not_leave_it_half_done() -> None:
    story = a_story(a_workflow().step("one").step("two", needs="one"))
    story.guards = Guarded()
    story.decide()
    story.guards = Guarded(PROTECTED)
    story.done("one")
    assert story.begun == ["two"]


def test_effects_hidden_under_finally_are_skipped_rather_than_waited_for() -> None:
    story = a_story(a_workflow().step("look", "fake_read").last(steps().step("sneak")))
    story.guards = Guarded(COOLING)
    story.decide()
    story.done("look", acted=False)
    assert story.phases["sneak"] == "Skipped"
    assert story.step("sneak").reason == "Cooldown"
    assert story.run.status.phase.final


def test_tidying_up_after_what_was_done_is_let_through() -> None:
    story = a_story(a_workflow().step("one").last(steps().step("tidy")))
    story.guards = Guarded()
    story.decide()
    story.guards = Guarded(COOLING)
    story.done("one")
    assert story.begun == ["tidy"]


def test_a_step_that_failed_before_it_could_do_anything_is_no_beginning() -> None:
    builder = a_workflow().step("one", when="target.nothing == 1", onFailure="Alternate", alternate="other")
    story = a_story(builder.template("other", steps().step("sneak")))
    story.guards = Guarded(COOLING)
    story.decide()
    story.sees(available(4, 4))
    assert story.phases["one"] == "Failed"
    assert story.begun == []
    assert told(story)[0] == "Cooldown"


# Health


def test_each_step_waits_until_enough_of_the_target_is_available() -> None:
    story = a_story(a_workflow().step("one").step("two", needs="one"))
    story.guards = healthy(25)
    assert story.decide().observe
    assert story.begun == []
    story.sees(available(2, 4))
    assert story.begun == []
    reason, message = told(story)
    assert reason == "TooFewHealthy"
    assert "2 of 4 replicas of Deployment web are unavailable, and at most 1 may be" in message
    story.sees(available(3, 4))
    assert story.begun == ["one"]
    story.done("one")
    assert story.begun == []
    story.sees(available(4, 4))
    assert story.begun == ["two"]


def test_steps_that_wait_for_replicas_begin_one_by_one() -> None:
    story = a_story(a_workflow().step("one").step("two"))
    story.guards = healthy(50)
    story.decide()
    story.sees(available(4, 4))
    assert len(story.begun) == 1
    story.decide()
    assert story.begun == []


def test_a_status_of_an_older_generation_says_nothing_of_replicas() -> None:
    story = a_story(a_workflow().step("one"))
    story.guards = healthy(50)
    story.decide()
    story.sees(
        type(available(4, 4))(
            {**available(4, 4).manifest, "metadata": {"uid": "uid-of-target", "generation": 2}}
        )
    )
    assert story.begun == []


# Approvals


def test_what_is_of_high_risk_waits_for_the_usual_answer_and_then_begins() -> None:
    story = a_story(a_workflow().step("safe").step("risky", "fake_risky", needs="safe"))
    story.guards = ON_RISK
    story.decide()
    story.done("safe")
    assert story.begun == []
    asked = story.step(GUARD_APPROVAL)
    assert (asked.phase.value, asked.reason) == ("Waiting", "ApprovalRequired")
    assert asked.message == (
        "Step risky needs an approval: fake_risky is of high risk, and guards.approval of the cluster is OnRisk."
    )
    assert told(story)[0] == "ApprovalRequired"
    story.store()
    story.crash()
    story.answer(GUARD_APPROVAL, Decision.APPROVE, "fine")
    story.decide()
    assert story.begun == ["risky"]
    assert story.step(GUARD_APPROVAL).message == "Approve by ada: fine"
    story.done("risky")
    assert story.run.status.high_risk == ["fake_risky"]
    assert story.run.status.progress == "3/3"


def test_one_answer_is_enough_for_all_steps_of_a_run() -> None:
    story = a_story(a_workflow().step("one", "fake_risky").step("two", "fake_risky", needs="one"))
    story.guards = ALWAYS
    story.decide()
    story.answer(GUARD_APPROVAL, Decision.APPROVE)
    story.decide()
    story.done("one")
    assert story.begun == ["two"]


def test_a_denial_and_silence_decline_the_run() -> None:
    denied = a_story(a_workflow().step("one"))
    denied.guards = ALWAYS
    denied.decide()
    denied.answer(GUARD_APPROVAL, Decision.DENY, "no")
    denied.decide()
    assert denied.end_state == ("Failed", "Declined", "ApprovalDenied")
    silent = a_story(a_workflow().step("one").set(timeout="3h"))
    silent.guards = ALWAYS
    silent.decide()
    silent.after("1h")
    assert silent.end_state == ("Failed", "Declined", "ApprovalExpired")


def test_what_only_looks_or_is_not_reached_asks_nobody() -> None:
    story = a_story(a_workflow().step("look", "fake_read").step("act", needs="look", when="false"))
    story.guards = ALWAYS
    story.decide()
    story.done("look", acted=False)
    assert story.run.status.phase.final
    assert GUARD_APPROVAL not in story.phases


def test_an_open_breaker_asks_for_its_action_and_no_other() -> None:
    story = a_story(a_workflow().step("one").step("two", "fake_risky", needs="one"))
    story.guards = Guarded(tripped={"fake_risky": "the breaker of fake_risky is open"})
    story.decide()
    assert story.begun == ["one"]
    story.done("one")
    assert story.begun == []
    assert "the breaker of fake_risky is open" in (story.step(GUARD_APPROVAL).message or "")


def test_under_finally_nobody_is_asked() -> None:
    story = a_story(a_workflow().step("one").last(steps().step("sneak", "fake_risky")))
    story.guards = ON_RISK
    story.decide()
    story.done("one")
    assert story.step("sneak").reason == "ApprovalRequired"
    assert story.run.status.phase.value == "Failed"


def test_a_question_that_nobody_needs_answered_any_more_is_closed() -> None:
    story = a_story(a_workflow().step("one"))
    story.guards = ALWAYS
    story.decide()
    story.control(cancel=True)
    story.decide()
    assert story.end_state == ("Cancelled", "Declined", "Cancelled")
    assert story.phases[GUARD_APPROVAL] == "Skipped"


def test_what_guards_were_told_in_one_run_is_asked_again_in_the_next() -> None:
    story = a_story(a_workflow().step("one"))
    story.guards = ALWAYS
    story.decide()
    story.answer(GUARD_APPROVAL, Decision.APPROVE)
    story.decide()
    story.failed("one", Reason.REJECTED)
    taken = carried_over(story.plan, {}, "old", story.run.status, story.plan, {})
    assert taken == []


# What is of high risk


def planned(**spec: Any) -> Any:
    return a_workflow().step("one", **spec)


@pytest.mark.parametrize(
    ("given", "is_high"),
    [
        ({}, False),
        ({"apiVersion": "apps/v1", "kind": "Deployment"}, False),
        ({"apiVersion": "v1", "kind": "Node"}, True),
        ({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole"}, True),
    ],
)
def test_what_reaches_beyond_a_namespace_is_of_high_risk(given: dict[str, Any], is_high: bool) -> None:
    action = FakeCatalogue().find("fake_marked")
    assert action is not None
    assert high(action, ("apps/v1", "Deployment"), given) is is_high
    assert high(action, ("v1", "Node"), given)


def test_an_action_says_itself_that_it_is_of_high_risk_and_reading_never_is() -> None:
    plan = a_workflow().step("one", "fake_risky").step("two").step("look", "fake_read").plan()
    assert {step.name for step in plan.steps if step.high} == {"one"}
    assert plan.high == {"fake_risky"}


# Declared


def problems(builder: WorkflowBuilder) -> list[str]:
    with pytest.raises(PlanInvalid) as caught:
        compile_plan(builder.spec(), FakeCatalogue())
    return [problem.path for problem in caught.value.problems]


def test_guards_that_can_not_work_make_a_workflow_unready_with_the_path() -> None:
    zone = {"changeWindows": [{"name": "w", "timeZone": "Mars/Olympus"}]}
    assert problems(a_workflow().step("one").set(guards=zone)) == ["spec.guards.changeWindows[0].timeZone"]
    share = a_workflow().step("one").set(guards={"maxUnavailablePercent": 10})
    share.set(target={"apiVersion": "v1", "kind": "Node", "name": "n"})
    assert problems(share) == ["spec.guards.maxUnavailablePercent"]
