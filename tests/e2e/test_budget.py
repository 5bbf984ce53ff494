"""Few writes, each with a precondition, each effect once: counted in the API server's own log."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from e2e.feed import Manifest
from e2e.websteps import chain, note
from e2e.world import Place, Run, condition, effects, execution
from kubernaut.api.workflow import WorkflowSpec
from kubernaut.core.content import content_hash, snapshot_name

S = 6


def seconds_of(status: Manifest) -> int:
    """Return how many whole seconds a run took: it tells of itself once a second at most."""
    began, ended = (datetime.fromisoformat(status[key]) for key in ("startedAt", "finishedAt"))
    return int((ended - began).total_seconds())


def test_a_run_of_s_fenced_steps_costs_s_plus_two_writes_and_the_finalizer(place: Place) -> None:
    steps = chain(S)
    for step in steps:
        step["with"]["patch"]["metadata"]["annotations"] = {"did-" + step["name"]: "=run.name"}
    place.workflow(*steps)
    place.run("first").end()
    before = len(place.world.persisted(place.namespace))
    status = place.run("second").end()
    assert status["phase"] == "Succeeded"
    requests = place.world.persisted(place.namespace)
    # A run's Event comes after its end: that of the first may come while the second goes on.
    told = [one.body or {} for one in requests if one.what == "events"]
    events = Counter(body["regarding"]["name"] for body in told)
    counted = Counter(request.what for request in requests[before:])
    counted.pop("events", 0)
    # What the Workflow's account may do is told a moment after the Workflow was declared; no run costs that.
    counted.pop("workflows/status", 0)
    print(f"{S} steps: {sum(counted.values())} writes ({dict(counted)}), Events {dict(events)}")
    assert events.pop("first", 0) <= 1
    assert sum(events.values()) <= 1
    assert counted["workflowexecutions"] == 1  # the finalizer, because a person created the run
    assert counted["controllerrevisions"] == 0  # the content is kept already
    assert counted["deployments"] == S
    assert sum(counted.values()) <= S + 2 + 1 + seconds_of(status)


def test_a_first_run_costs_one_write_more_and_each_effect_happens_once(place: Place) -> None:
    place.workflow(*chain(S))
    status = place.run().end()
    requests = place.world.persisted(place.namespace)
    counted = Counter(request.what for request in requests)
    assert counted["deployments"] == S
    assert counted["controllerrevisions"] == 1
    # Ready, and a moment later PermissionsReady.
    assert 1 <= counted["workflows/status"] <= 2
    assert counted["workflowexecutions/status"] <= 2 + seconds_of(status)
    assert effects(place) == [f"s{at}" for at in range(S)]
    for request in requests:
        actor = place.account if request.what == "deployments" else request.by
        assert request.user == actor, request
        assert request.has_precondition, request


def test_the_content_a_run_used_is_kept_once(place: Place) -> None:
    declared = place.workflow(note("only"))
    first, second = place.run("first"), place.run("second")
    status = first.end()
    second.end()
    spec = WorkflowSpec.model_validate(declared["spec"])
    digest = content_hash(spec)
    (revision,) = place.list("ControllerRevision")
    assert revision["metadata"]["name"] == snapshot_name("flow", digest) == status["workflow"]["snapshot"]
    assert status["workflow"]["contentHash"] == digest
    assert revision["metadata"]["labels"]["kubernaut.io/workflow"] == "flow"
    assert WorkflowSpec.model_validate(revision["data"]) == spec
    labels = revision["metadata"]["labels"]
    assert digest.startswith(labels["kubernaut.io/content-hash"])


def shown(version: Manifest) -> dict[str, str]:
    """Return an object's conditions, type to status."""
    return {one["type"]: one["status"] for one in version.get("status", {}).get("conditions", [])}


def test_conditions_say_whether_a_run_goes_on_is_ready_or_stuck(place: Place) -> None:
    place.workflow(*chain(2))
    good = place.run("good")
    good.end()
    bad = Run(
        place, place.create("WorkflowExecution", execution(place.namespace, "bad", "no-such-workflow", {}))
    )
    bad.end()
    going = [v for v in good.versions() if "conditions" in v.get("status", {})]
    assert shown(going[0]) == {
        "Ready": "False",
        "Reconciling": "True",
    }
    assert shown(good.versions()[-1]) == {
        "Ready": "True",
        "Succeeded": "True",
        "Verified": "Unknown",
    }
    last = bad.versions()[-1]
    assert shown(last)["Stalled"] == "True"
    assert shown(last)["Ready"] == shown(last)["Succeeded"] == "False"
    for version in (*going, last):
        generation = version["metadata"]["generation"]
        assert version["status"]["observedGeneration"] == generation
        assert condition(version, "Ready")["observedGeneration"] == generation


def test_a_finished_run_is_told_of_by_one_event(place: Place) -> None:
    place.workflow(note("only"))
    run = place.run()
    run.end()
    place.run("again").end()

    def of(name: str) -> list[Manifest]:
        return [e for e in place.list("Event") if e["regarding"].get("name") == name]

    # The second run's end comes after the first one's event.
    (event,) = of("run")
    assert event["reason"] == "NoExpectation"
    assert "flow on Deployment web" in event["note"]
    assert event["regarding"]["uid"] == run.uid
