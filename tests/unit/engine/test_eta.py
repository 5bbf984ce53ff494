"""Estimates: known ones at once, others later, and never waited for."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from kubernaut.api.execution import Eta, RetryFrom
from kubernaut.api.names import FINALIZER
from kubernaut.engine.eta import Estimator
from kubernaut.engine.live import LiveRun
from kubernaut.history.errors import HistoryUnavailable
from kubernaut.history.pages import Durations
from unit.engine.world import EPOCH, World, scale

pytestmark = pytest.mark.looptime
TWELVE = Durations(12, 10.0, 20.0, 40.0)


class History:
    """Answers when the test says so."""

    def __init__(self, answer: Durations | None = TWELVE, seconds: float = 1.0) -> None:
        self.answer, self.seconds = answer, seconds
        self.away = False
        self.asked: list[tuple[str, str, str]] = []

    async def durations(self, namespace: str, workflow: str, content_hash: str) -> Durations | None:
        self.asked.append((namespace, workflow, content_hash))
        await asyncio.sleep(self.seconds)
        if self.away:
            raise HistoryUnavailable("Postgres is away")
        return self.answer


def estimator(history: History, **more: Any) -> Estimator:
    return Estimator(history, monotonic=asyncio.get_running_loop().time, **more)


async def claimed(world: World) -> LiveRun:
    """Return a run that was claimed and waits."""
    world.workflow({"name": "settle", "wait": {"duration": "1h"}}, timeout="2h")
    live = world.run(finalizers=[FINALIZER])
    await world.reconciler().reconcile(live)
    assert live.status.started_at == EPOCH
    return live


async def test_the_first_question_is_answered_later_and_the_next_one_at_once() -> None:
    live, history = await claimed(World()), History()
    estimates = estimator(history)
    assert estimates.of(live) is None
    assert estimates.of(live) is None
    await asyncio.sleep(1.1)
    assert estimates.of(live) == Eta(
        expected=EPOCH + timedelta(seconds=20),
        earliest=EPOCH + timedelta(seconds=10),
        latest=EPOCH + timedelta(seconds=40),
        runs=12,
    )
    assert live.status.workflow is not None
    assert history.asked == [("shop", "fix", live.status.workflow.content_hash)]


async def test_an_answer_is_good_for_a_minute_and_used_until_there_is_a_newer_one() -> None:
    live, history = await claimed(World()), History()
    estimates = estimator(history)
    estimates.of(live)
    await asyncio.sleep(59)
    estimates.of(live)
    assert len(history.asked) == 1
    await asyncio.sleep(3)
    old = estimates.of(live)
    history.answer = Durations(13, 11.0, 21.0, 41.0)
    await asyncio.sleep(1.1)
    new = estimates.of(live)
    assert old is not None
    assert new is not None
    assert (old.runs, new.runs) == (12, 13)


@pytest.mark.parametrize("away", [True, False])
async def test_without_an_answer_there_is_no_estimate_and_no_second_question_for_a_minute(away: bool) -> None:
    live, history = await claimed(World()), History(answer=None)
    history.away = away
    estimates = estimator(history)
    for _ in range(3):
        assert estimates.of(live) is None
        await asyncio.sleep(5)
    assert len(history.asked) == 1


async def test_what_is_not_comparable_gets_no_estimate() -> None:
    world, history = World(), History(seconds=0.0)
    live = await claimed(world)
    whole = live.execution
    estimates = estimator(history)
    estimates.of(live)
    await asyncio.sleep(0.1)
    for changes in ({"dry_run": True}, {"retry_from": RetryFrom(name="web-0")}):
        live.execution = whole.replace(spec=whole.spec.replace(**changes))
        assert estimates.of(live) is None
    live.execution = whole
    assert estimates.of(live) is not None
    assert estimator(history, enabled=lambda: False).of(live) is None
    assert estimates.of(world.run("fresh")) is None, "not claimed yet"


async def test_only_so_many_answers_are_kept() -> None:
    live, history = await claimed(World()), History(seconds=0.0)
    estimates = estimator(history, most=2)
    workflow = live.status.workflow
    assert workflow is not None
    for name in ("a", "b", "c"):
        live.status = live.status.replace(workflow=workflow.replace(name=name))
        estimates.of(live)
        await asyncio.sleep(0.1)
    assert estimates.of(live) is not None
    live.status = live.status.replace(workflow=workflow.replace(name="a"))
    assert estimates.of(live) is None
    await estimates.close()


async def stored_and_written(world: World, history: History | None) -> tuple[dict[str, Any], int]:
    """Let a run of two steps with a pause between them go to its end."""
    settle = {"name": "settle", "wait": {"duration": "5s"}, "dependsOn": ["one"]}
    world.workflow(scale("one", 5), settle, scale("two", 6, "settle"))
    live, runs = world.run(finalizers=[FINALIZER]), world.reconciler()
    if history is not None:
        runs.estimate = estimator(history).of
    while not live.stored.phase.final:
        delay = await runs.reconcile(live)
        await asyncio.sleep(delay or 0.0)
    return world.stored(), len(world.cluster.written())


async def test_the_estimate_goes_out_with_a_status_that_is_written_anyway() -> None:
    told, writes = await stored_and_written(World(), History(seconds=0.0))
    silent, as_many = await stored_and_written(World(), None)
    assert told["eta"]["runs"] == 12
    assert "eta" not in silent
    assert writes == as_many
