"""Our own processes: started with the rights of a ServiceAccount, stopped by their id."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path


class ProcessFailed(Exception):
    """One of our processes ended, or did not get ready; the message holds the end of its log."""


def free_port() -> int:
    """Return a TCP port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class CommandProcess:
    """A command in a process of its own, with its log in a file."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        self._command = list(command)
        self._env = {**os.environ, **env}
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; its output is appended to the log."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def send(self, signum: signal.Signals) -> None:
        """Send a signal to just this process."""
        if self._process is not None:
            self._process.send_signal(signum)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self, timeout: float = 20.0) -> int | None:
        """SIGTERM, SIGKILL if it does not go; return its exit status."""
        if self._process is None:
            return None
        self._process.terminate()
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def records(self) -> Iterator[dict[str, object]]:
        """Yield its log lines that are JSON."""
        for line in self.log.read_text(errors="replace").splitlines():
            if line.startswith("{"):
                yield json.loads(line)

    def tail(self, lines: int = 30) -> str:
        """Return the end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


class LocalProcess(CommandProcess):
    """A Python module of ours in a process of its own."""

    def __init__(self, module: str, env: Mapping[str, str], log: Path, *arguments: str) -> None:
        super().__init__([sys.executable, "-m", module, *arguments], env, log)


class Operator(LocalProcess):
    """The operator beside a cluster, with the rights of its own ServiceAccount."""

    def __init__(
        self, kubeconfig: Path, folder: Path, dsn: str | None = None, env: Mapping[str, str] | None = None
    ) -> None:
        self.port = free_port()
        settings = {
            "KUBERNAUT_KUBECONFIG": str(kubeconfig),
            "KUBERNAUT_PORT": str(self.port),
            "KUBERNAUT_STATE_DIR": str(folder / "state"),
            **({"KUBERNAUT_DSN": dsn} if dsn else {}),
            **(env or {}),
        }
        super().__init__("kubernaut.app", settings, folder / "operator.log")

    def get(self, path: str) -> tuple[int, str]:
        """Return status and text of one of its pages; (0, "") where it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metric(self, name: str, **labels: str) -> float:
        """Return a metric's value summed over the series that match; 0 where there is none."""
        total = 0.0
        for line in self.get("/metrics")[1].splitlines():
            series, _, value = line.rpartition(" ")
            if (series == name or series.startswith(f"{name}{{")) and all(
                f'{key}="{text}"' in series for key, text in labels.items()
            ):
                total += float(value)
        return total

    def wait_ready(self, timeout: float = 30.0) -> None:
        """Wait until it says that it is ready.

        Raises:
            ProcessFailed: it ended, or is not ready in time.
        """
        deadline = time.monotonic() + timeout
        while self.get("/readyz")[0] != 200:
            if not self.running:
                raise ProcessFailed(f"the operator ended:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise ProcessFailed(f"the operator is not ready after {timeout} s:\n{self.tail()}")
            time.sleep(0.05)
