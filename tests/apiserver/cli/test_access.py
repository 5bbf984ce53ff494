"""Rights, credentials and the kubectl plugin."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import yaml

from apiserver.cli.space import RUNNING, Space, powerless


def test_a_missing_right_is_named_and_exits_5(space: Space, tmp_path: Path) -> None:
    config = powerless(space, tmp_path)
    assert space("status", "--kubeconfig", config) == 5
    assert "list" in space.err
    assert "workflowexecutions.kubernaut.io" in space.err
    assert f"system:serviceaccount:{space.namespace}:nobody" in space.err
    space.started("theirs", RUNNING)
    for arguments in (["run", "crash-loop"], ["cancel", "theirs"], ["watch", "theirs"], ["why", "theirs"]):
        assert space(*arguments, "--kubeconfig", config) == 5
    assert space("stop", "--kubeconfig", config) == 5
    assert "configmaps" in space.err


def test_credentials_that_are_not_accepted_exit_3(space: Space, tmp_path: Path) -> None:
    config = yaml.safe_load(space.cluster.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": "wrong"}
    file = tmp_path / "wrong.kubeconfig"
    file.write_text(yaml.safe_dump(config))
    assert space("status", "--kubeconfig", str(file)) == 3
    assert "credentials" in space.err


def test_kubectl_finds_the_plugin(space: Space) -> None:
    binaries = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}
    command = [str(space.cluster.kubectl), "kubernaut", "status", "-n", space.namespace]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"No runs in namespace {space.namespace}." in done.stderr
    helped = subprocess.run(
        [*command[:2], "run", "--help"], env=environment, capture_output=True, text=True, check=True
    )
    assert "Usage: kubectl kubernaut run" in helped.stdout
