"""What the engine knows of the alerts that started a run: told by their receiver, or asked for after the act."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kubernaut.api.execution import WorkflowExecutionStatus
from kubernaut.api.names import ANNOTATION_ALERTS
from kubernaut.core.guards.deciding import Alerts
from kubernaut.core.incidents import Alarm, Episode
from kubernaut.core.run import AlertState
from kubernaut.engine.alerting import AlertStates
from kubernaut.engine.live import LiveRun

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
COOLDOWN = timedelta(minutes=10)


class Source:
    """Answers as the test says; asked at the time of the test's clock."""

    def __init__(self) -> None:
        self.firing: frozenset[str] = frozenset()
        self.trouble = ""
        self.lacks = ""
        self.asked = 0
        self.now = NOW

    def clock(self) -> datetime:
        return self.now

    async def look(self) -> Alerts:
        self.asked += 1
        if self.trouble:
            return Alerts(trouble=self.trouble)
        return Alerts(asked_at=self.now, fingerprints=self.firing, lacks=self.lacks)


def episode(*, resolved: bool = False) -> Episode:
    alarms = [Alarm(name, NOW, NOW + timedelta(minutes=1) if resolved else None) for name in ("aa", "bb")]
    began = Episode(1, COOLDOWN).fold([Alarm(name, NOW) for name in ("aa", "bb")], NOW)
    return began.fold(alarms, NOW)


def a_run(kept: Episode | None = None, **status: Any) -> LiveRun:
    cause = {
        "name": "Broken",
        "fingerprint": "aa",
        "startsAt": "2026-03-04T12:00:00Z",
        "incident": "i1",
        "episode": 1,
        "targetUid": "u",
    }
    manifest = {
        "apiVersion": "kubernaut.io/v1alpha1",
        "kind": "WorkflowExecution",
        "metadata": {
            "name": "run",
            "namespace": "shop",
            "uid": "uid",
            "resourceVersion": "1",
            "creationTimestamp": "2026-03-04T12:00:00Z",
            "annotations": {ANNOTATION_ALERTS: kept.written()} if kept else {},
        },
        "spec": {
            "workflowRef": {"name": "fix"},
            "trigger": {"type": "Alert", "alert": cause} if kept else {"type": "Manual"},
        },
        "status": status,
    }
    live = LiveRun.of(manifest)
    live.status = WorkflowExecutionStatus.model_validate(status)
    return live


def verified(kept: Episode | None = None) -> LiveRun:
    return a_run(kept or episode(), phase="Verifying", verifySince="2026-03-04T12:00:00Z")


@pytest.fixture
def source() -> Source:
    return Source()


async def test_a_run_that_no_alert_started_has_none_and_nobody_is_asked(source: Source) -> None:
    states = AlertStates(source, source.clock)
    live = a_run()
    await states.refresh(live)
    assert states.seen(live) is None
    assert source.asked == 0


async def test_what_the_receiver_was_told_to_be_resolved_is_resolved_and_nobody_is_asked(
    source: Source,
) -> None:
    states = AlertStates(source, source.clock)
    live = verified(episode(resolved=True))
    await states.refresh(live)
    seen = states.seen(live)
    assert seen is not None
    assert seen.state is AlertState.RESOLVED
    assert source.asked == 0


async def test_before_the_verification_nobody_is_asked_and_nothing_is_known(source: Source) -> None:
    states = AlertStates(source, source.clock)
    live = a_run(episode(), phase="Running")
    await states.refresh(live)
    seen = states.seen(live)
    assert source.asked == 0
    assert seen is not None
    assert seen.state is AlertState.UNKNOWN


async def test_any_of_the_episodes_alerts_that_fires_keeps_it_firing(source: Source) -> None:
    states = AlertStates(source, source.clock)
    live = verified()
    source.firing = frozenset({"bb", "of-others"})
    await states.refresh(live)
    seen = states.seen(live)
    assert seen is not None
    assert (seen.state, seen.told) == (AlertState.FIRING, "Broken (1 of 2 alerts)")
    source.firing = frozenset({"of-others"})
    source.now += timedelta(seconds=6)
    await states.refresh(live)
    seen = states.seen(live)
    assert seen is not None
    assert seen.state is AlertState.RESOLVED


async def test_an_answer_from_before_the_act_or_from_long_ago_says_nothing(source: Source) -> None:
    states = AlertStates(source, source.clock)
    source.now = NOW - timedelta(seconds=1)
    live = verified()
    await states.refresh(live)
    seen = states.seen(live)
    assert seen is not None
    assert seen.state is AlertState.UNKNOWN
    source.now = NOW + timedelta(seconds=5)
    await states.refresh(live)
    source.now += timedelta(seconds=16)
    seen = states.seen(live)
    assert seen is not None
    assert (seen.state, seen.told) == (AlertState.UNKNOWN, "the last answer is too old")


async def test_an_alertmanager_that_can_not_be_asked_is_unknown_with_its_trouble(source: Source) -> None:
    states = AlertStates(source, source.clock)
    live = verified()
    source.trouble = "the Alertmanager can't be asked: refused"
    await states.refresh(live)
    seen = states.seen(live)
    assert seen is not None
    assert (seen.state, seen.told) == (AlertState.UNKNOWN, source.trouble)


async def test_an_alert_that_an_alertmanager_may_not_have_been_told_of_yet_is_not_resolved(
    source: Source,
) -> None:
    states = AlertStates(source, source.clock)
    live = verified()
    source.lacks = "the Alertmanager has run for 5 s"
    await states.refresh(live)
    seen = states.seen(live)
    assert seen is not None
    assert (seen.state, seen.told, seen.again) == (AlertState.UNKNOWN, source.lacks, True)
    source.firing, source.now = frozenset({"aa"}), source.now + timedelta(seconds=6)
    await states.refresh(live)
    seen = states.seen(live)
    assert seen is not None
    assert seen.state is AlertState.FIRING


@pytest.mark.parametrize("kept", [Episode(1, COOLDOWN), replace(episode(resolved=True), more=True)])
async def test_what_is_not_kept_of_the_alerts_is_never_taken_for_resolved(
    source: Source, kept: Episode
) -> None:
    states = AlertStates(source, source.clock)
    live = verified(kept)
    await states.refresh(live)
    seen = states.seen(live)
    assert seen is not None
    assert seen.state is AlertState.UNKNOWN
    assert not seen.again


async def test_one_answer_serves_for_some_seconds(source: Source) -> None:
    states = AlertStates(source, source.clock)
    for _ in range(3):
        await states.refresh(verified())
    assert source.asked == 1


async def test_an_answer_of_before_the_clock_was_set_back_is_not_believed(source: Source) -> None:
    states = AlertStates(source, source.clock)
    live = verified()
    source.now = NOW + timedelta(hours=1)
    await states.refresh(live)
    source.now, source.firing = NOW, frozenset({"aa"})
    await states.refresh(live)
    seen = states.seen(live)
    assert seen is not None
    assert seen.state is AlertState.FIRING
