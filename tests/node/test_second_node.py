"""A second real node comes and goes without a trace, whether it got Ready or not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from apiserver.acting import await_true
from apiserver.rest import Client
from localcluster import Cluster, local
from localcluster.errors import ClusterError
from localcluster.network import Block
from localcluster.paths import ClusterPaths
from localcluster.process import ProcessId, identify

NAMESPACES = ("net", "mnt", "pid")


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    cluster = Cluster.up("test-node-traces", nodes="real")
    yield cluster
    cluster.down()


def entered(process: ProcessId | None) -> set[str]:
    """The namespaces that a process lives in and this one does not."""
    assert process is not None
    theirs = {os.readlink(f"/proc/{process.pid}/ns/{kind}") for kind in NAMESPACES}
    return theirs - {os.readlink(f"/proc/self/ns/{kind}") for kind in NAMESPACES}


def inhabited(namespaces: set[str]) -> set[str]:
    """Which of these namespaces any process still lives in; one that waits to be reaped lives nowhere."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        if identify(int(entry.name)) is None:
            continue
        for kind in NAMESPACES:
            try:
                found.add(os.readlink(entry / "ns" / kind))
            except OSError:
                continue
    return found & namespaces


def control_groups(cluster: str) -> list[Path]:
    return [
        path for path in Path("/sys/fs/cgroup").glob("**/kubernaut-*") if path.name.split(".")[0] == cluster
    ]


def mentioned(text: str) -> list[str]:
    """Command lines of processes that name this path."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in line and int(entry.name) != os.getpid():
            found.append(line)
    return found


def test_nothing_is_left_of_two_nodes(cluster: Cluster) -> None:
    cluster.second_node()
    container = {"name": "app", "image": cluster.real_image("pause")}
    with Client(cluster.kubeconfig) as admin:
        for node in (f"{cluster.name}-node", f"{cluster.name}-node-2"):
            spec = {"containers": [container], "nodeName": node, "terminationGracePeriodSeconds": 0}
            pod = {"metadata": {"name": f"on-{node}"}, "spec": spec}
            path = "/api/v1/namespaces/default/pods"
            assert admin.request("POST", path, pod).ok

        def runs() -> bool:
            return [pod["status"].get("phase") for pod in admin.request("GET", path).body["items"]] == [
                "Running",
                "Running",
            ]

        await_true(runs, "the pods do not run")
    state = cluster.state
    assert state.second_node is not None
    assert state.block is not None
    root, link = ClusterPaths.of(cluster.name).root, Block(state.block).interface
    namespaces = set().union(
        *map(entered, (state.holder, state.node_init, state.second_node.holder, state.second_node.init))
    )
    assert len(namespaces) == 6, "each node has a network, mount and pid namespace of its own"
    assert inhabited(namespaces) == namespaces
    groups = {path.name for path in control_groups(f"kubernaut-{cluster.name}")}
    assert groups == {f"kubernaut-{cluster.name}", f"kubernaut-{cluster.name}.2"}
    cluster.down()
    assert not inhabited(namespaces)
    assert not control_groups(f"kubernaut-{cluster.name}")
    assert not mentioned(str(root))
    assert str(root) not in Path("/proc/self/mountinfo").read_text()
    assert not Path(f"/sys/class/net/{link}").exists()
    assert not root.exists()


def test_one_that_does_not_get_ready_goes_and_the_cluster_stays(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[set[str]] = []

    def never(*_: object, **__: object) -> None:
        second = Cluster.find(cluster.name).state.second_node
        assert second is not None
        seen.append(entered(second.holder) | entered(second.init))
        raise ClusterError("it is not ready")

    with monkeypatch.context() as broken:
        broken.setattr(local, "wait", never)
        with pytest.raises(ClusterError, match="it is not ready"):
            cluster.second_node()
    assert len(seen[0]) == 3
    assert not inhabited(seen[0])
    assert {path.name for path in control_groups(f"kubernaut-{cluster.name}")} == {
        f"kubernaut-{cluster.name}"
    }
    assert "node2" not in cluster.in_network(["ip", "-brief", "link"]).stdout
    assert not ClusterPaths.of(cluster.name).second_node.exists()
    with Client(cluster.kubeconfig) as admin:
        names = [one["metadata"]["name"] for one in admin.request("GET", "/api/v1/nodes").body["items"]]
        assert names == [f"{cluster.name}-node"]
        name = cluster.second_node()
        assert admin.request("GET", f"/api/v1/nodes/{name}").ok
    assert cluster.second_node() == name


def test_one_that_died_is_brought_back_by_up(cluster: Cluster) -> None:
    name = cluster.second_node()
    second_component = cluster.state.components["node-2"]
    cluster.stop("node-2")
    assert not second_component.running
    again = Cluster.up(cluster.name)
    assert again.state.components["node-2"].running
    assert again.second_node() == name
