"""`kubernaut simulate` on a state in a file: no cluster is there to be asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubernaut.cli import main
from unit.simulation.world import node, rolled_out

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


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "(file): is neither JSON nor YAML"),
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
