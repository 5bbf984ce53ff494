"""Runs that a later version wrote, on an API server whose CRD knows what this operator does not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from apiserver.rest import Answer
from e2e.feed import Manifest
from e2e.websteps import gate, note
from e2e.world import OPERATOR, Place, Run, World, done, execution, until

CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/workflowexecutions.kubernaut.io"
FIELD = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/mood"


def later(place: Place, name: str) -> Manifest:
    """Return a run with a field of a later version."""
    made = execution(place.namespace, name, "flow", {})
    return {**made, "spec": {**made["spec"], "mood": "hopeful"}}


@contextmanager
def later_crd(place: Place) -> Iterator[None]:
    """Have the CRD know the field meanwhile."""
    admin = place.world.admin

    def change(operation: Manifest) -> Answer:
        return admin.request("PATCH", CRD, [operation], content_type="application/json-patch+json")

    def knows() -> bool:
        answer = admin.request("POST", place.path("WorkflowExecution"), later(place, "probe"), dryRun="All")
        return answer.ok and "mood" in answer.body["spec"]

    watches = place.world.watches(OPERATOR)
    assert change({"op": "add", "path": FIELD, "value": {"type": "string"}}).ok
    try:
        until("the API server goes by the later CRD", knows)
        # Watches go by the former one until the API server ends them, a second later.
        until("watches begin anew", lambda: place.world.watches(OPERATOR) > watches)
        yield
    finally:
        assert change({"op": "remove", "path": FIELD}).ok
        until("the API server goes by the CRD as it was", lambda: not knows())


def unreadable(world: World) -> float:
    return world.operator.metric("kubernaut_runs_unreadable")


def test_runs_of_a_later_version_are_told_of_and_left_alone_and_all_others_go_on(world: World) -> None:
    begun, place, other = world.place(), world.place(), world.place()
    for one in (place, other):
        one.workflow(note("only"))
    begun.workflow(gate("gate"), note("only", "gate"))
    amid = begun.run()
    amid.step_is("gate", "Waiting")
    with later_crd(place):
        run = Run(place, place.create("WorkflowExecution", later(place, "run")))
        begun.change("WorkflowExecution", "run", {"spec": {"mood": "hopeful"}})
        until("both are told of", lambda: unreadable(world) == 2)
        written = world.operator.log.stat().st_size
        assert world.operator.stop() == 0
        # It begins beside them, too.
        world.restart_operator()
        until("both are told of after a start", lambda: unreadable(world) == 2)
        begun.label(go="yes")
        assert other.run().end()["phase"] == "Succeeded"
        said = world.operator.log.read_bytes()[written:].decode()
        assert "a run can't be read and is left alone" in said
        assert "mood" in said
        assert "status" not in place.get("WorkflowExecution", "run")
        assert done(begun) == done(place) == set()
    # Under the CRD of this version the field is hidden.
    assert [one.end()["phase"] for one in (run, amid)] == ["Succeeded", "Succeeded"]
    until("nothing is told any more", lambda: unreadable(world) == 0)
