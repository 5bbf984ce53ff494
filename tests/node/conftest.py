"""One cluster with a real node (kubelet, containerd, runc) for all tests of actions here."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from apiserver.acting import Place, actor
from kubernaut.api.crd import KINDS
from localcluster import Cluster
from node.placing import placed

ROOT = Path(__file__).resolve().parents[2]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have tests of what takes its time by itself, and was begun early, look at it last."""
    items.sort(key=lambda item: item.get_closest_marker("late") is not None)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    # Another name lets two sessions on one machine have a cluster each.
    cluster = Cluster.up(os.environ.get("KUBERNAUT_TEST_CLUSTER", "test-node"))
    assert cluster.has_real_node, "these tests need a node that really runs containers"
    yield cluster
    cluster.down()


@pytest.fixture(scope="session")
def kinds(cluster: Cluster) -> None:
    """The cluster knows our kinds, so that there can be a run that an action's objects belong to."""
    cluster.run_kubectl("apply", "-k", str(ROOT / "crds"))
    names = [f"crd/{kind.crd_name}" for kind in KINDS]
    cluster.run_kubectl("wait", "--for=condition=Established", "--timeout=30s", *names)


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
