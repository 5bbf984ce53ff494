"""Following runs."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from apiserver.cli.space import NOT_FIXED, REMEDIATED, RUNNING, Space


@pytest.mark.parametrize(("end", "code"), [(REMEDIATED, 0), (NOT_FIXED, 2)])
def test_watch_tells_each_change_and_ends_with_the_run(space: Space, end: dict[str, Any], code: int) -> None:
    space.started("watched", RUNNING)
    command = [sys.executable, "-c", "import sys; from kubernaut.cli import main; sys.exit(main())", "watch"]
    command += ["watched", "-n", space.namespace]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) as watching:
        assert watching.stdout is not None
        first = watching.stdout.readline()
        space.patch_status("watched", end)
        rest = watching.stdout.read()
        assert watching.wait(timeout=30) == code
    assert "step diagnose: Running  collect_diagnostics" in first
    assert f"step diagnose: {end['steps'][0]['phase']}" in rest
    assert f"run watched: {end['phase']}" in rest.splitlines()[-1]
    assert end["verdict"] in rest.splitlines()[-1]


def test_a_run_that_does_not_end_in_time_is_left_alone_and_told(space: Space) -> None:
    space.started("slow", RUNNING)
    assert space("watch", "slow", "--timeout", "100ms") == 6
    assert f"run {space.namespace}/slow did not end within 100ms; it is " in space.err
    assert "cancel" not in space.get("slow")["spec"].get("control", {})


def test_a_run_that_a_step_started_is_followed_beside_it(space: Space) -> None:
    space.started("child", RUNNING)
    began = {
        **RUNNING,
        "steps": [{"name": "diagnose", "phase": "Running", "intent": {"run": "child", "uid": "1"}}],
    }
    space.started("above", began)
    command = [sys.executable, "-c", "import sys; from kubernaut.cli import main; sys.exit(main())", "watch"]
    command += ["above", "-n", space.namespace]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) as watching:
        assert watching.stdout is not None
        told = [watching.stdout.readline()]
        while "run child step diagnose: Running" not in told[-1]:
            told.append(watching.stdout.readline())
            assert told[-1], "".join(told)
        # The parent does not change; what is told comes from the watch of the child.
        space.patch_status("child", {"steps": [{"name": "diagnose", "phase": "Succeeded", "attempt": 1}]})
        while "run child step diagnose: Succeeded" not in told[-1]:
            told.append(watching.stdout.readline())
            assert told[-1], "".join(told)
        space.patch_status("above", REMEDIATED)
        rest = watching.stdout.read()
        assert watching.wait(timeout=30) == 0
    assert "run above: Succeeded" in rest.splitlines()[-1]
