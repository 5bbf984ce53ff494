"""The operator's process, forked from one that has imported everything: a restart costs no seconds of imports."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import runpy
import signal
from collections.abc import Mapping
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path

_context = multiprocessing.get_context("forkserver")
# The operator, and what it imports only once it needs it.
_context.set_forkserver_preload(
    [
        "kubernaut.app",
        "kubernaut.cluster.credentials",
        "uvloop",
        "asyncpg",
        "alembic.command",
        "alembic.script",
        "sqlalchemy.dialects.postgresql.asyncpg",
    ]
)

#: half of the usual ones: what hangs on a lease that runs out is waited for less long, and comes up more often
_SHORT_LEASES = {"KUBERNAUT_LEASE_DURATION": "3s", "KUBERNAUT_LEASE_RENEW": "1s"}


def _serve(env: Mapping[str, str], log: str, before: str | None) -> None:
    """Be the operator, as ``python -m kubernaut.app`` would."""
    os.setsid()
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.update(env)
    if before is not None:
        runpy.run_path(before)
    from kubernaut.app import main

    os._exit(main())


class ForkedOperator:
    """The operator with the rights of a kubeconfig.

    Args:
        before: a Python file that is run in its process before it starts: for proofs of the harness only.
    """

    def __init__(
        self,
        kubeconfig: Path,
        folder: Path,
        *,
        dsn: str | None = None,
        env: Mapping[str, str] | None = None,
        before: Path | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "operator.log"
        self._env = {
            "KUBERNAUT_KUBECONFIG": str(kubeconfig),
            "KUBERNAUT_PORT": "0",
            "KUBERNAUT_STATE_DIR": str(folder / "state"),
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
            **_SHORT_LEASES,
            **({"KUBERNAUT_DSN": dsn} if dsn else {}),
            **(env or {}),
        }
        self._before = str(before) if before else None
        self._process: ForkServerProcess | None = None
        self.starts = 0
        self.kills = 0

    def start(self) -> None:
        """Start it."""
        # Its processes are killed before they could write down what they covered: tracing would only slow them.
        tracing = os.environ.pop("COVERAGE_PROCESS_CONFIG", None)
        try:
            forkserver.ensure_running()
        finally:
            if tracing is not None:
                os.environ["COVERAGE_PROCESS_CONFIG"] = tracing
        self._process = _context.Process(target=_serve, args=(self._env, str(self.log), self._before))
        self._process.start()
        self.starts += 1

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.is_alive()

    def kill(self) -> None:
        """SIGKILL; it does nothing more from now on."""
        if self._process is not None and self._process.pid is not None:
            self.kills += 1
            os.kill(self._process.pid, signal.SIGKILL)

    async def ended(self) -> None:
        """Wait until it is gone."""
        if self._process is not None:
            await asyncio.to_thread(self._process.join)
            self._process.close()
            self._process = None

    def terminate(self) -> None:
        """SIGTERM: it finishes what it does, and goes."""
        if self._process is not None:
            self._process.terminate()

    def tail(self, lines: int = 15) -> str:
        """Return the end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
