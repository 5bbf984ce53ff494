"""One network namespace per cluster, with a block of addresses of its own and one veth pair to the host.

Cluster *n* owns ``10.(200+n).0.0/16``: the link to the host, its Services and its Pods are all in there, so one host
route reaches everything of a cluster, and clusters side by side can't collide.  Addresses inside need no host
sysctl, no host nft rule; when the namespace goes, all of it goes.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, ip_network
from pathlib import Path

from localcluster.errors import ClusterError
from localcluster.process import ProcessId, alive, identify, kill, run, spawn

_FIRST, _COUNT = 200, 56


@dataclass(frozen=True)
class Block:
    """The addresses of cluster number ``index`` (0 to 55)."""

    index: int

    @property
    def all(self) -> IPv4Network:
        return IPv4Network(f"10.{_FIRST + self.index}.0.0/16")

    def _part(self, offset: int, prefix: int) -> IPv4Network:
        return IPv4Network((int(self.all.network_address) + offset * 256, prefix))

    @property
    def link(self) -> IPv4Network:
        return self._part(0, 30)

    @property
    def host(self) -> str:
        """The host's end; what pods use to reach a server on the host."""
        return str(self.link[1])

    @property
    def node(self) -> str:
        """The namespace's end: API server and kubelet."""
        return str(self.link[2])

    @property
    def services(self) -> IPv4Network:
        return self._part(64, 18)

    @property
    def pods(self) -> IPv4Network:
        return self._part(128, 17)

    @property
    def node_pods(self) -> IPv4Network:
        """Pods of the real node: room for 1,021."""
        return self._part(128, 22)

    @property
    def second_link(self) -> IPv4Network:
        """Between the first node's namespace and the second one's."""
        return self._part(1, 30)

    @property
    def second_node(self) -> str:
        """The second node's namespace: its kubelet."""
        return str(self.second_link[2])

    @property
    def second_pods(self) -> IPv4Network:
        """Pods of the second real node: as many."""
        return self._part(132, 22)

    @property
    def kwok_pods(self) -> IPv4Network:
        return self._part(192, 18)

    @property
    def interface(self) -> str:
        return f"kubernaut{self.index}"


def free_block(taken: Iterable[IPv4Network]) -> Block:
    """The first block that overlaps nothing in ``taken``.

    Raises:
        ClusterError: all 56 overlap something.
    """
    networks = [network for network in taken if network.prefixlen > 0]
    for index in range(_COUNT):
        block = Block(index)
        if not any(block.all.overlaps(network) for network in networks):
            return block
    raise ClusterError(
        "no free address block between 10.200.0.0/16 and 10.255.0.0/16: take old clusters down"
    )


def parse_networks(routes: str, addresses: str) -> list[IPv4Network]:
    """Networks that the host knows, out of ``ip -json route show table all`` and ``ip -json address``."""
    found: list[IPv4Network] = []
    for route in json.loads(routes or "[]"):
        destination = route.get("dst", "default")
        if destination != "default" and ":" not in destination:
            network = ip_network(destination, strict=False)
            if isinstance(network, IPv4Network) and not network.is_multicast:
                found.append(network)
    for link in json.loads(addresses or "[]"):
        for address in link.get("addr_info", []):
            if address.get("family") == "inet":
                found.append(IPv4Network((address["local"], address["prefixlen"]), strict=False))
    return found


def host_networks() -> list[IPv4Network]:
    return parse_networks(
        run(["ip", "-json", "-4", "route", "show", "table", "all"]), run(["ip", "-json", "-4", "address"])
    )


def inside(holder: ProcessId) -> list[str]:
    """Prefix of a command that runs in the namespace held by ``holder``."""
    return ["nsenter", f"--net=/proc/{holder.pid}/ns/net", "--"]


def create(block: Block, log: Path) -> ProcessId:
    """Make the namespace and its link; returns the process that holds it open.

    Raises:
        ClusterError: the kernel refused; nothing is left behind then.
    """
    holder = spawn(["unshare", "--net", "--", "sleep", "infinity"], log)
    try:
        _await_namespace(holder)
        # one that is there already is somebody else's: nothing of it may be touched below
        _batch([], f"link add {block.interface} type veth peer name eth0 netns {holder.pid}")
    except ClusterError:
        kill(holder)
        raise
    try:
        _batch([], f"address add {block.host}/30 dev {block.interface}", f"link set {block.interface} up")
        _batch(
            inside(holder),
            "link set lo up",
            f"address add {block.node}/30 dev eth0",
            "link set eth0 up",
            f"route add default via {block.host}",
        )
        _batch([], f"route add {block.all} via {block.node} dev {block.interface}")
        run([*inside(holder), "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"])
    except ClusterError:
        destroy(block, holder)
        raise
    return holder


def create_second(block: Block, first: ProcessId, log: Path) -> ProcessId:
    """Make the second node's namespace, linked to the first one's; returns the process that holds it open.

    Nothing of it is seen on the host: the link goes with the namespace.

    Raises:
        ClusterError: the kernel refused; nothing is left behind then.
    """
    holder = spawn(["unshare", "--net", "--", "sleep", "infinity"], log)
    try:
        _await_namespace(holder)
        _batch(
            inside(first),
            f"link add node2 type veth peer name eth0 netns {holder.pid}",
            f"address add {block.second_link[1]}/30 dev node2",
            "link set node2 up",
        )
        _batch(
            inside(holder),
            "link set lo up",
            f"address add {block.second_node}/30 dev eth0",
            "link set eth0 up",
            f"route add default via {block.second_link[1]}",
        )
        _batch(inside(first), f"route add {block.second_pods} via {block.second_node} dev node2")
        run([*inside(holder), "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"])
    except ClusterError:
        destroy_second(first, holder)
        raise
    return holder


def destroy_second(first: ProcessId | None, holder: ProcessId | None) -> None:
    """End the second node's namespace; the link goes at once, so that a new one finds its name free."""
    if first is not None and alive(first):
        # There is none where making the namespace failed early.
        command = [*inside(first), "ip", "link", "delete", "node2"]
        subprocess.run(command, capture_output=True, check=False)
    kill(holder)


def destroy(block: Block, holder: ProcessId | None) -> None:
    """Remove the link (its peer goes with it) and end the holder; the namespace goes with its last process."""
    if Path(f"/sys/class/net/{block.interface}").exists():
        # it may vanish on its own between the look and the deletion: the namespace is dying
        subprocess.run(["ip", "link", "delete", block.interface], capture_output=True, check=False)
    kill(holder)


def _batch(prefix: Sequence[str], *commands: str) -> None:
    run([*prefix, "ip", "-batch", "-"], stdin="\n".join(commands) + "\n")


def _await_namespace(holder: ProcessId) -> None:
    ours = os.readlink("/proc/self/ns/net")
    for _ in range(500):
        if identify(holder.pid) != holder:
            break
        if os.readlink(f"/proc/{holder.pid}/ns/net") != ours and alive(holder):
            return
        time.sleep(0.01)
    raise ClusterError("the kernel gave no network namespace (`unshare --net` failed)")
