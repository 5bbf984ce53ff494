"""kubeconfigs of ServiceAccounts, so that a process outside the cluster has just their rights."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from localcluster import Cluster


def account_kubeconfig(
    cluster: Cluster, account: str, folder: Path, namespace: str = "kubernaut-system"
) -> Path:
    """Write a kubeconfig with a token of a ServiceAccount and return its path.

    Raises:
        localcluster.errors.ClusterError: the account does not exist.
    """
    token = cluster.run_kubectl("create", "token", account, "-n", namespace, "--duration=24h").strip()
    admin = json.loads(cluster.run_kubectl("config", "view", "--raw", "--flatten", "--minify", "-o", "json"))
    server = admin["clusters"][0]
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [server],
        "users": [{"name": account, "user": {"token": token}}],
        "contexts": [
            {
                "name": account,
                "context": {"cluster": server["name"], "user": account, "namespace": namespace},
            }
        ],
        "current-context": account,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{account}.kubeconfig"
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(config))
    return path
