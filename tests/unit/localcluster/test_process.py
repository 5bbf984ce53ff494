"""Processes are known by more than their pid, and only they are signalled."""

import dataclasses
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from localcluster import process
from localcluster.errors import ClusterError
from localcluster.process import ProcessId


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[ProcessId]:
    started = process.spawn(["sleep", "600"], tmp_path / "sleep.log")
    yield started
    process.kill(started)


def test_a_started_process_is_alive_until_killed(sleeper: ProcessId) -> None:
    assert process.alive(sleeper)
    assert process.kill(sleeper) is True
    assert not process.alive(sleeper)
    assert process.kill(sleeper) is False


@pytest.mark.parametrize("other", ["start", "boot"])
def test_a_stranger_with_the_same_pid_is_left_alone(sleeper: ProcessId, other: str) -> None:
    earlier = dataclasses.replace(sleeper, started=sleeper.started - 1)
    stranger = earlier if other == "start" else dataclasses.replace(sleeper, boot="another")
    assert not process.alive(stranger)
    assert process.send(stranger, signal.SIGKILL) is False
    assert process.kill(stranger) is False
    assert process.alive(sleeper)


def test_a_zombie_does_not_count_as_alive(sleeper: ProcessId) -> None:
    assert process.send(sleeper, signal.SIGKILL)
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert Path(f"/proc/{sleeper.pid}").exists()
    assert not process.alive(sleeper)


def test_a_pid_that_nobody_has_is_nobody(sleeper: ProcessId) -> None:
    process.kill(sleeper)
    assert process.identify(sleeper.pid) is None
    assert process.alive(None) is False


def test_a_frozen_process_is_alive_and_can_be_killed(sleeper: ProcessId) -> None:
    process.send(sleeper, signal.SIGSTOP)
    assert process.alive(sleeper)
    assert process.kill(sleeper) is True


def test_the_parent_is_asked_for_its_child(tmp_path: Path) -> None:
    parent = process.spawn(["sh", "-c", "sleep 600 & wait"], tmp_path / "parent.log")
    child = process.child_of(parent)
    assert child.pid != parent.pid
    assert process.kill(child)
    process.kill(parent)


def test_output_goes_to_the_log(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "echo.log"
    started = process.spawn(["sh", "-c", "echo said; echo complained >&2; exec sleep 600"], log)
    try:
        while log.read_text().count("\n") < 2:
            assert process.alive(started)
    finally:
        process.kill(started)
    assert log.read_text() == "said\ncomplained\n"


def test_names_with_blanks_and_brackets_do_not_confuse_the_parser() -> None:
    fields = ["S", "42", *["0"] * 17, "987654", *["0"] * 30]
    assert process.parse_stat(f"17 (a) b ( c) {' '.join(fields)}\n") == ("S", 42, 987654)


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="no-such-program"):
        process.spawn(["no-such-program"], tmp_path / "log")
    with pytest.raises(ClusterError, match="no-such-program"):
        process.run(["no-such-program"])


def test_a_failed_command_says_what_it_said() -> None:
    with pytest.raises(ClusterError, match=r"exited with 3: no such luck"):
        process.run(["sh", "-c", "echo no such luck >&2; exit 3"])
