"""The ground that is measured on: a control plane of its own, what is needed on it, and the two operators."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from bench.client import PlainClient
from bench.shapes import ACCOUNT, DEPLOYMENTS, NAMESPACE, Change, Manifest, Peer, Storage, deployment, target
from localcluster import Cluster
from localpostgres import LocalPostgres
from localrun.access import account_kubeconfig
from localrun.process import LocalProcess, Operator, ProcessFailed

ROOT = Path(__file__).resolve().parent.parent.parent
OPERATOR = "system:serviceaccount:kubernaut-system:kubernaut-operator"
DRIVER = "bench-driver"
_PYTHONPATH = os.pathsep.join(filter(None, (str(ROOT / "hack"), os.environ.get("PYTHONPATH"))))
Say = Callable[[str], None]


class ObservedOperator(Operator):
    """Our operator with somebody in its event loop who writes down how it is (see ``observed``)."""

    def __init__(
        self, kubeconfig: Path, folder: Path, dsn: str | None = None, env: Mapping[str, str] | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.observations = folder / "observed.jsonl"
        own = {"PYTHONPATH": _PYTHONPATH, "BENCH_OBSERVATIONS": str(self.observations)}
        super().__init__(kubeconfig, folder, dsn, {**own, **(env or {})})
        self._command = [sys.executable, "-m", "bench.observed"]

    def observed(self) -> list[dict[str, Any]]:
        """Return what was written down, about twice a second."""
        lines = self.observations.read_text().splitlines() if self.observations.exists() else []
        return [json.loads(line) for line in lines if line.endswith("}")]


class PeerOperator(LocalProcess):
    """The Kopf operator that we are compared with."""

    def __init__(self, kubeconfig: Path, folder: Path, storage: Storage) -> None:
        env, log = {"PYTHONPATH": _PYTHONPATH}, folder / "peer.log"
        super().__init__("bench.peer.operator", env, log, str(kubeconfig), str(storage))

    def wait_ready(self, seconds: float = 30.0) -> None:
        """Wait until its watches are on their way.

        Raises:
            ProcessFailed: it ended, or is not ready in time.
        """
        deadline = time.monotonic() + seconds
        while "ready" not in self.log.read_text():
            if not self.running or time.monotonic() > deadline:
                raise ProcessFailed(f"the peer is not ready:\n{self.tail()}")
            time.sleep(0.05)


class Ground:
    """A cluster with our CRDs, policies and rights, a namespace of Deployments, and the peer's CRDs."""

    def __init__(self, cluster: Cluster, folder: Path, say: Say) -> None:
        self.cluster = cluster
        self.say = say
        self._folder = folder
        self._number = 0
        self.driver = self._prepare()
        self.rights = account_kubeconfig(cluster, "kubernaut-operator", folder)

    @classmethod
    @contextlib.contextmanager
    def up(cls, say: Say) -> Iterator[Ground]:
        """Bring the cluster up, and take it away in the end."""
        say("bringing up a control plane")
        cluster = Cluster.up("bench", nodes="kwok", audit="metadata")
        try:
            with tempfile.TemporaryDirectory(prefix="kubernaut-bench-") as folder:
                yield cls(cluster, Path(folder), say)
        finally:
            cluster.down()

    def _prepare(self) -> Path:
        # Imported here: the peer's process shares this folder, not our code.
        from kubernaut.api.rbac import tenant_manifests

        self.cluster.run_kubectl("apply", "-k", str(ROOT / "manifests" / "base"))
        self.cluster.run_kubectl("create", "namespace", NAMESPACE)
        self.apply(*tenant_manifests(NAMESPACE, ACCOUNT), *(peer.crd() for peer in Peer))
        self.cluster.run_kubectl("apply", "-f", "-", stdin=driver_with_all_rights())
        return account_kubeconfig(self.cluster, DRIVER, self._folder)

    def apply(self, *objects: Manifest) -> None:
        """Create objects, or bring them up to date."""
        self.cluster.run_kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))

    @staticmethod
    async def deployments(client: PlainClient, change: Change, count: int, whose: str = "") -> None:
        """Have so many Deployments to change."""
        have = set(await client.names(DEPLOYMENTS))
        lack = [number for number in range(count) if target(change, number, whose) not in have]
        await asyncio.gather(
            *(client.send("POST", DEPLOYMENTS, deployment(change, number, whose)) for number in lack)
        )

    @contextlib.contextmanager
    def operator(
        self, dsn: str | None = None, env: Mapping[str, str] | None = None
    ) -> Iterator[ObservedOperator]:
        """Run our operator."""
        process = self.new_operator(dsn, env)
        process.start()
        try:
            process.wait_ready(120)
            yield process
        finally:
            process.stop()

    def new_operator(self, dsn: str | None = None, env: Mapping[str, str] | None = None) -> ObservedOperator:
        """Return our operator, not started yet."""
        self._number += 1
        return ObservedOperator(self.rights, self._folder / f"operator-{self._number}", dsn, env)

    @contextlib.contextmanager
    def peer(self, storage: Storage) -> Iterator[PeerOperator]:
        """Run the peer, with the driver's rights."""
        self._number += 1
        process = PeerOperator(self.driver, self._folder / f"peer-{self._number}", storage)
        process.start()
        try:
            process.wait_ready()
            yield process
        finally:
            process.stop()

    @contextlib.contextmanager
    def postgres(self) -> Iterator[str]:
        """Run a Postgres of its own for the history; give its DSN."""
        server = LocalPostgres.up("bench", root=self._folder / "postgres")
        try:
            yield server.dsn
        finally:
            server.down()

    @property
    def pids(self) -> Mapping[str, int]:
        """The control plane's processes."""
        components = self.cluster.state.components
        return {name: part.process.pid for name, part in components.items() if part.process is not None}

    @property
    def etcd_url(self) -> str:
        """Where etcd answers, in the cluster's own network."""
        (flag,) = (f for f in self.cluster.state.components["etcd"].argv if "--listen-client-urls=" in f)
        return flag.split("=", 1)[1]


def driver_with_all_rights() -> str:
    """Return the account of the driver, which may do everything, as YAML."""
    meta = {"name": DRIVER, "namespace": "kubernaut-system"}
    subject = {"kind": "ServiceAccount", **meta}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    return yaml.safe_dump_all(
        [
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": DRIVER},
                "roleRef": role,
                "subjects": [subject],
            },
        ]
    )
