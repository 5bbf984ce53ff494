"""The demo as a user runs it, on a real node; and that it leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from localcluster.network import Block
from localcluster.paths import ClusterPaths
from localcluster.state import State

NAME = "testdemo"
ROOT = Path(__file__).resolve().parent.parent.parent


def demo(state: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "KUBERNAUT_STATE": str(state), "KUBERNAUT_DEMO_NAME": NAME}
    command = [sys.executable, "hack/demo", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=900, check=False
    )


def leftovers(state: Path) -> list[str]:
    """Return command lines of processes, and mounts, that belong to this state folder."""
    found: list[str] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(state) in command:
                found.append(command)
    found += [line for line in Path("/proc/mounts").read_text().splitlines() if str(state) in line]
    return found


def link_of(name: str) -> Path:
    """Return where this machine has the interface to a cluster's node."""
    there = State.load(ClusterPaths.of(name))
    assert there is not None
    assert there.block is not None
    return Path("/sys/class/net", Block(there.block).interface)


@pytest.fixture
def state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("state")
    monkeypatch.setenv("KUBERNAUT_STATE", str(folder))
    return folder


def test_the_demo_does_the_main_job_and_leaves_nothing_behind(state: Path) -> None:
    link = None
    try:
        told = demo(state)
        assert told.returncode == 0, told.stdout[-8000:] + told.stderr[-4000:]
        assert "the run's verdict is Remediated" in told.stdout
        assert "all 25 were repaired, and verified to be" in told.stdout
        assert "patterns with support, interval, signature and recommendation" in told.stdout
        link = link_of(NAME)
        assert link.exists()
    finally:
        gone = demo(state, "down")
    assert gone.returncode == 0, gone.stderr
    assert leftovers(state) == []
    assert link is not None
    assert not link.exists()
