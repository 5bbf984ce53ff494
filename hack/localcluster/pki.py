"""Keys, certificates and kubeconfigs of one cluster, made with the ``openssl`` command."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from localcluster.errors import ClusterError
from localcluster.paths import write_atomically
from localcluster.process import run

_DAYS = "3650"


@dataclass(frozen=True)
class Leaf:
    """One certificate to be signed: ``subject`` in openssl's slash form, ``usage`` an extendedKeyUsage."""

    name: str
    subject: str
    usage: str = "clientAuth"
    alternatives: tuple[str, ...] = ()
    authority: str = "ca"


#: kubeconfigs to write, and as whom they speak
USERS = {
    "admin": "/O=system:masters/CN=admin",
    "kwok": "/O=system:masters/CN=kwok",
    "kube-controller-manager": "/CN=system:kube-controller-manager",
    "kube-scheduler": "/CN=system:kube-scheduler",
    "kube-proxy": "/CN=system:kube-proxy",
}


def leaves(addresses: Sequence[str], node: str, node_address: str) -> list[Leaf]:
    """Every leaf a cluster needs; ``addresses`` are those at which the API server is reached."""
    names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
    names.append("kubernetes.default.svc.cluster.local")
    server = tuple(f"DNS:{name}" for name in names) + tuple(f"IP:{address}" for address in addresses)
    return [
        Leaf("apiserver", "/CN=kube-apiserver", "serverAuth", server),
        Leaf("apiserver-kubelet-client", "/O=system:masters/CN=kube-apiserver-kubelet-client"),
        Leaf("front-proxy-client", "/CN=front-proxy-client", authority="front-proxy-ca"),
        *node_leaves("kubelet", node, node_address),
        *(Leaf(name, subject) for name, subject in USERS.items()),
    ]


def node_leaves(user: str, node: str, address: str) -> list[Leaf]:
    """What a node's kubelet shows the API server, and what it shows those who ask it."""
    names = (f"DNS:{node}", "DNS:localhost", "IP:127.0.0.1", f"IP:{address}")
    subject = f"/O=system:nodes/CN=system:node:{node}"
    return [Leaf(user, subject), Leaf(f"{user}-server", subject, "serverAuth", names)]


def create(folder: Path, wanted: Sequence[Leaf]) -> None:
    """Write all keys and certificates into ``folder`` (mode 0700).

    Raises:
        ClusterError: openssl is missing, too old (3.0 is needed) or refuses.
    """
    if not shutil.which("openssl"):
        raise ClusterError(
            "openssl is not installed, and the cluster's certificates are made with it: install it"
        )
    folder.mkdir(parents=True, mode=0o700)
    with ThreadPoolExecutor(max_workers=4) as pool:
        account_keys = pool.submit(_service_account_keys, folder)
        for name in ("ca", "front-proxy-ca"):
            _authority(folder, name)
        for done in [pool.submit(sign, folder, leaf) for leaf in wanted]:
            done.result()
        account_keys.result()


def _new_key() -> list[str]:
    return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", _DAYS, "-batch"]


def _authority(folder: Path, name: str) -> None:
    command = ["openssl", "req", "-x509", *_new_key(), "-subj", f"/CN={name}"]
    command += ["-addext", "basicConstraints=critical,CA:TRUE"]
    command += ["-addext", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature"]
    run([*command, "-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.crt")])


def sign(folder: Path, leaf: Leaf) -> None:
    """Write one more key and certificate into ``folder``."""
    command = ["openssl", "req", "-x509", *_new_key(), "-subj", leaf.subject]
    command += ["-CA", str(folder / f"{leaf.authority}.crt"), "-CAkey", str(folder / f"{leaf.authority}.key")]
    command += ["-addext", "basicConstraints=critical,CA:FALSE"]
    command += ["-addext", "keyUsage=critical,digitalSignature,keyEncipherment"]
    command += ["-addext", f"extendedKeyUsage={leaf.usage}"]
    if leaf.alternatives:
        command += ["-addext", f"subjectAltName={','.join(leaf.alternatives)}"]
    run([*command, "-keyout", str(folder / f"{leaf.name}.key"), "-out", str(folder / f"{leaf.name}.crt")])


def _service_account_keys(folder: Path) -> None:
    key = str(folder / "sa.key")
    run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-out", key])
    run(["openssl", "pkey", "-in", key, "-pubout", "-out", str(folder / "sa.pub")])


def write_kubeconfig(path: Path, pki: Path, user: str, server: str, cluster: str) -> None:
    """A kubeconfig with everything inline, readable by its owner only. Written as JSON, which is YAML."""

    def inline(name: str) -> str:
        return base64.b64encode((pki / name).read_bytes()).decode()

    client = {"client-certificate-data": inline(f"{user}.crt"), "client-key-data": inline(f"{user}.key")}
    context = f"{user}@{cluster}"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": cluster, "cluster": {"server": server, "certificate-authority-data": inline("ca.crt")}}
        ],
        "users": [{"name": context, "user": client}],
        "contexts": [{"name": context, "context": {"cluster": cluster, "user": context}}],
        "current-context": context,
    }
    write_atomically(path, json.dumps(document, indent=1) + "\n")
