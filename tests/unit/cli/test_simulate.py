"""`kubernaut simulate` on a state in a file: no cluster is there to be asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubernaut.cli import main
from unit.simulation.world import ill, node, rolled_out

Simulate = Callable[..., str]


def flow(**more: Any) -> dict[str, Any]:
    step = {"name": "scale", "action": "scale_deployment", "with": {"replicas": "=params.size"}}
    spec = {
        "serviceAccountName": "repair",
        "parameters": [{"name": "size", "type": "integer", "required": True}],
        "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "api"},
        "steps": [step],
    }
    meta = {"name": "grow", "namespace": "shop", "uid": "uid-flow"}
    return {"apiVersion": "kubernaut.io/v1alpha1", "kind": "Workflow", "metadata": meta, "spec": spec | more}


@pytest.fixture
def simulate(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Simulate:
    """Simulate on a small state; returns what is printed."""
    monkeypatch.delenv("KUBERNAUT_DSN", raising=False)
    state = tmp_path / "state.json"
    state.write_text(json.dumps({"kind": "List", "items": [node(), *rolled_out(), flow()]}))
    (tmp_path / "flow.yaml").write_text(yaml.safe_dump(flow()))

    def printed(*arguments: str, code: int = 0, of: str = "grow") -> str:
        name = str(tmp_path / of) if "." in of else of
        assert main(["simulate", name, "--state", str(state), *arguments]) == code
        read = capsys.readouterr()
        return read.out + read.err

    return printed


@pytest.mark.parametrize("of", ["grow", "flow.yaml"])
def test_it_tells_what_would_happen_and_exits_0(simulate: Simulate, of: str) -> None:
    told = simulate("-p", "size=4", "-n", "shop", of=of)
    assert "The run would end Succeeded" in told
    assert "~ Deployment shop/api  (scale, controllers)" in told
    assert "spec.replicas: 2 -> 4" in told
    assert "2 pods are made" in told
    assert "needs patch deployments.apps api" in told
    assert "what the given state does not hold does not exist" in told
    assert "No expectation: no history was asked (--dsn)." in told


def test_programs_get_the_same(simulate: Simulate) -> None:
    told = json.loads(simulate("-p", "size=4", "-n", "shop", "-o", "json"))
    assert told["goesThrough"] is True
    assert told["blastRadius"]["podsMade"] == 2
    assert told["rights"]["lacking"] is None
    assert told["steps"][0] | {"message": ""} == {
        "name": "scale",
        "phase": "Succeeded",
        "attempts": 1,
        "reason": "",
        "message": "",
        "branch": "",
        "changed": told["steps"][0]["changed"],
    }


def test_what_would_fail_exits_2_and_says_why(simulate: Simulate) -> None:
    told = simulate("-p", "size=400000", "-n", "shop", code=2)
    assert "The run would end Failed" in told
    assert "replicas" in told


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "parameter 'size' (integer) is required"),
        (("-p", "size=many"), "size"),
        (("-p", "sise=4"), "Did you mean -p size=...?"),
        (("-p", "size=4", "--server"), "--server needs a cluster"),
    ],
)
def test_bad_input_exits_1_and_names_the_fix(
    simulate: Simulate, arguments: tuple[str, ...], says: str
) -> None:
    told = simulate(*arguments, "-n", "shop", code=1)
    assert says in told
    assert "Traceback" not in told


def test_a_state_in_yaml_is_read_as_kubectl_reads_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBERNAUT_DSN", raising=False)
    text = yaml.safe_dump({"kind": "List", "items": [node(), *rolled_out(), flow()]})
    at = "2026-03-01T12:00:00Z"
    path = tmp_path / "state.yaml"
    # As somebody writes it by hand: kubectl itself writes quotes.
    path.write_text(text.replace("metadata:\n", f"metadata:\n    creationTimestamp: {at}\n", 1))
    given = ["simulate", "grow", "--state", str(path), "-p", "size=4", "-n", "shop", "-o", "json"]
    assert main(given) == 0, capsys.readouterr()
    assert json.loads(capsys.readouterr().out)["goesThrough"] is True


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "(file): is neither JSON nor YAML"),
        ("a: " + "[" * 3000, "(file): is neither JSON nor YAML"),
        ("{}", "items: is no list"),
        ('{"items": [{"kind": "Pod"}]}', "items[0].apiVersion: is required"),
        ('{"items": [{"kind": "Pod", "apiVersion": "v1"}]}', "items[0].metadata.name: is required"),
    ],
)
def test_a_file_that_is_no_state_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, says: str
) -> None:
    path = tmp_path / "state.json"
    path.write_text(text)
    assert main(["simulate", "grow", "--state", str(path)]) == 1
    told = capsys.readouterr().err
    assert says in told
    assert "Fix:" in told


@pytest.mark.parametrize(
    ("kind", "broken"),
    [
        ("Deployment", {"template": "none"}),
        ("Pod", {"containers": [[]]}),
        ("Node", {"taints": 7}),
    ],
)
def test_an_object_of_a_state_that_is_malformed_deep_inside_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, broken: dict[str, Any]
) -> None:
    items = [node(), *rolled_out(), flow()]
    for one in items:
        if one["kind"] == kind:
            one["spec"] = {**one.get("spec", {}), **broken}
    path = tmp_path / "state.json"
    path.write_text(json.dumps({"kind": "List", "items": items}))
    assert main(["simulate", "grow", "--state", str(path), "-n", "shop", "-p", "size=4"]) == 1
    told = " ".join(capsys.readouterr().err.split())
    assert "state.json can't be simulated: an object of it may have another shape" in told
    assert "Make the file anew with --save-state" in told


def test_a_file_that_is_not_there_is_told_before_a_cluster_that_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--kubeconfig", str(tmp_path / "nowhere")]
    assert main(["simulate", str(tmp_path / "flow.yaml"), *where]) == 1
    told = capsys.readouterr().err
    assert "there is no file" in told
    assert "nowhere" not in told


def two_places(tmp_path: Path) -> str:
    """Return a state that has a Workflow of the same name in two namespaces, and what it acts on in one."""
    elsewhere = flow(steps=[{"name": "back", "action": "rollback_deployment"}])
    elsewhere["metadata"] |= {"namespace": "store", "uid": "uid-other"}
    path = tmp_path / "state.json"
    path.write_text(json.dumps({"kind": "List", "items": [node(), *rolled_out(), flow(), elsewhere]}))
    return str(path)


def test_of_workflows_with_one_name_that_of_the_namespace_is_meant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBERNAUT_DSN", raising=False)
    given = ["simulate", "grow", "--state", two_places(tmp_path), "-p", "size=4"]
    assert main([*given, "-n", "shop"]) == 0
    assert "spec.replicas: 2 -> 4" in capsys.readouterr().out
    assert main(given) == 1
    assert "has Workflows 'grow' in shop, store" in capsys.readouterr().err
    assert main([*given, "-n", "mill"]) == 4
    assert "has no Workflow 'grow' in namespace mill" in (told := capsys.readouterr().err)
    assert "shop/grow, store/grow" in " ".join(told.split())


# Guards, and what is remembered


def a_run(name: str, began: int, verdict: str = "Remediated", **more: Any) -> dict[str, Any]:
    """Return a run on the Deployment that began so many minutes ago, and took one."""
    at = datetime.now(UTC) - timedelta(minutes=began)
    status = {
        "phase": "Succeeded" if verdict == "Remediated" else "Failed",
        "verdict": verdict,
        "startedAt": at.isoformat(),
        "finishedAt": (at + timedelta(minutes=1)).isoformat(),
        "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "api", "uid": "uid-deployment-api"},
    }
    return {
        "apiVersion": "kubernaut.io/v1alpha1",
        "kind": "WorkflowExecution",
        "metadata": {"name": name, "namespace": "shop", "uid": f"uid-{name}"},
        "spec": {"workflowRef": {"name": "grow"}},
        "status": status | more,
    }


Guard = Callable[..., str]


@pytest.fixture
def guarded(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Guard:
    """Simulate after some runs under guards; returns what is printed."""
    monkeypatch.delenv("KUBERNAUT_DSN", raising=False)

    def printed(*runs: dict[str, Any], code: int = 0, objects: Any = None, **spec: Any) -> str:
        items = [node(), *(objects or rolled_out()), flow(**spec), *runs]
        state = tmp_path / "state.json"
        state.write_text(json.dumps({"kind": "List", "items": items}))
        arguments = ["simulate", "grow", "--state", str(state), "-n", "shop", "-p", "size=4"]
        assert main(arguments) == code
        return capsys.readouterr().out

    return printed


@pytest.mark.parametrize(
    ("guards", "says"),
    [
        ({"cooldown": "30m"}, "Cooldown 30m of Workflow grow: run shop/new on Deployment api ended at"),
        ({"maxPerHour": 2}, "maxPerHour 2 of Workflow grow: as many runs on Deployment api began"),
        ({"storm": {"runs": 2, "within": "30m", "cooldown": "1h"}}, "Storm in Workflow grow: 2 runs began"),
    ],
)
def test_guards_count_the_runs_that_went_before_and_say_what_they_would_say(
    guarded: Guard, guards: dict[str, Any], says: str
) -> None:
    told = guarded(a_run("old", 20), a_run("new", 5), guards=guards, code=2)
    assert f"The run would wait for its guards: {says}" in told


def test_guards_that_look_at_alerts_too_say_all_else_that_they_say(guarded: Guard) -> None:
    guards = {"cooldown": "30m", "stopWhileFiring": [{"alert": "Down"}]}
    told = guarded(a_run("new", 5), guards=guards, code=2)
    assert "The run would wait for its guards: Cooldown 30m of Workflow grow" in told
    assert "no alert that guards look at fires" in told


@pytest.mark.parametrize(
    "guards",
    [{"cooldown": "3m"}, {"maxPerHour": 3}, {"storm": {"runs": 2, "within": "10m", "cooldown": "1h"}}],
)
def test_guards_that_the_runs_before_do_not_touch_let_it_go_on(
    guarded: Guard, guards: dict[str, Any]
) -> None:
    told = guarded(a_run("old", 20), a_run("new", 5), guards=guards)
    assert "The run would end Succeeded" in told


def test_runs_that_never_acted_or_of_other_workflows_do_not_count_as_in_a_run(guarded: Guard) -> None:
    declined = a_run("declined", 5, "Declined")
    other = a_run("other", 5)
    other["spec"]["workflowRef"]["name"] = "another"
    assert "would end Succeeded" in guarded(declined, other, guards={"cooldown": "30m"})


def test_a_run_that_another_version_wrote_is_said_not_to_count_and_stops_nothing(guarded: Guard) -> None:
    odd = [a_run("newer", 5, phase="Hibernating"), a_run("odd", 5, startedAt="yesterday")]
    told = guarded(*odd, guards={"cooldown": "30m"})
    assert "would end Succeeded" in told
    for name in ("newer", "odd"):
        assert f"run shop/{name} does not count for guards: this version can't read it" in told


def test_what_is_null_in_a_state_is_not_there(guarded: Guard) -> None:
    scaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "api", "namespace": "shop"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "api"},
            "minReplicas": None,
            "maxReplicas": 3,
        },
    }
    step = {"name": "scale", "action": "scale_deployment", "with": {"replicas": 4, "autoscaler": "Ignore"}}
    told = guarded(objects=[*rolled_out(), scaler], steps=[step], guards={"gitOps": "Act"})
    assert "HorizontalPodAutoscaler api scales Deployment shop/api from 4 to 3" in told


def test_what_is_protected_is_declined_at_once_and_waits_for_no_window(guarded: Guard) -> None:
    objects = rolled_out()
    (target,) = (one for one in objects if one["kind"] == "Deployment")
    target["metadata"]["labels"] = {"tier": "gold"}
    closed = {"name": "freeze", "type": "Closed", "start": "00:00", "end": "24:00"}
    guards = {"protectedLabels": [{"key": "tier"}], "changeWindows": [closed]}
    told = guarded(objects=objects, guards=guards, code=2)
    assert "The run would end Failed, Declined: " in told
    assert "label tier: 'gold' is protected by guards of Workflow grow" in told


def test_a_breaker_that_is_open_has_a_person_asked(guarded: Guard) -> None:
    step = {"name": "gone", "action": "delete_resource"}
    step["with"] = {"apiVersion": "v1", "kind": "ConfigMap", "name": "old"}  # type: ignore[assignment]
    bad = [a_run(f"bad-{at}", 10 + at, "NotFixed", highRisk=["delete_resource"]) for at in range(3)]
    asked = "a person whom a guard has asked is assumed to approve"
    assert asked in guarded(*bad, steps=[step], code=2)
    assert asked not in guarded(*bad[:1], steps=[step], code=2)


def test_what_is_remembered_is_said_not_to_be_simulated_where_it_was_not_asked(guarded: Guard) -> None:
    told = guarded(steps=[{"name": "back", "action": "restore_last_known_good"}], objects=ill(), code=2)
    assert "is not simulated: the operator's memory was not asked (--dsn, --keys)" in " ".join(told.split())
