"""metrics-server of a cluster, as one more process of its control plane: what kubelets measure, at metrics.k8s.io."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

from localcluster import local, pki, process
from localcluster.build import METRICS_PARTS, Build, Builder
from localcluster.errors import ClusterError
from localcluster.network import Block
from localcluster.paths import ClusterPaths
from localcluster.pki import Leaf
from localcluster.progress import Progress
from localcluster.state import Component, State

NAME = "metrics-server"
GROUP_VERSION = "metrics.k8s.io/v1beta1"
_PORT = 4443
_RBAC = "/apis/rbac.authorization.k8s.io/v1"
_SYSTEM = "/api/v1/namespaces/kube-system"


def start(state: State, progress: Progress) -> None:
    """Build it where it is missing, start it where it does not run; return when it serves the usage of nodes.

    Raises:
        ClusterError: it could not be built, or serves nothing in time.
    """
    build = Build.of_metrics()
    Builder(build, progress).make(METRICS_PARTS)
    assert state.block is not None
    block, paths = Block(state.block), ClusterPaths.of(state.name)
    if NAME not in state.components:
        _credentials(state, paths)
        state.components[NAME] = Component(_command(build, paths))
    client = local.client_of(state)
    for path, thing in _objects(block, (paths.pki / "ca.crt").read_bytes()):
        status, answer = client.call("POST", path, thing)
        if status not in (201, 409):
            raise ClusterError(f"{thing['kind']} {thing['metadata']['name']} was refused: {answer}")
    # Not before its rights: without them it ends.
    local.start_component(state, NAME)

    def serves() -> bool:
        answer = client.get(f"/apis/{GROUP_VERSION}/nodes")
        return bool(answer and answer["items"])

    try:
        with progress.step("metrics-server"):
            local.wait(state, NAME, serves, needs=(*local.STORES, NAME))
    except BaseException:
        process.kill(state.components.pop(NAME).process)
        state.save(paths)
        raise


def _credentials(state: State, paths: ClusterPaths) -> None:
    pki.sign(paths.pki, Leaf(NAME, f"/CN={NAME}"))
    names = (f"DNS:{NAME}.kube-system.svc",)
    pki.sign(paths.pki, Leaf(f"{NAME}-server", f"/CN={NAME}", "serverAuth", names))
    kubeconfig = paths.config / f"{NAME}.kubeconfig"
    pki.write_kubeconfig(kubeconfig, paths.pki, NAME, state.server, f"kubernaut-{state.name}")


def _command(build: Build, paths: ClusterPaths) -> list[str]:
    kubeconfig, certificates = paths.config / f"{NAME}.kubeconfig", paths.pki
    return [
        str(build.bin / NAME),
        f"--secure-port={_PORT}",
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--tls-cert-file={certificates}/{NAME}-server.crt",
        f"--tls-private-key-file={certificates}/{NAME}-server.key",
        f"--kubelet-certificate-authority={certificates}/ca.crt",
        "--kubelet-preferred-address-types=InternalIP",
        "--kubelet-use-node-status-port",
        # simulated nodes have no kubelet that could be asked
        "--node-selector=kubernaut.local/node=real",
        # the shortest that it takes; 15 s is what its own manifest says
        "--metric-resolution=10s",
        "--kubelet-request-timeout=5s",
    ]


def _objects(block: Block, authority: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    """What its own manifests hold, for a process beside the API server instead of a pod."""
    rules = [
        {"apiGroups": [""], "resources": ["nodes/metrics"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["pods", "nodes"], "verbs": ["get", "list", "watch"]},
    ]
    yield f"{_RBAC}/clusterroles", _made("ClusterRole", "system:metrics-server", rules=rules)
    for role in ("system:metrics-server", "system:auth-delegator"):
        name = f"{NAME}:{role}"
        yield f"{_RBAC}/clusterrolebindings", _binding("ClusterRoleBinding", name, "ClusterRole", role)
    role = "extension-apiserver-authentication-reader"
    path = f"{_RBAC}/namespaces/kube-system/rolebindings"
    yield path, _binding("RoleBinding", f"{NAME}-auth-reader", "Role", role)
    port = {"name": "https", "port": 443, "targetPort": _PORT, "protocol": "TCP"}
    yield f"{_SYSTEM}/services", _made("Service", NAME, spec={"ports": [port]})
    endpoints = _made(
        "EndpointSlice",
        NAME,
        addressType="IPv4",
        endpoints=[{"addresses": [block.node], "conditions": {"ready": True}}],
        ports=[{"name": "https", "port": _PORT, "protocol": "TCP"}],
    )
    endpoints["metadata"]["labels"] = {"kubernetes.io/service-name": NAME}
    yield "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices", endpoints
    group, version = GROUP_VERSION.split("/")
    spec = {
        "group": group,
        "version": version,
        "service": {"name": NAME, "namespace": "kube-system"},
        "caBundle": base64.b64encode(authority).decode(),
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
    }
    services = "/apis/apiregistration.k8s.io/v1/apiservices"
    yield services, _made("APIService", f"{version}.{group}", spec=spec)


def _made(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": name}, **more}


def _binding(kind: str, name: str, role_kind: str, role: str) -> dict[str, Any]:
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": NAME}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": role_kind, "name": role}
    return _made(kind, name, roleRef=reference, subjects=[subject])
