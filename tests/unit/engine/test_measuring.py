"""Metrics are asked for beside the workers, of the run's namespace, and again after a restart."""

from __future__ import annotations

import asyncio

import pytest

from kubernaut.api.reasons import Reason
from kubernaut.core.run import MetricSeen, Sample
from kubernaut.engine.live import LiveRun
from unit.engine.world import World, scale

pytestmark = pytest.mark.looptime
METRIC = {
    "name": "error-rate",
    "query": "='errors{on=\"' + target.metadata.name + '\"}'",
    "expect": "value < 0.05",
}
QUERY = 'errors{on="web"}'


class Prometheus:
    """Answers after a while, what the test says."""

    def __init__(self, world: World, seconds: float = 1.0) -> None:
        self.world, self.seconds = world, seconds
        self.value: float | None = 0.01
        self.asked: list[tuple[str, str]] = []

    async def ask(self, query: str, namespace: str) -> MetricSeen:
        self.asked.append((query, namespace))
        now = self.world.clock()
        await asyncio.sleep(self.seconds)
        if self.value is None:
            return MetricSeen(now, reason=Reason.METRICS_UNAVAILABLE, told="it is away")
        return MetricSeen(now, (Sample(self.value),))


def asking(window: str = "0s", seconds: float = 1.0) -> tuple[World, Prometheus]:
    world = World()
    world.prometheus = prometheus = Prometheus(world, seconds)
    world.workflow(scale("one", 2), verify={"metrics": [METRIC], "stabilization": window, "timeout": "1m"})
    world.run()
    return world, prometheus


async def until_over(world: World, live: LiveRun, seconds: float = 300) -> None:
    """Reconcile as the engine does: when it is woken, and after the time that was said."""
    reconciler, loop = world.reconciler(), asyncio.get_running_loop()
    end = loop.time() + seconds
    while True:
        assert loop.time() < end, live.status
        delay = await reconciler.reconcile(live)
        if live.stored.phase.final:
            return
        woken = asyncio.create_task(live.waiting.wait())
        await asyncio.wait({woken}, timeout=delay)
        woken.cancel()


async def test_a_run_whose_metric_is_as_expected_is_remediated() -> None:
    world, prometheus = asking()
    await until_over(world, world.take_up())
    assert prometheus.asked == [(QUERY, "shop")]
    stored = world.stored()
    assert (stored["verdict"], stored["reason"]) == ("Remediated", "ExpectationMet")
    assert stored["metrics"] == [{"name": "error-rate", "state": "Held", "value": "0.01", "samples": 1}]


async def test_no_worker_waits_for_an_answer_and_a_question_is_asked_once_at_a_time() -> None:
    world, prometheus = asking(seconds=3.0)
    live, reconciler = world.take_up(), world.reconciler()
    loop = asyncio.get_running_loop()
    began = loop.time()
    for _ in range(5):
        await reconciler.reconcile(live)
    assert loop.time() - began < 3.0
    assert live.status.phase == "Verifying"
    await asyncio.sleep(0)
    assert len(prometheus.asked) == 1
    await until_over(world, live)


async def test_the_answer_wakes_the_run() -> None:
    world, _ = asking()
    live = world.take_up()
    await world.reconciler().reconcile(live)
    world.woken.clear()
    await asyncio.sleep(1.1)
    assert world.woken == [live.key]


async def test_a_metric_that_is_bad_to_the_end_is_not_fixed() -> None:
    world, prometheus = asking()
    prometheus.value = 0.31
    await until_over(world, world.take_up())
    stored = world.stored()
    assert (stored["verdict"], stored["reason"]) == ("NotFixed", "MetricNotMet")
    assert "metric error-rate is 0.31" in stored["message"]
    assert 10 <= len(prometheus.asked) <= 14, "about every five seconds, for a minute"


async def test_what_is_away_to_the_end_is_inconclusive_and_only_the_end_is_written() -> None:
    world, prometheus = asking()
    prometheus.value = None
    await until_over(world, world.take_up())
    assert (world.stored()["verdict"], world.stored()["reason"]) == ("Inconclusive", "MetricsUnavailable")
    statuses = [what for what in world.cluster.written() if what == "patch WorkflowExecution shop/run"]
    assert len(statuses) == 4, "the finalizer, the claim, that it is verified, and the end"


async def test_where_the_operator_knows_of_no_prometheus_the_run_says_what_to_set() -> None:
    world = World()
    world.workflow(scale("one", 2), verify={"metrics": [METRIC], "timeout": "1m"})
    world.run()
    await until_over(world, world.take_up())
    stored = world.stored()
    assert (stored["verdict"], stored["reason"]) == ("Inconclusive", "MetricNotAsked")
    (ready,) = [one["message"] for one in stored["conditions"] if one["type"] == "Ready"]
    assert "KUBERNAUT_PROMETHEUS_URL" in ready


async def test_a_restart_within_the_window_asks_again_and_keeps_its_beginning() -> None:
    world, prometheus = asking(window="30s")
    live, reconciler, loop = world.take_up(), world.reconciler(), asyncio.get_running_loop()
    while not world.stored().get("healthySince"):
        await reconciler.reconcile(live)
        await asyncio.sleep(0.5)
    since = world.stored()["healthySince"]
    await asyncio.sleep(20)
    reconciler.let_go(live)
    asked, began = len(prometheus.asked), loop.time()
    again = world.take_up()
    assert again.answers == {}
    await until_over(world, again)
    assert len(prometheus.asked) > asked
    assert world.stored()["verdict"] == "Remediated"
    assert world.stored()["healthySince"] == since
    assert loop.time() - began < 15, "the window was not begun anew"


async def test_a_run_that_is_let_go_is_asked_for_no_longer() -> None:
    world, _ = asking(seconds=3.0)
    live, reconciler = world.take_up(), world.reconciler()
    await reconciler.reconcile(live)
    (task,) = live.asking.values()
    reconciler.let_go(live)
    await asyncio.sleep(0)
    assert task.cancelled()
    world.woken.clear()
    await asyncio.sleep(5)
    assert (live.asking, live.answers, world.woken) == ({}, {}, [])
