"""The analyst as a process, and the operator's freedom from what only the analyst needs."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from kubernaut import logs
from kubernaut.analyst import main

NUMERICAL = {"numpy", "scipy", "sklearn", "hdbscan"}
BESIDE_THE_ANALYST = ("kubernaut.engine", "kubernaut.handlers", "kubernaut.cli", "kubernaut.app")


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("KUBERNAUT_")}
    return subprocess.run(
        [sys.executable, *arguments], env={**clean, **environment}, capture_output=True, text=True, timeout=60
    )


def test_no_numerical_library_is_loaded_beside_the_analyst() -> None:
    program = f"""
import importlib, json, pkgutil, sys
for name in {BESIDE_THE_ANALYST!r}:
    package = importlib.import_module(name)
    for found in pkgutil.walk_packages(getattr(package, "__path__", []), name + "."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
print(json.dumps(sorted({{name.partition(".")[0] for name in sys.modules}})))
"""
    done = python("-c", program)
    assert done.returncode == 0, done.stderr
    assert not NUMERICAL & set(json.loads(done.stdout))


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "set KUBERNAUT_DSN to the address of Postgres"),
        ({"KUBERNAUT_DSN": "mysql://root:hush@db/x"}, "write it as postgresql://"),
        ({"KUBERNAUT_ANALYST_INTERVAL": "soon"}, "'soon' is not a duration"),
        ({"KUBERNAUT_ANALYST_MIN_CLUSTER_SIZE": "1"}, "greater than or equal to 2"),
    ],
)
def test_wrong_settings_end_the_analyst_at_once_and_say_what_to_do(
    environment: dict[str, str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in os.environ:
        if name.startswith("KUBERNAUT_"):
            monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(logs, "set_up", lambda *_: None)
    assert main(["--once"]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert "hush" not in told
