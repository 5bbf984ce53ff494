"""Everything the demo runs in: cluster, Postgres, operator, analyst; and how it all goes away again."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from kubernaut.api.rbac import tenant_manifests
from localcluster import Cluster, process
from localcluster.errors import ClusterError
from localcluster.paths import state_root
from localcluster.process import ProcessId
from localpostgres import LocalPostgres
from localrun.access import account_kubeconfig
from localrun.process import LocalProcess, Operator

NAME = os.environ.get("KUBERNAUT_DEMO_NAME", "demo")
ROOT = Path(__file__).resolve().parent.parent.parent
Manifest = dict[str, Any]


def folder() -> Path:
    """Return where the demo keeps its state."""
    return state_root() / "demo"


class World:
    """The demo's own cluster and processes."""

    def __init__(self, cluster: Cluster, postgres: LocalPostgres) -> None:
        self.cluster = cluster
        self.postgres = postgres
        self.folder = folder()
        self.operator: Operator | None = None
        self.analyst: LocalProcess | None = None

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl as cluster admin: the demo's own hand, never the operator's."""
        return self.cluster.run_kubectl(*arguments, stdin=stdin)

    def apply(self, manifests: list[Manifest]) -> None:
        """Apply manifests."""
        self.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(manifests))

    def get(self, kind: str, *arguments: str) -> list[Manifest]:
        """Return objects of a kind."""
        found = json.loads(self.kubectl("get", kind, "-o", "json", *arguments))
        items: list[Manifest] = found.get("items", [found])
        return items

    def tenant(self, namespace: str) -> list[Manifest]:
        """Return what a namespace needs so that Workflows can repair things in it (manifests/tenant)."""
        made: Manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        return [made, *tenant_manifests(namespace)]

    def sample(self, workflow: str, namespace: str) -> Manifest:
        """Return a sample Workflow for a namespace."""
        text = (ROOT / "manifests" / "samples" / f"{workflow}.yaml").read_text()
        manifest: Manifest = yaml.safe_load(text)
        manifest["metadata"]["namespace"] = namespace
        return manifest

    def start_operator(self) -> Operator:
        """Start the operator and the analyst, each with the rights of its own ServiceAccount."""
        rights = account_kubeconfig(self.cluster, "kubernaut-operator", self.folder)
        self.operator = Operator(rights, self.folder, self.postgres.dsn)
        self.operator.start()
        self._remember("operator", self.operator.pid)
        self.operator.wait_ready()
        return self.operator

    def start_analyst(self) -> LocalProcess:
        """Start the analyst."""
        rights = account_kubeconfig(self.cluster, "kubernaut-analyst", self.folder)
        env = {
            "KUBERNAUT_KUBECONFIG": str(rights),
            "KUBERNAUT_DSN": self.postgres.dsn,
            "KUBERNAUT_ANALYST_INTERVAL": "3s",
        }
        self.analyst = LocalProcess("kubernaut.analyst", env, self.folder / "analyst.log")
        self.analyst.start()
        self._remember("analyst", self.analyst.pid)
        return self.analyst

    def _remember(self, what: str, pid: int | None) -> None:
        identity = process.identify(pid) if pid is not None else None
        if identity is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / f"{what}.process").write_text(json.dumps(asdict(identity)))


def stop_processes() -> None:
    """Stop operator and analyst of an earlier demo, by their identity."""
    for file in folder().glob("*.process"):
        identity = ProcessId(**json.loads(file.read_text()))
        if process.send(identity, signal.SIGTERM):
            deadline = time.monotonic() + 15
            while process.alive(identity) and time.monotonic() < deadline:
                time.sleep(0.05)
            process.kill(identity)
        file.unlink()


def leftovers() -> bool:
    """Whether something of an earlier demo is still there."""
    return folder().exists()


def down() -> None:
    """Take everything away: processes, Postgres, cluster, state."""
    stop_processes()
    LocalPostgres(NAME).down()
    if not os.environ.get("KUBERNAUT_KUBECONFIG"):
        with contextlib.suppress(ClusterError):
            Cluster.find(NAME).down()
    shutil.rmtree(folder(), ignore_errors=True)
