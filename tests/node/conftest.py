"""One cluster with a real node (kubelet, containerd, runc) for all tests of actions here."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from apiserver.acting import Place
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


@pytest.fixture
async def place(cluster: Cluster) -> AsyncIterator[Place]:
    name = f"test-{uuid.uuid4().hex[:12]}"
    with Client(cluster.kubeconfig) as admin:
        assert admin.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}}).ok
        async with await ApiConnection.load(cluster.kubeconfig) as connection:
            yield Place(admin, name, connection)
        admin.request("DELETE", f"/api/v1/namespaces/{name}")
