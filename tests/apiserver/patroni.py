"""Patroni at work: real members with real Postgres, whose state is kept on a real API server.

The members are processes of this machine; the pods that stand for them are simulated ones.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import yaml

from apiserver.acting import Place, await_true
from localcluster import Cluster
from localpostgres import account
from localpostgres.server import postgres_binaries

SCOPE: Final = "db"
PASSWORD: Final = "of these tests"


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Patroni:
    """Members by name."""

    def __init__(self, cluster: Cluster, place: Place, folder: Path) -> None:
        self._cluster = cluster
        self._place = place
        self._folder = folder
        chosen = account.choose()
        assert chosen is not None, "Postgres refuses to be root, and there is no way to be somebody else"
        self._account = chosen
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.ports: dict[str, int] = {}

    def start(self, name: str) -> None:
        """Start a member, and wait until it tells that it runs."""
        labels = {"application": "patroni", "cluster-name": SCOPE}
        container = {"name": "postgres", "image": "kubernaut.local/pause:1"}
        spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
        self._place.create("v1", "pods", {"metadata": {"name": name, "labels": labels}, "spec": spec})
        home = self._folder / name
        home.mkdir(mode=0o700)
        config = home / "patroni.yml"
        config.write_text(yaml.safe_dump(self._configuration(name, home)))
        if self._account.owner is not None:
            for path in (self._folder, home, config):
                os.chown(path, *self._account.owner)
        command = self._account.command(sys.executable, "-m", "patroni", str(config))
        env = {**self._cluster.client_environment(), "HOME": str(home)}
        with open(home / "log", "wb") as log:
            self._processes[name] = subprocess.Popen(
                command, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        await_true(lambda: self._is_up(name), f"member {name} does not run", 120)

    def _is_up(self, name: str) -> bool:
        process = self._processes[name]
        assert process.poll() is None, (self._folder / name / "log").read_text()[-4000:]
        told = self.told(name)
        return told.get("state") == "running" and "xlog_location" in told

    def told(self, name: str) -> Mapping[str, Any]:
        """Return what a member last told of itself."""
        annotations = self._place.get("v1", "pods", name)["metadata"].get("annotations") or {}
        found: Mapping[str, Any] = json.loads(annotations.get("status", "{}"))
        return found

    def leader(self) -> str:
        """Return who holds the lock."""
        found = self._place.get("v1", "endpoints", SCOPE)["metadata"].get("annotations") or {}
        return str(found.get("leader", ""))

    def stop(self) -> None:
        """End the members with their Postgres."""
        for process in self._processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self._processes.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _configuration(self, name: str, home: Path) -> dict[str, Any]:
        port, rest = self.ports.setdefault(name, _free_port()), _free_port()
        kubeconfig = yaml.safe_load(self._cluster.kubeconfig.read_text())
        settings = {
            "unix_socket_directories": str(home),
            "shared_buffers": "16MB",
            "fsync": "off",
            "max_connections": 20,
        }
        return {
            "scope": SCOPE,
            "name": name,
            "restapi": {"listen": f"127.0.0.1:{rest}", "connect_address": f"127.0.0.1:{rest}"},
            "kubernetes": {
                "context": kubeconfig["current-context"],
                "namespace": self._place.namespace,
                "labels": {"application": "patroni"},
                "scope_label": "cluster-name",
                "use_endpoints": True,
            },
            "bootstrap": {
                "dcs": {
                    "ttl": 20,
                    "loop_wait": 1,
                    "retry_timeout": 3,
                    "postgresql": {"parameters": settings},
                },
                "initdb": [{"encoding": "UTF8"}, "data-checksums"],
            },
            "postgresql": {
                "listen": f"127.0.0.1:{port}",
                "connect_address": f"127.0.0.1:{port}",
                "data_dir": str(home / "data"),
                "bin_dir": str(postgres_binaries()),
                "pgpass": str(home / "pgpass"),
                "authentication": {
                    "superuser": {"username": "postgres", "password": PASSWORD},
                    "replication": {"username": "replicator", "password": PASSWORD},
                },
                "parameters": {"unix_socket_directories": str(home)},
                "pg_hba": [
                    "local all all trust",
                    "host all all 127.0.0.1/32 scram-sha-256",
                    "host replication replicator 127.0.0.1/32 scram-sha-256",
                ],
            },
        }

    def dsn(self, name: str) -> str:
        """Return the address of a member's database."""
        return f"postgresql://postgres:{PASSWORD.replace(' ', '%20')}@127.0.0.1:{self.ports[name]}/postgres"


@contextmanager
def members(cluster: Cluster, place: Place) -> Iterator[Patroni]:
    """Give a place for members, and end them after."""
    # Not pytest's own: a path of a socket must be short, and its user may be another.
    folder = Path(tempfile.mkdtemp(prefix="kubernaut-patroni-"))
    made = Patroni(cluster, place, folder)
    try:
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)
