"""Runs from end to end: order, conditions, attempts, time, and what is put back."""

from __future__ import annotations

from typing import Any

import pytest

from e2e.websteps import acting, gate, note
from e2e.world import Place, condition, done, effects, phases, steps, until

NEVER = {"name": "never", "wait": {"duration": "1h"}}


def tell(name: str, message: str, *needs: str, **more: Any) -> dict[str, Any]:
    """Return a step that changes nothing."""
    return {
        "name": name,
        "action": "notify_only",
        "dependsOn": list(needs),
        "with": {"message": message},
        **more,
    }


def test_steps_run_in_the_order_of_their_dependencies_and_see_earlier_outputs(place: Place) -> None:
    place.workflow(
        tell("last", "=steps.left.outputs.message + steps.right.outputs.message", "left", "right"),
        tell("left", "='<' + steps.first.outputs.message", "first"),
        tell("right", "='>' + params.who", "first"),
        tell("first", "=params.who"),
        parameters=[{"name": "who", "required": True}],
    )
    status = place.run(who="web").end()
    assert status["phase"] == "Succeeded"
    assert status["progress"] == "4/4"
    found = steps(status)
    assert found["last"]["outputs"] == {"message": "<web>web"}
    for before, after in (("first", "left"), ("first", "right"), ("left", "last"), ("right", "last")):
        assert found[before]["finishedAt"] <= found[after]["startedAt"]


def test_independent_steps_run_at_the_same_time(place: Place) -> None:
    pause = {"wait": {"duration": "500ms"}}
    place.workflow({"name": "a", **pause}, {"name": "b", **pause}, note("end", "a", "b"))
    found = steps(place.run().end())
    assert found["a"]["startedAt"] < found["b"]["finishedAt"]
    assert found["b"]["startedAt"] < found["a"]["finishedAt"]
    assert done(place) == {"end"}


def test_a_step_whose_condition_is_false_is_skipped_and_what_depends_on_it_goes_on(place: Place) -> None:
    place.workflow(
        tell("look", "bad"),
        note("mend", "look", when="steps.look.outputs.message == 'good'"),
        note("after", "mend"),
    )
    status = place.run().end()
    assert phases(status) == {"look": "Succeeded", "mend": "Skipped", "after": "Succeeded"}
    assert steps(status)["mend"]["reason"] == "WhenFalse"
    assert done(place) == {"after"}


def test_a_failed_step_is_tried_again_after_its_backoff_until_it_succeeds(place: Place) -> None:
    place.workflow(
        note(
            "mend",
            expect={'metadata.labels["ready"]': "yes"},
            retry={"limit": 10, "backoff": {"initial": "200ms", "factor": 2, "max": "400ms"}},
        )
    )
    run = place.run()
    waiting = run.wait(
        lambda r: steps(r.get("status", {})).get("mend", {}).get("attempt", 0) >= 3, "a third attempt"
    )
    record = steps(waiting["status"])["mend"]
    assert record["phase"] == "Waiting"
    assert record["reason"] == "PreconditionFailed"
    assert 'metadata.labels["ready"] is unset' in record["message"]
    assert done(place) == set()
    place.label(ready="yes")
    status = run.end()
    assert status["phase"] == "Succeeded"
    assert steps(status)["mend"]["attempt"] >= 3
    assert "message" not in steps(status)["mend"] or "unset" not in steps(status)["mend"]["message"]
    assert effects(place) == ["mend"]


def test_a_step_that_keeps_failing_fails_the_run_after_its_last_attempt(place: Place) -> None:
    retry = {"limit": 2, "backoff": {"initial": "50ms"}}
    place.workflow(note("mend", expect={"spec.replicas": 7}, retry=retry), note("after", "mend"))
    status = place.run().end()
    assert (status["phase"], status["verdict"], status["reason"]) == (
        "Failed",
        "NotFixed",
        "PreconditionFailed",
    )
    assert steps(status)["mend"]["attempt"] == 3
    assert phases(status) == {"mend": "Failed", "after": "Skipped"}
    assert done(place) == set()


def test_a_step_that_takes_too_long_fails(place: Place) -> None:
    place.workflow({**gate("gate"), "timeout": "500ms"}, note("after", "gate"))
    status = place.run().end()
    assert (status["phase"], status["reason"]) == ("Failed", "StepTimeout")
    assert steps(status)["gate"]["reason"] == "StepTimeout"
    assert done(place) == set()


def test_a_run_that_takes_too_long_fails(place: Place) -> None:
    place.workflow(note("first"), {**NEVER, "dependsOn": ["first"]}, timeout="500ms")
    status = place.run().end()
    assert (status["phase"], status["reason"]) == ("Failed", "RunTimeout")
    assert phases(status) == {"first": "Succeeded", "never": "Skipped"}


def test_a_failed_run_puts_back_just_what_it_changed(place: Place) -> None:
    scale = {"name": "scale", "action": "scale_deployment", "with": {"replicas": 3}}
    place.workflow(
        scale,
        acting("annotate", "scale", patch={"metadata": {"annotations": {"mode": "repair"}}}),
        gate("gate", "annotate"),
        note("fail", "gate", expect={"spec.replicas": 7}),
        onFailure="Rollback",
    )
    place.change("Deployment", "web", {"metadata": {"annotations": {"mode": "normal"}}})
    run = place.run()
    run.step_is("gate", "Waiting")
    assert place.get("Deployment", "web")["spec"]["replicas"] == 3
    place.label(go="yes")
    status = run.end()
    assert (status["phase"], status["verdict"]) == ("Failed", "RolledBack")
    assert phases(status) == {
        "scale": "RolledBack",
        "annotate": "RolledBack",
        "gate": "Succeeded",
        "fail": "Failed",  # looked at as well, for it might have acted before it failed; it had not
    }
    assert steps(status)["fail"]["reason"] == "PreconditionFailed"
    found = place.get("Deployment", "web")
    assert found["spec"]["replicas"] == 1
    assert found["metadata"]["annotations"]["mode"] == "normal"
    assert found["metadata"]["labels"]["go"] == "yes"  # somebody else's


def test_what_somebody_else_changed_since_is_not_put_back(place: Place) -> None:
    scale = {"name": "scale", "action": "scale_deployment", "with": {"replicas": 3}}
    place.workflow(
        scale, gate("gate", "scale"), note("fail", "gate", expect={"spec.replicas": 7}), onFailure="Rollback"
    )
    run = place.run()
    run.step_is("gate", "Waiting")
    place.change("Deployment", "web", {"spec": {"replicas": 2}, "metadata": {"labels": {"go": "yes"}}})
    status = run.end()
    assert (status["phase"], status["reason"]) == ("Failed", "RollbackFailed")
    assert "Not all could be put back: scale" in status["message"]
    assert "spec.replicas" in steps(status)["scale"]["message"]
    assert place.get("Deployment", "web")["spec"]["replicas"] == 2


def test_a_run_waits_for_its_target_without_asking_again_and_again(place: Place) -> None:
    place.workflow(gate("gate"))
    run = place.run()
    run.step_is("gate", "Waiting")
    # Else the labels may all be there before it begins, and the run would have no need of a watch.
    until("the target is watched", lambda: place.world.watches(place.account))
    for number in range(10):
        place.label(number=str(number))
    place.label(go="yes")
    assert run.end()["phase"] == "Succeeded"
    asked = [
        request.verb
        for request in place.world.requests()
        if request.namespace == place.namespace
        and request.user == place.account
        and request.resource == "deployments"
    ]
    assert asked.count("get") <= 3, asked  # claimed, looked at, maybe once more after the watch began

    def ended() -> bool:
        return any(
            request.verb == "watch" and request.user == place.account for request in place.world.requests()
        )

    until("the watch of the target ends with the run", ended)


def test_two_runs_on_one_target_go_one_after_the_other(place: Place) -> None:
    place.workflow(gate("gate"), note("first", "gate"))
    place.workflow(note("second"), name="other")
    first = place.run("first")
    first.step_is("gate", "Waiting")
    second = place.run("second", "other")
    told = second.held("TargetBusy")
    assert f"Deployment web is being repaired by run {place.namespace}/first" in told
    assert done(place) == set()
    place.label(go="yes")
    ended, then = first.end(), second.end()
    assert (ended["phase"], then["phase"]) == ("Succeeded", "Succeeded")
    assert ended["finishedAt"] <= then["startedAt"]
    assert effects(place) == ["first", "second"]


@pytest.mark.parametrize(
    ("expect", "verdict", "truth"),
    [("target.spec.replicas == 2", "Remediated", "True"), ("target.spec.replicas == 3", "NotFixed", "False")],
)
def test_a_run_helped_only_where_its_expectation_holds_afterwards(
    place: Place, expect: str, verdict: str, truth: str
) -> None:
    place.workflow(
        {"name": "scale", "action": "scale_deployment", "with": {"replicas": 2}},
        verify={"expect": [expect], "stabilization": "200ms", "timeout": "2s"},
    )
    run = place.run()
    status = run.end()
    assert status["verdict"] == verdict
    assert condition(run.versions()[-1], "Verified")["status"] == truth
    assert condition(run.versions()[-1], "Succeeded")["status"] == truth
