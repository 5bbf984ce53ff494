"""Replays of runs that alerts started: what became of the alert counts where it is recorded, and is never guessed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from builders import NOW, a_story, a_target, a_workflow
from kubernaut.api.workflow import WorkflowSpec
from kubernaut.core.run import AlertSeen, AlertState
from kubernaut.history.records import RunRecord
from replayed import recorded, replayed

HEALTHY = "target.status.readyReplicas == target.spec.replicas"


def lived(state: AlertState, *, fails: bool = False, wait: str = "6m") -> tuple[RunRecord, WorkflowSpec]:
    """Return a run that an alert started, whose expectations held; and what it followed."""
    workflow = a_workflow().step("a", timeout="1m").verify(HEALTHY, timeout="5m")
    story = a_story(workflow)
    story.alert = AlertSeen(state, "as the test says")
    story.decide()
    if fails:
        story.failed("a")
    else:
        story.done("a")
        story.sees(a_target(ready=2))
        story.after(wait)
    assert story.run.status.phase.final
    return replace(recorded(story.run, workflow.spec(), NOW), trigger="Alert"), workflow.spec()


@pytest.mark.parametrize("state", list(AlertState))
def test_under_its_own_content_it_comes_out_as_it_did_whatever_became_of_its_alert(state: AlertState) -> None:
    record, spec = lived(state)
    assert replayed(record, spec, spec).verdict == "Same"


def test_a_change_that_has_nothing_to_do_with_the_alert_changes_nothing() -> None:
    record, spec = lived(AlertState.RESOLVED)
    new = a_workflow().step("a", timeout="3m").verify(HEALTHY, timeout="5m").spec()
    assert replayed(record, spec, new).verdict == "Same"


def test_what_would_have_become_of_the_alert_of_a_run_that_was_never_verified_is_not_known() -> None:
    record, spec = lived(AlertState.FIRING, fails=True)
    assert record.verdict == "NotFixed"
    new = a_workflow().step("a", timeout="1m", onFailure="Continue").verify(HEALTHY, timeout="5m").spec()
    assert replayed(record, spec, new).verdict == "Unknown"
    # Without expectations nothing but the alert stands between.
    bare = a_workflow().step("a", timeout="1m", onFailure="Continue").spec()
    assert replayed(record, spec, bare).unknown == "whether its alert was resolved"
