"""The operator comes and goes; runs end right and each effect happens once. (Kill points: tests/faults.)"""

from __future__ import annotations

import json

import pytest

from e2e.websteps import gate, note, slow_chain
from e2e.world import Place, World, effects, phases


@pytest.mark.parametrize("signal", ["SIGTERM", "SIGKILL"])
def test_a_run_goes_on_where_it_was_when_the_operator_comes_back(place: Place, signal: str) -> None:
    world = place.world
    place.workflow(note("first"), gate("gate", "first"), note("last", "gate"))
    run = place.run()
    run.step_is("gate", "Waiting")
    if signal == "SIGKILL":
        world.operator.kill()
    else:
        assert world.operator.stop() == 0
    place.label(go="yes")
    place.delete("Workflow", "flow")  # the run has its own copy
    world.restart_operator()
    status = run.end()
    assert phases(status) == {"first": "Succeeded", "gate": "Succeeded", "last": "Succeeded"}
    assert effects(place) == ["first", "last"]


def test_killed_or_ended_amid_its_effects_a_run_does_each_once(place: Place) -> None:
    world = place.world
    place.workflow(*slow_chain(12, "50ms"))
    run = place.run()
    for step, end in (("s1", world.operator.kill), ("s5", world.operator.stop)):
        run.step_is(step, "Succeeded")
        end()
        world.restart_operator()
    assert run.end()["phase"] == "Succeeded"
    assert effects(place) == [f"s{at}" for at in range(12)]


def test_a_target_stays_locked_over_a_restart(place: Place) -> None:
    world = place.world
    place.workflow(gate("gate"), note("first", "gate"))
    place.workflow(note("second"), name="other")
    first = place.run("first")
    first.step_is("gate", "Waiting")
    world.operator.kill()
    second = place.run("second", "other")
    world.restart_operator()
    assert f"run {place.namespace}/first" in second.held("TargetBusy")
    place.label(go="yes")
    first.end()
    second.end()
    assert effects(place) == ["first", "second"]


def test_its_pages_say_that_it_works_and_how(world: World, place: Place) -> None:
    place.workflow(note("only"))
    place.run().end()
    status, text = world.operator.get("/healthz")
    assert status == 200
    assert "a worker proved itself" in text
    assert world.operator.get("/readyz") == (200, "ok\n")
    metrics = world.operator.get("/metrics")[1]
    for name in (
        "kubernaut_reconcile_total",
        "kubernaut_reconcile_time_seconds_bucket",
        "kubernaut_workqueue_depth",
        "kubernaut_runs_live",
        "kubernaut_runs_finished_total",
        "kubernaut_run_duration_seconds_bucket",
        "kubernaut_steps_total",
        "kubernaut_step_duration_seconds_bucket",
        "kubernaut_api_writes_total",
        "kubernaut_target_locks",
        "kubernaut_mirror_backlog",
        "kubernaut_breaker_open",
        "kubernaut_heartbeat_timestamp_seconds",
    ):
        assert f"\n{name}" in metrics, name
    assert world.operator.metric("kubernaut_steps_total", action="patch_resource", result="done") >= 1
    assert world.operator.metric("kubernaut_runs_finished_total", phase="Succeeded") >= 1


def test_its_log_is_json_and_names_the_runs(world: World, place: Place) -> None:
    place.workflow(note("only"))
    run = place.run()
    run.end()
    place.run("again").end()
    records = [json.loads(line) for line in world.operator.log.read_text().splitlines()]
    (told,) = [r for r in records if r.get("uid") == run.uid]
    assert told["message"] == "run finished"
    assert told["run"] == f"{place.namespace}/run"
    assert (told["phase"], told["verdict"]) == ("Succeeded", "Inconclusive")
    assert {"time", "level", "logger"} <= told.keys()
