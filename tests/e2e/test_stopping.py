"""One command stops all acting within two seconds; so does a missing or weakened admission policy."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import pytest

from apiserver.rest import MERGE_PATCH
from e2e.feed import Manifest
from e2e.websteps import gate, note, slow_chain
from e2e.world import Place, World, done, effects, phases, until

ADMISSION = "/apis/admissionregistration.k8s.io/v1/"


@pytest.fixture(autouse=True)
def _started_again(world: World) -> Iterator[None]:
    yield
    world.switch("on")


def stop(world: World, reason: str = "trying it out") -> None:
    """Stop all acting by the command that people use."""
    told = world.kubernaut("stop", "--reason", reason, "--by", "eve")
    assert told.returncode == 0, told
    assert "Acting is stopped: the operator acknowledged it" in told.stdout


@pytest.mark.parametrize("history", ["there", "away"])
def test_stop_holds_every_run_and_start_lets_them_go_on(place: Place, history: str) -> None:
    world = place.world
    with world.without_history() if history == "away" else contextlib.nullcontext():
        place.workflow(gate("gate"), note("last", "gate"))
        run = place.run()
        run.step_is("gate", "Waiting")
        stop(world)
        assert world.operator.metric("kubernaut_acting_stopped", reason="Stopped") == 1
        assert "stopped by eve: trying it out" in run.held("Stopped")
        place.label(go="yes")
        assert run.begun_when("gate") == {"gate"}  # looking goes on, acting does not
        late = place.run("late")
        assert "stopped by eve" in late.held("Stopped")
        assert done(place) == set()
        assert world.kubernaut("start").returncode == 0
        assert run.end()["phase"] == "Succeeded"
        assert late.end()["phase"] == "Succeeded"
        assert done(place) == {"last"}
        assert world.operator.metric("kubernaut_acting_stopped", reason="Stopped") == 0


def test_within_two_seconds_of_a_stop_nothing_is_changed_any_more(place: Place) -> None:
    world = place.world
    place.workflow(*slow_chain(25))
    run = place.run()
    run.step_is("s3", "Succeeded")
    world.switch("stopped", "at once")
    assert "at once" in run.held("Stopped")
    before = effects(place)
    assert 3 < len(before) < 25
    world.switch("on")
    status = run.end()
    assert status["phase"] == "Succeeded"
    stops = [
        moment(r.at)
        for r in world.requests()
        if r.name == "kubernaut-switch" and r.persisted and is_admin(r.by)
    ]
    stopped, started = stops[-2:]
    acts = [moment(r.at) for r in world.persisted(place.namespace, user=place.account)]
    last = max(at for at in acts if at < started)
    print(f"the last effect came {(last - stopped).total_seconds():.2f} s after the stop")
    assert last < stopped + timedelta(seconds=2)
    assert effects(place) == [f"s{at}" for at in range(25)]


def is_admin(user: str) -> bool:
    """Whether a request came from people rather than from the operator."""
    return not user.startswith("system:")


def moment(text: str) -> datetime:
    """Return a time of the audit log."""
    return datetime.fromisoformat(text)


def weakened(world: World) -> Iterator[str]:
    """Change a binding so that it only warns."""
    path = ADMISSION + "validatingadmissionpolicybindings/run-finalizer.kubernaut.io"
    body = {"spec": {"validationActions": ["Warn"]}}
    assert world.admin.request("PATCH", path, body, content_type=MERGE_PATCH).ok
    yield "run-finalizer.kubernaut.io"
    body = {"spec": {"validationActions": ["Deny"]}}
    assert world.admin.request("PATCH", path, body, content_type=MERGE_PATCH).ok


def _deleted(plural: str) -> Callable[[World], Iterator[str]]:
    def delete(world: World) -> Iterator[str]:
        path = f"{ADMISSION}{plural}/run-finalizer.kubernaut.io"
        found: Manifest = world.admin.request("GET", path).body
        assert world.admin.request("DELETE", path).ok
        yield "run-finalizer.kubernaut.io"
        for field in ("uid", "resourceVersion", "creationTimestamp", "managedFields", "generation"):
            found["metadata"].pop(field, None)
        found.pop("status", None)
        assert world.admin.request("POST", ADMISSION + plural, found).ok

    return delete


WEAKENINGS: dict[str, Callable[[World], Iterator[str]]] = {
    "a policy is deleted": _deleted("validatingadmissionpolicies"),
    "a binding is deleted": _deleted("validatingadmissionpolicybindings"),
    "a binding only warns": weakened,
}


@pytest.mark.parametrize("how", WEAKENINGS)
def test_without_its_admission_policies_nothing_is_done(place: Place, how: str) -> None:
    world = place.world
    place.workflow(gate("gate"), note("last", "gate"))
    run = place.run()
    run.step_is("gate", "Waiting")
    with contextlib.contextmanager(WEAKENINGS[how])(world) as name:
        until(
            "the operator notices",
            lambda: world.operator.metric("kubernaut_acting_stopped", reason="PoliciesMissing") == 1,
        )
        told = run.held("PoliciesMissing")
        assert name in told
        assert "Apply manifests/base" in told
        place.label(go="yes")
        assert run.begun_when("gate") == {"gate"}
        assert done(place) == set()
    status = run.end()
    assert phases(status) == {"gate": "Succeeded", "last": "Succeeded"}
    assert done(place) == {"last"}
    assert world.operator.metric("kubernaut_acting_stopped") == 0
