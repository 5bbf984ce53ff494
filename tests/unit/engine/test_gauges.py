"""What is shown of who waits, with a bounded number of series."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from kubernaut.api.reasons import Reason
from kubernaut.core.run import Hold
from kubernaut.engine.gauges import (
    MOST_RESOURCES,
    MOST_WORKFLOWS,
    OTHERS,
    count_run,
    hide_workflow,
    show_capacities,
    show_queue,
    show_wait,
    show_waits,
    show_workflow,
    waits_for_person,
)
from kubernaut.engine.live import LiveRun
from kubernaut.engine.queue import KeyedQueue
from kubernaut.metrics import REGISTRY
from unit.engine.world import EPOCH, World, scale

HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _nothing_shown() -> Iterator[None]:
    show_capacities({})
    yield
    show_capacities({})


def used(resource: str) -> float | None:
    return REGISTRY.get_sample_value("kubernaut_capacity_units_used", {"resource": resource})


def test_at_most_fifty_resources_are_shown_and_those_that_are_gone_make_room() -> None:
    show_capacities({f"r{number:03}": (1, 1, 0) for number in range(MOST_RESOURCES + 9)})
    assert used("r049") == 1
    assert used("r050") is None
    show_capacities({"r050": (3, 2, 1)})
    assert (used("r049"), used("r050")) == (None, 2)


def test_each_class_of_priority_has_its_waits() -> None:
    def count(kind: str) -> float:
        name = "kubernaut_workqueue_queue_duration_seconds_count"
        return REGISTRY.get_sample_value(name, {"priority": kind}) or 0

    before = {kind: count(kind) for kind in ("low", "normal", "high")}
    for _ in range(16):
        for priority in (-3, 0, 7):
            show_wait(priority, 0.1)
    assert {kind: count(kind) - was for kind, was in before.items()} == {"low": 2, "normal": 2, "high": 2}


async def test_a_run_that_asks_waits_for_a_person_and_one_that_acts_does_not() -> None:
    world = World()
    world.workflow(
        {"name": "ask", "approval": {}}, {"name": "wait", "wait": {"duration": "1h"}}, name="asking"
    )
    world.workflow({"name": "wait", "wait": {"duration": "1h"}}, name="waiting")
    asking, waiting = world.run("asks", "asking"), world.run("waits", "waiting")
    for live in (asking, waiting):
        assert not waits_for_person(live)
        await world.reconciler().reconcile(live)
    assert waits_for_person(asking)
    assert not waits_for_person(waiting)


async def waits(*runs: LiveRun) -> tuple[Any, Any]:
    """Return for how long a person is waited for, and for how long nothing has moved, an hour later."""
    await show_waits(runs, EPOCH + HOUR)
    names = ("kubernaut_approvals_longest_wait_seconds", "kubernaut_runs_longest_unmoved_seconds")
    asked, unmoved = map(REGISTRY.get_sample_value, names)
    return asked, unmoved


async def reconciled(world: World, workflow: str, name: str = "run") -> LiveRun:
    live = world.run(name, workflow)
    await world.reconciler().reconcile(live)
    return live


@pytest.mark.looptime
async def test_for_how_long_a_person_is_waited_for_is_told_of_the_one_that_waits_for_longest() -> None:
    world = World()
    world.workflow({"name": "ask", "approval": {"expiresAfter": "5h"}}, name="asking")
    assert await waits() == (0, 0)
    first = await reconciled(world, "asking", "first")
    await asyncio.sleep(600)
    world.locks.release(first.key)
    second = await reconciled(world, "asking", "second")
    assert await waits(second) == (pytest.approx(3000, abs=1), 0)
    assert await waits(second, first) == (pytest.approx(3600, abs=1), 0)


@pytest.mark.looptime
async def test_a_run_that_waits_for_its_target_does_not_move_and_one_whose_step_waits_may() -> None:
    world = World()
    world.workflow({"name": "wait", "wait": {"duration": "1h"}}, name="waiting")
    holding = await reconciled(world, "waiting", "holding")
    busy = await reconciled(world, "waiting", "busy")
    assert busy.status.conditions
    assert await waits(holding) == (0, 0)
    assert await waits(holding, busy) == (0, 3600)


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("reason", "seconds"), [(Reason.STOPPED, 0), (Reason.COOLDOWN, 0), (Reason.FEATURE_OFF, 3600)]
)
async def test_a_run_that_is_held_by_what_people_want_may_stand_still(reason: Reason, seconds: float) -> None:
    world = World()
    world.workflow(scale("one", 2))
    world.hold = Hold(reason, "A test holds it.")
    assert await waits(await reconciled(world, "fix")) == (0, seconds)


def finished(workflow: str, verdict: str = "Remediated") -> float | None:
    return REGISTRY.get_sample_value(
        "kubernaut_workflow_runs_total", {"workflow": workflow, "verdict": verdict}
    )


def test_at_most_fifty_workflows_are_shown_from_zero_on_and_those_that_are_gone_make_room() -> None:
    names = [f"shop/flow-{number}" for number in range(MOST_WORKFLOWS + 1)]
    others = finished(OTHERS) or 0
    try:
        for name in names:
            show_workflow(name)
            show_workflow(name)
        assert [finished(names[0]), finished(names[-1])] == [0, None]
        for name in (names[0], names[-1]):
            count_run(name, "Remediated")
        assert [finished(names[0]), finished(names[-1]), finished(OTHERS)] == [1, None, others + 1]
        hide_workflow(names[0])
        show_workflow(names[-1])
        assert [finished(names[0]), finished(names[-1])] == [None, 0]
    finally:
        for name in names:
            hide_workflow(name)


@pytest.mark.looptime
async def test_what_is_in_the_queue_and_with_workers_is_shown() -> None:
    def value(name: str) -> float:
        return REGISTRY.get_sample_value(f"kubernaut_{name}") or 0

    queue = KeyedQueue[str]()
    added = value("workqueue_adds_total")
    for key in "abca":
        queue.add(key)
    told = show_queue(queue, 0)
    assert (value("workqueue_depth"), value("workqueue_adds_total") - added) == (3, 3)
    await queue.get()
    await asyncio.sleep(2)
    queue.add("a")
    await queue.get()
    await asyncio.sleep(1)
    told = show_queue(queue, told)
    assert (value("active_workers"), value("workqueue_adds_total") - added) == (2, 3)
    assert value("workqueue_longest_running_processor_seconds") == pytest.approx(3, abs=0.1)
    assert value("workqueue_unfinished_work_seconds") == pytest.approx(4, abs=0.1)
    queue.done("a")
    queue.done("b")
    show_queue(queue, told)
    assert (value("active_workers"), value("workqueue_adds_total") - added) == (0, 4)
    assert value("workqueue_longest_running_processor_seconds") == 0
