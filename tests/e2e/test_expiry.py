"""Finished runs leave the cluster when they should, and an operator that comes back looks after those it finds."""

from __future__ import annotations

import itertools

from e2e.websteps import note
from e2e.world import Place, until


def test_only_the_last_runs_of_a_workflow_stay_and_the_history_keeps_all(place: Place) -> None:
    world = place.world
    place.workflow(note("only"), successfulRunsHistoryLimit=1)
    runs = []
    for number in range(3):
        run = place.run(f"run-{number}")
        assert run.end()["phase"] == "Succeeded"
        runs.append(run)
    for run in runs[:2]:
        world.runs.wait_gone(run.uid)
    assert not world.runs.is_gone(runs[2].uid)
    assert len(world.await_rows([run.uid for run in runs])) == 3


def test_a_run_that_ended_in_an_earlier_life_of_the_operator_is_let_go_when_it_is_deleted(
    place: Place,
) -> None:
    world = place.world
    place.workflow(note("only"))
    runs = [place.run(name) for name in ("early", "late", "never")]
    for run in runs:
        run.end()
    world.await_rows([run.uid for run in runs])
    assert world.operator.stop() == 0
    world.restart_operator()
    # The first may be found by the listing that follows a start; the second only by being watched.
    for run, name in zip(runs, ("early", "late"), strict=False):
        place.delete("WorkflowExecution", name)
        world.runs.wait_gone(run.uid)
    assert not world.runs.is_gone(runs[2].uid)


def test_a_run_says_when_it_is_expected_to_end(place: Place) -> None:
    place.workflow(note("only"))
    earlier = [place.run(f"run-{number}") for number in range(5)]
    for run in earlier:
        run.end()
    place.world.await_rows([run.uid for run in earlier])
    # That there were too few earlier runs is remembered for a minute, but not over a restart.
    assert place.world.operator.stop() == 0
    place.world.restart_operator()
    names = (f"later-{number}" for number in itertools.count())
    # No run waits for the history: the first one asks, and one of those after it is told.
    eta = until("a run says it", lambda: place.run(next(names)).end().get("eta"))
    assert eta is not None
    assert eta["runs"] >= 5
    assert eta["earliest"] <= eta["expected"] <= eta["latest"]
