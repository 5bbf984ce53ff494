"""A real API server with our CRDs, rights and policies in force, and a namespace for each test."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from apiserver.acting import Counting, Place, actor
from apiserver.resources import (
    EXECUTION,
    PATTERN,
    WORKFLOW,
    allow,
    create,
    make_namespace,
    patch,
    refused_by,
    smallest,
)
from apiserver.rest import Answer, Client
from kubernaut.api.crd import KINDS
from kubernaut.api.names import FINALIZER
from localcluster import Cluster

NODE = {"apiVersion": "v1", "kind": "Node", "name": "n1"}
FORGED = {"by": "somebody else"}
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A cluster with manifests/base applied and in force.

    KUBERNAUT_KEEP=1 keeps it for the next session; KUBERNAUT_TEST_CLUSTER names another than ``test``, so that two
    sessions on one machine do not share one.
    """
    cluster = Cluster.up(os.environ.get("KUBERNAUT_TEST_CLUSTER", "test"), nodes="kwok")
    try:
        yield _prepared(cluster)
    finally:
        if os.environ.get("KUBERNAUT_KEEP") != "1":
            cluster.down()


def _prepared(cluster: Cluster) -> Cluster:
    cluster.run_kubectl("apply", "-k", str(ROOT / "manifests" / "base"))
    names = [f"crd/{kind.crd_name}" for kind in KINDS]
    cluster.run_kubectl("wait", "--for=condition=Established", "--timeout=30s", *names)
    with Client(cluster.kubeconfig) as client:
        _await_policies(client)
    return cluster


def _await_policies(admin: Client) -> None:
    """Wait until each policy refuses what it is there for; the API server takes them up a moment after they came.

    Raises:
        AssertionError: one of them is still not in force after 30 s.
    """
    make_namespace(admin, "probe")
    allow(admin, "probe", "prober", "kubernaut-edit")
    approved = {"approvals": [{"step": "ask", "decision": "Approve", "by": "prober"}]}
    for kind in (EXECUTION, PATTERN):
        create(admin, kind, "probe", smallest(kind, "probe"))
    patch(admin, EXECUTION, "probe", "probe", {"metadata": {"finalizers": [FINALIZER]}})
    with admin.acting_as("prober") as prober:
        probes: dict[str, Callable[[], Answer]] = {
            "workflow-account": lambda: create(
                prober, WORKFLOW, "probe", smallest(WORKFLOW, "other"), dryRun="All"
            ),
            "workflow-reach": lambda: create(
                admin, WORKFLOW, "probe", smallest(WORKFLOW, "other", target=NODE), dryRun="All"
            ),
            "namespace-protected": lambda: create(
                admin, WORKFLOW, "kube-public", smallest(WORKFLOW, "other"), dryRun="All"
            ),
            "run-origin": lambda: create(
                prober, EXECUTION, "probe", smallest(EXECUTION, "other", trigger=FORGED), dryRun="All"
            ),
            "run-approval": lambda: create(
                prober, EXECUTION, "probe", smallest(EXECUTION, "other", control=approved), dryRun="All"
            ),
            "run-finalizer": lambda: patch(
                prober, EXECUTION, "probe", "probe", {"metadata": {"finalizers": None}}
            ),
            "run-status": lambda: patch(admin, EXECUTION, "probe", "probe", {"status": {}}, "status"),
            "pattern-status": lambda: patch(admin, PATTERN, "probe", "probe", {"status": {}}, "status"),
        }
        deadline = time.monotonic() + 30
        for name, probe in probes.items():
            while not refused_by(probe(), name):
                assert time.monotonic() < deadline, f"the policy {name} is not in force"
                time.sleep(0.05)


@pytest.fixture
def admin(cluster: Cluster) -> Iterator[Client]:
    """The cluster's administrator."""
    with Client(cluster.kubeconfig) as client:
        yield client


@pytest.fixture
def namespace(admin: Client) -> Iterator[str]:
    """A namespace of the test's own."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    make_namespace(admin, name)
    yield name
    admin.request("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture(scope="session")
def acting(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Kubeconfig by which actions are performed."""
    return actor(cluster, tmp_path_factory.mktemp("actor"))


@pytest.fixture
async def place(acting: Path, admin: Client, namespace: str) -> AsyncIterator[Place]:
    """Where an action is performed."""
    async with await Counting.load(acting) as connection:
        place = Place(admin, namespace, connection)
        yield place
        place.leave()
