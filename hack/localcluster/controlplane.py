"""Command lines of the control plane's processes, for a namespace of their own or for loopback with free ports."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

from localcluster.network import Block
from localcluster.paths import ClusterPaths


@dataclass(frozen=True)
class Ports:
    """Ports of one control plane; the usual ones where the network namespace is its own."""

    api: int = 6443
    etcd: int = 2379
    etcd_peer: int = 2380
    controllers: int = 10257
    scheduler: int = 10259
    kwok: int = 10247

    @classmethod
    def free(cls) -> Ports:
        """Ports that nobody listens on now on loopback."""
        sockets = [socket.socket() for _ in range(6)]
        try:
            for each in sockets:
                each.bind(("127.0.0.1", 0))
            return cls(*(int(each.getsockname()[1]) for each in sockets))
        finally:
            for each in sockets:
                each.close()


@dataclass(frozen=True)
class ControlPlane:
    """Where things are, and how the components are to be started.

    ``block`` is always there (Services need addresses), ``isolated`` says whether it is a namespace of its own.
    """

    paths: ClusterPaths
    bin: Path
    block: Block
    isolated: bool
    ports: Ports
    with_controllers: bool = True
    audit: bool = True
    fsync: bool = False

    @property
    def address(self) -> str:
        return self.block.node if self.isolated else "127.0.0.1"

    @property
    def server(self) -> str:
        return f"https://{self.address}:{self.ports.api}"

    def _program(self, name: str) -> str:
        return str(self.bin / name)

    def etcd(self) -> list[str]:
        client = f"http://127.0.0.1:{self.ports.etcd}"
        peer = f"http://127.0.0.1:{self.ports.etcd_peer}"
        durability = [] if self.fsync else ["--unsafe-no-fsync"]
        return [
            self._program("etcd"),
            "--name=local",
            f"--data-dir={self.paths.etcd}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=local={peer}",
            "--log-level=warn",
            *durability,
        ]

    def apiserver(self) -> list[str]:
        pki = self.paths.pki
        return [
            self._program("kube-apiserver"),
            f"--bind-address={'0.0.0.0' if self.isolated else '127.0.0.1'}",
            f"--secure-port={self.ports.api}",
            f"--etcd-servers=http://127.0.0.1:{self.ports.etcd}",
            f"--service-cluster-ip-range={self.block.services}",
            f"--tls-cert-file={pki}/apiserver.crt",
            f"--tls-private-key-file={pki}/apiserver.key",
            f"--client-ca-file={pki}/ca.crt",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={pki}/sa.pub",
            f"--service-account-signing-key-file={pki}/sa.key",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            f"--kubelet-client-certificate={pki}/apiserver-kubelet-client.crt",
            f"--kubelet-client-key={pki}/apiserver-kubelet-client.key",
            f"--kubelet-certificate-authority={pki}/ca.crt",
            "--kubelet-preferred-address-types=InternalIP,Hostname",
            f"--proxy-client-cert-file={pki}/front-proxy-client.crt",
            f"--proxy-client-key-file={pki}/front-proxy-client.key",
            f"--requestheader-client-ca-file={pki}/front-proxy-ca.crt",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-username-headers=X-Remote-User",
            *self._apiserver_variations(),
        ]

    def _apiserver_variations(self) -> list[str]:
        flags: list[str] = []
        if self.isolated:
            flags.append(f"--advertise-address={self.address}")
        else:
            # a loopback address can't be an endpoint of the kubernetes Service
            flags += ["--endpoint-reconciler-type=none", f"--advertise-address={self.block.node}"]
        if self.audit:
            flags += [
                f"--audit-policy-file={self.paths.config}/audit-policy.json",
                f"--audit-log-path={self.paths.audit_log}",
                "--audit-log-maxsize=8192",
            ]
        if not self.with_controllers:
            # nobody would create the default ServiceAccounts that this plugin insists on
            flags.append("--disable-admission-plugins=ServiceAccount")
        return flags

    def controller_manager(self) -> list[str]:
        pki, kubeconfig = self.paths.pki, self.paths.config / "kube-controller-manager.kubeconfig"
        return [
            self._program("kube-controller-manager"),
            "--bind-address=127.0.0.1",
            f"--secure-port={self.ports.controllers}",
            f"--kubeconfig={kubeconfig}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            "--use-service-account-credentials=true",
            f"--service-account-private-key-file={pki}/sa.key",
            f"--root-ca-file={pki}/ca.crt",
            f"--cluster-signing-cert-file={pki}/ca.crt",
            f"--cluster-signing-key-file={pki}/ca.key",
            "--allocate-node-cidrs=false",
            "--leader-elect=false",
            "--concurrent-namespace-syncs=30",
            # by default an autoscaler looks every 15 s
            "--horizontal-pod-autoscaler-sync-period=2s",
            # by default the first ServiceAccounts alone take seconds
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
        ]

    def scheduler(self) -> list[str]:
        kubeconfig = self.paths.config / "kube-scheduler.kubeconfig"
        return [
            self._program("kube-scheduler"),
            "--bind-address=127.0.0.1",
            f"--secure-port={self.ports.scheduler}",
            f"--kubeconfig={kubeconfig}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            "--leader-elect=false",
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
        ]

    def kwok(self, stages: Path) -> list[str]:
        return [
            self._program("kwok"),
            f"--kubeconfig={self.paths.config}/kwok.kubeconfig",
            "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
            f"--config={stages}",
            "--node-lease-duration-seconds=40",
            f"--cidr={self.block.kwok_pods}",
            f"--node-ip={self.block.host}",
            f"--server-address=127.0.0.1:{self.ports.kwok}",
        ]
