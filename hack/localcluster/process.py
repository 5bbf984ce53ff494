"""Background processes that outlive the command that started them, and a safe way to find them again.

A pid alone may belong to a stranger after a while, so a process is known by its pid, the time it started
(clock ticks since boot, field 22 of ``/proc/PID/stat``) and the boot it started in.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from localcluster.errors import ClusterError


@dataclass(frozen=True)
class ProcessId:
    """Identity of one process; ``started`` is in clock ticks since boot."""

    pid: int
    started: int
    boot: str


def parse_stat(text: str) -> tuple[str, int, int]:
    """State letter, parent pid and start time out of ``/proc/PID/stat``; the name in it may hold anything."""
    fields = text[text.rindex(")") + 2 :].split()
    return fields[0], int(fields[1]), int(fields[19])


def boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"


def identify(pid: int) -> ProcessId | None:
    """Who has this pid now; None if nobody, or a zombie."""
    try:
        state, _, started = parse_stat(Path(f"/proc/{pid}/stat").read_text())
    except (OSError, ValueError):
        return None
    return None if state in "ZX" else ProcessId(pid, started, boot_id())


def alive(process: ProcessId | None) -> bool:
    return process is not None and identify(process.pid) == process


def spawn(argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> ProcessId:
    """Start ``argv`` in a session of its own, output appended to ``log``.

    Raises:
        ClusterError: the program is missing or ended before it could be identified.
    """
    program = shutil.which(argv[0])
    if program is None:
        raise ClusterError(f"{argv[0]} is not there or not executable: run `python3 hack/localcluster build`")
    log.parent.mkdir(parents=True, exist_ok=True)
    pid = os.posix_spawn(
        program,
        list(argv),
        dict(env if env is not None else os.environ),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    process = identify(pid)
    if process is None:
        raise ClusterError(f"{' '.join(argv[:2])} ended at once: see {log}")
    return process


def send(process: ProcessId | None, signum: signal.Signals) -> bool:
    """Signal exactly this process; False if it is gone. A pidfd keeps the pid from changing hands meanwhile."""
    if process is None:
        return False
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        if not alive(process):
            return False
        signal.pidfd_send_signal(descriptor, signum)
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)


def kill(process: ProcessId | None, timeout: float = 20.0) -> bool:
    """SIGKILL and wait until it is gone; False if it was gone already.

    Raises:
        ClusterError: it is still there after ``timeout`` seconds.
    """
    if process is None:
        return False
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        if not send(process, signal.SIGKILL):
            return False
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        if not poll.poll(timeout * 1000):
            raise ClusterError(
                f"process {process.pid} does not die after SIGKILL: look at /proc/{process.pid}/stack"
            )
    finally:
        os.close(descriptor)
        reap(process.pid)
    return True


def reap(pid: int) -> None:
    """Take a dead child's exit status, where it is our child."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def child_of(parent: ProcessId, timeout: float = 10.0) -> ProcessId:
    """The first child of ``parent``, waiting for it to appear.

    Raises:
        ClusterError: none appeared, or the parent ended.
    """
    deadline = time.monotonic() + timeout
    while alive(parent) and time.monotonic() < deadline:
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    _, parent_pid, _ = parse_stat((entry / "stat").read_text())
                except (OSError, ValueError):
                    continue
                if parent_pid == parent.pid and (found := identify(int(entry.name))):
                    return found
        time.sleep(0.01)
    raise ClusterError(f"process {parent.pid} started no child: the node's namespaces could not be made")


def run(
    argv: Sequence[str],
    *,
    stdin: str | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run a short command and return its stdout.

    Raises:
        ClusterError: it is missing or exits non-zero; the message carries its stderr.
    """
    try:
        done = subprocess.run(
            argv, input=stdin, cwd=cwd, env=env, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise ClusterError(f"command {argv[0]!r} is not installed") from error
    if done.returncode != 0:
        detail = (done.stderr or done.stdout).strip()
        raise ClusterError(f"`{' '.join(argv)}` exited with {done.returncode}: {detail}")
    return done.stdout
