"""A real node: containerd, kubelet and kube-proxy in mount and pid namespaces of their own.

One SIGKILL of their init ends everything on the node, containers and mounts included, as when a machine loses power.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from localcluster import cgroups, images
from localcluster.network import Block
from localcluster.paths import ClusterPaths

#: ``ctr`` with everything that comes before an archive's path
IMPORT = ("-n", "k8s.io", "image", "import", "--local", "--digests=false")
_TOOLS = ("ip", "unshare", "nsenter", "mount", "umount")
#: inside the node's own /run, so that the path is short enough for a socket whatever the state directory is
CONTAINERD_SOCKET = "/run/kubernaut/containerd.sock"
MAX_PODS = 250


def namespace_obstacle() -> str | None:
    """Why clusters can't have network namespaces of their own here, or None."""
    if not sys.platform.startswith("linux"):
        return f"{sys.platform} is not Linux"
    if os.geteuid() != 0:
        return "not root"
    if missing := [tool for tool in _TOOLS if not shutil.which(tool)]:
        return f"{', '.join(missing)} not installed"
    command = ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "--mount-proc", "true"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else f"namespaces can't be made: {done.stderr.strip()}"


def obstacle() -> str | None:
    """Why this machine can't run a real node, or None."""
    if found := namespace_obstacle():
        return found
    if not Path("/dev/kmsg").exists():
        return "/dev/kmsg is missing (the kubelet watches it for out-of-memory kills)"
    return cgroups.obstacle()


def nftables_obstacle(nft: Path) -> str | None:
    """Why Services can't work here, or None: kube-proxy needs nftables in the kernel."""
    command = ["unshare", "--net", str(nft), "add", "table", "ip", "probe"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else f"nftables does not work: {done.stderr.strip()}"


def snapshotter(directory: Path) -> str:
    """``overlayfs`` where the file system under ``directory`` takes it, else ``native`` (copies; slower)."""
    trial = directory / "overlay-trial"
    for name in ("lower", "upper", "work", "merged"):
        (trial / name).mkdir(parents=True, exist_ok=True)
    options = f"lowerdir={trial}/lower,upperdir={trial}/upper,workdir={trial}/work"
    command = ["unshare", "--mount", "mount", "-t", "overlay", "overlay", "-o", options, f"{trial}/merged"]
    done = subprocess.run(command, capture_output=True, check=False)
    shutil.rmtree(trial)
    return "overlayfs" if done.returncode == 0 else "native"


@dataclass(frozen=True)
class Node:
    """Configuration of a real node of a cluster: the first, or the second one in a namespace of its own."""

    cluster: str
    name: str
    paths: ClusterPaths
    bin: Path
    cni: Path
    block: Block
    server: str
    number: int = 1

    @property
    def home(self) -> Path:
        return self.paths.node if self.number == 1 else self.paths.second_node

    @property
    def logs(self) -> Path:
        return self.paths.logs if self.number == 1 else self.paths.logs / self.home.name

    @property
    def user(self) -> str:
        """Name of the kubelet's certificates and kubeconfig."""
        return "kubelet" if self.number == 1 else f"kubelet-{self.number}"

    @property
    def address(self) -> str:
        return self.block.node if self.number == 1 else self.block.second_node

    @property
    def pods(self) -> IPv4Network:
        return self.block.node_pods if self.number == 1 else self.block.second_pods

    def write(self, snapshots: str) -> None:
        """All configuration files of the node. JSON is YAML, so only containerd's is written out by hand."""
        root = self.home
        for name in ("cni", "kubelet", "containerd", "pods", "volume-plugins"):
            (root / name).mkdir(parents=True, exist_ok=True)
        self.logs.mkdir(exist_ok=True)
        (root / "containerd.toml").write_text(self.containerd(snapshots))
        (root / "cni" / "10-bridge.conflist").write_text(json.dumps(self.network(), indent=1))
        (root / "kubelet.json").write_text(json.dumps(self.kubelet(), indent=1))
        (root / "kube-proxy.json").write_text(json.dumps(self.proxy(), indent=1))
        # a copy: what a running cluster was started with stays together, whatever happens to the checkout
        shutil.copyfile(Path(__file__).with_name("nodeinit.py"), root / "init.py")
        (root / "init.json").write_text(json.dumps(self.init(), indent=1))

    def containerd(self, snapshots: str) -> str:
        plugins = "plugins.'io.containerd"
        return f"""version = 3
root = '{self.home}/containerd'
state = '/run/kubernaut/containerd'
[grpc]
  address = '{CONTAINERD_SOCKET}'
[ttrpc]
  address = '{CONTAINERD_SOCKET}.ttrpc'
[{plugins}.cri.v1.images']
  snapshotter = '{snapshots}'
  [{plugins}.cri.v1.images'.pinned_images]
    sandbox = '{images.PAUSE}'
[{plugins}.cri.v1.runtime']
  restrict_oom_score_adj = true
  disable_apparmor = true
  [{plugins}.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = 'io.containerd.runc.v2'
    runtime_path = '{self.bin}/containerd-shim-runc-v2'
    [{plugins}.cri.v1.runtime'.containerd.runtimes.runc.options]
      BinaryName = '{self.bin}/runc'
      Root = '/run/kubernaut/runc'
      SystemdCgroup = false
  [{plugins}.cri.v1.runtime'.cni]
    bin_dirs = ['{self.cni}']
    conf_dir = '{self.home}/cni'
[{plugins}.nri.v1.nri']
  disable = true
[{plugins}.internal.v1.opt']
  path = '/run/kubernaut/opt'
"""

    def network(self) -> dict[str, Any]:
        ipam = {
            "type": "host-local",
            "dataDir": "/run/kubernaut/addresses",
            "ranges": [[{"subnet": str(self.pods)}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        }
        bridge = {
            "type": "bridge",
            "bridge": "pods0",
            "isGateway": True,
            "hairpinMode": True,
            "ipMasq": False,
            "ipam": ipam,
        }
        port_map = {"type": "portmap", "backend": "nftables", "capabilities": {"portMappings": True}}
        return {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge, port_map]}

    def kubelet(self) -> dict[str, Any]:
        root, pki = self.home, self.paths.pki
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": "0.0.0.0",
            "port": 10250,
            "readOnlyPort": 0,
            "healthzBindAddress": "127.0.0.1",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": f"{pki}/ca.crt"},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": f"{pki}/{self.user}-server.crt",
            "tlsPrivateKeyFile": f"{pki}/{self.user}-server.key",
            "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{cgroups.group_name(self.cluster, self.number)}",
            "failCgroupV1": False,
            "failSwapOn": False,
            "oomScoreAdj": 0,
            "featureGates": {"KubeletCrashLoopBackOffMax": True},
            "crashLoopBackOff": {"maxContainerRestartPeriod": "10s"},
            "maxPods": MAX_PODS,
            "podCIDR": str(self.pods),
            "podLogsDir": f"{root}/pods",
            "volumePluginDir": f"{root}/volume-plugins",
            "resolvConf": "",
            "clusterDomain": "cluster.local",
            # nobody answers there, but names.py where a test wants it; without an address the kubelet complains about
            # every pod in an Event
            "clusterDNS": [str(self.block.services[10])],
            "enforceNodeAllocatable": ["pods"],
            "evictionHard": {
                "memory.available": "100Mi",
                "nodefs.available": "1%",
                "nodefs.inodesFree": "1%",
                "imagefs.available": "1%",
            },
            "imageGCHighThresholdPercent": 100,
            "nodeStatusUpdateFrequency": "5s",
            "syncFrequency": "10s",
            "kubeAPIQPS": 200,
            "kubeAPIBurst": 400,
            "eventRecordQPS": 0,
            "makeIPTablesUtilChains": False,
            "shutdownGracePeriod": "0s",
        }

    def proxy(self) -> dict[str, Any]:
        return {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "clientConnection": {"kubeconfig": f"{self.paths.config}/kube-proxy.kubeconfig"},
            "mode": "nftables",
            "hostnameOverride": self.name,
            "clusterCIDR": str(self.block.pods),
            "bindAddress": "127.0.0.1",
            "metricsBindAddress": "127.0.0.1:10249",
            "healthzBindAddress": "127.0.0.1:10256",
            "conntrack": {
                "maxPerCore": 0,
                "min": 0,
                "tcpEstablishedTimeout": "0s",
                "tcpCloseWaitTimeout": "0s",
            },
        }

    def init(self) -> dict[str, Any]:
        """What :mod:`localcluster.nodeinit` is to do."""
        root = self.home
        kubelet = [str(self.bin / "kubelet"), f"--config={root}/kubelet.json", f"--root-dir={root}/kubelet"]
        kubelet += [
            f"--kubeconfig={self.paths.config}/{self.user}.kubeconfig",
            f"--hostname-override={self.name}",
        ]
        kubelet += [f"--node-ip={self.address}", "--node-labels=kubernaut.local/node=real", "--v=2"]
        # by default the log of the last but one container is gone as soon as the last one has ended
        kubelet += ["--maximum-dead-containers-per-container=2"]
        return {
            "keep": [str(self.paths.root), str(self.bin.parent), sys.base_prefix],
            "logs": str(self.logs),
            "images": str(self.paths.images),
            "start": str(root / "start"),
            "path": str(self.bin),
            "socket": CONTAINERD_SOCKET,
            "import": [str(self.bin / "ctr"), "-a", CONTAINERD_SOCKET, *IMPORT],
            "containerd": [str(self.bin / "containerd"), f"--config={root}/containerd.toml"],
            "services": {
                "kubelet": kubelet,
                "kube-proxy": [str(self.bin / "kube-proxy"), f"--config={root}/kube-proxy.json"],
            },
        }

    def command(self) -> list[str]:
        """Starts the node's init; to be run inside its network namespace."""
        unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc"]
        command = [sys.executable, "-S", f"{self.home}/init.py", f"{self.home}/init.json"]
        return [*unshare, "--propagation=private", "--", *command]
