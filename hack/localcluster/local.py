"""Clusters made of processes on this machine: starts them, watches them start, stops them without a trace."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from localcluster import api, audit, cgroups, network, node, pki, process
from localcluster.controlplane import ControlPlane, Ports
from localcluster.errors import ClusterError
from localcluster.network import Block
from localcluster.paths import ClusterPaths, locked, state_root
from localcluster.progress import Progress
from localcluster.request import Request
from localcluster.state import Component, Nodes, Provider, SecondNode, State

KWOK = "kwok"
SECOND_NODE = "node-2"
#: what has to be there before anything else
STORES = ("etcd", "kube-apiserver")
CONTROLLERS = ("kube-controller-manager", "kube-scheduler")
# The heap may grow by so many percent of what lives in it: these are small clusters, on machines with memory enough.
GARBAGE_PERCENT = "400"


@dataclass(frozen=True)
class Programs:
    """Where the programs are. ``cni``, ``images`` and ``stages`` only for builds of our own."""

    bin: Path
    cni: Path | None = None
    images: Path | None = None
    stages: Path | None = None


def network_lock() -> Path:
    return state_root() / "locks" / "network"


class Launcher:
    """Brings one cluster up, remembering every step in its state so that ``stop`` can undo a half-made one."""

    def __init__(self, request: Request, provider: Provider, programs: Programs, progress: Progress) -> None:
        self.request = request
        self.programs = programs
        self.progress = progress
        self.paths = ClusterPaths.of(request.name)
        self.state = State(
            name=request.name,
            provider=provider,
            kubeconfig=str(self.paths.kubeconfig),
            kubectl=str(programs.bin / "kubectl"),
            bin=str(programs.bin),
        )

    def launch(self, nodes: Nodes, why: str) -> State:
        """Start everything and wait until it is ready.

        Raises:
            ClusterError: a component died or was not ready in time; everything is stopped again.
        """
        self.state.nodes, self.state.why, self.state.starting = nodes, why, True
        self.paths.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            with self.progress.step("certificates, configuration, network"):
                plane = self._prepare()
            self._start_control_plane(plane)
            if self.state.nodes == "real":
                self._await_node()
            if self.state.components.get(KWOK):
                self._add_kwok_nodes()
            self.state.starting = False
            self.state.save(self.paths)
        except BaseException:
            stop(self.state)
            raise
        return self.state

    def _prepare(self) -> ControlPlane:
        isolation = node.namespace_obstacle()
        block = self._claim_network() if isolation is None else Block(0)
        controllers = self.state.provider == "modules"
        plane = ControlPlane(
            self.paths,
            self.programs.bin,
            block,
            isolated=isolation is None,
            ports=Ports() if isolation is None else Ports.free(),
            with_controllers=controllers,
            audit=self.request.audit != "none",
            fsync=self.request.fsync,
        )
        self.state.server = plane.server
        self.state.node_name = f"{self.request.name}-node" if self.state.nodes == "real" else None
        for folder in (self.paths.config, self.paths.logs, self.paths.audit_log.parent, self.paths.images):
            folder.mkdir(exist_ok=True)
        self._credentials(plane)
        if plane.audit:
            self.state.audit_log = str(self.paths.audit_log)
            document = audit.policy(self.request.audit)
            (self.paths.config / "audit-policy.json").write_text(json.dumps(document, indent=1))
        self.state.save(self.paths)
        return plane

    def _claim_network(self) -> Block:
        self.paths.logs.mkdir(exist_ok=True)
        lost: list[IPv4Network] = []
        with locked(network_lock()):
            while True:
                block = network.free_block([*network.host_networks(), *lost])
                try:
                    self.state.holder = network.create(block, self.paths.logs / "namespace.log")
                except ClusterError:
                    # somebody with another state directory, and so another lock, may have been faster
                    lost.append(block.all)
                    if len(lost) == 3:
                        raise
                    continue
                self.state.block = block.index
                self.state.save(self.paths)
                return block

    def _credentials(self, plane: ControlPlane) -> None:
        node_name = self.state.node_name or f"{self.request.name}-node"
        addresses = sorted({"127.0.0.1", plane.address, str(plane.block.services[1])})
        pki.create(self.paths.pki, pki.leaves(addresses, node_name, plane.block.node))
        for user in (*pki.USERS, "kubelet"):
            target = self.paths.kubeconfig if user == "admin" else self.paths.config / f"{user}.kubeconfig"
            pki.write_kubeconfig(target, self.paths.pki, user, plane.server, f"kubernaut-{self.request.name}")

    def _start_control_plane(self, plane: ControlPlane) -> None:
        components = {"etcd": plane.etcd(), "kube-apiserver": plane.apiserver()}
        if plane.with_controllers:
            components |= {
                "kube-controller-manager": plane.controller_manager(),
                "kube-scheduler": plane.scheduler(),
            }
        wants_kwok = self.state.nodes == "kwok" or bool(self.request.kwok_nodes)
        if wants_kwok and self.programs.stages:
            components[KWOK] = plane.kwok(self.programs.stages)
        self.state.components = {name: Component(argv) for name, argv in components.items()}
        client = client_of(self.state)
        with self.progress.step("etcd, kube-apiserver"):
            for name in STORES:
                start_component(self.state, name)
            if self.state.nodes == "real":
                # containerd comes up and takes its images while the API server boots
                self._start_node(plane.block)
            wait(self.state, "kube-apiserver", client.ready)
        if not plane.with_controllers:
            return
        with self.progress.step("controllers, scheduler, default ServiceAccount"):
            # not before /readyz: without the bootstrap roles the controller-manager exits
            for name in self.state.components:
                if name not in STORES:
                    start_component(self.state, name)
            self._release_node()
            account = "/api/v1/namespaces/default/serviceaccounts/default"
            ready = partial(client.exists, account)
            wait(self.state, "the default ServiceAccount", ready, needs=(*STORES, *CONTROLLERS))

    def _start_node(self, block: Block) -> None:
        assert self.programs.images
        assert self.programs.cni
        assert self.state.node_name
        for archive in self.programs.images.glob("*.tar"):
            shutil.copy2(archive, self.paths.images)
        shape = node.Node(
            self.state.name,
            self.state.node_name,
            self.paths,
            self.programs.bin,
            self.programs.cni,
            block,
            self.state.server,
        )
        self.paths.node.mkdir(exist_ok=True)
        shape.write(node.snapshotter(self.paths.node))
        self.state.components["node"] = Component(shape.command())
        start_node(self.state, now=False)

    def _release_node(self) -> None:
        if self.state.nodes == "real":
            (self.paths.node / "start").touch()

    def _await_node(self) -> None:
        with self.progress.step("real node (containerd, kubelet, kube-proxy)"):
            await_node(self.state)

    def _add_kwok_nodes(self) -> None:
        count = self.request.kwok_nodes if self.request.kwok_nodes is not None else 1
        client = client_of(self.state)
        with self.progress.step(f"{count} simulated node(s) (kwok)"):
            for number in range(count):
                document = kwok_node(f"kwok-{number}", tainted=self.state.nodes == "real")
                status, answer = client.call("POST", "/api/v1/nodes", document)
                if status not in (201, 409):
                    raise ClusterError(f"node kwok-{number} could not be created: {answer}")
            for number in range(count):
                wait(
                    self.state,
                    f"node kwok-{number}",
                    partial(node_ready, client, f"kwok-{number}"),
                    needs=(*STORES, KWOK),
                )


def kwok_node(name: str, *, tainted: bool) -> dict[str, Any]:
    """A Node that kwok will look after; tainted where real nodes exist, so that only pods that ask for it come."""
    resources = {"cpu": "32", "memory": "256Gi", "pods": "1000"}
    taint = {"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}
    labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernaut.local/node": "kwok"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "annotations": {"kwok.x-k8s.io/node": "fake"}, "labels": labels},
        "spec": {"taints": [taint] if tainted else []},
        "status": {"allocatable": resources, "capacity": resources},
    }


def client_of(state: State) -> api.Api:
    return api.Api(state.server, ClusterPaths.of(state.name).pki)


def node_ready(client: api.Api, name: str, *, newer_than: str = "") -> bool:
    """Ready, schedulable, and said so after ``newer_than`` (a heartbeat's time stamp)."""
    document = client.get(f"/api/v1/nodes/{name}")
    if document is None:
        return False
    taints = [taint["key"] for taint in document["spec"].get("taints", [])]
    return not any(key.startswith("node.kubernetes.io/") for key in taints) and any(
        condition["type"] == "Ready"
        and condition["status"] == "True"
        and condition["lastHeartbeatTime"] > newer_than
        for condition in document["status"].get("conditions", [])
    )


def heartbeat(client: api.Api, name: str) -> str:
    """When the node last reported its conditions; empty if it never did."""
    document = client.get(f"/api/v1/nodes/{name}") or {}
    conditions = document.get("status", {}).get("conditions", [])
    return max((condition.get("lastHeartbeatTime") or "" for condition in conditions), default="")


def wait(
    state: State,
    what: str,
    ready: Callable[[], bool],
    *,
    needs: Sequence[str] = STORES,
    timeout: float = 90.0,
) -> None:
    """Wait for ``ready``, giving up at once when one of the components that it ``needs`` has died.

    Raises:
        ClusterError: a needed component died, or it took more than ``timeout`` seconds; with the end of a log.
    """

    def check() -> None:
        for name in needs:
            if name in state.components and not state.components[name].running:
                raise ClusterError(f"{name} of cluster {state.name} ended:\n{tail(state, name)}")

    if not api.wait_until(ready, timeout, check):
        logs = "\n".join(f"--- end of {name}'s log\n{tail(state, name)}" for name in needs)
        raise ClusterError(f"{what} of cluster {state.name} is not ready after {timeout:.0f} s\n{logs}")


def tail(state: State, component: str, lines: int = 12) -> str:
    log = ClusterPaths.of(state.name).logs / f"{component}.log"
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return f"(no {log})"


def start_component(state: State, name: str) -> None:
    """Start a component that is not running, or let a paused one go on."""
    component = state.components[name]
    if component.running:
        process.send(component.process, signal.SIGCONT)
        return
    cluster_paths = ClusterPaths.of(state.name)
    second = state.second_node
    holder = second.holder if second and name == SECOND_NODE else state.holder
    prefix = network.inside(holder) if holder else []
    component.process = process.spawn(
        [*prefix, *component.argv], cluster_paths.logs / f"{name}.log", environment()
    )
    state.save(cluster_paths)


def environment() -> dict[str, str]:
    """The caller's environment without what would change how a component behaves, proxies above all.

    Under many writes on two cores the API server needs about a third less processor time than with Go's default.
    """
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("ETCD_", "KUBE", "GODEBUG")) and not key.lower().endswith("_proxy")
    }
    return {**kept, "GOGC": GARBAGE_PERCENT}


def start_node(state: State, *, now: bool = True) -> None:
    """Start the node's init; kubelet and kube-proxy wait for the control plane unless ``now``."""
    cluster_paths = ClusterPaths.of(state.name)
    marker = cluster_paths.node / "start"
    marker.touch() if now else marker.unlink(missing_ok=True)
    cgroups.create(cgroups.group_name(state.name))
    start_component(state, "node")
    launcher = state.components["node"].process
    assert launcher
    state.node_init = process.child_of(launcher)
    state.save(cluster_paths)


def await_node(state: State, *, newer_than: str = "") -> None:
    name = state.node_name or ""
    ready = partial(node_ready, client_of(state), name, newer_than=newer_than)
    wait(state, f"node {name}", ready, needs=(*STORES, "node"))


def boot_node(state: State) -> None:
    """Start a node that is down and wait until it is Ready anew."""
    before = heartbeat(client_of(state), state.node_name or "")
    start_node(state)
    await_node(state, newer_than=before)


def stop_node(state: State) -> None:
    """Pull the plug: everything on the node ends at once, and the API server is not told."""
    process.kill(state.node_init)
    component = state.components.get("node")
    if component:
        process.kill(component.process)
        component.process = None
    state.node_init = None
    cgroups.remove(cgroups.group_name(state.name))


def stop(state: State) -> None:
    """End every process of the cluster and remove its network, cgroups and files. Safe to repeat."""
    second = state.second_node or SecondNode("")
    everyone = [state.node_init, second.init, *(each.process for each in state.components.values())]
    for each in everyone:
        process.send(each, signal.SIGKILL)
    for each in everyone:
        process.kill(each)
    process.kill(second.holder)
    if state.block is not None:
        network.destroy(Block(state.block), state.holder)
    if state.nodes == "real":
        for number in (1, 2):
            cgroups.remove(cgroups.group_name(state.name, number))
    shutil.rmtree(ClusterPaths.of(state.name).root, ignore_errors=True)
