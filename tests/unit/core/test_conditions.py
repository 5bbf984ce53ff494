"""Conditions: what holds, since when, and why."""

from __future__ import annotations

from datetime import timedelta

import pytest

from builders import NOW, Story, a_story, a_target, a_workflow
from kubernaut.api.execution import RunPhase, Verdict, WorkflowExecutionStatus
from kubernaut.api.reasons import REASONS, Reason
from kubernaut.core import conditions


def told(story: Story) -> dict[str, tuple[str, str]]:
    return {c.type: (c.status.value, c.reason) for c in story.run.status.conditions}


def test_a_run_that_moves_is_reconciling() -> None:
    story = a_story(a_workflow().step("a"))
    story.decide()
    assert told(story) == {
        "Ready": ("False", "Running"),
        "Reconciling": ("True", "Running"),
    }


def test_a_run_that_helped_is_ready() -> None:
    story = a_story(a_workflow().step("a").verify("target.status.readyReplicas == 2"))
    story.decide()
    story.done("a")
    assert told(story)["Ready"] == ("False", "Verifying")
    story.sees(a_target(ready=2))
    assert told(story) == {
        "Ready": ("True", "ExpectationMet"),
        "Succeeded": ("True", "ExpectationMet"),
        "Verified": ("True", "Remediated"),
    }


def test_a_run_that_failed_is_stalled_and_says_how_to_mend_it() -> None:
    story = a_story(a_workflow().step("a"))
    story.decide()
    story.failed("a", Reason.MISSING_RIGHT, "patch of deployments is forbidden")
    assert told(story) == {
        "Ready": ("False", "MissingRight"),
        "Stalled": ("True", "MissingRight"),
        "Succeeded": ("False", "MissingRight"),
        "Verified": ("False", "NotFixed"),
    }
    message = next(c.message for c in story.run.status.conditions if c.type == "Stalled")
    assert message == f"Step a: patch of deployments is forbidden. {REASONS[Reason.MISSING_RIGHT].fix}"


def test_a_cancelled_run_has_not_succeeded_and_never_will() -> None:
    story = a_story(a_workflow().step("a"))
    story.control(cancel=True)
    story.decide()
    assert told(story) == {
        "Ready": ("False", "Cancelled"),
        "Stalled": ("True", "Cancelled"),
        "Succeeded": ("False", "Cancelled"),
        "Verified": ("False", "Declined"),
    }


def test_a_condition_keeps_the_time_at_which_it_came_true() -> None:
    story = a_story(a_workflow().step("a").step("b", needs="a"))
    story.decide()
    story.now += timedelta(minutes=1)
    story.done("a")
    story.control(paused=True)
    story.now += timedelta(minutes=1)
    story.decide()
    assert {c.last_transition_time for c in story.run.status.conditions} == {NOW}
    story.now += timedelta(microseconds=1_900_000)
    story.done("b")
    since = {c.type: c.last_transition_time - NOW for c in story.run.status.conditions}
    assert since["Ready"] == since["Succeeded"] == since["Verified"] == timedelta(seconds=121)


@pytest.mark.parametrize("verdict", [None, *Verdict])
def test_every_verdict_is_said_in_words(verdict: Verdict | None) -> None:
    status = WorkflowExecutionStatus(phase=RunPhase.FAILED, verdict=verdict, message="Because.")
    verified = conditions.of_run(status, None, NOW, 1)[-1]
    assert verified.message.endswith(".")


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (Reason.APPROVAL_DENIED, "A person declined the run."),
        (Reason.APPROVAL_EXPIRED, "Nobody approved the run in time."),
        (Reason.CONCURRENT_RUN, "The run was declined. Run a holds the target."),
        (Reason.REPLACED, "The run was declined. Run a holds the target."),
        (Reason.COOLDOWN, "A guard declined the run. Run a holds the target."),
    ],
)
def test_it_is_said_who_declined_a_run(reason: Reason, told: str) -> None:
    status = WorkflowExecutionStatus(
        phase=RunPhase.FAILED,
        verdict=Verdict.DECLINED,
        reason=reason.value,
        message="Run a holds the target.",
    )
    assert conditions.of_run(status, None, NOW, 1)[-1].message == told


def test_without_evidence_the_reason_is_said() -> None:
    def verified(reason: Reason) -> str:
        status = WorkflowExecutionStatus(
            phase=RunPhase.FAILED, verdict=Verdict.INCONCLUSIVE, reason=reason.value, message="It was away."
        )
        return conditions.of_run(status, None, NOW, 1)[-1].message

    assert "declares no expectation" in verified(Reason.NO_EXPECTATION)
    assert verified(Reason.UNAVAILABLE) == "There is no evidence whether it helped. It was away."


def test_a_run_that_ended_for_a_reason_nobody_knows_still_has_conditions() -> None:
    status = WorkflowExecutionStatus(phase=RunPhase.SUCCEEDED, reason="OfTheFuture")
    assert conditions.of_run(status, None, NOW, 1)[0].reason == "OfTheFuture"
    assert conditions.of_run(status.replace(reason=None), None, NOW, 1)[0].reason == "Completed"


def test_a_declared_object_is_ready_or_stalled() -> None:
    fine = conditions.ready([], True, Reason.VALID, "It can run.", NOW, 3)
    assert [(c.type, c.status.value, c.observed_generation) for c in fine] == [("Ready", "True", 3)]
    bad = conditions.ready(fine, False, Reason.CYCLE, "a -> a", NOW + timedelta(hours=1), 4)
    assert [(c.type, c.status.value, c.last_transition_time - NOW) for c in bad] == [
        ("Ready", "False", timedelta(hours=1)),
        ("Stalled", "True", timedelta(hours=1)),
    ]
    worse = conditions.ready(bad, False, Reason.UNKNOWN_ACTION, "b", NOW + timedelta(hours=2), 5)
    assert {c.last_transition_time - NOW for c in worse} == {timedelta(hours=1)}
