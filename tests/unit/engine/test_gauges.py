"""What is shown of who waits, with a bounded number of series."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kubernaut.engine.gauges import MOST_RESOURCES, show_capacities, show_wait, waits_for_person
from kubernaut.metrics import REGISTRY
from unit.engine.world import World


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
