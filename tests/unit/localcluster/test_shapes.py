"""Configuration that is computed: flags, the node's files, kind's document, cgroup mounts, images offered."""

import io
import json
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from localcluster import cgroups, local
from localcluster.cluster import Cluster
from localcluster.controlplane import ControlPlane, Ports
from localcluster.errors import ClusterError
from localcluster.network import Block
from localcluster.node import Node
from localcluster.paths import ClusterPaths
from localcluster.progress import Progress, human
from localcluster.providers.kind import configuration
from localcluster.state import State

PATHS = ClusterPaths(Path("/state/one"))
V1 = """\
tmpfs /sys/fs/cgroup tmpfs rw 0 0
cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,relatime,cpu,cpuacct 0 0
cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0
cgroup /sys/fs/cgroup/systemd cgroup rw,name=systemd 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0
"""


def plane(
    *, isolated: bool = True, controllers: bool = True, audit: bool = True, fsync: bool = False
) -> ControlPlane:
    return ControlPlane(PATHS, Path("/bin"), Block(4), isolated, Ports(), controllers, audit, fsync)


def node() -> Node:
    return Node("one", "one-node", PATHS, Path("/b/bin"), Path("/b/cni"), Block(4), "https://10.204.0.2:6443")


def test_an_isolated_cluster_is_reached_at_its_namespace_and_pods_reach_it_too() -> None:
    flags = plane().apiserver()
    assert plane().server == "https://10.204.0.2:6443"
    assert "--advertise-address=10.204.0.2" in flags
    assert not any(flag.startswith("--endpoint-reconciler-type") for flag in flags)


def test_a_cluster_on_loopback_listens_there_alone() -> None:
    flags = plane(isolated=False).apiserver()
    assert "--bind-address=127.0.0.1" in flags
    assert "--endpoint-reconciler-type=none" in flags


def test_authorization_and_admission_are_on_as_in_production() -> None:
    flags = plane().apiserver()
    assert "--authorization-mode=Node,RBAC" in flags
    assert "--enable-admission-plugins=NodeRestriction" in flags
    assert "--disable-admission-plugins=ServiceAccount" not in flags
    assert "--disable-admission-plugins=ServiceAccount" in plane(controllers=False).apiserver()


def test_audit_and_durability_are_choices() -> None:
    assert f"--audit-log-path={PATHS.audit_log}" in plane().apiserver()
    assert not any("audit" in flag for flag in plane(audit=False).apiserver())
    assert "--unsafe-no-fsync" in plane().etcd()
    assert "--unsafe-no-fsync" not in plane(fsync=True).etcd()


def test_free_ports_differ() -> None:
    ports = Ports.free()
    assert len(set(vars(ports).values())) == 6


def test_containerd_s_configuration_is_valid_and_names_our_sandbox_image() -> None:
    document = tomllib.loads(node().containerd("native"))
    plugins = document["plugins"]
    assert plugins["io.containerd.cri.v1.images"]["snapshotter"] == "native"
    assert plugins["io.containerd.cri.v1.images"]["pinned_images"]["sandbox"] == "kubernaut.local/pause:1"
    assert len(document["grpc"]["address"]) < 108


def test_clusters_side_by_side_do_not_share_a_control_group() -> None:
    assert node().kubelet()["cgroupRoot"] == "/kubernaut-one"
    assert cgroups.group_name("two") != cgroups.group_name("one")


def test_a_second_node_shares_nothing_with_the_first_one() -> None:
    first, second = node(), replace(node(), name="one-node-2", number=2)
    theirs, ours = first.kubelet(), second.kubelet()
    for key in ("cgroupRoot", "podCIDR", "tlsCertFile", "tlsPrivateKeyFile", "podLogsDir", "volumePluginDir"):
        assert theirs[key] != ours[key], key
    for key in ("logs", "start", "containerd"):
        assert first.init()[key] != second.init()[key], key
    assert first.command() != second.command()
    assert "--node-ip=10.204.1.2" in second.init()["services"]["kubelet"]
    assert not Block(4).second_pods.overlaps(Block(4).node_pods)
    assert not Block(4).second_pods.overlaps(Block(4).kwok_pods)
    assert Block(4).second_pods.subnet_of(Block(4).pods)


def test_the_node_has_addresses_for_all_pods_it_takes() -> None:
    assert Block(4).node_pods.num_addresses > node().kubelet()["maxPods"] + 2
    assert node().network()["plugins"][0]["ipam"]["ranges"] == [[{"subnet": str(Block(4).node_pods)}]]


def test_all_hierarchies_of_cgroup_v1_are_found() -> None:
    found = cgroups.hierarchies(V1)
    assert found["cpu"] == found["cpuacct"] == Path("/sys/fs/cgroup/cpu,cpuacct")
    assert found["memory"] == Path("/sys/fs/cgroup/memory")
    assert found["name=systemd"] == Path("/sys/fs/cgroup/systemd")
    assert set(found) == {"cpu", "cpuacct", "memory", "name=systemd", "unified"}


def test_the_one_hierarchy_of_cgroup_v2_is_found() -> None:
    assert cgroups.hierarchies("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n") == {
        "unified": Path("/sys/fs/cgroup")
    }


def test_simulated_nodes_keep_unasked_pods_off_only_beside_a_real_one() -> None:
    assert local.kwok_node("kwok-0", tainted=False)["spec"]["taints"] == []
    (taint,) = local.kwok_node("kwok-0", tainted=True)["spec"]["taints"]
    assert taint["effect"] == "NoSchedule"


def test_kind_mounts_the_audit_policy_where_its_api_server_reads_it() -> None:
    (one,) = configuration(PATHS, with_audit=True, fsync=True)["nodes"]
    (patch,) = (json.loads(text) for text in one["kubeadmConfigPatches"])
    policy = patch["apiServer"]["extraArgs"]["audit-policy-file"]
    assert {mount["containerPath"] for mount in one["extraMounts"]} == {
        str(Path(policy).parent),
        "/var/log/kubernaut",
    }
    assert {volume["mountPath"] for volume in patch["apiServer"]["extraVolumes"]} == {
        mount["containerPath"] for mount in one["extraMounts"]
    }
    (bare,) = configuration(PATHS, with_audit=False, fsync=False)["nodes"]
    assert bare["extraMounts"] == []
    assert "apiServer" not in json.loads(bare["kubeadmConfigPatches"][0])


def test_images_are_offered_by_the_name_that_the_cluster_can_run() -> None:
    ours = Cluster(State("one", "modules", "/k", "/kubectl", nodes="real", block=4))
    assert ours.real_image("busybox") == "kubernaut.local/busybox:1"
    assert ours.host_address == "10.204.0.1"
    assert ours.has_real_node
    given = Cluster(State("one", "given", "/k", "/kubectl", nodes="external"))
    assert given.real_image("busybox").startswith("busybox:")
    assert given.host_address is None
    with pytest.raises(ClusterError, match="no image 'nginx'"):
        ours.real_image("nginx")


def test_the_api_server_s_components_can_be_stopped_but_not_unknown_ones() -> None:
    with pytest.raises(ClusterError, match="no real node of ours"):
        Cluster(State("one", "given", "/k", "/kubectl", nodes="external"))._require_node()
    with pytest.raises(ClusterError, match="no component dns"):
        Cluster(State("one", "modules", "/k", "/kubectl"))._component("dns")


def test_progress_says_how_a_step_ended() -> None:
    out = io.StringIO()
    progress = Progress(out)
    with progress.step("first"):
        pass
    with pytest.raises(ValueError, match="x"), progress.step("second"):
        raise ValueError("x")
    assert [line.split("(")[0].split() for line in out.getvalue().splitlines()] == [
        ["ok", "first"],
        ["failed:", "second"],
    ]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.42, "0.4s"), (12.3, "12s"), (59.7, "1m00s"), (245.0, "4m05s")]
)
def test_durations_are_written_for_people(seconds: float, text: str) -> None:
    assert human(seconds) == text
