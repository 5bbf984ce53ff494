"""Single features are switched off and on while the operator runs; each degrades, says so, and comes back."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from e2e.commands import command
from e2e.websteps import acting, note
from e2e.world import Place, World, condition, done, steps, until

FAILS = acting("fails", "first", patch={"metadata": {"labels": {"x": "y"}}}, expect={"spec.paused": True})


@pytest.fixture(autouse=True)
def _all_on_again(world: World) -> Iterator[None]:
    yield
    features(world, **dict.fromkeys(("rollback", "retries", "foreach", "history", "expiry", "events"), "on"))


def features(world: World, **flags: str) -> None:
    """Set flags by the command, as a person would, and wait until the operator has taken them up."""
    command(world, "features", *(f"{name}={value}" for name, value in flags.items()))
    for name, value in flags.items():
        until(f"the operator knows that {name} is {value}", partial(_known, world, name, value))


def _known(world: World, name: str, value: str) -> bool:
    return world.operator.metric("kubernaut_feature_enabled", feature=name) == (1 if value == "on" else 0)


def events(place: Place) -> list[str]:
    return [
        event["regarding"]["name"]
        for event in place.list("Event")
        if event["regarding"]["name"] in ("a", "b")
    ]


def test_with_events_off_runs_end_without_a_word_and_with_one_again_after(place: Place) -> None:
    place.workflow(note("only"))
    features(place.world, events="off")
    assert place.run("a").end()["phase"] == "Succeeded"
    features(place.world, events="on")
    assert place.run("b").end()["phase"] == "Succeeded"
    until("the second run's Event is there", lambda: "b" in events(place))
    assert events(place) == ["b"]


def test_with_expiry_off_nothing_is_deleted_until_it_is_on_again(place: Place) -> None:
    place.workflow(note("only"), ttlSecondsAfterFinished=0)
    place.workflow(note("only"), name="other", ttlSecondsAfterFinished=0)
    features(place.world, expiry="off")
    run = place.run()
    run.end()
    place.world.await_rows([run.uid])
    # A second run that goes through all of it shows that the first had its chance.
    second = place.run("second", "other")
    second.end()
    place.world.await_rows([second.uid])
    assert {one["metadata"]["name"] for one in place.list("WorkflowExecution")} == {"run", "second"}
    features(place.world, expiry="on")
    place.world.runs.wait_gone(run.uid)
    place.world.runs.wait_gone(second.uid)


def test_with_the_history_off_runs_heal_and_wait_for_it(place: Place) -> None:
    world = place.world
    place.workflow(note("only"))
    features(world, history="off")
    run = place.run()
    assert run.end()["phase"] == "Succeeded"
    until("the run waits", lambda: (world.operator.metric("kubernaut_mirror_backlog") or 0) >= 1)
    assert world.rows("select uid from kubernaut.runs where uid::text = $1", run.uid) == []
    features(world, history="on")
    assert len(world.await_rows([run.uid])) == 1


def test_with_rollback_off_what_was_done_stays_and_the_run_says_so(place: Place) -> None:
    place.workflow(note("first"), FAILS, onFailure="Rollback")
    features(place.world, rollback="off")
    told = place.world.workflows.wait(
        (place.namespace, "flow"), lambda w: bool(condition(w, "FeatureOff")), "the Workflow says so, too"
    )
    assert "rollback" in condition(told, "FeatureOff")["message"]
    assert condition(told, "Ready")["status"] == "True"
    status = place.run("a").end()
    assert (status["phase"], status["verdict"]) == ("Failed", "NotFixed")
    assert "feature rollback is switched off" in status["message"]
    assert done(place) == {"first"}
    features(place.world, rollback="on")
    place.world.workflows.wait(
        (place.namespace, "flow"), lambda w: not condition(w, "FeatureOff"), "the Workflow says so no more"
    )
    place.workflow(note("second"), FAILS | {"dependsOn": ["second"]}, name="other", onFailure="Rollback")
    assert place.run("b", "other").end()["verdict"] == "RolledBack"
    assert done(place) == {"first"}


def test_with_retries_off_the_first_failure_is_the_last(place: Place) -> None:
    retry = {"limit": 5, "backoff": {"initial": "1s", "factor": 1}}
    place.workflow(note("first"), FAILS | {"retry": retry})
    features(place.world, retries="off")
    status = place.run("a").end()
    assert steps(status)["fails"]["attempt"] == 1
    features(place.world, retries="on")
    place.run("b").wait(
        lambda r: steps(r.get("status", {})).get("fails", {}).get("attempt", 0) >= 2, "it is tried again"
    )


def test_with_for_each_off_the_step_waits_says_so_and_goes_on_once_it_is_on(place: Place) -> None:
    each = {"name": "each", "forEach": {"items": ["a", "b"], "template": "one"}}
    place.workflow(each, templates=[{"name": "one", "steps": [note("inner")]}])
    features(place.world, foreach="off")
    run = place.run()
    run.wait(
        lambda r: steps(r.get("status", {})).get("each", {}).get("reason") == "FeatureOff",
        "it says why it waits",
    )
    features(place.world, foreach="on")
    assert run.end()["phase"] == "Succeeded"
