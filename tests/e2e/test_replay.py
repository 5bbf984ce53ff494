"""Runs that really happened, replayed: under the same content none goes otherwise, under another just what must."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from apiserver.resources import allow
from e2e.feed import Manifest
from e2e.test_control import answer, approver
from e2e.websteps import gate, note
from e2e.world import Place, Run, World

PARAMETERS = [
    {"name": "mode", "default": "plain"},
    {"name": "replicas", "type": "integer", "default": "2"},
]
#: changes nothing, for what it demands is never so
IMPOSSIBLE = {"spec": {"replicas": 4711}}


def many_sided(place: Place) -> Manifest:
    """Return the spec of a Workflow whose parameter says which way its runs go."""
    fails = note(
        "fail", "scale", when="params.mode == 'fail'", retry={"limit": 1, "backoff": {"initial": "100ms"}}
    )
    fails["with"]["expect"] = IMPOSSIBLE
    scale = {
        "name": "scale",
        "action": "scale_deployment",
        "with": {"name": "web", "replicas": "=params.replicas"},
    }
    cases = [{"name": "odd", "when": "params.replicas % 2 == 1", "template": "odd"}]
    return {
        "serviceAccountName": "kubernaut-repair",
        "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        "parameters": PARAMETERS,
        "steps": [
            scale,
            note("many", "scale", when="steps.scale.outputs.replicas > 2"),
            fails,
            {"name": "which", "dependsOn": ["scale"], "switch": {"cases": cases, "default": "even"}},
            {"name": "ask", "dependsOn": ["fail"], "when": "params.mode == 'ask'", "approval": {}},
            {**gate("gate", "ask"), "when": "params.mode == 'gate'"},
            note("last", "gate", "which"),
        ],
        "templates": [{"name": "odd", "steps": [note("odd")]}, {"name": "even", "steps": [note("even")]}],
        "onFailure": "Rollback",
        "finally": [{"name": "tidy", "action": "notify_only", "with": {"message": "=run.outcome"}}],
        "verify": {"expect": ["target.spec.replicas > 0"], "stabilization": "200ms", "timeout": "10s"},
        "timeout": "2m",
    }


def replay(world: World, file: Path, place: Place, *more: str) -> dict[str, Any]:
    """Replay, and return what is told to programs."""
    where = ("--workflow", str(file), "-n", place.namespace, "--dsn", world.postgres.dsn, "-o", "json")
    done = world.kubernaut("replay", *where, *more)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def written(folder: Path, spec: Manifest, name: str = "flow") -> Path:
    """Write a Workflow into a file."""
    file = folder / "new.yaml"
    manifest = {
        "apiVersion": "kubernaut.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": name},
        "spec": spec,
    }
    file.write_text(yaml.safe_dump(manifest))
    return file


def told(found: dict[str, Any]) -> dict[str, set[str]]:
    """Return by run what would have gone otherwise."""
    return {one["run"]: {two["what"] for two in one["differences"]} for one in found["otherwise"]}


def held_runs(place: Place) -> list[Run]:
    """Let the runs happen that wait for somebody: cancelled, approved, denied, let go on."""
    approver(place, "alice")
    allow(place.world.admin, place.namespace, "alice", "kubernaut-edit")
    cancelled = place.run("cancelled", mode="gate", replicas="1")
    cancelled.step_is("gate", "Waiting")
    cancelled.control(cancel=True)
    cancelled.end()
    asked = {}
    for name, decision in (("approved", "Approve"), ("denied", "Deny")):
        asked[name] = place.run(name, mode="ask", replicas="3")
        asked[name].step_is("ask", "Waiting")
        assert answer(asked[name], "alice", decision, "alice").ok
        asked[name].end()
    waited = place.run("waited", mode="gate", replicas="4")
    waited.step_is("gate", "Waiting")
    place.label(go="yes")
    waited.end()
    return [cancelled, *asked.values(), waited]


@pytest.fixture
def past(place: Place) -> Place:
    """A namespace with runs of all kinds in the history."""
    spec = many_sided(place)
    place.workflow(*spec["steps"], **{key: value for key, value in spec.items() if key != "steps"})
    runs = held_runs(place)
    for name, given in {
        "plain": {},
        "again": {"replicas": "2"},
        "many": {"replicas": "3"},
        "failed": {"mode": "fail", "replicas": "5"},
        "unfit": {"replicas": "two"},
    }.items():
        runs.append(place.run(name, **given))
        runs[-1].end()
    place.world.await_rows([run.uid for run in runs])
    return place


def contents(world: World) -> list[dict[str, Any]]:
    """Return what any write to the history would change."""
    query = "select relname, n_tup_ins + n_tup_upd + n_tup_del as writes from pg_stat_user_tables order by 1"
    return world.rows(query)


def test_what_happened_is_what_a_replay_says_and_another_content_differs_just_where_it_must(
    past: Place, tmp_path: Path
) -> None:
    world, spec = past.world, many_sided(past)
    rows = world.rows("select * from kubernaut.runs where namespace = $1 order by uid", past.namespace)
    same = replay(world, written(tmp_path, spec), past)
    assert same["summary"] == {"runs": 9, "same": 9, "otherwise": 0, "unknown": 0}, str(same)

    threshold = many_sided(past)
    threshold["steps"][1]["when"] = "steps.scale.outputs.replicas > 3"
    found = replay(world, written(tmp_path, threshold), past)
    dropped = {"step many does not run (WhenFalse)"}
    assert told(found) == {"approved": dropped, "denied": dropped, "many": dropped}, found
    assert found["summary"]["unknown"] == 0

    retried = many_sided(past)
    retried["steps"][2]["retry"] = {"limit": 4, "backoff": {"initial": "100ms"}}
    assert told(replay(world, written(tmp_path, retried), past)) == {
        "failed": {"step fail is tried again after attempt 2"}
    }

    scaled = many_sided(past)
    scaled["steps"][0]["with"]["replicas"] = "=params.replicas == 4 ? 6 : params.replicas"
    assert told(replay(world, written(tmp_path, scaled), past)) == {
        "waited": {"step scale gets other replicas"}
    }

    typed = many_sided(past)
    typed["parameters"] = [PARAMETERS[0], {**PARAMETERS[1], "type": "string"}]
    typed["steps"][0]["with"]["replicas"] = "=int(params.replicas)"
    typed["steps"][3]["switch"]["cases"][0]["when"] = "int(params.replicas) % 2 == 1"
    assert told(replay(world, written(tmp_path, typed), past)) == {
        "unfit": {"it is not refused (InvalidParameters)"}
    }

    looking = many_sided(past)
    looking["verify"]["expect"] = ["target.status.readyReplicas > 0"]
    unknown = replay(world, written(tmp_path, looking), past)["summary"]
    # Those that were never verified go as they went.
    assert (unknown["otherwise"], unknown["unknown"]) == (0, 5)
    assert (
        world.rows("select * from kubernaut.runs where namespace = $1 order by uid", past.namespace) == rows
    )


def test_a_cooldown_refuses_those_that_came_too_soon_after_one_that_it_lets_begin(
    place: Place, tmp_path: Path
) -> None:
    guards = {"cooldown": "1h", "waitAtMost": "1s"}
    made = place.workflow(note("only"), guards=guards)
    runs = [place.run(f"run-{at}") for at in range(1)]
    runs[0].end()
    for at in (1, 2):
        runs.append(place.run(f"run-{at}"))
        assert runs[-1].end()["reason"] == "Cooldown"
    place.world.await_rows([run.uid for run in runs])
    spec = made["spec"]
    same = replay(place.world, written(tmp_path, spec), place)
    assert same["summary"] == {"runs": 3, "same": 3, "otherwise": 0, "unknown": 0}, str(same)
    without = replay(place.world, written(tmp_path, {**spec, "guards": {}}), place)
    admitted = {"guards let it begin (Cooldown)"}
    assert told(without) == {"run-1": admitted, "run-2": admitted}
    fewer = replay(
        place.world, written(tmp_path, {**spec, "guards": {"protectedNamespaces": ["e2e-*"]}}), place
    )
    assert told(fewer)["run-0"] == {"guards refuse it (Protected)"}


def test_differences_may_be_made_an_error_and_bad_input_is_told(past: Place, tmp_path: Path) -> None:
    world, spec = past.world, many_sided(past)
    spec["steps"][1]["when"] = "false"
    file = str(written(tmp_path, spec))
    where = ("-n", past.namespace, "--dsn", world.postgres.dsn)
    failed = world.kubernaut("replay", "-w", file, *where, "--fail-on-difference", "--limit", "1")
    assert failed.returncode == 2
    assert failed.stdout.startswith(f"9 runs of Workflow {past.namespace}/flow since ")
    assert "and 4 more; --limit lists them" in failed.stdout
    nothing = world.kubernaut("replay", "-w", file, "--of", "never-there", "--dsn", world.postgres.dsn)
    assert nothing.returncode == 4
