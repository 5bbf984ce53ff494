"""Which Events are written."""

from kubernaut.engine.events import BURST, EventBudget

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
