"""One cluster with a real node (kubelet, containerd, runc) for all tests of actions here."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from apiserver.acting import Place, actor
from apiserver.rest import Client
from kubernaut.cluster.client import ApiConnection
from localcluster import Cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    # Another name lets two sessions on one machine have a cluster each.
    cluster = Cluster.up(os.environ.get("KUBERNAUT_TEST_CLUSTER", "test-node"))
    assert cluster.has_real_node, "these tests need a node that really runs containers"
    yield cluster
    cluster.down()


@pytest.fixture(scope="module")
def acting(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Kubeconfig by which actions are performed."""
    return actor(cluster, tmp_path_factory.mktemp("actor"))


@pytest.fixture
async def place(cluster: Cluster, acting: Path) -> AsyncIterator[Place]:
    """Where an action is performed."""
    async with placed(cluster, acting) as place:
        yield place


@pytest.fixture
async def restricted(cluster: Cluster, acting: Path) -> AsyncIterator[Place]:
    """The same where Pod Security is enforced at ``restricted``."""
    async with placed(cluster, acting, {"pod-security.kubernetes.io/enforce": "restricted"}) as place:
        yield place


@asynccontextmanager
async def placed(
    cluster: Cluster, acting: Path, labels: Mapping[str, str] | None = None
) -> AsyncIterator[Place]:
    """Make a namespace with these labels; it is deleted afterwards."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    with Client(cluster.kubeconfig) as admin:
        made = {"metadata": {"name": name, "labels": dict(labels or {})}}
        assert admin.request("POST", "/api/v1/namespaces", made).ok
        async with await ApiConnection.load(acting) as connection:
            yield Place(admin, name, connection)
        admin.request("DELETE", f"/api/v1/namespaces/{name}")
