"""Replays of runs whose verdict rests upon a metric: what it was is recorded, what it would be is never guessed."""

from __future__ import annotations

from typing import Any

import pytest

from builders import NOW, WorkflowBuilder, a_story, a_target, a_workflow
from kubernaut.api.reasons import Reason
from kubernaut.api.workflow import WorkflowSpec
from kubernaut.core.run import MetricSeen, Sample
from kubernaut.history.records import RunRecord
from replayed import recorded, replayed

HEALTHY = "target.status.readyReplicas == target.spec.replicas"
METRIC = {"name": "error-rate", "query": "errors", "expect": "value < 0.05"}


def workflow(*, timeout: str = "5m", window: str = "0s", step: str = "1m", **metric: str) -> WorkflowBuilder:
    metrics = [METRIC | metric]
    return (
        a_workflow()
        .step("a", timeout=step)
        .verify(HEALTHY, timeout=timeout, stabilization=window, metrics=metrics)
    )


def lived(
    value: float | None, wait: str = "0s", again: bool = True, **more: Any
) -> tuple[RunRecord, WorkflowSpec]:
    """Return a run of which a metric gave a value, or nothing, all the time; and what it followed."""
    made = workflow(**more)
    story = a_story(made)
    story.decide()
    story.done("a")
    story.sees(a_target(ready=2))
    for pause in ("0s", wait):
        story.after(pause)
        samples = (Sample(value),) if value is not None else ()
        reason = None if value is not None else Reason.METRICS_UNAVAILABLE
        story.metrics["errors"] = MetricSeen(story.now, samples, reason, "away", again=again)
        story.decide()
    assert story.run.status.phase.final, story.run.status
    return recorded(story.run, made.spec(), NOW), made.spec()


@pytest.mark.parametrize(
    ("value", "wait", "window", "verdict"),
    [
        (0.01, "0s", "0s", "Remediated"),
        (0.01, "30s", "30s", "Remediated"),
        (0.31, "5m", "0s", "NotFixed"),
        (None, "5m", "0s", "Inconclusive"),
    ],
)
def test_under_its_own_content_it_comes_out_as_it_did(
    value: float | None, wait: str, window: str, verdict: str
) -> None:
    record, spec = lived(value, wait, window=window)
    assert record.verdict == verdict
    assert [one["name"] for one in (record.facts or {})["metrics"]] == ["error-rate"]
    result = replayed(record, spec, spec)
    assert (result.verdict, result.unknown) == ("Same", "")


def test_what_nobody_could_know_is_not_waited_for_in_the_replay_either() -> None:
    record, spec = lived(None, again=False)
    assert replayed(record, spec, spec).verdict == "Same"


def test_a_change_that_has_nothing_to_do_with_the_metric_changes_nothing() -> None:
    record, spec = lived(0.31, "5m")
    assert replayed(record, spec, workflow(step="3m").spec()).verdict == "Same"


@pytest.mark.parametrize(
    "new",
    [
        workflow(query="others"),
        workflow(expect="value < 0.5"),
        workflow(name="errors"),
        workflow(timeout="10m"),
        workflow(timeout="1m"),
    ],
)
def test_what_another_metric_or_another_time_would_give_is_not_known(new: WorkflowBuilder) -> None:
    for value, wait in ((0.31, "5m"), (None, "5m")):
        record, spec = lived(value, wait)
        result = replayed(record, spec, new.spec())
        assert (result.verdict, result.would) == ("Unknown", None), result


def test_a_metric_that_was_not_there_then_is_not_known() -> None:
    old = a_workflow().step("a", timeout="1m").verify(HEALTHY)
    story = a_story(old)
    story.decide()
    story.done("a")
    story.sees(a_target(ready=2))
    record = recorded(story.run, old.spec(), NOW)
    result = replayed(record, old.spec(), workflow().spec())
    assert (result.verdict, result.unknown) == ("Unknown", "what metric error-rate was")
    assert replayed(*lived(0.01), old.spec()).verdict == "Same"
