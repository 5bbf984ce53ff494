"""Lets pods find Services by their names, as long as wanted: a local cluster has no DNS of its own."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
import threading
from collections.abc import Iterator

import yaml

from localcluster.cluster import Cluster
from localcluster.errors import ClusterError

_SUFFIX = (b"svc", b"cluster", b"local")
_ADDRESS, _INTERNET = 1, 1
_ANSWERED, _NO_SUCH_NAME = 0x8580, 0x8583
_SECONDS = 1
_HEAD = struct.Struct("!6H")


@contextlib.contextmanager
def resolving(cluster: Cluster) -> Iterator[None]:
    """Answer pods that ask for ``SERVICE.NAMESPACE.svc.cluster.local``, and what they make of shorter names.

    Raises:
        ClusterError: pods of this cluster can't reach a server on this machine.
    """
    if cluster.host_address is None:
        raise ClusterError(
            f"cluster {cluster.name}: where pods reach this machine is not known, so no names for them"
        )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((cluster.host_address, 0))
        manifests = _announced(cluster, cluster.host_address, server.getsockname()[1])
        cluster.run_kubectl("apply", "-f", "-", stdin=manifests)
        thread = threading.Thread(target=_serve, args=(cluster, server), daemon=True)
        thread.start()
        try:
            yield
        finally:
            # What closes a socket does not wake who reads from it; an empty datagram does.
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waking:
                waking.sendto(b"", server.getsockname())
            thread.join()


def _announced(cluster: Cluster, host: str, port: int) -> str:
    """Return the Service that pods ask, and where it leads."""
    api = ipaddress.ip_address(
        cluster.run_kubectl("get", "service", "kubernetes", "-o", "jsonpath={.spec.clusterIP}")
    )
    # The kubelet tells pods the tenth address, the API server has the first.
    ports = [{"name": "dns", "port": 53, "protocol": "UDP"}]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kube-dns", "namespace": "kube-system"},
        "spec": {"clusterIP": str(api + 9), "ports": ports},
    }
    leading = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "kube-dns",
            "namespace": "kube-system",
            "labels": {"kubernetes.io/service-name": "kube-dns"},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [host]}],
        "ports": [{"name": "dns", "port": port, "protocol": "UDP"}],
    }
    return yaml.safe_dump_all([service, leading])


def _serve(cluster: Cluster, server: socket.socket) -> None:
    while True:
        asked, client = server.recvfrom(512)
        if not asked:
            return
        with contextlib.suppress(
            struct.error, IndexError, UnicodeDecodeError
        ):  # no question that can be answered
            server.sendto(_answer(cluster, asked), client)


def _answer(cluster: Cluster, asked: bytes) -> bytes:
    number = _HEAD.unpack_from(asked)[0]
    labels, at = [], _HEAD.size
    while length := asked[at]:
        labels.append(asked[at + 1 : at + 1 + length].lower())
        at += 1 + length
    question = asked[_HEAD.size : at + 5]
    kind, net = struct.unpack_from("!2H", asked, at + 1)
    address = _address(cluster, labels)
    if address is None:
        return _HEAD.pack(number, _NO_SUCH_NAME, 1, 0, 0, 0) + question
    if (kind, net) != (_ADDRESS, _INTERNET):
        return _HEAD.pack(number, _ANSWERED, 1, 0, 0, 0) + question
    record = struct.pack("!HHHIH", 0xC000 | _HEAD.size, kind, net, _SECONDS, 4) + address.packed
    return _HEAD.pack(number, _ANSWERED, 1, 1, 0, 0) + question + record


def _address(cluster: Cluster, labels: list[bytes]) -> ipaddress.IPv4Address | None:
    if len(labels) != 5 or tuple(labels[2:]) != _SUFFIX:
        return None
    name, namespace = labels[0].decode(), labels[1].decode()
    jsonpath = "jsonpath={.spec.clusterIP}"
    with contextlib.suppress(ClusterError, ValueError):
        found = cluster.run_kubectl(
            "get", "service", name, "-n", namespace, "-o", jsonpath, "--ignore-not-found"
        )
        return ipaddress.IPv4Address(found)
    return None
