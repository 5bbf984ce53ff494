"""Verdicts by metrics over generated answers, outages, alerts, restarts and times: no success without evidence."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from builders import Story, a_story, a_target, a_workflow
from kubernaut.api.execution import RunPhase, Verdict
from kubernaut.api.reasons import Reason
from kubernaut.core.run import AlertSeen, AlertState, MetricSeen, Sample

HEALTHY = "target.status.readyReplicas == target.spec.replicas"
METRIC = {"name": "errors", "query": "errors", "expect": "value < 0.05"}
TIMEOUT, WINDOW = timedelta(seconds=60), timedelta(seconds=20)
HELPED = (Verdict.REMEDIATED, Verdict.NO_ACTION_REQUIRED)
_REASONS = (Reason.METRICS_UNAVAILABLE, Reason.METRIC_REFUSED, Reason.METRIC_NOT_ASKED)


@dataclass(frozen=True)
class Moment:
    """What is so for some seconds.

    Attributes:
        values: what Prometheus answers where it is asked; None where it does not answer at all.
        reason: why it answers nothing, or None.
    """

    seconds: int
    healthy: bool
    alert: AlertState | None
    values: tuple[float, ...] | None
    reason: Reason | None
    again: bool
    crash: bool


numbers = st.sampled_from([0.0, 0.01, 0.31, math.nan, math.inf])
moments = st.builds(
    Moment,
    seconds=st.integers(0, 15),
    healthy=st.sampled_from([True, True, True, False]),
    alert=st.sampled_from([AlertState.RESOLVED, AlertState.RESOLVED, AlertState.FIRING, AlertState.UNKNOWN]),
    values=st.none() | st.lists(numbers, max_size=3).map(tuple),
    reason=st.none() | st.sampled_from(_REASONS),
    again=st.booleans(),
    crash=st.sampled_from([False, False, False, True]),
)


def good(values: tuple[float, ...]) -> bool:
    return bool(values) and all(value < 0.05 for value in values)


class World:
    """A run that has acted, and what is so outside."""

    def __init__(self, alerted: bool, window: bool) -> None:
        stabilization = f"{WINDOW.seconds if window else 0}s"
        workflow = (
            a_workflow()
            .step("a")
            .verify(HEALTHY, timeout=f"{TIMEOUT.seconds}s", stabilization=stabilization, metrics=[METRIC])
        )
        self.story: Story = a_story(workflow)
        self.alerted = alerted
        self.story.decide()
        if alerted:
            self.story.alert = AlertSeen(AlertState.FIRING, "Broken")
        self.story.done("a")
        self.story.store()
        self.since = self.story.now

    @property
    def over(self) -> bool:
        return self.story.run.status.phase.final

    def live(self, now: Moment) -> None:
        """Let a moment be so, and decide as the engine does until nothing more is asked for."""
        story = self.story
        story.now += timedelta(seconds=now.seconds)
        if self.alerted and now.alert is not None:
            story.alert = AlertSeen(now.alert, "as generated")
        story.target = a_target(ready=2 if now.healthy else 1)
        if now.crash:
            story.metrics.clear()
            story.run = replace(story.run, status=story.run.stored)
        for _ in range(5):
            if self.over:
                return
            decided = story.decide()
            if not decided.queries or (now.values is None and now.reason is None):
                return
            for query in decided.queries:
                samples = tuple(Sample(value) for value in now.values or ()) if now.reason is None else ()
                story.metrics[query] = MetricSeen(
                    story.now, samples, now.reason, "as generated", again=now.again
                )
        raise AssertionError("it asks again for what was answered")


@settings(max_examples=150, deadline=None)
@given(st.lists(moments, min_size=1, max_size=25), st.booleans(), st.booleans())
def test_success_rests_upon_an_answer_of_the_end_of_the_window_and_comes_to_an_end(
    told: list[Moment], alerted: bool, window: bool
) -> None:
    world = World(alerted, window)
    story = world.story
    last = None
    for last in told:
        healthy = story.run.status.healthy_since
        world.live(last)
        if world.over:
            break
    assert last is not None
    status = story.run.status
    if status.verdict in HELPED:
        seen = story.metrics["errors"]
        assert last.healthy
        assert not alerted or last.alert is AlertState.RESOLVED
        assert seen.reason is None
        assert good(tuple(one.value for one in seen.samples))
        assert status.verify_since is not None
        assert seen.asked_at >= status.verify_since
        if window:
            assert healthy is not None
            assert seen.asked_at >= healthy + WINDOW
    if status.verdict is Verdict.INCONCLUSIVE:
        assert status.phase is RunPhase.SUCCEEDED
    if status.verdict is Verdict.NOT_FIXED and status.reason == Reason.METRIC_NOT_MET:
        assert any(one.value >= 0.05 for one in story.metrics["errors"].samples)
    # However it went on, all well and answered from now on it ends, and silent from now on it ends as well.
    end = Moment(5, True, AlertState.RESOLVED, told[0].values, told[0].reason, True, False)
    for _ in range(int((TIMEOUT + WINDOW + timedelta(seconds=90)).total_seconds() / 5)):
        world.live(end)
    assert world.over


@settings(max_examples=100, deadline=None)
@given(st.lists(moments, min_size=1, max_size=25), st.booleans())
def test_without_one_good_answer_there_is_no_success(told: list[Moment], window: bool) -> None:
    world = World(False, window)
    for one in told:
        bad = tuple(value for value in one.values or () if not value < 0.05)
        world.live(Moment(one.seconds, True, None, bad, one.reason, one.again, one.crash))
    assert world.story.run.status.verdict not in HELPED


@settings(max_examples=100, deadline=None)
@given(st.lists(moments, min_size=1, max_size=25), st.booleans())
def test_while_the_alert_fires_nothing_but_not_fixed_comes_of_it(told: list[Moment], window: bool) -> None:
    world = World(True, window)
    for one in told:
        world.live(
            Moment(one.seconds, one.healthy, AlertState.FIRING, one.values, one.reason, one.again, one.crash)
        )
    assert world.story.run.status.verdict in (None, Verdict.NOT_FIXED)
