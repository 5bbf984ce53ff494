"""Which Events are written."""

import re
from datetime import UTC, datetime

import pytest

from kubernaut.engine.events import BURST, EventBudget, finished_event
from kubernaut.engine.live import LiveRun

GOOD = {"type": "Normal"}
BAD = {"type": "Warning"}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_events_of_good_runs_have_a_budget_that_fills_up_again_with_time() -> None:
    clock = Clock()
    budget = EventBudget(2.0, clock)
    assert [budget.admits(GOOD) for _ in range(BURST + 1)] == [True] * BURST + [False]
    clock.now += 0.4
    assert not budget.admits(GOOD)
    clock.now += 0.1
    assert budget.admits(GOOD)
    assert not budget.admits(GOOD)


def test_idle_time_saves_up_no_more_than_a_burst() -> None:
    clock = Clock()
    budget = EventBudget(2.0, clock)
    clock.now += 3600
    assert sum(budget.admits(GOOD) for _ in range(10 * BURST)) == BURST


def test_a_run_that_went_wrong_is_told_of_however_many_there_are_and_takes_nothing_from_good_ones() -> None:
    budget = EventBudget(0.0, Clock())
    assert all(budget.admits(BAD) for _ in range(10 * BURST))
    assert sum(budget.admits(GOOD) for _ in range(10 * BURST)) == BURST


@pytest.mark.parametrize("name", ["web-1", "a" * 253, "a" * 232 + "-" + "b" * 20, "a.-b" * 63])
def test_the_events_name_is_one_whatever_the_run_is_called(name: str) -> None:
    live = LiveRun.of(
        {
            "apiVersion": "kubernaut.io/v1alpha1",
            "kind": "WorkflowExecution",
            "metadata": {"name": name, "namespace": "shop", "uid": "0" * 36, "resourceVersion": "1"},
            "spec": {"workflowRef": {"name": "fix"}},
        }
    )
    made = finished_event(live, datetime(2026, 1, 1, tzinfo=UTC), "operator-0")["metadata"]["name"]
    assert made.startswith(name[:200])
    assert len(made) <= 253
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", made)
    assert "-.0000" not in made
